import { describe, expect, it } from 'vitest';
import { redundantOf, refusalOf } from '../../../ike/collisions.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { uncrossed } from '../simulation/invariants.ts';
import { A, B, connectionOf, greChild, udpChildren } from '../simulation/tunnels.ts';
import { PERFECT } from '../simulation/world.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, type Pair, secondsUntil } from './pair.ts';

const firstId = (host: Pair['a']): number => [...host.installed.keys()][0];
const rekey = (host: Pair['a']): void => host.command({ command: 'child-soft-limit', id: firstId(host) });

const SHORT_IKE = { ...connectionOf(A, B).lifetimes, ikeSeconds: 200, marginSeconds: 50, fuzzPercent: 0 };

describe('an attempt that the peer refused before it had its own tunnel', () => {
  it('is not kept waiting for ever when the peer sets the IKE SA up itself', () => {
    const pair = makePair();
    pair.a.set(connectionOf(A, B));
    pair.world.run(10);
    expect(pair.a.failures).toHaveLength(1);
    pair.b.set(connectionOf(B, A));
    pair.world.run(400);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.a.engine.load().ikeSas).toBe(1);
  });
});

describe('an attempt that the peer has not answered, beside an IKE SA that the peer set up', () => {
  it('is no failure of the tunnel, which is up', () => {
    const pair = makePair();
    pair.world.pass = ({ local }) => local.address !== A;
    pair.a.set(connectionOf(A, B));
    pair.world.run(1000);
    pair.world.pass = (sent) =>
      sent.local.address !== A || headerOf(sent).responseFlag || headerOf(sent).exchange !== 'IKE_SA_INIT';
    pair.b.set(connectionOf(B, A));
    pair.world.run(20_000);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.a.engine.status()[0]!.lastFailure).toBeUndefined();
  });
});

describe('the rules', () => {
  it('make the exchange with the lowest nonce redundant, a prefix being lower', () => {
    const nonce = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
    expect(redundantOf([nonce(5), nonce(1, 2)], [nonce(1, 3), nonce(9)])).toBe('ours');
    expect(redundantOf([nonce(5), nonce(1, 3)], [nonce(1, 2), nonce(9)])).toBe('theirs');
    expect(redundantOf([nonce(1, 2)], [nonce(1, 2, 0)])).toBe('ours');
    expect(redundantOf([nonce(0x80)], [nonce(0x7f)])).toBe('theirs');
  });

  it('refuse as RFC 7296 §2.25 says', () => {
    const { TEMPORARY_FAILURE, CHILD_SA_NOT_FOUND } = NOTIFY;
    const busy = { ike: 'established', childExchange: false } as const;
    expect(refusalOf('create-child', busy)).toBeUndefined();
    expect(refusalOf('create-child', { ...busy, ike: 'rekeying' })).toBe(TEMPORARY_FAILURE);
    expect(refusalOf('create-child', { ...busy, ike: 'deleting' })).toBe(TEMPORARY_FAILURE);
    expect(refusalOf('rekey-ike', { ...busy, childExchange: true })).toBe(TEMPORARY_FAILURE);
    expect(refusalOf('rekey-ike', { ...busy, ike: 'rekeying' })).toBeUndefined();
    expect(refusalOf('rekey-ike', { ...busy, ike: 'rekeyed' })).toBe(TEMPORARY_FAILURE);
    expect(refusalOf('rekey-child', { ...busy, child: 'installed' })).toBeUndefined();
    expect(refusalOf('rekey-child', { ...busy, child: 'rekeying' })).toBeUndefined();
    expect(refusalOf('rekey-child', { ...busy, child: 'deleting' })).toBe(TEMPORARY_FAILURE);
    expect(refusalOf('rekey-child', busy)).toBe(CHILD_SA_NOT_FOUND);
    expect(refusalOf('rekey-child', { ...busy, childExchange: true })).toBe(TEMPORARY_FAILURE);
  });
});

