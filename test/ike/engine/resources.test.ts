import { describe, expect, it } from 'vitest';
import { chooseResource, type ResourceState, UNNAMED } from '../../../ike/tasks/resources.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { A, B, connectionOf, greChild, udpChildren, withFurther } from '../simulation/tunnels.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, type Pair, secondsUntil } from './pair.ts';
import { contentsOf, tamper } from './tamper.ts';

const GRE = ['gre', 'gre#1', 'gre#2'];
const further = (count: number) => ({ children: withFurther([greChild(A, B)], count) });
const ofPeer = (count: number, start: 'initiate' | 'wait' = 'wait') => ({
  children: withFurther([greChild(B, A, start)], count),
});
const names = ({ a, b }: Pair): string[][] =>
  [a, b].map((host) => [...host.installed.values()].map(({ sa }) => sa.child).sort());
const requests = (pair: Pair): number => conversation(pair.world).filter((line) => line === 'A CREATE_CHILD_SA').length;
const declined = ({ a }: Pair): number | undefined => a.engine.counters()['declined: child SAs for further resources'];

describe('further child SAs with the same selectors (RFC 9611)', () => {
  it('come up after the first one, each in a CREATE_CHILD_SA with SA_RESOURCE_INFO in both directions', () => {
    const pair = makePair({ settingsOfB: { keyLog: true } });
    const infos: string[] = [];
    tamper(pair.a, pair.b, (payloads, sent) => {
      const { exchange } = headerOf(sent);
      for (const payload of payloads)
        if (payload.type === 'N' && payload.notify === NOTIFY.SA_RESOURCE_INFO)
          infos.push(`${exchange} ${Buffer.from(payload.data).toString('hex')}`);
      return undefined;
    });
    connect(pair, further(2), ofPeer(2));
    secondsUntil(pair.world, () => faultsOf(pair, GRE).length === 0, 10);
    expect(infos).toEqual(['CREATE_CHILD_SA 00000001', 'CREATE_CHILD_SA 00000002']);
    const answers = pair.world.sent.filter(
      ({ local, data }) => local.address === B && headerOf({ data }).exchange === 'CREATE_CHILD_SA',
    );
    expect(
      answers.map(({ data }) =>
        contentsOf(pair.b, data).some((payload) => payload.type === 'N' && payload.notify === NOTIFY.SA_RESOURCE_INFO),
      ),
    ).toEqual([true, true]);
    expect(declined(pair)).toBe(0);
  });

  it('come up once each when both ends set them up, of both children of a UDP tunnel', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const pair = makePair({ seed });
      const all = ['tun-in', 'tun-out', 'tun-in#1', 'tun-out#1'];
      connect(
        pair,
        { children: withFurther(udpChildren(A, B), 1) },
        { children: withFurther(udpChildren(B, A, 'initiate'), 1) },
      );
      pair.world.run(20_000);
      expect(names(pair)).toEqual([all.toSorted(), all.toSorted()]);
    }
  });

  it('are as many as the end with fewer resources wants; the other one is told TS_MAX_QUEUE and does not ask again', () => {
    const pair = makePair();
    connect(pair, further(3), ofPeer(1));
    pair.world.run(3_000_000);
    expect(names(pair)).toEqual([
      ['gre', 'gre#1'],
      ['gre', 'gre#1'],
    ]);
    expect(pair.b.engine.counters()['refused: child SAs for further resources']).toBe(2);
    expect(declined(pair)).toBe(2);
    expect(pair.a.failures).toEqual([]);
  });

  it('stay away from a peer that has them switched off, which goes on with its one', () => {
    const pair = makePair();
    connect(pair, further(1));
    pair.world.run(3_000_000);
    // The same configuration again is no reason to ask again.
    pair.a.set(connectionOf(A, B, further(1)));
    pair.world.run(20_000);
    expect(names(pair)).toEqual([['gre'], ['gre']]);
    expect([declined(pair), requests(pair) < 10]).toEqual([1, true]);
  });

  it.each([NOTIFY.NO_ADDITIONAL_SAS, NOTIFY.TS_UNACCEPTABLE])(
    'stay away from a peer that answers with notify %i of RFC 7296, which is asked once',
    (answer) => {
      const pair = makePair({ settingsOfB: { keyLog: true } });
      tamper(pair.b, pair.b, (payloads, sent) => {
        const { exchange } = headerOf(sent);
        if (exchange !== 'CREATE_CHILD_SA') return undefined;
        return payloads.map((payload) =>
          payload.type === 'N' && payload.notify === NOTIFY.TS_MAX_QUEUE ? { ...payload, notify: answer } : payload,
        );
      });
      connect(pair, further(1));
      pair.world.run(600_000);
      expect(names(pair)).toEqual([['gre'], ['gre']]);
      expect([declined(pair), requests(pair)]).toEqual([1, 1]);
    },
  );

  it('of a peer that does not know SA_RESOURCE_INFO are deleted again, and it is not asked a second time', () => {
    const pair = makePair({ settingsOfB: { keyLog: true } });
    tamper(pair.b, pair.b, (payloads, sent) =>
      headerOf(sent).exchange === 'CREATE_CHILD_SA'
        ? payloads.filter((payload) => payload.type !== 'N' || payload.notify !== NOTIFY.SA_RESOURCE_INFO)
        : undefined,
    );
    connect(pair, further(1), ofPeer(1));
    pair.world.run(20_000);
    expect(names(pair)).toEqual([['gre'], ['gre']]);
    expect([declined(pair), requests(pair)]).toEqual([1, 1]);
    // What the peer sent on it meanwhile could be opened.
    expect(pair.a.removed.map(({ child, reason }) => [child, reason])).toEqual([
      ['gre#1', 'the peer does not know of SA_RESOURCE_INFO'],
    ]);
  });

  it('are asked for again when the configuration changes, and when the IKE SA is another one', () => {
    const pair = makePair();
    const [ofA] = connect(pair, further(1));
    pair.world.run(10_000);
    pair.b.set(connectionOf(B, A, ofPeer(1)));
    pair.world.run(10_000);
    expect(names(pair)).toEqual([['gre'], ['gre']]);
    pair.a.command({ command: 'reauthenticate', connection: ofA.name });
    secondsUntil(pair.world, () => faultsOf(pair, ['gre', 'gre#1']).length === 0, 100);
    pair.b.set(connectionOf(B, A, ofPeer(0)));
    pair.a.set(connectionOf(A, B, further(2)));
    pair.world.run(40_000);
    expect(names(pair)).toEqual([['gre'], ['gre']]);
    pair.b.set(connectionOf(B, A, ofPeer(2)));
    pair.a.set(connectionOf(A, B, { ...further(2), pfs: false }));
    secondsUntil(pair.world, () => faultsOf(pair, GRE).length === 0, 100);
  });

  it('are rekeyed and lost each on its own', () => {
    const pair = connectedPair({}, further(2), ofPeer(2));
    const id = (child: string): number => pair.a.childrenOf(child)[0]!.sa.id;
    const before = [id('gre'), id('gre#2')];
    const rekeyed = id('gre#1');
    pair.a.command({ command: 'child-soft-limit', id: rekeyed });
    secondsUntil(pair.world, () => faultsOf(pair, GRE).length === 0 && id('gre#1') !== rekeyed, 10);
    expect(pair.a.childrenOf('gre#1')[0]!.sa.replaces).toBe(rekeyed);
    pair.a.command({ command: 'child-exhausted', id: id('gre#1') });
    secondsUntil(pair.world, () => faultsOf(pair, GRE).length === 0, 60);
    expect([id('gre'), id('gre#2')]).toEqual(before);
  });

  it('leave room on the IKE SA for what must be: half of it is theirs, and all are rekeyed', () => {
    const pair = makePair();
    connect(pair, { ...further(70), pfs: false }, { ...ofPeer(70), pfs: false });
    pair.world.run(60_000);
    expect([pair.a.installed.size, pair.b.installed.size]).toEqual([64, 64]);
    expect(declined(pair)).toBe(7);
    for (const id of [...pair.a.installed.keys()]) pair.a.command({ command: 'child-soft-limit', id });
    pair.world.run(60_000);
    expect([pair.a.installed.size, pair.b.installed.size]).toEqual([64, 64]);
    expect(pair.a.engine.counters()['rekeyed: child SAs']).toBe(64);
  });

  it('wait for the first one, without which there is none', () => {
    const pair = connectedPair({}, further(1), ofPeer(1));
    const [gre] = pair.a.childrenOf('gre');
    pair.a.command({ command: 'child-exhausted', id: gre!.sa.id });
    secondsUntil(pair.world, () => faultsOf(pair, ['gre', 'gre#1']).length === 0, 60);
    expect(() => pair.a.set(connectionOf(A, B, { children: withFurther([greChild(A, B)], 1).slice(1) }))).toThrow(
      /child gre#1 is one more beside gre, expected a child without a resource/,
    );
  });
});

