import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP } from '../../../dataplane/drops.ts';
import {
  checkIpv4,
  IPV4_DONT_FRAGMENT,
  ipv4Destination,
  ipv4FromText,
  ipv4Protocol,
  ipv4Source,
  ipv4Tos,
  ipv4ToText,
  ipv4TotalLength,
  writeIpv4,
} from '../../../dataplane/wire/ipv4.ts';
import vectors from '../../vectors/encap/scapy.json' with { type: 'json' };

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

describe('the IPv4 header', () => {
  it.each(vectors)('of $name is written as scapy writes it', ({ packet, type }) => {
    const expected = bytesOf(packet);
    const bytes = new Uint8Array(20).fill(0xaa);
    const source = ipv4FromText('192.0.2.1');
    const destination = ipv4FromText('192.0.2.2');
    const protocol = type === 'gre' ? 47 : 17;
    writeIpv4(bytes, 0, expected.length, 0, 0x1234, IPV4_DONT_FRAGMENT, 64, protocol, source, destination);
    expect(bytes).toEqual(expected.subarray(0, 20));
  });

  it('is read as it was written, over the full range of each field', () => {
    const word = fc.nat(0xffff);
    fc.assert(
      fc.property(
        fc.integer({ min: 20, max: 65535 }),
        fc.nat(255),
        word,
        fc.constantFrom(0, IPV4_DONT_FRAGMENT),
        fc.nat(255),
        fc.nat(255),
        fc.integer(),
        fc.integer(),
        (total, tos, id, fragment, ttl, protocol, source, destination) => {
          const bytes = new Uint8Array(total + 3);
          writeIpv4(bytes, 3, total, tos, id, fragment, ttl, protocol, source, destination);
          expect(checkIpv4(bytes, 3, total)).toBe(20);
          expect(ipv4TotalLength(bytes, 3)).toBe(total);
          expect(ipv4Tos(bytes, 3)).toBe(tos);
          expect(ipv4Protocol(bytes, 3)).toBe(protocol);
          expect(ipv4Source(bytes, 3)).toBe(source | 0);
          expect(ipv4Destination(bytes, 3)).toBe(destination | 0);
        },
      ),
      { numRuns: 50 },
    );
  });

  const good = (): Uint8Array => {
    const bytes = new Uint8Array(28);
    writeIpv4(bytes, 0, 28, 0, 0, 0, 64, 17, 1, 2);
    return bytes;
  };

  it('is refused when cut anywhere', () => {
    for (let length = 0; length < 28; length++) {
      const reason = length < 20 ? 'ip-too-short' : 'ip-total-length';
      expect(checkIpv4(good(), 0, length), `${length} bytes`).toBe(-DROP[reason]);
    }
  });

  it('is accepted with options, and with bytes behind the packet', () => {
    const bytes = good();
    bytes[0] = 0x47;
    expect(checkIpv4(bytes, 0, 28)).toBe(28);
    const longer = new Uint8Array(60);
    longer.set(good());
    expect(checkIpv4(longer, 0, 60)).toBe(20);
  });

  it.each([
    ['another version', 0, 0x65, 'ip-version'],
    ['a header length below 20', 0, 0x44, 'ip-header-length'],
    ['a header length beyond the packet', 0, 0x48, 'ip-header-length'],
    ['a total length below the header', 3, 19, 'ip-total-length'],
    ['a total length beyond the packet', 3, 29, 'ip-total-length'],
    ['more fragments', 6, 0x20, 'ip-fragment'],
    ['a fragment offset', 7, 1, 'ip-fragment'],
  ] as const)('is refused with %s', (_what, at, value, reason) => {
    const bytes = good();
    bytes[at] = value;
    expect(checkIpv4(bytes, 0, 28)).toBe(-DROP[reason]);
  });

  it('turns addresses to text and back', () => {
    fc.assert(
      fc.property(fc.integer(), (address) => {
        expect(ipv4FromText(ipv4ToText(address))).toBe(address | 0);
      }),
    );
    expect(ipv4ToText(ipv4FromText('203.0.113.255'))).toBe('203.0.113.255');
  });

  it.each(['', '1.2.3', '1.2.3.256', '1.2.3.4.5', '::1', 'flow', '1.2.3.4 '])(
    'does not take %j for an address',
    (text) => {
      expect(() => ipv4FromText(text)).toThrow(`address ${JSON.stringify(text)}: expected IPv4`);
    },
  );
});
