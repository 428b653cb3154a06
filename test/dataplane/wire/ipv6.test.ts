import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP } from '../../../dataplane/drops.ts';
import {
  checkIpv6,
  ipv6FromText,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6ToText,
  ipv6TrafficClass,
  writeIpv6,
} from '../../../dataplane/wire/ipv6.ts';
import { writeInt32 } from '../../../dataplane/wire/octets.ts';

const words = (text: string): Int32Array => ipv6FromText(text);

function bytesOf(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  words(text).forEach((word, i) => {
    writeInt32(bytes, 4 * i, word);
  });
  return bytes;
}

describe('the IPv6 header', () => {
  it('is what RFC 8200 section 3 draws', () => {
    const bytes = new Uint8Array(48).fill(0xee);
    const both = new Int32Array(8);
    both.set(words('2001:db8::1'), 0);
    both.set(words('fe80::ff'), 4);
    writeIpv6(bytes, 4, 300, 0xb9, 64, 50, both, 0, 4);
    expect(Buffer.from(bytes).toString('hex')).toBe(
      `eeeeeeee6b900000012c3240${'20010db8000000000000000000000001'}${'fe8000000000000000000000000000ff'}eeeeeeee`,
    );
  });

  it('is read as it was written, over every field', () => {
    const word = fc.integer();
    fc.assert(
      fc.property(
        fc.nat(400),
        fc.nat(255),
        fc.nat(255),
        fc.nat(255),
        fc.array(word, { minLength: 8, maxLength: 8 }),
        (length, tos, hops, protocol, both) => {
          const bytes = new Uint8Array(440);
          writeIpv6(bytes, 0, length, tos, hops, protocol, Int32Array.from(both), 0, 4);
          expect(checkIpv6(bytes, 0, 40 + length)).toBe(40);
          expect(ipv6PayloadLength(bytes, 0)).toBe(length);
          expect(ipv6TrafficClass(bytes, 0)).toBe(tos);
          expect(ipv6NextHeader(bytes, 0)).toBe(protocol);
          expect(bytes[7]).toBe(hops);
        },
      ),
    );
  });

  it('is refused when it is cut anywhere, has another version, or claims more than came', () => {
    const bytes = new Uint8Array(60);
    writeIpv6(bytes, 0, 20, 0, 64, 47, new Int32Array(8), 0, 4);
    for (let length = 0; length < 40; length++) expect(checkIpv6(bytes, 0, length)).toBe(-DROP['ip-too-short']);
    for (let length = 40; length < 60; length++) expect(checkIpv6(bytes, 0, length)).toBe(-DROP['ip-total-length']);
    expect(checkIpv6(bytes, 0, 60)).toBe(40);
    bytes[0] = 0x45;
    expect(checkIpv6(bytes, 0, 60)).toBe(-DROP['ip-version']);
  });
});

describe('an IPv6 address as text', () => {
  it.each([
    ['::', '::'],
    ['::1', '::1'],
    ['2001:DB8::8:800:200C:417A', '2001:db8::8:800:200c:417a'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['1::', '1::'],
    ['::ffff:192.0.2.1', '::ffff:c000:201'],
    ['ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'],
  ])('%s is written as RFC 5952 says', (text, expected) => {
    expect(ipv6ToText(bytesOf(text), 0)).toBe(expected);
  });

  it('survives the way to bytes and back', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const once = ipv6ToText(bytesOf(text), 0);
        expect(bytesOf(once)).toEqual(bytesOf(text));
        expect(ipv6ToText(bytesOf(once), 0)).toBe(once);
      }),
    );
  });

  it.each(['', '192.0.2.1', 'fe80::1%eth0', '1:2:3', '::1::', '2001:db8::g', '1:2:3:4:5:6:7:8:9'])(
    '%j is refused',
    (text) => {
      expect(() => ipv6FromText(text)).toThrow(`address ${JSON.stringify(text)}: expected IPv6`);
    },
  );
});
