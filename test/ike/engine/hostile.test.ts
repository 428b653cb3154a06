import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineContext } from '../../../ike/context.ts';
import type { IkeAction } from '../../../ike/index.ts';
import { notify } from '../../../ike/sa/notify.ts';
import { emitMessage, parseMessage } from '../../../ike/wire/message.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { A, B, connectionOf } from '../simulation/tunnels.ts';
import { type Host, type Sent, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, connectedPair, faultsOf, headerOf, makePair, type Pair } from './pair.ts';

const at = (address: string, port = 500) => ({ address, port });

/** What a datagram makes a host do. */
function give(host: Host, data: Uint8Array, from = at(A)): IkeAction[] {
  const before = host.actions.length;
  host.receive({ local: at(host.address), remote: from, data });
  return host.actions.slice(before).filter(({ action }) => action !== 'log');
}

const stateOf = (host: Host): string =>
  JSON.stringify([host.engine.status(), [...host.installed.keys()], host.engine.nextTimerMs()]);

const sumOfDrops = (host: Host): number =>
  Object.entries(host.engine.counters()).reduce(
    (sum, [name, count]) => sum + (name.startsWith('dropped: ') ? count : 0),
    0,
  );

const initRequest = (pair: Pair): Sent => pair.world.sent[0];

