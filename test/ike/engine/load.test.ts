/** Many tunnels and many strangers: what begins when, what is bounded. */
import { describe, expect, it } from 'vitest';
import { Allowance } from '../../../ike/allowance.ts';
import { notify } from '../../../ike/sa/notify.ts';
import { START_BURST, START_GAP_MS, StartGate } from '../../../ike/start-gate.ts';
import { emitMessage, parseMessage } from '../../../ike/wire/message.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { A, B, connectionOf, greChild } from '../simulation/tunnels.ts';
import { TEST_SETTINGS, World } from '../simulation/world.ts';

describe('a thousand tunnels', () => {
  it('begin spread over seconds, not all in one go, and all come up', () => {
    const world = new World(1);
    const settings = { ...TEST_SETTINGS, cookieThreshold: 30, halfOpenLimit: 1000 };
    const a = world.addHost(A, settings);
    const b = world.addHost(B, settings);
    const TUNNELS = 300;
    const addresses = Array.from({ length: TUNNELS }, (_, index) => `10.1.${index >> 8}.${index & 255}`);
    for (const address of addresses) world.hosts.set(address, b);
    for (const address of addresses) b.set(connectionOf(address, A, { children: [greChild(address, A, 'wait')] }));
    for (const address of addresses) a.set(connectionOf(A, address, { children: [greChild(A, address)] }));
    expect(world.sent).toHaveLength(START_BURST);
    const starts: number[] = [];
    const before = world.sent.length;
    world.run(10_000, () => {
      starts.push(world.sent.length);
      return a.installed.size === TUNNELS && b.installed.size === TUNNELS;
    });
    expect(a.installed.size).toBe(TUNNELS);
    expect(b.installed.size).toBe(TUNNELS);
    expect(world.nowMs).toBeGreaterThan((TUNNELS - START_BURST) * START_GAP_MS - 1);
    expect(world.nowMs).toBeLessThan(3000);
    expect(starts[0] - before).toBeLessThan(START_BURST);
  });
});

describe('the gate of attempts', () => {
  it('lets a burst through at once, then one each gap, and is open again after a pause', () => {
    const gate = new StartGate();
    const times = Array.from({ length: START_BURST + 3 }, () => gate.reserve(1000));
    expect(times.slice(0, START_BURST).every((time) => time === 1000)).toBe(true);
    expect(times.slice(START_BURST)).toEqual([1, 2, 3].map((n) => 1000 + n * START_GAP_MS));
    expect(gate.reserve(100_000)).toBe(100_000);
  });
});

describe('an allowance', () => {
  it('gives its burst, then what it earns, and never saves more than its burst', () => {
    const allowance = new Allowance(3, 10);
    expect([1, 2, 3, 4].map(() => allowance.take(0))).toEqual([true, true, true, false]);
    expect([allowance.take(99), allowance.take(200)]).toEqual([false, true]);
    expect([1, 2, 3, 4].map(() => allowance.take(1_000_000))).toEqual([true, true, true, false]);
    expect(allowance.take(0)).toBe(false);
  });
});

describe('strangers', () => {
  const B_SETTINGS = { ...TEST_SETTINGS, cookieThreshold: 10, halfOpenLimit: 100, halfOpenPerSource: 20 };

  /** B, which knows A and `other`, and the IKE_SA_INIT request of A with SPIs and COOKIE of the test's choice. */
  function target() {
    const world = new World(1);
    const a = world.addHost(A);
    const b = world.addHost(B, B_SETTINGS);
    const other = '10.0.0.3';
    for (const remote of [A, other]) b.set(connectionOf(B, remote, { start: 'wait' }));
    world.pass = () => false;
    a.set(connectionOf(A, B));
    const parsed = parseMessage(world.sent[0].data);
    if (!parsed.ok) throw new Error(parsed.reason);
    const { header, payloads } = parsed.message;
    let serial = 0;
    const request = (from: string, spi = serial++, cookie?: Uint8Array): Uint8Array | undefined => {
      const data = emitMessage({ ...header, initiatorSpi: `f${spi.toString(16).padStart(15, '0')}` }, [
        ...(cookie === undefined ? [] : [notify(NOTIFY.COOKIE, cookie)]),
        ...payloads,
      ]);
      const sent = world.sent.length;
      b.receive({ local: { address: B, port: 500 }, remote: { address: from, port: 500 }, data });
      return world.sent[sent]?.data;
    };
    const cookieOf = (answer: Uint8Array | undefined): Uint8Array | undefined => {
      const read = answer === undefined ? undefined : parseMessage(answer);
      const [first] = read?.ok ? read.message.payloads : [];
      return first?.type === 'N' && first.notify === NOTIFY.COOKIE ? first.data : undefined;
    };
    return { b, other, request, cookieOf };
  }

  it('who can receive at one address hold so many half-open IKE SAs, and other peers still get in', () => {
    const { b, other, request, cookieOf } = target();
    for (let spi = 0; spi < 100; spi++) {
      const cookie = cookieOf(request(A, spi));
      if (cookie !== undefined) request(A, spi, cookie);
    }
    expect(b.engine.load().halfOpen).toBe(20);
    expect(b.engine.counters()['dropped: half-open limit of a source']).toBe(80);
    const cookie = cookieOf(request(other, 5000));
    expect(cookie).toBeDefined();
    request(other, 5000, cookie);
    expect(b.engine.load().halfOpen).toBe(21);
    b.carryOut(b.engine.tick(40_000));
    expect(b.engine.load().halfOpen).toBe(0);
  });

  it('in the name of a peer cannot take all of its places: those need no more than a cookie', () => {
    const { b, request, cookieOf } = target();
    for (let spi = 0; spi < 1000; spi++) request(A, spi);
    expect(b.engine.load().halfOpen).toBe(10);
    const cookie = cookieOf(request(A, 5000));
    request(A, 5000, cookie);
    expect(b.engine.load().halfOpen).toBe(11);
  });

  it('without a tunnel here get answers at a limited rate', () => {
    const { b, request } = target();
    let answered = 0;
    for (let spi = 0; spi < 1000; spi++) if (request('203.0.113.9', spi) !== undefined) answered += 1;
    expect(answered).toBe(100);
    expect(b.engine.counters()['dropped: too many strangers']).toBe(900);
    b.carryOut(b.engine.tick(1000));
    for (let spi = 0; spi < 1000; spi++) if (request('203.0.113.9', 5000 + spi) !== undefined) answered += 1;
    expect(answered).toBe(150);
  });
});
