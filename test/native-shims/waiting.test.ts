import { afterEach, describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';
import { column } from './columns.ts';
import { type Compiled, compileShims, runProcess } from './compiled.ts';

const native = loadNative();
const POLLIN = 1;
const POLLNVAL = 0x20;
let opened: number[] = [];
let compiled: Compiled | undefined;

function eventFd(): number {
  const fd = native.createEventFd();
  opened.push(fd);
  return fd;
}

afterEach(() => {
  opened.forEach(native.close);
  opened = [];
  compiled?.remove();
  compiled = undefined;
});

describe('poll', () => {
  it('tells which descriptors are readable', () => {
    const [quiet, signalled] = [eventFd(), eventFd()];
    const fds = column(3);
    fds.set([quiet, signalled, -1]);
    const ready = column(3).fill(99);
    expect(native.poll(fds, ready, 3, 0)).toBe(0);
    expect([...ready]).toEqual([0, 0, 0]);
    native.signalEventFd(signalled);
    expect(native.poll(fds, ready, 3, -1)).toBe(1);
    expect([...ready]).toEqual([0, POLLIN, 0]);
    native.drainEventFd(signalled);
    expect(native.poll(fds, ready, 3, 0)).toBe(0);
  });

  it('reports a descriptor that is not open', () => {
    const fd = native.createEventFd();
    native.close(fd);
    const ready = column(1);
    expect(native.poll(Int32Array.of(fd), ready, 1, -1)).toBe(1);
    expect(ready[0]).toBe(POLLNVAL);
  });

  it('waits as long as it was told', () => {
    const before = native.monotonicMs();
    expect(native.poll(Int32Array.of(eventFd()), column(1), 1, 30)).toBe(0);
    expect(native.monotonicMs() - before).toBeGreaterThanOrEqual(29);
  });
});

describe('an eventfd', () => {
  it('can be signalled many times and drained when nothing was signalled', () => {
    const fd = eventFd();
    native.drainEventFd(fd);
    for (let i = 0; i < 1000; i++) native.signalEventFd(fd);
    native.drainEventFd(fd);
    expect(native.poll(Int32Array.of(fd), column(1), 1, 0)).toBe(0);
  });
});

describe('the cycle counter', () => {
  it('is a whole number that a double holds, and goes up on x86', () => {
    const before = native.cycles();
    const after = native.cycles();
    expect(Number.isSafeInteger(after) && after < 2 ** 48).toBe(true);
    if (process.arch === 'x64') expect(after).toBeGreaterThan(before);
    else expect(after).toBe(0);
  });
});

describe('watchReadable', () => {
  it('calls back when the descriptor is readable, again while it stays so, and not after it was stopped', async () => {
    const fd = eventFd();
    let calls = 0;
    await new Promise<void>((resolve) => {
      const stop = native.watchReadable(fd, () => {
        calls++;
        if (calls < 3) return;
        stop();
        stop();
        resolve();
      });
      native.signalEventFd(fd);
    });
    // Still readable: a watch that was not stopped would call back in one of these turns of the loop.
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toBe(3);
  });

  it('watches the same descriptor again after a stop', async () => {
    const fd = eventFd();
    native.watchReadable(fd, () => expect.unreachable())();
    native.signalEventFd(fd);
    await new Promise<void>((resolve) => {
      const stop = native.watchReadable(fd, () => {
        stop();
        resolve();
      });
    });
  });

  it('refuses a descriptor that is not open, and a callback that is no function', () => {
    const fd = native.createEventFd();
    native.close(fd);
    expect(() => native.watchReadable(fd, () => {})).toThrow(
      expect.objectContaining({ name: 'NativeError', code: 'EBADF', attempted: `watch fd ${fd}` }),
    );
    expect(() => native.watchReadable(eventFd(), 5 as unknown as () => void)).toThrow(TypeError);
  });

  it('keeps the process alive until stopped', () => {
    compiled = compileShims(true);
    const run = runProcess(
      compiled,
      `const native = loadNative(); const fd = native.createEventFd();
       const stop = native.watchReadable(fd, () => { native.drainEventFd(fd); console.log('called'); stop(); });
       setTimeout(() => native.signalEventFd(fd), 100).unref();`,
    );
    // The timer does not keep the process alive, so only the watch can have.
    expect(run).toMatchObject({ status: 0, stdout: 'called\n', stderr: '' });
  });

  it('hands what its callback throws to uncaughtException', () => {
    compiled = compileShims(true);
    const run = runProcess(
      compiled,
      `const native = loadNative(); const fd = native.createEventFd(); let times = 0;
       process.on('uncaughtException', (error) => { console.log(error.message); if (++times === 2) stop(); });
       const stop = native.watchReadable(fd, () => { throw new Error('from the callback'); });
       native.signalEventFd(fd);`,
    );
    expect(run).toMatchObject({ status: 0, stdout: 'from the callback\nfrom the callback\n', stderr: '' });
  });

  it('ends the process with the error if nobody handles uncaughtException', () => {
    compiled = compileShims(true);
    const run = runProcess(
      compiled,
      `const native = loadNative(); const fd = native.createEventFd();
       native.watchReadable(fd, () => { throw new Error('from the callback'); });
       native.signalEventFd(fd);`,
    );
    expect(run.status).toBe(1);
    expect(run.stderr).toContain('Error: from the callback');
  });

  it('runs promise reactions after each callback', () => {
    compiled = compileShims(true);
    const run = runProcess(
      compiled,
      `const native = loadNative(); const fd = native.createEventFd(); const seen = [];
       const stop = native.watchReadable(fd, () => {
         if (seen.length === 4) { stop(); console.log(seen.join(' ')); return; }
         seen.push('call'); Promise.resolve().then(() => seen.push('reaction'));
       });
       native.signalEventFd(fd);`,
    );
    expect(run).toMatchObject({ status: 0, stdout: 'call reaction call reaction\n' });
  });

  it('does not hold up or crash process.exit while it is active', () => {
    compiled = compileShims(true);
    const run = runProcess(
      compiled,
      `const native = loadNative(); const fd = native.createEventFd();
       native.watchReadable(fd, () => {}); setImmediate(() => process.exit(3));`,
    );
    expect(run).toMatchObject({ status: 3, stderr: '' });
  });
});
