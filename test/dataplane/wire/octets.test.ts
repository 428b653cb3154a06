import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  readInt32,
  readUint16,
  readUint24,
  writeInt32,
  writeUint16,
  writeUint24,
} from '../../../dataplane/wire/octets.ts';

describe('integers in network order', () => {
  it('puts the high byte first', () => {
    const bytes = new Uint8Array(10);
    writeUint16(bytes, 0, 0x0102);
    writeUint24(bytes, 2, 0x030405);
    writeInt32(bytes, 5, 0x06070809);
    expect([...bytes]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
  });

  it('reads what it wrote, over the full range, at any offset, and touches nothing else', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 7 }), fc.integer(), (offset, value) => {
        const bytes = new Uint8Array(12).fill(0xaa);
        writeInt32(bytes, offset, value);
        expect(readInt32(bytes, offset)).toBe(value | 0);
        writeUint24(bytes, offset, value);
        expect(readUint24(bytes, offset)).toBe(value & 0xffffff);
        writeUint16(bytes, offset, value);
        expect(readUint16(bytes, offset)).toBe(value & 0xffff);
        for (let i = 0; i < bytes.length; i++) if (i < offset || i >= offset + 4) expect(bytes[i]).toBe(0xaa);
      }),
    );
  });
});
