/** SAs that one end has given up while the other has them: made by an IKE_AUTH whose response came too late or never. */
import { describe, expect, it } from 'vitest';
import { DRAIN_MS } from '../../../ike/sa/child-table.ts';
import { A, B, connectionOf, udpChildren } from '../simulation/tunnels.ts';
import { seededRandom, TEST_SETTINGS } from '../simulation/world.ts';
import { connect, connectedPair, faultsOf, headerOf, makePair, type Pair } from './pair.ts';

/** What both ends can do without: a change of configuration that needs a new IKE SA. */
const OTHER_PPK = { id: 'other', secret: new Uint8Array(32), required: false };

const SEEDS = 10;

const reauthenticate = ({ engine }: Pair['a']) => {
  const { connection } = engine.status()[0]!;
  return { command: 'reauthenticate', connection } as const;
};

/** Holds back the responses to IKE_AUTH that A gives: `onlyThat` those on the IKE SA of the first one, until `release`. */
function holdAuthOfA({ world, a }: Pair) {
  let firstSpi: string | undefined;
  let isHeld = (_spi: string): boolean => true;
  world.pass = (sent) => {
    const { exchange, responseFlag, initiatorSpi } = headerOf(sent);
    if (exchange !== 'IKE_AUTH' || !responseFlag || sent.local.address !== a.address) return true;
    firstSpi ??= initiatorSpi;
    return !isHeld(initiatorSpi);
  };
  return {
    seen: () => firstSpi !== undefined,
    onlyThat: () => {
      isHeld = (spi) => spi === firstSpi;
    },
    release: () => {
      isHeld = () => false;
    },
  };
}

/**
 * Runs and tells what an end has sent on that the other does not receive on, or not yet. An SA that is removed receives as long
 * as it drains.
 */
function watchingForDeafEnds({ world, a, b }: Pair): (forMs: number) => string[] {
  const until = new Map([a, b].map((host) => [host, new Map<number, number>()]));
  return (forMs) => {
    const deaf = new Set<string>();
    world.run(forMs, () => {
      for (const [host, peer] of [
        [a, b],
        [b, a],
      ] as const) {
        const receives = until.get(peer)!;
        for (const { sa } of peer.installed.values()) receives.set(sa.inboundSpi, world.nowMs + DRAIN_MS);
        for (const id of host.sending.values()) {
          const { sa } = host.installed.get(id)!;
          if ((receives.get(sa.outboundSpi) ?? 0) < world.nowMs) deaf.add(`${host.address} ${sa.child}{${id}}`);
        }
      }
      return false;
    });
    return [...deaf];
  };
}

describe('two ends that authenticate anew over and over, in the midst of one another', () => {
  it('send only on what the other receives on already', () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const random = seededRandom(seed);
      const [ofA, ofB] = [udpChildren(A, B, 'initiate'), udpChildren(B, A, 'initiate')];
      const pair = connectedPair({ seed }, { children: ofA }, { children: ofB });
      const { world, a, b } = pair;
      const deafEnds = watchingForDeafEnds(pair);
      world.conditions = { loss: 0, duplication: 0, minimumMs: 5, maximumMs: 100 };
      for (let change = 0; change < 6; change++) {
        const ppk = { ...OTHER_PPK, id: `number ${change}` };
        if (random() < 0.5) a.set({ ...connectionOf(A, B, { children: ofA }), ppk });
        else b.set({ ...connectionOf(B, A, { children: ofB }), ppk });
        expect(deafEnds(random() * 500), `seed ${seed}`).toEqual([]);
      }
      expect(deafEnds(10_000), `seed ${seed}`).toEqual([]);
      const names = ofA.map(({ name }) => name);
      expect(
        world.run(120_000, () => faultsOf(pair, names).length === 0),
        `seed ${seed}: ${faultsOf(pair, names).join()}`,
      ).toBe(true);
    }
  });
});

describe('a child SA that the peer made', () => {
  it('does not take the traffic over, after its moment of grace, from a younger one', () => {
    const pair = connectedPair();
    const { world, a, b } = pair;
    const held = holdAuthOfA(pair);
    b.command(reauthenticate(b));
    expect(world.run(2000, held.seen)).toBe(true);
    const [older] = [...a.installed.keys()].slice(-1);
    held.onlyThat();
    b.set({ ...connectionOf(B, A, { start: 'wait' }), ppk: OTHER_PPK });
    const isSendingYounger = () => [...a.sending.values()].every((id) => id > older!);
    expect(world.run(1000, isSendingYounger)).toBe(true);
    // Longer than the grace, shorter than it takes B to send its IKE_AUTH again and to be answered.
    world.run(3000, () => {
      expect(isSendingYounger()).toBe(true);
      return false;
    });
    expect(a.installed.has(older!)).toBe(true);
    held.release();
    expect(
      world.run(120_000, () => faultsOf(pair).length === 0),
      faultsOf(pair).join(),
    ).toBe(true);
  });
});

describe('an IKE SA whose IKE_AUTH is under way when its configuration changes', () => {
  it.each(['changes', 'is removed'])('is deleted at the peer as soon as it answers, if it %s', (what) => {
    const pair = connectedPair();
    const { world, a, b } = pair;
    const held = holdAuthOfA(pair);
    b.command(reauthenticate(b));
    expect(world.run(2000, held.seen)).toBe(true);
    const { name, ...former } = connectionOf(B, A, { start: 'wait' });
    if (what === 'changes') b.set({ name, ...former, ppk: OTHER_PPK });
    else b.command({ command: 'remove-connection', name });
    held.release();
    // Its request comes a second time to be answered.
    world.run(TEST_SETTINGS.retransmitMs + 1000);
    if (what === 'changes') expect(faultsOf(pair)).toEqual([]);
    expect(a.upIkeSas()).toBe(what === 'changes' ? 1 : 0);
    expect(b.engine.status().flatMap(({ ikeSas }) => ikeSas)).toHaveLength(what === 'changes' ? 1 : 0);
  });

  it('is deleted at the peer when the program ends', () => {
    const pair = connectedPair();
    const { world, a, b } = pair;
    const held = holdAuthOfA(pair);
    b.command(reauthenticate(b));
    expect(world.run(2000, held.seen)).toBe(true);
    b.command({ command: 'shutdown' });
    world.run(1000);
    expect(a.upIkeSas()).toBe(0);
  });

  it('is forgotten when the peer refuses it', () => {
    const pair = makePair();
    const { world, b } = pair;
    connect(pair, { start: 'wait', psk: 'swordfish' }, { start: 'initiate', psk: 'marlin' });
    const held = holdAuthOfA(pair);
    expect(world.run(2000, held.seen)).toBe(true);
    b.command({ command: 'remove-connection', name: connectionOf(B, A).name });
    held.release();
    world.run(120_000);
    expect(b.engine.counters()).toMatchObject({ 'lost: no response': 0 });
  });
});
