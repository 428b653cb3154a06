/** A child's creation that is under way on an IKE SA that goes: another IKE SA sets it up, and nothing waits for the first. */
import { describe, expect, it } from 'vitest';
import { parseEspProposal } from '../../../ike/index.ts';
import { A, B, connectionOf, udpChildren } from '../simulation/tunnels.ts';
import { connect, connectedPair, faultsOf, headerOf, makePair } from './pair.ts';

const CHILDREN = ['tun-in', 'tun-out'];

describe('the creation of a child on an IKE SA that goes', () => {
  it('begins anew on the IKE SA that a reauthentication made, while the answer on the old one is still waited for', () => {
    const pair = makePair();
    const { world, a } = pair;
    let firstSpi: string | undefined;
    world.pass = (sent) => {
      const { initiatorSpi, exchange, responseFlag } = headerOf(sent);
      firstSpi ??= initiatorSpi;
      return !(initiatorSpi === firstSpi && exchange === 'CREATE_CHILD_SA' && responseFlag);
    };
    connect(pair, { children: udpChildren(A, B, 'initiate') }, { children: udpChildren(B, A, 'wait'), start: 'wait' });
    expect(world.run(3000, () => a.upIkeSas() === 1 && a.installed.size === 1)).toBe(true);
    a.command({ command: 'reauthenticate', connection: a.engine.status()[0].connection });
    world.run(20_000);
    // The old IKE SA still waits for its answer, so only what the tunnels need is looked at.
    const faults = faultsOf(pair, CHILDREN).filter((fault) => fault.includes('is up 0 times'));
    expect(faults).toEqual([]);
    world.pass = () => true;
    expect(
      world.run(120_000, () => faultsOf(pair, CHILDREN).length === 0),
      faultsOf(pair, CHILDREN).join(),
    ).toBe(true);
  });

  it('begins anew when the end of life of the IKE SA comes before the answer', () => {
    const lifetimes = {
      ...{ ikeSeconds: 200, childSeconds: 3600, marginSeconds: 1, fuzzPercent: 0 },
      ...{ childPackets: 0, childBytes: 0 },
    };
    const pair = connectedPair({}, { lifetimes });
    const { world, a, b } = pair;
    world.run(150_000);
    let isAsked = false;
    world.pass = (sent) => {
      isAsked ||= headerOf(sent).exchange === 'CREATE_CHILD_SA';
      return !isAsked;
    };
    const [id] = a.installed.keys();
    a.command({ command: 'child-exhausted', id: id! });
    expect(world.run(2000, () => isAsked)).toBe(true);
    b.reboot();
    world.run(100_000);
    world.pass = () => true;
    b.set(connectionOf(B, A, { start: 'wait', lifetimes }));
    expect(
      world.run(60_000, () => faultsOf(pair).length === 0),
      faultsOf(pair).join(),
    ).toBe(true);
  });

  it('lets the Delete of the IKE SA go when it is given up while its next key pair is being made', () => {
    const pair = makePair({ settingsOfB: { computations: 4 } });
    const { world, a, b } = pair;
    world.computing = { maximumMs: 0, failure: 0 };
    const espProposals = parseEspProposal('aes256gcm16-x25519-ke1_mlkem512');
    connect(
      pair,
      { children: udpChildren(A, B, 'wait'), start: 'wait', espProposals },
      { children: udpChildren(B, A, 'initiate'), start: 'initiate', espProposals },
    );
    const isPreparing = (): boolean => b.computing.some(({ job }) => job.step === 'begin');
    world.run(10_000, () => b.installed.size === 1);
    world.computing = { maximumMs: 60_000, failure: 0 };
    expect(world.run(10_000, isPreparing)).toBe(true);
    // A request of the peer would let it go as well.
    world.pass = (sent) => sent.local.address === B || headerOf(sent).responseFlag;
    b.command({ command: 'remove-connection', name: b.engine.status()[0].connection });
    expect(
      world.run(200_000, () => a.upIkeSas() === 0 && b.engine.load().ikeSas === 0),
      `${a.upIkeSas()} and ${b.engine.load().ikeSas} IKE SAs`,
    ).toBe(true);
  });
});