describe('rekeying a child', () => {
  it('makes before it breaks: the initiator sends on the new one at once, the responder when the old is deleted', () => {
    const pair = connectedPair();
    const [oldOfA, oldOfB] = [firstId(pair.a), firstId(pair.b)];
    rekey(pair.a);
    pair.world.run(1000);
    expect(faultsOf(pair)).toEqual([]);
    const of = (host: Pair['a'], old: number) =>
      host.actions
        .filter(({ action }) => action.startsWith('child-'))
        .slice(1)
        .map((action) => {
          if (action.action === 'child-install')
            return `install ${action.sendNow} replaces ${action.sa.replaces === old}`;
          return action.action === 'child-remove'
            ? `remove ${action.id === old} drain ${action.drainMs}`
            : action.action;
        });
    expect(of(pair.a, oldOfA)).toEqual(['install true replaces true', 'remove true drain 5000']);
    expect(of(pair.b, oldOfB)).toEqual(['install false replaces true', 'child-send', 'remove true drain 5000']);
    expect(conversation(pair.world).slice(4)).toEqual([
      'A CREATE_CHILD_SA',
      'B CREATE_CHILD_SA response',
      'A INFORMATIONAL',
      'B INFORMATIONAL response',
    ]);
  });

  it('moves the responder to the new child when the peer is seen on it', () => {
    const pair = connectedPair();
    rekey(pair.a);
    pair.world.pass = (sent) => headerOf(sent).exchange !== 'INFORMATIONAL';
    pair.world.run(1000);
    expect(pair.b.installed.size).toBe(2);
    const fresh = Math.max(...pair.b.installed.keys());
    pair.b.command({ command: 'child-traffic-seen', id: fresh });
    expect(pair.b.actions.at(-1)).toEqual({ action: 'child-send', id: fresh });
    pair.b.command({ command: 'child-traffic-seen', id: fresh });
    expect(pair.b.actions.filter(({ action }) => action === 'child-send')).toHaveLength(1);
  });

  it('has a key exchange of its own with pfs and none without, and either is accepted', () => {
    for (const [pfsOfA, pfsOfB] of [
      [true, false],
      [false, true],
    ]) {
      const pair = connectedPair({}, { pfs: pfsOfA }, { pfs: pfsOfB });
      rekey(pair.a);
      pair.world.run(100);
      expect(faultsOf(pair)).toEqual([]);
      expect(pair.b.logs.at(-1)).toBeDefined();
      expect(pair.b.logs.some((line) => line.includes('AES_GCM_16_256/CURVE_25519/EXT_SEQ'))).toBe(pfsOfA);
    }
  });

  it('begins by itself before the end of life, time and again, and traffic never lacks a child', () => {
    const lifetimes = { ...connectionOf(A, B).lifetimes, childSeconds: 100, marginSeconds: 20, fuzzPercent: 50 };
    const pair = connectedPair({}, { lifetimes }, { lifetimes });
    for (let step = 0; step < 1000; step++) {
      pair.world.run(1000);
      for (const host of [pair.a, pair.b]) expect(host.sending.size).toBe(1);
    }
    expect(
      pair.a.engine.counters()['rekeyed: child SAs'] + pair.b.engine.counters()['rekeyed: child SAs'],
    ).toBeGreaterThan(9);
    expect(pair.a.engine.counters()['expired: child SAs']).toBe(0);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });

  it('at once from both ends leaves the child with the higher nonces, and each deletes what is its to delete', () => {
    let lost = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const pair = connectedPair({ seed });
      rekey(pair.a);
      rekey(pair.b);
      pair.world.run(1000);
      expect(faultsOf(pair)).toEqual([]);
      expect(pair.a.engine.counters()['collisions: child rekeying']).toBe(1);
      expect(pair.b.engine.counters()['collisions: child rekeying']).toBe(1);
      const kept = [...pair.a.installed.values()][0].sa;
      expect(kept.initiator).not.toBe([...pair.b.installed.values()][0].sa.initiator);
      if (kept.initiator) lost += 1;
      expect(pair.a.removed).toHaveLength(2);
    }
    expect(lost).toBeGreaterThan(0);
    expect(lost).toBeLessThan(8);
  });

  it('is retried when the peer is busy, and the child made anew when the peer does not have it', () => {
    const pair = connectedPair();
    // B deletes the child; its Delete is held back, A rekeys it meanwhile.
    pair.world.pass = (sent) => !(sent.local.address === B && headerOf(sent).exchange === 'INFORMATIONAL');
    pair.b.command({ command: 'child-exhausted', id: firstId(pair.b) });
    rekey(pair.a);
    pair.world.run(500);
    pair.world.pass = () => true;
    expect(pair.b.engine.counters()).toMatchObject({ 'refused: unknown child SA': 1 });
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 20);
  });
});

