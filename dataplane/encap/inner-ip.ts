/**
 * What the outer header takes from the inner packet, and what it gives back: DSCP, TTL and ECN.
 *
 * The DSCP/ECN byte is that of RFC 2474 and RFC 3168, the TTL of IPv4 or hop limit of IPv6. ECN goes out and comes in as OVS and
 * Linux do it:
 *
 *     out:  the outer field is a copy of the inner one, but CE goes out as ECT(0) (RFC 3168 §9.1.1)
 *     in:   RFC 6040 §4.2; outer CE over an inner packet that does not know ECN is a drop
 *
 * RFC 6040 §4.1 would copy CE as well; a receiver of either makes the same inner packet of it. Frames without an IP header,
 * looked for behind at most two VLAN tags, have no ECN: nothing is taken from them and nothing is written into them.
 */

import { DROP } from '../drops.ts';
import { updateChecksum } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, payloadTypeAt } from '../wire/ethernet.ts';
import { IPV4_CHECKSUM, IPV4_HEADER_LENGTH, IPV4_TOS, IPV4_TTL } from '../wire/ipv4.ts';
import { readUint16, writeUint16 } from '../wire/octets.ts';

const IPV6_HEADER_LENGTH = 40;
const IPV6_HOP_LIMIT = 7;
const NO_HEADER = -1;

/** The codepoints of the ECN field (RFC 3168 §5). */
export const ECN_MASK = 0x03;
export const ECN_NOT_ECT = 0;
export const ECN_ECT1 = 1;
export const ECN_ECT0 = 2;
export const ECN_CE = 3;

const CE_NOT_ECT = DROP['ecn-ce'];

/** Where the frame's IPv4 or IPv6 header begins, or -1: it has none, or not a whole one. `length` at least 14. */
export function innerIpAt(bytes: Uint8Array, offset: number, length: number): number {
  const typeAt = payloadTypeAt(bytes, offset, length);
  if (typeAt < 0) return NO_HEADER;
  const type = readUint16(bytes, offset + typeAt);
  const at = offset + typeAt + 2;
  const rest = length - typeAt - 2;
  if (type === ETHERTYPE_IPV4) return rest >= IPV4_HEADER_LENGTH && bytes[at] >>> 4 === 4 ? at : NO_HEADER;
  if (type === ETHERTYPE_IPV6) return rest >= IPV6_HEADER_LENGTH && bytes[at] >>> 4 === 6 ? at : NO_HEADER;
  return NO_HEADER;
}

/** DSCP and ECN of the header at `at`. */
export function trafficClass(bytes: Uint8Array, at: number): number {
  return bytes[at] >>> 4 === 4 ? bytes[at + IPV4_TOS] : ((bytes[at] & 0xf) << 4) | (bytes[at + 1] >>> 4);
}

/** TTL or hop limit of the header at `at`. */
export function hopLimit(bytes: Uint8Array, at: number): number {
  return bytes[at + (bytes[at] >>> 4 === 4 ? IPV4_TTL : IPV6_HOP_LIMIT)];
}

/** The ECN field of the outer header for an inner DSCP/ECN byte. */
export function outerEcn(inner: number): number {
  const ecn = inner & ECN_MASK;
  return ecn === ECN_CE ? ECN_ECT0 : ecn;
}

/** Whether an outer DSCP/ECN byte can change anything: Not-ECT and ECT(0) leave every inner packet as it is. */
export function ecnMatters(outer: number): boolean {
  return (outer & ECN_ECT1) !== 0;
}

/**
 * Combines the outer DSCP/ECN byte into the frame at `offset` (RFC 6040 §4.2, figure 4). Returns 0, or the drop reason.
 * Only for outer bytes that matter.
 */
export function combineEcn(bytes: Uint8Array, offset: number, length: number, outer: number): number {
  const at = innerIpAt(bytes, offset, length);
  if (at < 0) return 0;
  const inner = trafficClass(bytes, at) & ECN_MASK;
  const ecn = outer & ECN_MASK;
  if (inner === ECN_NOT_ECT) return ecn === ECN_CE ? CE_NOT_ECT : 0;
  // CE wins over all; ECT(1) over ECT(0).
  if (ecn === ECN_CE ? inner !== ECN_CE : inner === ECN_ECT0) writeEcn(bytes, at, ecn);
  return 0;
}

function writeEcn(bytes: Uint8Array, at: number, ecn: number): void {
  if (bytes[at] >>> 4 === 6) {
    bytes[at + 1] = (bytes[at + 1] & ~(ECN_MASK << 4)) | (ecn << 4);
    return;
  }
  const before = readUint16(bytes, at);
  bytes[at + IPV4_TOS] = (bytes[at + IPV4_TOS] & ~ECN_MASK) | ecn;
  const checksum = at + IPV4_CHECKSUM;
  writeUint16(bytes, checksum, updateChecksum(readUint16(bytes, checksum), before, readUint16(bytes, at)));
}
