// Dear steps of key exchanges that another thread does: what waits for them, and what must not happen meanwhile.
import { describe, expect, it } from 'vitest';
import { parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { find } from '../../../ike/sa/notify.ts';
import { parseMessage } from '../../../ike/wire/message.ts';
import { A, B } from '../simulation/tunnels.ts';
import { type Host, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, conversation, faultsOf, type Pair } from './pair.ts';

const HYBRID = { ikeProposals: parseIkeProposal('aes256gcm16-sha256-modp2048-ke1_mlkem512') };
const CHEAP = { ikeProposals: parseIkeProposal('aes256gcm16-sha256-x25519') };

function pairThatComputes(ofA: number, ofB: number, choices: Parameters<typeof connect>[1] = HYBRID): Pair {
  const world = new World(7);
  const a = world.addHost(A, { ...TEST_SETTINGS, computations: ofA });
  const b = world.addHost(B, { ...TEST_SETTINGS, computations: ofB });
  const pair = { world, a, b };
  connect(pair, choices, choices);
  return pair;
}

/** The jobs that a host has asked for, by step. */
const stepsOf = (host: Host): string[] =>
  host.actions.flatMap((action) => (action.action === 'compute' ? [action.job.step] : []));

const zero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

describe('dear steps of key exchanges', () => {
  it('are all done elsewhere, by both ends, and the tunnel comes up by the same messages', () => {
    const pair = pairThatComputes(8, 8);
    expect(pair.world.run(3000, () => faultsOf(pair).length === 0)).toBe(true);
    expect(stepsOf(pair.a)).toEqual(['begin', 'finish', 'begin', 'finish']);
    expect(stepsOf(pair.b)).toEqual(['answer', 'answer']);
    expect(conversation(pair.world)).toEqual([
      'A IKE_SA_INIT',
      'B IKE_SA_INIT response',
      'A IKE_INTERMEDIATE',
      'B IKE_INTERMEDIATE response',
      'A IKE_AUTH',
      'B IKE_AUTH response',
    ]);
  });

  it('are none of x25519, which takes less time than handing it over', () => {
    const pair = pairThatComputes(8, 8, CHEAP);
    expect(pair.world.run(3000, () => faultsOf(pair).length === 0)).toBe(true);
    expect([...stepsOf(pair.a), ...stepsOf(pair.b)]).toEqual([]);
  });

  it('are done for rekeyed children and IKE SAs, and for their follow-ups', () => {
    const esp = { espProposals: parseEspProposal('aes256gcm16-modp2048-ke1_mlkem512') };
    const lifetimes = {
      ikeSeconds: 300,
      childSeconds: 100,
      marginSeconds: 20,
      fuzzPercent: 0,
      childPackets: 0,
      childBytes: 0,
    };
    const pair = pairThatComputes(8, 8, { ...HYBRID, ...esp, lifetimes });
    pair.world.run(400_000);
    const { a, b } = pair;
    const rekeyed = (name: 'rekeyed: IKE SAs' | 'rekeyed: child SAs') =>
      a.engine.counters()[name] + b.engine.counters()[name];
    expect(rekeyed('rekeyed: IKE SAs')).toBeGreaterThan(0);
    expect(rekeyed('rekeyed: child SAs')).toBeGreaterThan(2);
    const begun = [...stepsOf(a), ...stepsOf(b)].filter((step) => step === 'begin').length;
    expect(begun).toBeGreaterThanOrEqual(2 * (1 + rekeyed('rekeyed: IKE SAs') + rekeyed('rekeyed: child SAs')));
    expect(faultsOf(pair)).toEqual([]);
  });

  it('are done in place when the thread fails', () => {
    const pair = pairThatComputes(8, 8);
    pair.world.computing = { maximumMs: 20, failure: 1 };
    expect(pair.world.run(3000, () => faultsOf(pair).length === 0)).toBe(true);
    expect(stepsOf(pair.b)).toEqual(['answer', 'answer']);
  });

  it('are asked for once, however often the request comes while they are computed', () => {
    const pair = pairThatComputes(0, 8);
    pair.world.computing = { maximumMs: 0, failure: 0 };
    const { world, b } = pair;
    // Nothing is ever done: the requests come again and again.
    b.compute = () => {};
    world.run(20, () => b.computing.length > 0);
    b.computing = b.computing.map((one) => ({ ...one, atMs: Number.POSITIVE_INFINITY }));
    world.run(30_000);
    expect(stepsOf(b)).toEqual(['answer']);
    expect(b.engine.counters()['dropped: repetition of a held message']).toBeGreaterThanOrEqual(3);
    expect(b.engine.load().halfOpen).toBe(1);
  });

  it('of strangers are dropped when too many wait, and counted', () => {
    const pair = pairThatComputes(0, 1);
    const { world, b } = pair;
    world.computing = { maximumMs: 60_000, failure: 0 };
    world.run(20, () => b.computing.length > 0);
    const genuine = world.sent[0];
    for (let index = 0; index < 5; index++) {
      const data = genuine.data.slice();
      data.set(world.bytes(8), 0);
      world.deliver(genuine, data);
    }
    world.run(10);
    expect(b.engine.counters()['dropped: too many computations']).toBe(5);
    expect(b.engine.load()).toMatchObject({ halfOpen: 1, computations: 1 });
  });

  it.each(['initiator', 'responder'] as const)(
    'that end after the %s has removed the connection change nothing, and their secrets are overwritten',
    (role) => {
      const pair = role === 'initiator' ? pairThatComputes(8, 0) : pairThatComputes(0, 8);
      const host = role === 'initiator' ? pair.a : pair.b;
      pair.world.computing = { maximumMs: 3000, failure: 0 };
      const results: Uint8Array[] = [];
      const { computed } = host.engine;
      host.engine.computed = (nowMs, id, result) => {
        if (result?.step === 'begin') results.push(result.privateKey);
        else if (result !== undefined && 'sharedSecret' in result) results.push(result.sharedSecret);
        return computed.call(host.engine, nowMs, id, result);
      };
      for (const step of role === 'initiator' ? [1, 2, 3] : [2]) {
        expect(pair.world.run(60_000, () => stepsOf(host).length === step)).toBe(true);
      }
      for (const end of [pair.a, pair.b]) {
        const [connection] = end.engine.status();
        end.command({ command: 'remove-connection', name: connection.connection });
      }
      pair.world.run(200_000);
      expect(results.length).toBeGreaterThan(0);
      expect(results.every(zero)).toBe(true);
      expect(host.installed.size).toBe(0);
      expect(host.engine.load()).toMatchObject({ ikeSas: 0, halfOpen: 0, computations: 0 });
    },
  );

  it('that end after a shutdown bring nobody an IKE SA', () => {
    const pair = pairThatComputes(0, 8);
    const { world, b } = pair;
    world.computing = { maximumMs: 3000, failure: 0 };
    expect(world.run(20, () => b.computing.length > 0)).toBe(true);
    b.command({ command: 'shutdown' });
    const said = b.actions.length;
    world.run(3500);
    expect(b.computed).toBe(1);
    expect(b.actions.slice(said).filter(({ action }) => action === 'send')).toEqual([]);
    expect(b.engine.load()).toMatchObject({ ikeSas: 0, halfOpen: 0, computations: 0 });
  });

  it('are refused in the place of a value that is not valid, as in place', () => {
    const pair = pairThatComputes(0, 8);
    const { world, b } = pair;
    world.run(20, () => b.computing.length > 0);
    const genuine = world.sent[0];
    const data = genuine.data.slice();
    data.set(world.bytes(8), 0);
    const parsed = parseMessage(data);
    const ke = parsed.ok ? find(parsed.message.payloads, 'KE') : undefined;
    expect(ke?.data).toHaveLength(256);
    // No power of the generator.
    ke?.data.fill(0);
    world.deliver(genuine, data);
    world.run(100);
    expect(b.engine.counters()['dropped: bad-ke']).toBe(1);
    world.run(3000);
    expect(faultsOf(pair)).toEqual([]);
  });
});