describe('a child that both ends set up, and one of them rekeys before the other knows', () => {
  it.each([1, 2, 7, 10, 16, 17, 18, 20])('is there once in the end, and the one that stays sends (seed %i)', (seed) => {
    const pair = makePair({ seed });
    const { world, a, b } = pair;
    let isOpen = false;
    // A's wish for the second child reaches B only after B's own, and its answer reaches A much later.
    world.pass = (sent) => {
      const { exchange, responseFlag } = headerOf(sent);
      // A sets the IKE SA up.
      if (exchange === 'IKE_SA_INIT') return sent.local.address === A || responseFlag;
      if (exchange !== 'CREATE_CHILD_SA') return true;
      if (sent.local.address === A && !responseFlag) return world.nowMs > 3000;
      return sent.local.address === A || !responseFlag || isOpen;
    };
    b.set(connectionOf(B, A, { children: udpChildren(B, A) }));
    a.set(connectionOf(A, B, { children: udpChildren(A, B) }));
    const twins = (): number[] => b.childrenOf('tun-in').map(({ sa }) => sa.id);
    expect(world.run(20_000, () => twins().length === 2)).toBe(true);
    b.command({ command: 'child-soft-limit', id: Math.min(...twins()) });
    world.run(5000);
    isOpen = true;
    world.run(100_000);
    expect(faultsOf(pair, ['tun-in', 'tun-out'])).toEqual([]);
  });
});

