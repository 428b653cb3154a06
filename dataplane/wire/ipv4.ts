/**
 * The IPv4 header, RFC 791 §3.1, with the DSCP/ECN byte of RFC 2474 and RFC 3168.
 *
 * Received headers are checked once, with options allowed and passed over; headers written here have none.
 * Fragments are refused: the raw sockets of the kernel hand up whole packets, so one that says it is a
 * fragment did not come that way. Header checksums of received packets are the kernel's business.
 */

import { DROP } from '../drops.ts';
import { checksumOf, sumBytes } from './checksum.ts';
import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';

export const IPV4_VERSION_IHL = 0;
export const IPV4_TOS = 1;
export const IPV4_TOTAL_LENGTH = 2;
export const IPV4_IDENTIFICATION = 4;
export const IPV4_FRAGMENT = 6;
export const IPV4_TTL = 8;
export const IPV4_PROTOCOL = 9;
export const IPV4_CHECKSUM = 10;
export const IPV4_SOURCE = 12;
export const IPV4_DESTINATION = 16;
/** Header without options. */
export const IPV4_HEADER_LENGTH = 20;
export const IPV4_ADDRESS_LENGTH = 4;
/** The most that can follow a header without options: 65535 - 20. */
export const IPV4_MAX_PAYLOAD = 65515;

/** DF, and what says that a packet is a fragment: MF and the fragment offset. */
export const IPV4_DONT_FRAGMENT = 0x4000;
const FRAGMENT_MASK = 0x3fff;
const FRAGMENT_OFFSET_MASK = 0x1fff;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_GRE = 47;
export const PROTOCOL_ESP = 50;
export const PROTOCOL_NO_NEXT_HEADER = 59;

const TOO_SHORT = -DROP['ip-too-short'];
const WRONG_VERSION = -DROP['ip-version'];
const WRONG_HEADER_LENGTH = -DROP['ip-header-length'];
const WRONG_TOTAL_LENGTH = -DROP['ip-total-length'];
const FRAGMENT = -DROP['ip-fragment'];

/** Length of the header at `offset` in bytes, options included, or minus a drop reason. `length` as received. */
export function checkIpv4(bytes: Uint8Array, offset: number, length: number): number {
  if (length < IPV4_HEADER_LENGTH) return TOO_SHORT;
  const first = bytes[offset + IPV4_VERSION_IHL];
  if (first >>> 4 !== 4) return WRONG_VERSION;
  const header = (first & 0xf) << 2;
  if (header < IPV4_HEADER_LENGTH || header > length) return WRONG_HEADER_LENGTH;
  const total = readUint16(bytes, offset + IPV4_TOTAL_LENGTH);
  if (total < header || total > length) return WRONG_TOTAL_LENGTH;
  if ((readUint16(bytes, offset + IPV4_FRAGMENT) & FRAGMENT_MASK) !== 0) return FRAGMENT;
  return header;
}

export function ipv4TotalLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_TOTAL_LENGTH);
}

export function ipv4Protocol(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV4_PROTOCOL];
}

export function ipv4Tos(bytes: Uint8Array, offset: number): number {
  return bytes[offset + IPV4_TOS];
}

export function ipv4Source(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + IPV4_SOURCE);
}

export function ipv4Destination(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + IPV4_DESTINATION);
}

/**
 * Writes a header of 20 bytes with its checksum. `totalLength` includes it; `fragment` is 0 or
 * IPV4_DONT_FRAGMENT; addresses are int32 in network order.
 */
export function writeIpv4(
  bytes: Uint8Array,
  offset: number,
  totalLength: number,
  tos: number,
  identification: number,
  fragment: number,
  ttl: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  bytes[offset + IPV4_VERSION_IHL] = 0x45;
  bytes[offset + IPV4_TOS] = tos;
  writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, totalLength);
  writeUint16(bytes, offset + IPV4_IDENTIFICATION, identification);
  writeUint16(bytes, offset + IPV4_FRAGMENT, fragment);
  bytes[offset + IPV4_TTL] = ttl;
  bytes[offset + IPV4_PROTOCOL] = protocol;
  writeUint16(bytes, offset + IPV4_CHECKSUM, 0);
  writeInt32(bytes, offset + IPV4_SOURCE, source);
  writeInt32(bytes, offset + IPV4_DESTINATION, destination);
  writeUint16(bytes, offset + IPV4_CHECKSUM, checksumOf(sumBytes(bytes, offset, IPV4_HEADER_LENGTH, 0)));
}

/** Fragment offset in units of 8 bytes. */
export function ipv4FragmentOffset(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + IPV4_FRAGMENT) & FRAGMENT_OFFSET_MASK;
}

/** Says of a header that stays otherwise as it is, options included, that `length` bytes of `protocol` follow it. */
export function setIpv4Payload(bytes: Uint8Array, offset: number, length: number, protocol: number): void {
  const header = (bytes[offset + IPV4_VERSION_IHL] & 0xf) << 2;
  writeUint16(bytes, offset + IPV4_TOTAL_LENGTH, header + length);
  bytes[offset + IPV4_PROTOCOL] = protocol;
  writeUint16(bytes, offset + IPV4_CHECKSUM, 0);
  writeUint16(bytes, offset + IPV4_CHECKSUM, checksumOf(sumBytes(bytes, offset, header, 0)));
}

/** A dotted-quad address as int32 in network order. Throws RangeError: this is for configuration, not packets. */
export function ipv4FromText(text: string): number {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  let address = 0;
  for (let i = 1; i <= 4; i++) {
    const octet = parts === null ? 256 : Number(parts[i]);
    if (octet > 255) throw new RangeError(`address ${JSON.stringify(text)}: expected IPv4 as 192.0.2.1`);
    address = (address << 8) | octet;
  }
  return address;
}

export function ipv4ToText(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 0xff}.${(address >>> 8) & 0xff}.${address & 0xff}`;
}
