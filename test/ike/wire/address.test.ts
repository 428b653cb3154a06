/** Addresses as text and bytes: canonical one way (RFC 5952), any spelling the other. */

import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressBytes, readAddress } from '../../../ike/wire/address.ts';

const text = (hex: string) => readAddress(Uint8Array.from(Buffer.from(hex, 'hex')), 0, hex.length === 8 ? 4 : 16);

describe('text of an address', () => {
  it.each([
    ['0a0000ff', '10.0.0.255'],
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000000000000000000000', '2001:db8::'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['20010db8000100000000000100000000', '2001:db8:1::1:0:0'],
    ['00010000000000000000000000000000', '1::'],
    ['20010db8aaaabbbbccccddddeeee0aff', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:aff'],
  ])('of %s is %s', (hex, expected) => {
    expect(text(hex)).toBe(expected);
  });

  it('is what its bytes come back from, for every address', () => {
    const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 }));
    const octets = (n: number) => fc.array(group, { minLength: n, maxLength: n }).map((list) => Uint8Array.from(list));
    fc.assert(
      fc.property(octets(4), (bytes) => {
        expect(addressBytes(readAddress(bytes, 0, 4))).toEqual(bytes);
      }),
    );
    fc.assert(
      fc.property(octets(16), (bytes) => {
        const address = readAddress(bytes, 0, 16);
        expect(isIPv6(address)).toBe(true);
        expect(addressBytes(address)).toEqual(bytes);
      }),
      { numRuns: 500 },
    );
  });
});

describe('bytes of an address', () => {
  it.each([
    ['2001:DB8:0:0:0:0:0:1', '20010db8000000000000000000000001'],
    ['::ffff:10.0.0.1', '00000000000000000000ffff0a000001'],
    ['1:2:3:4:5:6:7.8.9.10', '0001000200030004000500060708090a'],
    ['fe80::1%eth0', 'fe800000000000000000000000000001'],
    ['1::8', '00010000000000000000000000000008'],
  ])('are found for %s', (address, expected) => {
    expect(Buffer.from(addressBytes(address)).toString('hex')).toBe(expected);
  });

  it.each(['', '10.0.0', '10.0.0.256', 'host', '1::2::3', '12345::'])('are not found for "%s"', (address) => {
    expect(() => addressBytes(address)).toThrow(/expected an IPv4 or IPv6 address/);
  });
});
