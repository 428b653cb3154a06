import { duplexPair } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { RpcSession } from '../../../control/ovsdb/rpc.ts';
import type { Timers } from '../../../control/ovsdb/timers.ts';
import { ManualTimers } from './manual-timers.ts';

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function session(options: { probeMs?: number; timers?: Timers } = {}) {
  const [ours, theirs] = duplexPair();
  const sent: unknown[] = [];
  const closed: string[] = [];
  const notified: [string, readonly unknown[]][] = [];
  theirs.on('data', (chunk: Buffer) => sent.push(JSON.parse(chunk.toString())));
  const rpc = new RpcSession(ours, {
    probeMs: options.probeMs ?? 0,
    ...(options.timers === undefined ? {} : { timers: options.timers }),
    onNotification: (method, params) => notified.push([method, params]),
    onClose: (reason) => closed.push(reason),
  });
  return { rpc, theirs, sent, closed, notified };
}

describe('RpcSession', () => {
  it('answers echo with the same parameters', async () => {
    const { theirs, sent } = session();
    theirs.write('{"method":"echo","params":["a",{"b":1}],"id":"echo"}');
    await tick();
    expect(sent).toEqual([{ result: ['a', { b: 1 }], error: null, id: 'echo' }]);
  });

  it('refuses any other request without ending the session', async () => {
    const { rpc, theirs, sent } = session();
    theirs.write('{"method":"steal_all","params":[],"id":1}');
    await tick();
    expect(sent).toEqual([{ result: null, error: { error: 'unknown method', details: 'steal_all' }, id: 1 }]);
    expect(rpc.isOpen).toBe(true);
  });

  it('has dealt with a reply before it delivers the notification behind it in the same bytes', async () => {
    const order: string[] = [];
    const [ours, theirs] = duplexPair();
    const rpc = new RpcSession(ours, { probeMs: 0, onNotification: (method) => order.push(method), onClose: () => {} });
    rpc.call('monitor', [], () => order.push('reply'));
    theirs.write('{"id":0,"result":{},"error":null}{"id":null,"method":"update","params":[]}');
    await tick();
    expect(order).toEqual(['reply', 'update']);
  });

  it.each([
    ['a reply that nobody asked for', '{"id":7,"result":1,"error":null}'],
    ['an array', '[1]'],
    ['no JSON', 'HTTP/1.1 400 Bad Request'],
    ['a request whose parameters are no array', '{"method":"echo","params":{},"id":1}'],
  ])('ends the session with one line for %s', async (_, text) => {
    const { theirs, closed, rpc } = session();
    theirs.write(text);
    await tick();
    expect(closed).toHaveLength(1);
    expect(closed[0]).toMatch(/^protocol error: [^\n]+$/);
    expect(rpc.isOpen).toBe(false);
  });

  it('says once that the peer closed', async () => {
    const { theirs, closed } = session();
    theirs.end();
    await tick();
    await tick();
    expect(closed).toEqual(['connection closed by peer']);
  });

  it('probes a silent peer after 5 s, and gives it up after 5 s more', async () => {
    const timers = new ManualTimers();
    const { sent, closed } = session({ probeMs: 5000, timers });
    timers.advance(4999);
    await tick();
    expect(sent).toEqual([]);
    timers.advance(1);
    await tick();
    expect(sent).toMatchObject([{ method: 'echo' }]);
    timers.advance(5000);
    expect(closed).toEqual(['no answer to a probe for 5 s']);
  });

  it('keeps a peer that answers its probes', async () => {
    const timers = new ManualTimers();
    const { theirs, closed, sent } = session({ probeMs: 5000, timers });
    for (let round = 0; round < 3; round++) {
      timers.advance(5000);
      await tick();
      theirs.write(`{"id":${round},"result":[],"error":null}`);
      await tick();
    }
    expect(sent).toHaveLength(3);
    expect(closed).toEqual([]);
  });
});
