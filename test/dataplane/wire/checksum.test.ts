import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checksumBatch,
  checksumOf,
  pseudoHeaderSum,
  sumBytes,
  updateChecksum,
} from '../../../dataplane/wire/checksum.ts';
import { readUint16, writeUint16 } from '../../../dataplane/wire/octets.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

/** The definition, word by word, with end-around carry after each (RFC 1071 §1). */
function plainSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += (bytes[i] << 8) | (i + 1 < bytes.length ? bytes[i + 1] : 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

describe('the internet checksum', () => {
  it('gives ddf2 for the example of RFC 1071 section 3', () => {
    expect(sumBytes(bytesOf('0001f203f4f5f6f7'), 0, 8, 0)).toBe(0xddf2);
  });

  it('gives 0000 for the example of RFC 1624 section 4', () => {
    expect(updateChecksum(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  it('adds up as the definition says, for any length and start', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(7), (data, start) => {
        const bytes = new Uint8Array(start + data.length);
        bytes.set(data, start);
        expect(sumBytes(bytes, start, data.length, 0) % 0xffff).toBe(plainSum(data) % 0xffff);
      }),
    );
  });

  it('does not overflow on the longest packet of all ones', () => {
    const bytes = new Uint8Array(65535).fill(0xff);
    expect(sumBytes(bytes, 0, 65535, 0xffff)).toBe(0xff00);
  });

  it('goes on from an initial sum, so a packet can be summed in parts', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 100 }), fc.nat(49), (data, words) => {
        const cut = Math.min(2 * words, data.length & ~1);
        const first = sumBytes(data, 0, cut, 0);
        expect(sumBytes(data, cut, data.length - cut, first)).toBe(sumBytes(data, 0, data.length, 0));
      }),
    );
  });

  it('updated for one changed word still verifies', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 20 }), fc.nat(8), fc.nat(0xffff), (data, word, value) => {
        const at = word < 5 ? 2 * word : 2 * word + 2;
        writeUint16(data, 10, 0);
        writeUint16(data, 10, checksumOf(sumBytes(data, 0, 20, 0)));
        const before = readUint16(data, at);
        writeUint16(data, at, value);
        writeUint16(data, 10, updateChecksum(readUint16(data, 10), before, value));
        expect(sumBytes(data, 0, 20, 0)).toBe(0xffff);
      }),
    );
  });

  it.each([4, 16])('sums the pseudo-header of addresses of %i bytes as if it were bytes', (size) => {
    const address = fc.uint8Array({ minLength: size, maxLength: size });
    fc.assert(
      fc.property(address, address, fc.nat(255), fc.nat(65535), (source, destination, protocol, length) => {
        const addresses = Buffer.concat([source, destination]);
        const rest = Buffer.from([0, protocol, length >> 8, length & 255]);
        const addressSum = sumBytes(addresses, 0, addresses.length, 0);
        expect(pseudoHeaderSum(addressSum, protocol, length)).toBe(
          sumBytes(Buffer.concat([addresses, rest]), 0, addresses.length + 4, 0),
        );
      }),
    );
  });

  it('sums the rows of a batch that were asked for and no others', () => {
    const arena = bytesOf('0001f203f4f5f6f70001');
    const columns = { arena, offset: Int32Array.of(0, 0, 8), length: Int32Array.of(8, 8, 2) };
    const sum = Int32Array.of(7, 0, 1);
    checksumBatch(columns, sum, 1, 2);
    expect([...sum]).toEqual([7, 0xddf2, 2]);
  });
});