describe('a child that the peer deletes before its response is here', () => {
  it.each(['create', 'rekey'] as const)('is not kept when the response to our %s comes after all', (what) => {
    const pair = makePair();
    connect(
      pair,
      { children: [greChild(A, B), ...udpChildren(A, B, 'wait')] },
      { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait')] },
    );
    pair.world.run(2000);
    expect(pair.a.installed.size).toBe(1);
    let lost = 0;
    pair.world.pass = (sent) => {
      const { exchange, responseFlag } = headerOf(sent);
      const drop = lost === 0 && exchange === 'CREATE_CHILD_SA' && responseFlag;
      if (drop) lost += 1;
      return !drop;
    };
    if (what === 'create') pair.a.command({ command: 'acquire', connection: `${A}-${B}` });
    else rekey(pair.a);
    pair.world.run(5);
    const early = Math.max(...pair.b.installed.keys());
    const { outboundSpi, inboundSpi } = pair.b.installed.get(early)!.sa;
    pair.b.command({ command: 'child-exhausted', id: early });
    pair.world.run(10_000);
    expect(lost).toBe(1);
    expect([...pair.a.installed.values()].map(({ sa }) => sa.inboundSpi)).not.toContain(outboundSpi);
    expect(pair.a.actions).toContainEqual(
      expect.objectContaining({ action: 'child-install', sa: expect.objectContaining({ outboundSpi: inboundSpi }) }),
    );
    expect(uncrossed(pair.a, pair.b)).toEqual([]);
  });
});

describe('rekeying an IKE SA', () => {
  it('hands the children on and deletes the old one, without touching them', () => {
    const children = { children: udpChildren(A, B) };
    const pair = connectedPair({}, { ...children, lifetimes: SHORT_IKE }, { children: udpChildren(B, A, 'wait') });
    const before = [...pair.a.installed.keys()];
    const [{ initiatorSpi }] = pair.a.engine.status()[0].ikeSas;
    pair.world.run(155_000);
    expect(pair.a.engine.status()[0].ikeSas).toHaveLength(1);
    expect(pair.a.engine.status()[0].ikeSas[0].initiatorSpi).not.toBe(initiatorSpi);
    expect([...pair.a.installed.keys()]).toEqual(before);
    expect(pair.a.actions.some(({ action }) => action === 'ike-down')).toBe(false);
    expect(pair.a.engine.counters()['rekeyed: IKE SAs']).toBe(1);
    // The new one carries exchanges in both directions.
    rekey(pair.a);
    pair.world.run(100);
    rekey(pair.b);
    pair.world.run(100);
    expect(faultsOf(pair, ['tun-in', 'tun-out'])).toEqual([]);
  });

  it('at once from both ends leaves one, to which the children belong', () => {
    const keptBy = new Set<boolean>();
    for (let seed = 1; seed <= 8; seed++) {
      // Both began in the same millisecond, and rekey in the same.
      const pair = connectedPair({ seed }, { lifetimes: SHORT_IKE }, { lifetimes: SHORT_IKE });
      pair.world.conditions = { ...PERFECT, minimumMs: 20, maximumMs: 20 };
      pair.world.run(155_000);
      expect(faultsOf(pair)).toEqual([]);
      expect(pair.a.engine.counters()).toMatchObject({ 'collisions: IKE rekeying': 1, 'rekeyed: IKE SAs': 1 });
      keptBy.add(pair.a.engine.status()[0].ikeSas[0].initiator);
      rekey(pair.a);
      pair.world.run(100);
      expect(faultsOf(pair)).toEqual([]);
    }
    expect(keptBy.size).toBe(2);
  });

  it('and a child at once: each is told TEMPORARY_FAILURE, and both succeed later', () => {
    const pair = connectedPair({}, { lifetimes: SHORT_IKE });
    const { rekeyAtMs } = pair.a.engine.status()[0].ikeSas[0];
    pair.world.run(rekeyAtMs! - pair.world.nowMs);
    rekey(pair.b);
    pair.world.run(20_000);
    expect(
      pair.a.engine.counters()['refused: temporary failure'] + pair.b.engine.counters()['refused: temporary failure'],
    ).toBeGreaterThan(0);
    expect(pair.a.engine.counters()['rekeyed: IKE SAs']).toBe(1);
    expect(pair.b.engine.counters()['rekeyed: child SAs']).toBe(1);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('that never succeeds ends the IKE SA at its end of life, and a new one is set up', () => {
    const pair = connectedPair({}, { lifetimes: SHORT_IKE });
    pair.world.pass = (sent) => headerOf(sent).exchange !== 'CREATE_CHILD_SA';
    pair.world.run(150_000);
    pair.world.pass = () => true;
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 200);
  });
});

describe('both ends at once from the start', () => {
  it('end with one IKE SA and each child once, and nothing that was up goes before its successor', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const pair = makePair({ seed });
      connect(pair, { children: udpChildren(A, B) }, { children: udpChildren(B, A, 'initiate') });
      pair.world.run(10_000);
      expect(faultsOf(pair, ['tun-in', 'tun-out'])).toEqual([]);
      expect(pair.a.engine.counters()['collisions: initial exchange']).toBe(1);
      for (const host of [pair.a, pair.b]) expect(host.removed.every(({ drainMs }) => drainMs === 5000)).toBe(true);
    }
  });

  it('do not take the INITIAL_CONTACT of a crossing IKE SA for a restart, whatever is delayed', () => {
    for (let delayed = 0; delayed < 12; delayed++) {
      const pair = makePair({ seed: 3 });
      let count = 0;
      const { world } = pair;
      world.pass = (sent) => {
        count += 1;
        if (count - 1 !== delayed) return true;
        // Lost: its retransmission comes 4 s later.
        expect(sent.data.length).toBeGreaterThan(0);
        return false;
      };
      connect(pair, {}, { start: 'initiate' });
      world.run(60_000);
      expect(faultsOf(pair)).toEqual([]);
    }
  });
});
