import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP } from '../../../dataplane/drops.ts';
import {
  combineEcn,
  ecnMatters,
  hopLimit,
  innerIpAt,
  outerEcn,
  trafficClass,
} from '../../../dataplane/encap/inner-ip.ts';
import { checksumOf, sumBytes } from '../../../dataplane/wire/checksum.ts';

const MACS = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const NOT_ECT = 0;
const ECT1 = 1;
const ECT0 = 2;
const CE = 3;

function ipv4(tos: number, ttl: number, tags: number[] = []): Uint8Array {
  const bytes = Uint8Array.of(
    ...MACS,
    ...tags,
    8,
    0,
    0x45,
    tos,
    0,
    28,
    9,
    9,
    0,
    0,
    ttl,
    17,
    0,
    0,
    10,
    0,
    0,
    1,
    10,
    0,
    0,
    2,
    ...new Array<number>(8).fill(7),
  );
  const at = 14 + tags.length;
  const sum = checksumOf(sumBytes(bytes, at, 20, 0));
  bytes[at + 10] = sum >> 8;
  bytes[at + 11] = sum;
  return bytes;
}

function ipv6(trafficClassByte: number, hops: number, tags: number[] = []): Uint8Array {
  const first = [0x60 | (trafficClassByte >> 4), ((trafficClassByte & 15) << 4) | 0xa, 0xbc, 0xde];
  return Uint8Array.of(...MACS, ...tags, 0x86, 0xdd, ...first, 0, 8, 17, hops, ...new Array<number>(40).fill(1));
}

const TAGS = { none: [], one: [0x81, 0, 0, 5], two: [0x88, 0xa8, 0, 6, 0x81, 0, 0, 5] };

describe('the inner header', () => {
  it.each(Object.entries(TAGS))('gives its traffic class and TTL, with tags: %s', (_name, tags) => {
    fc.assert(
      fc.property(fc.nat(255), fc.nat(255), (tos, ttl) => {
        for (const frame of [ipv4(tos, ttl, tags), ipv6(tos, ttl, tags)]) {
          const at = innerIpAt(frame, 0, frame.length);
          expect(at).toBe(14 + tags.length);
          expect([trafficClass(frame, at), hopLimit(frame, at)]).toEqual([tos, ttl]);
        }
      }),
    );
  });

  it('is none when it is cut anywhere, of another version than its type says, or no IP', () => {
    for (const [frame, whole] of [
      [ipv4(0, 1), 34],
      [ipv6(0, 1), 54],
    ] as const) {
      for (let length = 14; length < whole; length++) expect(innerIpAt(frame, 0, length)).toBe(-1);
      expect(innerIpAt(frame, 0, whole)).toBe(14);
      const other = frame.slice();
      other[14] = 0x15;
      expect(innerIpAt(other, 0, other.length)).toBe(-1);
    }
    expect(innerIpAt(Uint8Array.of(...MACS, 8, 6, ...new Array<number>(28).fill(0x45)), 0, 42)).toBe(-1);
  });
});

describe('the outer ECN field', () => {
  it.each([
    [NOT_ECT, NOT_ECT],
    [ECT1, ECT1],
    [ECT0, ECT0],
    [CE, ECT0],
  ])('of an inner packet with %i is %i', (inner, outer) => {
    expect(outerEcn(0xb8 | inner)).toBe(outer);
  });
});

describe('decapsulation', () => {
  // RFC 6040 figure 4: rows are what arrives inside, columns outside as Not-ECT, ECT(0), ECT(1), CE; undefined is a drop.
  const FIGURE_4: readonly (readonly [number, readonly (number | undefined)[]])[] = [
    [NOT_ECT, [NOT_ECT, NOT_ECT, NOT_ECT, undefined]],
    [ECT0, [ECT0, ECT0, ECT1, CE]],
    [ECT1, [ECT1, ECT1, ECT1, CE]],
    [CE, [CE, CE, CE, CE]],
  ];
  const OUTER = [NOT_ECT, ECT0, ECT1, CE];
  const cases = FIGURE_4.flatMap(([inner, results]) =>
    results.map((result, column) => [inner, OUTER[column]!, result] as const),
  );

  it.each(cases)(
    'with %i inside and %i outside makes %s of it, in IPv4 and IPv6, tagged or not',
    (inner, outer, result) => {
      for (const tags of Object.values(TAGS)) {
        for (const make of [ipv4, ipv6]) {
          const frame = make(0xa8 | inner, 9, tags);
          const verdict = ecnMatters(0x28 | outer) ? combineEcn(frame, 0, frame.length, 0x28 | outer) : 0;
          expect(verdict).toBe(result === undefined ? DROP['ecn-ce'] : 0);
          // Byte for byte what the sender would have made, checksum included.
          expect(frame).toEqual(make(0xa8 | (result ?? inner), 9, tags));
        }
      }
    },
  );

  it('leaves frames alone that are not IP', () => {
    const arp = Uint8Array.of(...MACS, 8, 6, ...new Array<number>(28).fill(1));
    const before = arp.slice();
    expect(combineEcn(arp, 0, arp.length, CE)).toBe(0);
    expect(arp).toEqual(before);
  });
});
