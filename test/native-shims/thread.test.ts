import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';
import { column, guardedArena } from './columns.ts';
import { type Compiled, compileShims } from './compiled.ts';

const native = loadNative();
let compiled: Compiled;

beforeAll(() => {
  compiled = compileShims(true);
});

afterAll(() => compiled.remove());

/** A worker thread with `native`, `data` and `port` at hand. */
function startWorker(body: string, data: unknown): Worker {
  const code = `const { workerData: data, parentPort: port } = require('node:worker_threads');
    import(${JSON.stringify(compiled.url)}).then(({ loadNative }) => { const native = loadNative(); ${body} });`;
  return new Worker(code, { eval: true, workerData: data });
}

describe('in worker threads', () => {
  it('a worker blocked in poll is woken by the eventfd of the main thread', async () => {
    const fd = native.createEventFd();
    const ready = column(1);
    const worker = startWorker(
      `port.postMessage('polling');
       const count = native.poll(Int32Array.of(data.fd), data.ready, 1, -1);
       port.postMessage(count);`,
      { fd, ready },
    );
    // Asked for now, since the last message and the exit may come in one turn of the loop.
    const exit = once(worker, 'exit');
    expect(await once(worker, 'message')).toEqual(['polling']);
    native.signalEventFd(fd);
    expect(await once(worker, 'message')).toEqual([1]);
    expect(ready[0]).toBe(1);
    await exit;
    native.close(fd);
  });

  it('a worker seals in the shared arena with a key of its own, and the main thread opens', async () => {
    const arena = new Uint8Array(new SharedArrayBuffer(64));
    arena.set(Buffer.from('eight...plain text'));
    const row = {
      arena,
      key: column(1),
      aadOffset: column(1),
      aadLength: column(1).fill(8),
      ivOffset: column(1),
      textOffset: column(1).fill(8),
      textLength: column(1).fill(10),
      result: column(1),
    };
    const worker = startWorker(
      `data.key[0] = native.aeadKey('aes256gcm16', 'seal', new Uint8Array(36).fill(7)); native.sealBatch(data, 0, 1);`,
      row,
    );
    expect(await once(worker, 'exit')).toEqual([0]);
    expect(Buffer.from(arena.slice(8, 18)).toString()).not.toBe('plain text');
    row.key[0] = native.aeadKey('aes256gcm16', 'open', new Uint8Array(36).fill(7));
    native.openBatch(row, 0, 1);
    expect(row.result[0]).toBe(1);
    expect(Buffer.from(arena.slice(8, 18)).toString()).toBe('plain text');
  });

  it('keys of one thread do not exist in another', async () => {
    const key = native.aeadKey('aes128gcm16', 'seal', new Uint8Array(20));
    const worker = startWorker(
      `try { native.aeadDropKey(data); } catch (error) { port.postMessage(error.message); }`,
      key,
    );
    expect(await once(worker, 'message')).toEqual([`aeadDropKey: there is no key ${key}`]);
  });

  it('columns that another thread changes in the middle of a call still reach nothing outside the arena', async () => {
    const { arena, intact } = guardedArena(4096);
    const columns = { arena, offset: column(64), length: column(64) };
    const stop = column(1);
    const worker = startWorker(
      `port.postMessage('changing');
       const values = [0, 2048, 4095, 0x7fffffff, -1, -0x80000000];
       for (let i = 0; Atomics.load(data.stop, 0) === 0; i++) {
         data.offset[i & 63] = values[i % 6] & -(i & 64 ? 1 : 0);
         data.length[i & 63] = values[(i >> 3) % 6] & -(i & 128 ? 1 : 0);
       }`,
      { offset: columns.offset, length: columns.length, stop },
    );
    const exit = once(worker, 'exit');
    await once(worker, 'message');
    const zero = openSync('/dev/zero', 'r');
    const sum = column(64);
    const calls = [
      () => native.checksumBatch(columns, sum, 0, 64),
      () => native.readFrames(zero, columns, 0, 64, 2048),
    ];
    const seen = new Set<string>();
    for (let i = 0; i < 20_000; i++) {
      try {
        calls[i & 1]();
        seen.add('works');
      } catch (error) {
        seen.add((error as Error).name);
      }
    }
    Atomics.store(stop, 0, 1);
    await exit;
    closeSync(zero);
    expect(intact()).toBe(true);
    // The arena holds zeros only, the bytes behind it do not.
    expect(sum.every((value) => value === 0)).toBe(true);
    expect([...seen].filter((name) => name !== 'works' && name !== 'RangeError')).toEqual([]);
  });

  it('workers with active watches and keys are terminated, or end by themselves, without a crash', async () => {
    const fds = Array.from({ length: 6 }, native.createEventFd);
    const workers = fds.map((fd) =>
      startWorker(
        `native.aeadKey('chacha20poly1305', 'open', new Uint8Array(36));
         const stop = native.watchReadable(data, () => { stop(); process.exit(5); });
         native.watchReadable(native.createEventFd(), () => {});
         native.watchReadable(native.createEventFd(), () => {})();
         port.postMessage('watching');`,
        fd,
      ),
    );
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const exits = Promise.all(workers.map((worker) => once(worker, 'exit')));
    for (const fd of fds.slice(0, 3)) native.signalEventFd(fd);
    for (const worker of workers.slice(3)) worker.terminate();
    expect((await exits).flat()).toEqual([5, 5, 5, 1, 1, 1]);
    fds.forEach(native.close);
  });
});
