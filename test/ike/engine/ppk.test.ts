// Post-quantum preshared keys (RFC 8784): the table of §3, both roles, and what they change.
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { EngineContext } from '../../../ike/context.ts';
import type { Ppk } from '../../../ike/index.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { A, B, connectionOf } from '../simulation/tunnels.ts';
import { type Host, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, faultsOf, headerOf, makePair, type Pair } from './pair.ts';
import { contentsOf } from './tamper.ts';

const ppkOf = (id: string, secret: string, required = false): Ppk => ({
  id,
  secret: new TextEncoder().encode(secret),
  required,
});
const ONE = ppkOf('one', 'correct horse battery staple');
const REQUIRED = { ...ONE, required: true };
const OTHER_ID = ppkOf('two', 'correct horse battery staple');
const OTHER_SECRET = ppkOf('one', 'wrong horse');

const choices = (ppk: Ppk | undefined) => (ppk === undefined ? {} : { ppk });

function pairWith(ofA: Ppk | undefined, ofB: Ppk | undefined): Pair {
  const pair = makePair();
  connect(pair, choices(ofA), choices(ofB));
  pair.world.run(2000);
  return pair;
}

const isUsed = (host: Host): boolean | undefined => host.engine.status()[0].ikeSas[0]?.ppk;
const keysOf = ({ engine }: Host) => {
  const [sa] = (engine as unknown as EngineContext).ikeSas.values();
  return sa.protection!.keys;
};

