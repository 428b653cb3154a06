import { describe, expect, it } from 'vitest';
import { A, B, connectionOf, greChild, udpChildren } from '../simulation/tunnels.ts';
import { TEST_SETTINGS } from '../simulation/world.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, secondsUntil } from './pair.ts';
import { tamper } from './tamper.ts';

const UDP = ['tun-in', 'tun-out'];

describe('several children under one IKE SA', () => {
  it('come up both, the first in IKE_AUTH, the other by CREATE_CHILD_SA, whoever initiates', () => {
    for (const start of ['initiate', 'wait'] as const) {
      const pair = makePair();
      connect(pair, { children: udpChildren(A, B) }, { children: udpChildren(B, A, start) });
      secondsUntil(pair.world, () => faultsOf(pair, UDP).length === 0, 10);
      pair.world.run(20_000);
      expect(faultsOf(pair, UDP)).toEqual([]);
      if (start === 'wait') {
        expect(conversation(pair.world).slice(2, 6)).toEqual([
          'A IKE_AUTH',
          'B IKE_AUTH response',
          'A CREATE_CHILD_SA',
          'B CREATE_CHILD_SA response',
        ]);
      }
    }
  });

  it('come up in any order of the configurations', () => {
    const pair = makePair();
    connect(pair, { children: udpChildren(A, B).reverse() }, { children: udpChildren(B, A, 'initiate') });
    secondsUntil(pair.world, () => faultsOf(pair, UDP).length === 0, 10);
  });

  it('are not doubled when each end starts one of them, or both start all', () => {
    const pair = makePair();
    const [inOfA, outOfA] = udpChildren(A, B, 'wait');
    const [inOfB, outOfB] = udpChildren(B, A, 'wait');
    connect(
      pair,
      { children: [inOfA, { ...outOfA, start: 'initiate' }] },
      { children: [inOfB, { ...outOfB, start: 'initiate' }] },
    );
    secondsUntil(pair.world, () => faultsOf(pair, UDP).length === 0, 60);
    expect(pair.a.removed.filter(({ reason }) => /at once/.test(reason)).length).toBeLessThanOrEqual(1);
  });

  it('are started by who did not set up the IKE SA only after leaving its initiator a second for it', () => {
    const pair = makePair();
    connect(
      pair,
      { children: [greChild(A, B), ...udpChildren(A, B)] },
      { children: [greChild(B, A), ...udpChildren(B, A)] },
    );
    pair.b.set(connectionOf(B, A, { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait')] }));
    pair.world.run(10_000);
    expect(conversation(pair.world).filter((line) => line === 'B CREATE_CHILD_SA')).toEqual([]);
    expect(faultsOf(pair, ['gre', ...UDP])).toEqual([]);
  });

  it('that come up after their tunnel was removed are deleted at the peer too', () => {
    const pair = connectedPair({}, {}, { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait')] });
    // Answers get lost, so that a request is outstanding when the tunnel goes.
    let requests = 0;
    pair.world.pass = (sent) => {
      const { exchange, responseFlag } = headerOf(sent);
      if (exchange === 'CREATE_CHILD_SA') requests += responseFlag ? 0 : 1;
      return exchange !== 'CREATE_CHILD_SA' || !responseFlag;
    };
    pair.a.set(connectionOf(A, B, { children: [greChild(A, B), ...udpChildren(A, B)] }));
    secondsUntil(pair.world, () => requests > 0 && pair.b.installed.size === 2, 5);
    pair.a.set(connectionOf(A, B));
    pair.world.pass = () => true;
    pair.world.run(60_000);
    for (const host of [pair.a, pair.b])
      expect([...host.installed.values()].map(({ sa }) => sa.child)).toEqual(['gre']);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('that both ends set up at once end as one, without a moment in which nothing sends', () => {
    for (let seed = 1; seed <= 6; seed++) {
      const pair = makePair({ seed });
      connect(
        pair,
        { children: [greChild(A, B), ...udpChildren(A, B, 'wait')] },
        { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait').reverse()] },
      );
      pair.world.run(3000);
      // Traffic at both ends in the same millisecond.
      pair.a.command({ command: 'acquire', connection: `${A}-${B}` });
      pair.b.command({ command: 'acquire', connection: `${B}-${A}` });
      pair.world.run(200);
      expect([pair.a.sending.size, pair.b.sending.size]).toEqual([3, 3]);
      pair.world.run(3000);
      expect(faultsOf(pair, ['gre', ...UDP])).toEqual([]);
      expect(pair.a.engine.counters()['collisions: child creation']).toBeGreaterThan(0);
    }
  });

  it('are set up anew when the peer deletes one, after a moment', () => {
    const pair = connectedPair();
    const [{ sa }] = pair.b.installed.values();
    pair.b.command({ command: 'child-exhausted', id: sa.id });
    expect(pair.b.installed.size).toBe(0);
    pair.world.run(100);
    expect(pair.a.installed.size).toBe(0);
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThan(1.5);
    expect(pair.a.upIkeSas()).toBe(1);
  });

  it('are replaced at once by who finds its sequence numbers used up', () => {
    const pair = connectedPair();
    const [{ sa }] = pair.a.installed.values();
    pair.a.command({ command: 'child-exhausted', id: sa.id });
    pair.world.run(100);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.a.engine.counters()['expired: child SAs']).toBe(1);
  });
});

describe('a rekeying whose outcome the peer deletes at once', () => {
  it('leaves the former child in use, to be rekeyed again', () => {
    const pair = makePair();
    pair.b.reboot({ ...TEST_SETTINGS, keyLog: true });
    connect(pair);
    pair.world.run(2000, () => faultsOf(pair).length === 0);
    const [old] = pair.b.installed.keys();
    tamper(pair.b, pair.b, (payloads) =>
      payloads.map((payload) =>
        payload.type === 'TSr' ? { ...payload, selectors: greChild('10.9.9.9', B).tsLocal } : payload,
      ),
    );
    pair.a.command({ command: 'child-soft-limit', id: [...pair.a.installed.keys()][0] });
    pair.world.run(2000);
    expect(pair.a.failures.join()).toContain('widened the selectors');
    expect([...pair.b.installed.keys()]).toEqual([old]);
    expect(pair.b.engine.status()[0].children).toMatchObject([{ id: old, state: 'installed' }]);
    pair.world.pass = () => true;
    pair.world.run(40_000);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.b.installed.has(old)).toBe(false);
  });
});

describe('a connection that changes', () => {
  it('is left alone when nothing changed', () => {
    const pair = connectedPair();
    const before = pair.world.sent.length;
    pair.a.set(connectionOf(A, B));
    pair.a.set(connectionOf(A, B, { lifetimes: { ...connectionOf(A, B).lifetimes, childSeconds: 1800 } }));
    pair.world.run(5000);
    expect(pair.world.sent.length).toBe(before);
  });

  it('keeps its other children when one is added and when one is removed', () => {
    const pair = connectedPair();
    const [{ sa: gre }] = pair.a.installed.values();
    pair.b.set(connectionOf(B, A, { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait')] }));
    pair.a.set(connectionOf(A, B, { children: [greChild(A, B), ...udpChildren(A, B)] }));
    pair.world.run(100);
    expect(faultsOf(pair, ['gre', ...UDP])).toEqual([]);
    expect(pair.a.installed.has(gre.id)).toBe(true);
    pair.a.set(connectionOf(A, B, { children: udpChildren(A, B) }));
    pair.world.run(100);
    expect(pair.a.installed.has(gre.id)).toBe(false);
    expect(pair.b.childrenOf('gre')).toEqual([]);
    expect(pair.a.removed.at(-1)).toMatchObject({ child: 'gre', drainMs: 0, reason: 'its tunnel was removed' });
    expect(faultsOf(pair, UDP)).toEqual([]);
  });

  it('with another PSK gets new SAs before the old ones go', () => {
    const pair = connectedPair();
    const old = [...pair.a.installed.keys()];
    pair.b.set(connectionOf(B, A, { psk: 'sailfish', start: 'wait' }));
    pair.a.set(connectionOf(A, B, { psk: 'sailfish' }));
    expect([...pair.a.installed.keys()]).toEqual(old);
    pair.world.run(2000);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.a.installed.has(old[0])).toBe(false);
    const order = pair.a.actions.filter(({ action }) => action === 'child-install' || action === 'child-remove');
    expect(order.findIndex(({ action }) => action === 'child-remove')).toBeGreaterThanOrEqual(2);
    expect(pair.a.actions.some(({ action }) => action === 'ike-down')).toBe(false);
  });

  it('with a PSK that the peer does not have loses the old SAs after a minute', () => {
    const pair = connectedPair();
    pair.a.set(connectionOf(A, B, { psk: 'sailfish' }));
    pair.world.run(50_000);
    expect(pair.a.installed.size).toBe(1);
    pair.world.run(15_000);
    expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
    expect(pair.a.engine.status()[0].lastFailure).toMatch(/options:psk/);
  });

  it('with another port replaces its children and leaves the IKE SA', () => {
    const pair = connectedPair({}, { children: udpChildren(A, B) }, { children: udpChildren(B, A, 'wait') });
    const [{ initiatorSpi }] = pair.a.engine.status()[0].ikeSas;
    pair.b.set(connectionOf(B, A, { children: udpChildren(B, A, 'wait', 7000) }));
    pair.a.set(connectionOf(A, B, { children: udpChildren(A, B, 'initiate', 7000) }));
    secondsUntil(pair.world, () => faultsOf(pair, UDP).length === 0, 20);
    expect(pair.a.childrenOf('tun-in')[0].sa.tsLocal[0].startPort).toBe(7000);
    expect(pair.a.engine.status()[0].ikeSas[0].initiatorSpi).toBe(initiatorSpi);
  });

  it('that is removed deletes its SAs at the peer and forgets all, timers too', () => {
    const pair = connectedPair();
    pair.a.command({ command: 'remove-connection', name: `${A}-${B}` });
    expect(pair.a.installed.size).toBe(0);
    expect(pair.a.actions.at(-1)).toMatchObject({ action: 'ike-down', reason: 'its connection was removed' });
    pair.world.run(100);
    expect(pair.b.installed.size).toBe(0);
    expect(pair.b.upIkeSas()).toBe(0);
    expect(pair.a.engine.status()).toEqual([]);
    pair.world.run(70_000);
    expect(pair.a.engine.nextTimerMs()).toBeUndefined();
  });
});

describe('shutdown', () => {
  it('deletes every SA at its peer and leaves the engine empty at once', () => {
    const pair = connectedPair({}, { children: udpChildren(A, B) }, { children: udpChildren(B, A, 'wait') });
    pair.a.command({ command: 'shutdown' });
    expect(pair.a.installed.size).toBe(0);
    expect(pair.a.engine.status()).toEqual([]);
    expect(pair.a.engine.nextTimerMs()).toBeUndefined();
    pair.world.run(100);
    expect(pair.b.installed.size).toBe(0);
    expect(pair.b.upIkeSas()).toBe(0);
  });

  it('gets its Delete through although a request is outstanding', () => {
    const pair = connectedPair();
    pair.world.pass = () => false;
    const [{ sa }] = pair.a.installed.values();
    pair.a.command({ command: 'child-soft-limit', id: sa.id });
    pair.world.run(1000);
    pair.world.pass = () => true;
    pair.a.command({ command: 'shutdown' });
    pair.world.run(100);
    expect(pair.b.upIkeSas()).toBe(0);
  });
});

describe('a peer that restarts', () => {
  it('says INITIAL_CONTACT, and the old SAs go as soon as the new ones are up', () => {
    const pair = connectedPair();
    const old = [...pair.b.installed.keys()];
    pair.a.reboot();
    pair.a.set(connectionOf(A, B));
    pair.world.run(100);
    expect(faultsOf(pair)).toEqual([]);
    const order = pair.b.actions.filter(({ action }) => action === 'child-install' || action === 'child-remove');
    expect(order.slice(-2).map(({ action }) => action)).toEqual(['child-install', 'child-remove']);
    expect(pair.b.removed.map(({ id }) => id)).toEqual(old);
    expect(pair.b.removed[0].reason).toMatch(/INITIAL_CONTACT/);
  });

  it('and stays silent is found out by liveness checks, and is tried for ever', () => {
    const pair = connectedPair();
    pair.world.pass = () => false;
    pair.world.run(400_000);
    expect(pair.a.installed.size).toBe(0);
    const down = pair.a.actions.find(({ action }) => action === 'ike-down');
    expect(down).toMatchObject({
      reason: expect.stringMatching(/10\.0\.0\.2 did not answer INFORMATIONAL \(nothing heard for 1\d\d s\)/),
    });
    pair.world.run(3_600_000);
    pair.world.pass = () => true;
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThan(80);
  });

  it('is not asked for liveness while it is heard', () => {
    const pair = connectedPair();
    for (let step = 0; step < 20; step++) {
      pair.world.run(20_000);
      for (const [host, id] of [
        [pair.a, [...pair.a.installed.keys()][0]],
        [pair.b, [...pair.b.installed.keys()][0]],
      ] as const) {
        host.command({ command: 'child-traffic-seen', id });
      }
    }
    expect(conversation(pair.world).filter((line) => line.includes('INFORMATIONAL'))).toEqual([]);
  });
});

describe('children that cannot be installed by whoever runs the engine', () => {
  const REASON = 'the disk is full';
  const WITH_GRE = ['gre', ...UDP];

  /** A pair of which B can install nothing of `tun` until it is told. */
  function shortOfRoom(start: 'initiate' | 'wait') {
    const pair = makePair();
    const refusedAt: number[] = [];
    let hasRoom = false;
    pair.b.refuses = ({ child }) => {
      if (hasRoom || !child.startsWith('tun')) return undefined;
      refusedAt.push(pair.world.nowMs);
      return REASON;
    };
    const starts = [start === 'wait' ? 'initiate' : 'wait', start] as const;
    connect(
      pair,
      { children: [greChild(A, B, starts[0]), ...udpChildren(A, B, starts[0])] },
      { children: [greChild(B, A, starts[1]), ...udpChildren(B, A, starts[1])] },
    );
    const makeRoom = (): void => {
      hasRoom = true;
    };
    return { ...pair, pair, refusedAt, makeRoom };
  }

  it.each(['initiate', 'wait'] as const)(
    'are deleted at the peer, others stay, and they come up when it can, if it has to %s',
    (start) => {
      const { pair, a, b, world, makeRoom } = shortOfRoom(start);
      world.run(20_000);
      expect(faultsOf(pair)).toEqual([]);
      expect([...a.installed.values()].map(({ sa }) => sa.child)).toEqual(['gre']);
      expect(b.engine.status()[0]?.lastFailure).toBe(REASON);
      expect(b.failures.filter((reason) => reason === REASON).length).toBeGreaterThan(0);
      makeRoom();
      secondsUntil(world, () => faultsOf(pair, WITH_GRE).length === 0, 120);
      expect(b.engine.status()[0]?.lastFailure).toBeUndefined();
      world.run(120_000);
      expect(faultsOf(pair, WITH_GRE)).toEqual([]);
    },
  );

  it('are tried after growing pauses, however often traffic or the peer asks for them', () => {
    const { a, b, world, refusedAt } = shortOfRoom('wait');
    for (let second = 0; second < 150; second++) {
      world.run(1000);
      for (const host of [a, b]) host.command({ command: 'acquire', connection: host.engine.status()[0]!.connection });
    }
    // Two children, each after 1, 2, 4 … 60 s.
    expect(refusedAt.length).toBeGreaterThan(8);
    expect(refusedAt.length).toBeLessThan(24);
  });
});
