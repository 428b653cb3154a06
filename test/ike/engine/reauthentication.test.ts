import { describe, expect, it } from 'vitest';
import { parseIkeProposal } from '../../../ike/index.ts';
import { notify } from '../../../ike/sa/notify.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { A, B, udpChildren } from '../simulation/tunnels.ts';
import { TEST_SETTINGS } from '../simulation/world.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, type Pair } from './pair.ts';
import { tamper } from './tamper.ts';

const SHORT = {
  ikeSeconds: 200,
  childSeconds: 3600,
  marginSeconds: 30,
  fuzzPercent: 100,
  childPackets: 0,
  childBytes: 0,
};

/** Runs and gives the moments at which an end had no child to send on. */
function gaps(pair: Pair, forMs: number): number[] {
  const without: number[] = [];
  pair.world.run(forMs, () => {
    if (pair.a.sending.size === 0 || pair.b.sending.size === 0) without.push(pair.world.nowMs);
    return false;
  });
  return without;
}

const spisOf = (pair: Pair) => pair.a.engine.status()[0].ikeSas.map(({ initiatorSpi }) => initiatorSpi);

describe('reauthentication', () => {
  it('makes a new IKE SA with new children before the old one goes, time and again', () => {
    const pair = connectedPair({}, { reauthenticate: true, lifetimes: SHORT });
    const before = spisOf(pair);
    expect(gaps(pair, 1_000_000)).toEqual([]);
    expect(faultsOf(pair)).toEqual([]);
    expect(spisOf(pair)).not.toEqual(before);
    const { a } = pair;
    expect(a.engine.counters()).toMatchObject({ 'rekeyed: IKE SAs': 0 });
    expect(a.engine.counters()['reauthenticated: IKE SAs']).toBeGreaterThanOrEqual(4);
    expect(a.engine.counters()['expired: IKE SAs']).toBe(0);
    // Four IKE_AUTH and more, where a rekeying would have none but the first.
    expect(conversation(pair.world).filter((line) => line === 'A IKE_AUTH').length).toBeGreaterThanOrEqual(5);
  });

  it('of both ends at the same time leaves one IKE SA and each child once, and traffic never stops', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const settings = { reauthenticate: true, lifetimes: { ...SHORT, fuzzPercent: 0 } };
      const pair = connectedPair({ seed }, settings, settings);
      pair.world.conditions = { loss: 0, duplication: 0, minimumMs: 10, maximumMs: 60 };
      expect(gaps(pair, 600_000), `seed ${seed}`).toEqual([]);
      expect(
        pair.world.run(120_000, () => faultsOf(pair).length === 0),
        `seed ${seed}: ${faultsOf(pair)}`,
      ).toBe(true);
    }
  });

  it('lets the old IKE SA go also when the peer has rekeyed it meanwhile', () => {
    const ikeProposals = parseIkeProposal('aes256gcm16-prfsha256-x25519-ke1_mlkem512');
    const lives = (ikeSeconds: number) => ({ ...SHORT, ikeSeconds, fuzzPercent: 0 });
    const ofA = { ikeProposals, children: udpChildren(A, B, 'initiate'), lifetimes: lives(10_000) };
    const ofB = { ikeProposals, children: udpChildren(B, A, 'wait'), lifetimes: lives(1000) };
    const pair = connectedPair({}, ofA, ofB);
    const { world, a, b } = pair;
    // The peer's rekeying stops before its last exchange, and the reauthentication before its second child.
    const held = new Set(['IKE_FOLLOWUP_KE']);
    let isHeld = false;
    world.pass = (sent) => {
      const { exchange } = headerOf(sent);
      const stops = typeof exchange === 'string' && held.has(exchange);
      isHeld ||= stops;
      return !stops;
    };
    expect(world.run(1_000_000, () => isHeld)).toBe(true);
    held.add('CREATE_CHILD_SA');
    a.command({ command: 'reauthenticate', connection: a.engine.status()[0].connection });
    expect(world.run(1000, () => a.upIkeSas() === 2 && b.upIkeSas() === 2)).toBe(true);
    held.delete('IKE_FOLLOWUP_KE');
    expect(world.run(10_000, () => a.engine.counters()['rekeyed: IKE SAs'] === 1)).toBe(true);
    held.clear();
    const names = ofA.children.map(({ name }) => name);
    expect(
      world.run(60_000, () => faultsOf(pair, names).length === 0),
      faultsOf(pair, names).join(),
    ).toBe(true);
  });

  it('comes by command', () => {
    const pair = connectedPair();
    const before = spisOf(pair);
    pair.a.command({ command: 'reauthenticate', connection: pair.a.engine.status()[0].connection });
    expect(gaps(pair, 10_000)).toEqual([]);
    expect(faultsOf(pair)).toEqual([]);
    expect(spisOf(pair)).not.toEqual(before);
  });

  it('that the peer refuses leaves the old IKE SA up until its end of life', () => {
    const pair = connectedPair({}, { lifetimes: { ...SHORT, ikeSeconds: 1000 } });
    pair.world.pass = ({ data }) => data[18] !== 34;
    pair.a.command({ command: 'reauthenticate', connection: pair.a.engine.status()[0].connection });
    expect(gaps(pair, 600_000)).toEqual([]);
    expect(faultsOf(pair).filter((fault) => !fault.includes('IKE SAs'))).toEqual([]);
    pair.world.pass = () => true;
    expect(pair.world.run(200_000, () => faultsOf(pair).length === 0)).toBe(true);
  });

  it('is begun in time when the peer says AUTH_LIFETIME, and rekeying does not put it off', () => {
    const pair = makePair();
    const logging = { ...TEST_SETTINGS, keyLog: true };
    pair.b.reboot(logging);
    tamper(pair.b, pair.b, (payloads) =>
      payloads.some(({ type }) => type === 'AUTH')
        ? [...payloads, notify(NOTIFY.AUTH_LIFETIME, Uint8Array.of(0, 0, 3, 0xe8))]
        : undefined,
    );
    connect(pair, { lifetimes: { ...SHORT, ikeSeconds: 400 } });
    expect(pair.world.run(3000, () => faultsOf(pair).length === 0)).toBe(true);
    expect(gaps(pair, 900_000)).toEqual([]);
    expect(pair.a.engine.counters()['rekeyed: IKE SAs']).toBe(2);
    expect(pair.a.engine.counters()['reauthenticated: IKE SAs']).toBe(0);
    expect(gaps(pair, 100_000)).toEqual([]);
    expect(pair.a.engine.counters()['reauthenticated: IKE SAs']).toBe(1);
    expect(faultsOf(pair)).toEqual([]);
  });
});
