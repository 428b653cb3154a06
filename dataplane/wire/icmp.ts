/**
 * The two ICMP messages that say "too big": destination unreachable, fragmentation needed (RFC 792, RFC 1191 §4) and ICMPv6 packet
 * too big (RFC 4443 §3.2). Both are type, code, checksum, then the MTU, then the beginning of the packet that was too big:
 *
 *     |     Type      |     Code      |           Checksum            |
 *     |    unused (v4) or MTU (v6)    |   MTU (v4), low half (v6)     |
 *     |   IP header of the packet that was too big and what followed  |
 *
 * Who may be believed is path-mtu.ts, whom we tell it too-big.ts.
 */

import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';

export const ICMP_TYPE = 0;
export const ICMP_CODE = 1;
export const ICMP_CHECKSUM = 2;
/** A 16-bit number in IPv4. */
const ICMP_NEXT_HOP_MTU = 6;
const ICMPV6_MTU = 4;
/** What stands in front of the packet that the message is about. */
export const ICMP_HEADER_LENGTH = 8;

export const PROTOCOL_ICMPV6 = 58;

export const ICMP_UNREACHABLE = 3;
export const ICMP_FRAGMENTATION_NEEDED = 4;
export const ICMPV6_TOO_BIG = 2;
/** Types below this are errors in ICMPv6 (RFC 4443 §2.1). */
export const ICMPV6_FIRST_INFORMATIONAL = 128;

/** Whether an ICMPv4 type is that of an error, to which no error may answer (RFC 1122 §3.2.2). */
export function isIcmpError(type: number): boolean {
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

/** Next-hop MTU of an IPv4 message; 0 from routers that know nothing of RFC 1191. */
export function icmpMtu(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + ICMP_NEXT_HOP_MTU);
}

/** MTU of an IPv6 message, unsigned. */
export function icmpv6Mtu(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ICMPV6_MTU) >>> 0;
}

/** Writes "fragmentation needed" without a checksum. */
export function writeFragmentationNeeded(bytes: Uint8Array, offset: number, mtu: number): void {
  bytes[offset + ICMP_TYPE] = ICMP_UNREACHABLE;
  bytes[offset + ICMP_CODE] = ICMP_FRAGMENTATION_NEEDED;
  writeUint16(bytes, offset + ICMP_CHECKSUM, 0);
  writeUint16(bytes, offset + 4, 0);
  writeUint16(bytes, offset + ICMP_NEXT_HOP_MTU, mtu);
}

/** Writes "packet too big" without a checksum. */
export function writePacketTooBig(bytes: Uint8Array, offset: number, mtu: number): void {
  bytes[offset + ICMP_TYPE] = ICMPV6_TOO_BIG;
  bytes[offset + ICMP_CODE] = 0;
  writeUint16(bytes, offset + ICMP_CHECKSUM, 0);
  writeInt32(bytes, offset + ICMPV6_MTU, mtu);
}
