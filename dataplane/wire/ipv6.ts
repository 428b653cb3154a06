/**
 * The IPv6 header, RFC 8200 §3, with the DSCP/ECN byte of RFC 2474 and RFC 3168 as traffic class.
 *
 * Received packets have no extension headers here: the kernel's raw sockets hand up what follows them, reassembled. An
 * inner header of ESP tunnel mode (RFC 4303 §3.1.2) may not have any either: a tunnel packet never needs them.
 * Addresses as text are for configuration and events, not for packets.
 */

import { isIPv6 } from 'node:net';
import { DROP } from '../drops.ts';
import { readUint16, writeInt32, writeUint16 } from './octets.ts';

export const IPV6_VERSION = 0;
export const IPV6_PAYLOAD_LENGTH = 4;
export const IPV6_NEXT_HEADER = 6;
export const IPV6_HOP_LIMIT = 7;
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;
export const IPV6_HEADER_LENGTH = 40;
/** Bytes and 32-bit words of an address. */
export const IPV6_ADDRESS_LENGTH = 16;
export const IPV6_ADDRESS_WORDS = 4;

const TOO_SHORT = -DROP['ip-too-short'];
const WRONG_VERSION = -DROP['ip-version'];
const WRONG_PAYLOAD_LENGTH = -DROP['ip-total-length'];

/** 40, or minus a drop reason. `length` as received. */
export function checkIpv6(bytes: Uint8Array, offset: number, length: number): number {
  if (length < IPV6_HEADER_LENGTH) return TOO_SHORT;
  if (bytes[offset + IPV6_VERSION] >>> 4 !== 6) return WRONG_VERSION;
  if (ipv6PayloadLength(bytes, offset) > length - IPV6_HEADER_LENGTH) return WRONG_PAYLOAD_LENGTH;
  return IPV6_HEADER_LENGTH;
}

export function ipv6PayloadLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV6_PAYLOAD_LENGTH);
}

export function ipv6NextHeader(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV6_NEXT_HEADER];
}

export function ipv6TrafficClass(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] << 4) & 0xf0) | (bytes[offset + 1] >>> 4);
}

/**
 * Writes a header with flow label 0. `payloadLength` without the header; the addresses are IPV6_ADDRESS_WORDS words
 * each, in network order, at `source` and `destination` of `words`.
 */
export function writeIpv6(
  bytes: Uint8Array,
  offset: number,
  payloadLength: number,
  trafficClass: number,
  hopLimit: number,
  nextHeader: number,
  words: Int32Array,
  source: number,
  destination: number,
): void {
  writeInt32(bytes, offset, 0x60000000 | (trafficClass << 20));
  writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, payloadLength);
  bytes[offset + IPV6_NEXT_HEADER] = nextHeader;
  bytes[offset + IPV6_HOP_LIMIT] = hopLimit;
  for (let i = 0; i < IPV6_ADDRESS_WORDS; i++) {
    writeInt32(bytes, offset + IPV6_SOURCE + 4 * i, words[source + i]);
    writeInt32(bytes, offset + IPV6_DESTINATION + 4 * i, words[destination + i]);
  }
}

/** Says of a header that stays otherwise as it is that `length` bytes of `protocol` follow it. */
export function setIpv6Payload(bytes: Uint8Array, offset: number, length: number, protocol: number): void {
  writeUint16(bytes, offset + IPV6_PAYLOAD_LENGTH, length);
  bytes[offset + IPV6_NEXT_HEADER] = protocol;
}

/** The address as four words in network order. Throws RangeError; an address with a zone (%eth0) is none. */
export function ipv6FromText(text: string): Int32Array {
  if (!isIPv6(text) || text.includes('%'))
    throw new RangeError(`address ${JSON.stringify(text)}: expected IPv6 as 2001:db8::1`);
  const [head = '', tail] = withoutDots(text).split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...before, ...new Array<string>(8 - before.length - after.length).fill('0'), ...after];
  const words = new Int32Array(IPV6_ADDRESS_WORDS);
  for (let i = 0; i < IPV6_ADDRESS_WORDS; i++)
    words[i] = (Number.parseInt(groups[2 * i]!, 16) << 16) | Number.parseInt(groups[2 * i + 1]!, 16);
  return words;
}

/** An IPv4 address at the end (::ffff:192.0.2.1, RFC 4291 §2.2) as two groups. */
function withoutDots(text: string): string {
  return text.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_all, a, b, c, d) => {
    const group = (high: string, low: string): string => ((Number(high) << 8) | Number(low)).toString(16);
    return `${group(a, b)}:${group(c, d)}`;
  });
}

/** The address at `offset` as RFC 5952 writes it. */
export function ipv6ToText(bytes: Uint8Array, offset: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => readUint16(bytes, offset + 2 * i));
  let start = 0;
  let zeros = 0;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > zeros) [start, zeros] = [i, run];
  }
  const text = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  return zeros < 2 ? text(groups) : `${text(groups.slice(0, start))}::${text(groups.slice(start + zeros))}`;
}