describe('messages that nobody authenticated', () => {
  it('of random bytes are dropped and counted, each one, and change nothing', () => {
    const pair = connectedPair();
    const before = stateOf(pair.b);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (data) => {
        const drops = sumOfDrops(pair.b);
        give(pair.b, data);
        expect(sumOfDrops(pair.b)).toBe(drops + 1);
      }),
      { numRuns: 500 },
    );
    expect(stateOf(pair.b)).toBe(before);
  });

  it('made of a real one with any byte changed, or cut short anywhere, leave the state untouched', () => {
    const pair = connectedPair();
    const [{ sa }] = pair.a.installed.values();
    pair.world.pass = () => false;
    pair.a.command({ command: 'child-soft-limit', id: sa.id });
    const real = pair.world.sent.at(-1)!.data;
    const before = stateOf(pair.b);
    for (let offset = 0; offset < real.length; offset++) {
      const forged = real.slice();
      forged[offset] ^= 0x01;
      const answers = give(pair.b, forged);
      // A higher major version is told ours; nothing else is answered.
      if (offset !== 17) expect(answers).toEqual([]);
      expect(give(pair.b, real.subarray(0, offset))).toEqual([]);
    }
    expect(stateOf(pair.b)).toBe(before);
    expect(pair.b.engine.counters()['dropped: bad-integrity']).toBeGreaterThan(100);
    // The real one still gets through.
    expect(give(pair.b, real).some(({ action }) => action === 'child-install')).toBe(true);
  });

  it('that say an IKE SA or its peer is gone, unprotected, are not believed', () => {
    const pair = connectedPair();
    const request = headerOf(pair.world.sent[2]);
    const before = stateOf(pair.b);
    for (const type of [NOTIFY.INVALID_IKE_SPI, NOTIFY.INVALID_SYNTAX, NOTIFY.AUTHENTICATION_FAILED]) {
      for (const responseFlag of [false, true]) {
        const header = { ...request, exchange: 'INFORMATIONAL', responseFlag, messageId: 2 } as const;
        expect(give(pair.b, emitMessage(header, [notify(type)]))).toEqual([]);
        expect(give(pair.b, emitMessage(header, [{ type: 'D', protocol: 'IKE', spiSize: 0, spis: [] }]))).toEqual([]);
      }
    }
    expect(stateOf(pair.b)).toBe(before);
    expect(pair.b.engine.counters()['dropped: unprotected']).toBe(6);
  });

  it('of an unknown SPI, of another address, and of a higher version are not acted on', () => {
    const pair = connectedPair();
    const real = pair.world.sent[2].data;
    const unknown = real.slice();
    unknown[15] ^= 1;
    expect(give(pair.b, unknown)).toEqual([]);
    expect(give(pair.b, real, at('10.9.9.9'))).toEqual([]);
    const higher = real.slice();
    higher[17] = 0x30;
    const [answer] = give(pair.b, higher);
    expect(answer).toMatchObject({ action: 'send', remote: at(A) });
    const parsed = parseMessage((answer as Sent).data);
    expect(parsed.ok && parsed.message.payloads).toMatchObject([{ type: 'N', notify: NOTIFY.INVALID_MAJOR_VERSION }]);
    expect(give(pair.b, (answer as Sent).data)).toEqual([]);
    expect(pair.b.engine.counters()).toMatchObject({ 'dropped: unknown SPI': 2, 'dropped: wrong address': 1 });
  });

  it('repeated are answered with the same bytes, once per repetition, and nothing is set up twice', () => {
    const pair = connectedPair();
    const [init, initAnswer, auth, authAnswer] = pair.world.sent;
    expect(give(pair.b, auth.data)).toEqual([expect.objectContaining({ action: 'send', data: authAnswer.data })]);
    // The half-open IKE SA became a full one, so its first request begins another.
    const fresh = makePair();
    fresh.world.pass = (sent) => headerOf(sent).exchange !== 'IKE_AUTH';
    connect(fresh);
    fresh.world.run(100);
    const [first, answer] = fresh.world.sent;
    expect(give(fresh.b, first.data)).toEqual([expect.objectContaining({ action: 'send', data: answer.data })]);
    expect(fresh.b.engine.counters()['sent: repeated responses']).toBe(1);
    expect(init.data.length + initAnswer.data.length).toBeGreaterThan(0);
  });

  it('replayed from long ago are dropped by their message id', () => {
    const pair = connectedPair();
    for (let turn = 0; turn < 3; turn++) {
      const [{ sa }] = pair.a.installed.values();
      pair.a.command({ command: 'child-soft-limit', id: sa.id });
      pair.world.run(100);
    }
    const before = stateOf(pair.b);
    const protectedOnes = pair.world.sent.filter(
      ({ local, data }) => local.address === A && headerOf({ data }).exchange !== 'IKE_SA_INIT',
    );
    for (const { data } of protectedOnes.slice(0, -1)) expect(give(pair.b, data)).toEqual([]);
    expect(pair.b.engine.counters()['dropped: old message id']).toBe(protectedOnes.length - 1);
    for (const { data } of pair.world.sent.filter(({ local }) => local.address === B).slice(1)) {
      expect(give(pair.a, data, at(B))).toEqual([]);
    }
    expect(stateOf(pair.b)).toBe(before);
  });

  it('beyond the window are dropped', () => {
    const pair = connectedPair();
    const [{ sa }] = pair.a.installed.values();
    const held: Uint8Array[] = [];
    pair.world.pass = (sent) => {
      held.push(sent.data.slice());
      return false;
    };
    pair.a.command({ command: 'child-soft-limit', id: sa.id });
    const ahead = held[0].slice();
    ahead[23] += 1;
    expect(give(pair.b, ahead)).toEqual([]);
    expect(pair.b.engine.counters()['dropped: message id beyond window']).toBe(1);
  });

  it('with an unknown critical payload are refused, and without the bit the payload is skipped', () => {
    for (const critical of [true, false]) {
      const pair = makePair();
      pair.b.set(connectionOf(B, A, { start: 'wait' }));
      pair.world.pass = () => false;
      pair.a.set(connectionOf(A, B));
      const parsed = parseMessage(initRequest(pair).data);
      if (!parsed.ok) throw new Error(parsed.reason);
      const data = emitMessage(parsed.message.header, [
        ...parsed.message.payloads,
        { type: 'UNKNOWN', payloadType: 200, critical, data: new Uint8Array(4) },
      ]);
      const [answer] = give(pair.b, data);
      const answered = parseMessage((answer as Sent).data);
      if (!answered.ok) throw new Error(answered.reason);
      if (critical) {
        expect(answered.message.payloads).toMatchObject([
          { type: 'N', notify: NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD, data: Uint8Array.of(200) },
        ]);
      } else expect(answered.message.payloads.map(({ type }) => type).slice(0, 3)).toEqual(['SA', 'KE', 'NONCE']);
    }
  });

  it('in place of the real response do not end an attempt: the good one that follows is taken', () => {
    for (const type of [NOTIFY.NO_PROPOSAL_CHOSEN, NOTIFY.INVALID_SYNTAX, NOTIFY.AUTHENTICATION_FAILED, 12345]) {
      const pair = makePair();
      pair.b.set(connectionOf(B, A, { start: 'wait' }));
      let forged = false;
      pair.world.pass = (sent) => {
        if (!forged && sent.local.address === B) {
          forged = true;
          const header = { ...headerOf(sent), responderSpi: '00000000000000ff' };
          pair.a.receive({ local: at(A), remote: at(B), data: emitMessage(header, [notify(type)]) });
        }
        return true;
      };
      pair.a.set(connectionOf(A, B));
      pair.world.run(100);
      expect(pair.a.failures).toHaveLength(1);
      expect(faultsOf(pair)).toEqual([]);
      pair.world.run(5000);
      expect(faultsOf(pair)).toEqual([]);
    }
  });

  it('with a bad key exchange value get no answer and leave no state', () => {
    const pair = makePair();
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.world.pass = () => false;
    pair.a.set(connectionOf(A, B));
    const parsed = parseMessage(initRequest(pair).data);
    if (!parsed.ok) throw new Error(parsed.reason);
    const payloads = parsed.message.payloads.map((payload) =>
      payload.type === 'KE' ? { ...payload, data: new Uint8Array(payload.data.length) } : payload,
    );
    expect(give(pair.b, emitMessage(parsed.message.header, payloads))).toEqual([]);
    expect(pair.b.engine.counters()['dropped: bad-ke']).toBe(1);
  });
});