describe('which child a peer means', () => {
  const states = (...peers: (number | undefined)[][]): ResourceState[] =>
    peers.map((of, index) => ({
      config: { ...greChild(A, B), name: `gre#${index + 1}`, resource: { id: index + 1, fallback: 'gre' } },
      peers: of,
      pending: false,
    }));
  const chosen = (of: ResourceState[], peer: number): string | undefined => chooseResource(of, peer)?.name;

  it('is the one of the same number, also while it is being set up or replaced', () => {
    expect(chosen(states([], []), 2)).toBe('gre#2');
    expect(chosen(states([], [2]), 2)).toBe('gre#2');
    expect(chosen(states([], [undefined]), 2)).toBe('gre#2');
    expect(chosen([...states([]).map((state) => ({ ...state, pending: true }))], 1)).toBe('gre#1');
  });

  it('is any that is free when there is none of that number, or that one is paired with another', () => {
    expect(chosen(states([1], []), 7)).toBe('gre#2');
    expect(chosen(states([], []), UNNAMED)).toBe('gre#1');
    expect(chosen(states([7], []), 1)).toBe('gre#2');
  });

  it('is none when all have one or are about to', () => {
    expect(chosen(states([1], [2]), 7)).toBeUndefined();
    expect(chosen(states([7]), 1)).toBeUndefined();
    expect(
      chosen(
        states([]).map((state) => ({ ...state, pending: true })),
        UNNAMED,
      ),
    ).toBeUndefined();
  });
});