describe('a post-quantum preshared key', () => {
  it.each([
    ['both have it', ONE, ONE, 'used'],
    ['both demand it', REQUIRED, REQUIRED, 'used'],
    ['one end demands it', ONE, REQUIRED, 'used'],
    ['the other end demands it', REQUIRED, ONE, 'used'],
    ['only the initiator has one', ONE, undefined, 'not used'],
    ['only the responder has one', undefined, ONE, 'not used'],
    ['the two have different ones', ONE, OTHER_ID, 'not used'],
    ['the initiator demands it and the responder has none', REQUIRED, undefined, /peer has no PPK.*ipsec_ppk_required/],
    ['the responder demands it and the initiator has none', undefined, REQUIRED, /refused our authentication/],
    ['the initiator demands it and the responder has another', REQUIRED, OTHER_ID, /refused our authentication/],
    ['the responder demands it and the initiator has another', OTHER_ID, REQUIRED, /refused our authentication/],
    ['one name means two secrets', ONE, OTHER_SECRET, /refused our authentication/],
  ] as const)('when %s', (_when, ofA, ofB, outcome) => {
    const pair = pairWith(ofA, ofB);
    if (typeof outcome === 'string') {
      expect(faultsOf(pair)).toEqual([]);
      expect([isUsed(pair.a), isUsed(pair.b)]).toEqual([outcome === 'used', outcome === 'used']);
      return;
    }
    expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
    expect(pair.a.failures[0]).toMatch(outcome);
  });

  it('is asked for by name where it was refused: both ends say what is missing', () => {
    expect(pairWith(undefined, REQUIRED).b.failures[0]).toMatch(
      /peer uses no PPK.*ipsec_ppk_required=yes demands ours/,
    );
    expect(pairWith(OTHER_ID, REQUIRED).b.failures[0]).toMatch(/another PPK than "one"/);
    expect(pairWith(REQUIRED, OTHER_ID).b.failures[0]).toMatch(/PPK that we do not have.*ipsec_ppk_id/);
    expect(pairWith(ONE, OTHER_SECRET).b.failures[0]).toMatch(/options:psk and options:ipsec_ppk the same/);
  });

  it('changes SK_d, SK_pi and SK_pr by prf+ and no other key, computed here apart', () => {
    const before: Record<string, Buffer>[] = [];
    const pair = makePair();
    pair.world.pass = (sent) => {
      if (sent.local.address === B && headerOf(sent).exchange === 'IKE_SA_INIT') {
        const keys = Object.entries(keysOf(pair.b)).map(([name, key]) => [name, Buffer.from(key)]);
        before.push(Object.fromEntries(keys));
      }
      return true;
    };
    connect(pair, { ppk: ONE }, { ppk: ONE });
    pair.world.run(1000);
    const after = keysOf(pair.b);
    // prf+ of one block: T1 = prf(K, S | 1).
    const mixed = (key: Buffer): string =>
      createHmac('sha256', ONE.secret)
        .update(key)
        .update(Buffer.from([1]))
        .digest('hex');
    const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex');
    for (const name of ['skD', 'skPi', 'skPr'] as const) expect(hex(after[name])).toBe(mixed(before[0][name]));
    for (const name of ['skEi', 'skEr'] as const) expect(hex(after[name])).toBe(hex(before[0][name]));
    expect(keysOf(pair.a)).toEqual(after);
  });

  it('stays in what comes of a rekeying, and goes together with additional key exchanges', () => {
    const lifetimes = {
      ...{ ikeSeconds: 200, childSeconds: 3600, marginSeconds: 100, fuzzPercent: 0, childPackets: 0, childBytes: 0 },
    };
    const pair = makePair();
    connect(pair, { ppk: ONE, lifetimes }, { ppk: ONE });
    pair.world.run(150_000, () => pair.a.engine.counters()['rekeyed: IKE SAs'] === 1);
    pair.world.run(1000);
    expect(pair.a.engine.counters()['rekeyed: IKE SAs']).toBe(1);
    expect([isUsed(pair.a), isUsed(pair.b)]).toEqual([true, true]);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('is put in force by a change of configuration at one end after the other, without losing the tunnel', () => {
    const pair = pairWith(undefined, undefined);
    const both = (): boolean => isUsed(pair.a) === true && isUsed(pair.b) === true;
    pair.a.set(connectionOf(A, B, { ppk: ONE }));
    pair.world.run(20_000);
    expect(faultsOf(pair)).toEqual([]);
    pair.b.set(connectionOf(B, A, { start: 'wait', ppk: ONE }));
    expect(pair.world.run(120_000, both)).toBe(true);
    expect(pair.world.run(120_000, () => faultsOf(pair).length === 0)).toBe(true);
    // Another secret: new keys everywhere.
    const former = new Set(pair.a.installed.keys());
    for (const [host, connection] of [
      [pair.b, connectionOf(B, A, { start: 'wait', ppk: OTHER_SECRET })],
      [pair.a, connectionOf(A, B, { ppk: OTHER_SECRET })],
    ] as const) {
      host.set(connection);
    }
    pair.world.run(
      120_000,
      () => [...pair.a.installed.keys()].every((id) => !former.has(id)) && faultsOf(pair).length === 0,
    );
    expect(faultsOf(pair)).toEqual([]);
    expect(both()).toBe(true);
  });

  it('is in no message, log, journal, status or failure, and the fallback proof only where it is allowed', () => {
    for (const ofA of [ONE, REQUIRED]) {
      const world = new World(1);
      const settings = { ...TEST_SETTINGS, keyLog: true };
      const pair = { world, a: world.addHost(A, settings), b: world.addHost(B, settings) };
      connect(pair, { ppk: ofA }, { ppk: ONE });
      world.run(2000);
      const auth = world.sent.find((sent) => headerOf(sent).exchange === 'IKE_AUTH')!;
      const notifies = contentsOf(pair.a, auth.data).flatMap((payload) =>
        payload.type === 'N' ? [payload.notify] : [],
      );
      expect(notifies).toContain(NOTIFY.PPK_IDENTITY);
      expect(notifies.includes(NOTIFY.NO_PPK_AUTH)).toBe(ofA === ONE);
      const said = [pair.a, pair.b].flatMap((host) => [
        ...host.logs,
        ...host.failures,
        JSON.stringify(host.engine.status()),
        ...host.engine.status().flatMap(({ connection }) => host.engine.journalOf(connection).map(({ text }) => text)),
        ...host.actions.flatMap((action) =>
          action.action === 'send' ? [Buffer.from(action.data).toString('latin1')] : [],
        ),
      ]);
      expect(said.join('\n')).not.toContain('horse');
      expect(said.join('\n')).toContain('N(PPK_IDENTITY)');
    }
  });
});
