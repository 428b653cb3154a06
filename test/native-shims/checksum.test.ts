import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';
import { column } from './columns.ts';

const native = loadNative();

/** RFC 1071 word for word: big-endian words, odd byte padded, carries folded in. */
function reference(bytes: Uint8Array, initial: number): number {
  let sum = initial;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return sum;
}

describe('checksum', () => {
  it('gives ddf2 for the example of RFC 1071 section 3', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(native.checksum(bytes, 0, 8, 0)).toBe(0xddf2);
  });

  it('equals the sum done word by word, for any offset, length and initial sum', () => {
    const range = fc
      .uint8Array({ maxLength: 3000 })
      .chain((bytes) =>
        fc
          .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
          .map(([a, b]) => ({ bytes, from: Math.min(a, b), to: Math.max(a, b) })),
      );
    fc.assert(
      fc.property(range, fc.nat(0xffffffff), ({ bytes, from, to }, initial) => {
        expect(native.checksum(bytes, from, to - from, initial)).toBe(reference(bytes.subarray(from, to), initial));
      }),
    );
  });

  it('does not overflow on 64 KiB of ff', () => {
    expect(native.checksum(new Uint8Array(65536).fill(255), 0, 65536, 0xffffffff)).toBe(0xffff);
  });

  it('of a batch puts each sum on top of what its row held', () => {
    const arena = new Uint8Array(new SharedArrayBuffer(64)).map((_, i) => i * 37);
    const columns = { arena, offset: column(4), length: column(4) };
    const sum = column(4);
    columns.offset.set([0, 1, 10, 64]);
    columns.length.set([64, 33, 0, 0]);
    sum.set([7, 0x12345, 9, -1]);
    native.checksumBatch(columns, sum, 1, 3);
    expect([...sum]).toEqual([7, reference(arena.subarray(1, 34), 0x12345), 9, 0xffff]);
  });
});
