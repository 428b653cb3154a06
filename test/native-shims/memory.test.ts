import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';

const native = loadNative();
const PAGE = 4096;

/** Kilobytes of this process's mappings that its children do not get (flag dc of smaps, proc(5)). */
function notForked(): number {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const kept = mappings.filter((mapping) => /^VmFlags:.* dc( |$)/m.test(mapping));
  return kept.reduce((sum, mapping) => sum + Number(/^Size:\s+(\d+) kB/m.exec(mapping)?.[1] ?? 0), 0);
}

describe('keepFromForks', () => {
  it('excludes the whole pages of a buffer from forks, and what is in them stays', () => {
    const bytes = new Uint8Array(new SharedArrayBuffer(64 * PAGE)).fill(7);
    const before = notForked();
    native.keepFromForks(bytes);
    const kept = (notForked() - before) / (PAGE / 1024);
    expect(kept).toBeGreaterThanOrEqual(63);
    expect(kept).toBeLessThanOrEqual(64);
    expect(bytes.every((byte) => byte === 7)).toBe(true);
  });

  it('takes a buffer without a whole page as one that needs nothing', () => {
    const before = notForked();
    native.keepFromForks(new Uint8Array(10));
    native.keepFromForks(new Uint8Array(0));
    expect(notForked()).toBe(before);
  });

  it('takes a buffer only', () => {
    expect(() => native.keepFromForks(5 as unknown as Uint8Array)).toThrow(TypeError);
  });
});
