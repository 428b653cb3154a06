import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isGroupAddress,
  isReservedAddress,
  macHigh,
  macLow,
  NO_TAG,
  outerTag,
  payloadTypeAt,
  popTag,
  pushTag,
  TAG_TRUNCATED,
  writeEthernet,
  writeTag,
} from '../../../dataplane/wire/ethernet.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const ADDRESSES = '020000000002 020000000001 ';

describe('Ethernet frames', () => {
  it('are written byte for byte', () => {
    const bytes = new Uint8Array(14);
    writeEthernet(bytes, 0, 0x0200, 0x00000002, 0xfedc, 0xba987654 | 0, 0x6558);
    expect(Buffer.from(bytes).toString('hex')).toBe('020000000002fedcba9876546558');
    expect(macHigh(bytes, 6)).toBe(0xfedc);
    expect(macLow(bytes, 6)).toBe(0xba987654 | 0);
  });

  it('carry their addresses through the two integers unchanged', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 12, maxLength: 12 }), fc.nat(0xffff), (addresses, type) => {
        const bytes = new Uint8Array(14);
        writeEthernet(
          bytes,
          0,
          macHigh(addresses, 0),
          macLow(addresses, 0),
          macHigh(addresses, 6),
          macLow(addresses, 6),
          type,
        );
        expect(bytes.subarray(0, 12)).toEqual(addresses);
        expect((bytes[12] << 8) | bytes[13]).toBe(type);
      }),
    );
  });

  it('tell group addresses from others', () => {
    expect(isGroupAddress(bytesOf('ffffffffffff'), 0)).toBe(true);
    expect(isGroupAddress(bytesOf('01005e000001'), 0)).toBe(true);
    expect(isGroupAddress(bytesOf('020000000001'), 0)).toBe(false);
  });

  it('know 01:80:c2:00:00:00 to 0f as reserved, and no others', () => {
    for (let last = 0; last < 256; last++) {
      const address = bytesOf(`0180c20000${last.toString(16).padStart(2, '0')}`);
      expect(isReservedAddress(address, 0), `last byte ${last}`).toBe(last < 16);
    }
    expect(isReservedAddress(bytesOf('0180c2000100'), 0)).toBe(false);
    expect(isReservedAddress(bytesOf('0080c2000000'), 0)).toBe(false);
  });

  it('have their payload type behind none, one or two tags', () => {
    expect(payloadTypeAt(bytesOf(`${ADDRESSES} 0800`), 0, 14)).toBe(12);
    expect(payloadTypeAt(bytesOf(`${ADDRESSES} 8100 2005 0800`), 0, 18)).toBe(16);
    expect(payloadTypeAt(bytesOf(`${ADDRESSES} 88a8 0001 8100 2005 0800`), 0, 22)).toBe(20);
  });

  it('have no payload type if they end within their tags', () => {
    expect(payloadTypeAt(bytesOf(`${ADDRESSES} 8100`), 0, 14)).toBe(-1);
    expect(payloadTypeAt(bytesOf(`${ADDRESSES} 8100 2005 08`), 0, 17)).toBe(-1);
  });

  it('have an outer tag, none, or half of one', () => {
    expect(outerTag(bytesOf(`${ADDRESSES} 8100 2005 0800`), 0, 18)).toBe(0x2005);
    expect(outerTag(bytesOf(`${ADDRESSES} 88a8 0006 8100 0005 0800`), 0, 22)).toBe(6);
    expect(outerTag(bytesOf(`${ADDRESSES} 8100 2005`), 0, 16)).toBe(TAG_TRUNCATED);
    expect(outerTag(bytesOf(`${ADDRESSES} 0800 4500 0000`), 0, 18)).toBe(NO_TAG);
  });

  it('get a tag in front of what they have, and lose it again', () => {
    const bytes = bytesOf(`ffffffff ${ADDRESSES} 8100 0007 0800`);
    pushTag(bytes, 4, 0xe005);
    expect(bytes).toEqual(bytesOf(`${ADDRESSES} 8100 e005 8100 0007 0800`));
    writeTag(bytes, 0, 0x1fff);
    expect(outerTag(bytes, 0, bytes.length)).toBe(0x1fff);
    popTag(bytes, 0);
    expect(bytes.subarray(4)).toEqual(bytesOf(`${ADDRESSES} 8100 0007 0800`));
  });
});