describe('the keys of an IKE SA', () => {
  it('are overwritten when it ends', () => {
    const pair = connectedPair();
    const [sa] = (pair.b.engine as unknown as EngineContext).ikeSas.values();
    const keys = Object.values(sa.protection?.keys ?? {}) as Uint8Array[];
    expect(keys.filter((key) => key.some((byte) => byte !== 0))).not.toEqual([]);
    pair.a.command({ command: 'shutdown' });
    pair.world.run(100);
    expect(keys.filter((key) => key.some((byte) => byte !== 0))).toEqual([]);
  });
});

describe('many peers that never authenticate', () => {
  it('are asked for a cookie beyond the threshold, dropped beyond the limit, and forgotten after 30 s', () => {
    const world = new World(1);
    const settings = { cookieThreshold: 10, halfOpenLimit: 20 };
    const pair = { world, a: world.addHost(A), b: world.addHost(B, { ...TEST_SETTINGS, ...settings }) };
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.world.pass = () => false;
    pair.a.set(connectionOf(A, B));
    const parsed = parseMessage(initRequest(pair).data);
    if (!parsed.ok) throw new Error(parsed.reason);
    const { header, payloads } = parsed.message;
    const request = (index: number, cookie?: Uint8Array): Uint8Array =>
      emitMessage({ ...header, initiatorSpi: `f${index.toString(16).padStart(15, '0')}` }, [
        ...(cookie === undefined ? [] : [notify(NOTIFY.COOKIE, cookie)]),
        ...payloads,
      ]);
    const cookieIn = (actions: IkeAction[]): Uint8Array | undefined => {
      const [send] = actions;
      if (send?.action !== 'send') return undefined;
      const answer = parseMessage(send.data);
      if (!answer.ok) return undefined;
      const [first] = answer.message.payloads;
      return first.type === 'N' && first.notify === NOTIFY.COOKIE ? first.data : undefined;
    };
    for (let index = 0; index < 1000; index++) {
      const cookie = cookieIn(give(pair.b, request(index)));
      expect(cookie !== undefined).toBe(index >= 10);
    }
    // With the cookie they get in, up to the limit; with another's, not.
    const cookies = Array.from({ length: 30 }, (_, index) => cookieIn(give(pair.b, request(5000 + index))));
    expect(cookieIn(give(pair.b, request(6000, cookies[0])))).toBeDefined();
    for (const [index, cookie] of cookies.entries()) give(pair.b, request(5000 + index, cookie));
    expect(pair.b.engine.counters()).toMatchObject({ 'dropped: wrong cookie': 1, 'dropped: half-open limit': 20 });
    expect(pair.b.engine.status()[0].ikeSas).toEqual([]);
    pair.b.carryOut(pair.b.engine.tick(31_000));
    expect(pair.b.engine.counters()['expired: half-open']).toBe(20);
    expect(pair.b.engine.nextTimerMs()).toBeUndefined();
  });

  it('that fail to authenticate are forgotten too, and their repeated request gets the same answer till then', () => {
    const pair = makePair();
    connect(pair, { psk: 'sailfish' });
    pair.world.run(100);
    const auth = pair.world.sent.find((sent) => headerOf(sent).exchange === 'IKE_AUTH')!;
    const answer = pair.world.sent.find(
      (sent) => headerOf(sent).exchange === 'IKE_AUTH' && headerOf(sent).responseFlag,
    )!;
    expect(give(pair.b, auth.data)).toEqual([expect.objectContaining({ data: answer.data })]);
    pair.a.command({ command: 'remove-connection', name: `${A}-${B}` });
    pair.world.run(40_000);
    expect(give(pair.b, auth.data)).toEqual([]);
  });
});
