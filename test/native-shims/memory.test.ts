import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';

const native = loadNative();
const PAGE = 4096;
const MEGABYTES = 16;

/** Kilobytes of this process's mappings that its children do not get (flag dc of smaps, proc(5)). */
function notForked(): number {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const kept = mappings.filter((mapping) => /^VmFlags:.* dc( |$)/m.test(mapping));
  return kept.reduce((sum, mapping) => sum + Number(/^Size:\s+(\d+) kB/m.exec(mapping)?.[1] ?? 0), 0);
}

/** What a thread does that has packets: it takes memory for them, writes to it, says so and waits. */
const THREAD = `
  const { parentPort, workerData } = require('node:worker_threads');
  const native = require(workerData.addon).create(Error);
  const bytes = native.packetMemory(workerData.length).fill(7);
  parentPort.once('message', () => parentPort.postMessage(bytes.length));
  parentPort.postMessage('has it');
`;

describe('packetMemory', () => {
  it('is 0, can be written, and its pages are kept out of forks', () => {
    const before = notForked();
    const bytes = native.packetMemory(64 * PAGE);
    expect(notForked() - before).toBe((64 * PAGE) / 1024);
    expect(bytes).toHaveLength(64 * PAGE);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    expect(bytes.fill(7).every((byte) => byte === 7)).toBe(true);
  });

  it('leaves nothing that is kept out of forks when its thread has ended', async () => {
    const addon = createRequire(import.meta.url).resolve('../../native-shims/build/Release/ovs_espd_native.node');
    const one = async (end: (thread: Worker) => unknown): Promise<number> => {
      const workerData = { addon, length: MEGABYTES * 2 ** 20 };
      const thread = new Worker(THREAD, { eval: true, workerData });
      await new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject));
      const meanwhile = notForked();
      const ended = new Promise((resolve) => thread.once('exit', resolve));
      end(thread);
      await ended;
      return meanwhile;
    };
    // The first thread of a process brings memory of V8's that is kept out too.
    await one((thread) => thread.terminate());
    const before = notForked();
    for (const end of [(thread: Worker) => thread.terminate(), (thread: Worker) => thread.postMessage('end')]) {
      for (let round = 0; round < 3; round++) {
        expect(await one(end)).toBeGreaterThanOrEqual(before + MEGABYTES * 1024);
        expect(notForked()).toBeLessThan(before + MEGABYTES * 1024);
      }
    }
  });

  it.each([0, -1, 1.5, 2 ** 31, '64'])('says that it cannot be %j bytes long', (length) => {
    expect(() => native.packetMemory(length as number)).toThrow(/length/);
  });
});
