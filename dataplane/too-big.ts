/**
 * The answer to a frame that is too big for its tunnel: ICMP "fragmentation needed" or ICMPv6 "packet too big", so that the sender
 * learns the MTU instead of losing packets in silence (RFC 1191 §4, RFC 8201 §4).
 *
 * A bridge has no address, so the answer comes from whom the packet was for, as Linux tunnels under a bridge do it. It is built in
 * place, in front of the packet that it quotes. No answer is given where RFC 1122 §3.2.2 and RFC 4443 §2.4 forbid one: to
 * ICMP errors, to group addresses and from them, to later fragments; nor to IPv4 packets without DF, whose sender would not know
 * what to do with it. The packet itself is never fragmented: that is its sender's business.
 */

import type { Batch } from './batch.ts';
import { innerIpAt } from './encap/inner-ip.ts';
import { checksumOf, foldSum, sumBytes } from './wire/checksum.ts';
import { ETHERNET_ADDRESS_LENGTH, ETHERNET_DESTINATION, isGroupAddress } from './wire/ethernet.ts';
import {
  ICMP_CHECKSUM,
  ICMP_HEADER_LENGTH,
  ICMPV6_FIRST_INFORMATIONAL,
  isIcmpError,
  PROTOCOL_ICMPV6,
  writeFragmentationNeeded,
  writePacketTooBig,
} from './wire/icmp.ts';
import {
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  ipv4Destination,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  PROTOCOL_ICMP,
  writeIpv4,
} from './wire/ipv4.ts';
import { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_SOURCE, ipv6PayloadLength } from './wire/ipv6.ts';
import { readUint16, writeInt32, writeUint16 } from './wire/octets.ts';

/** Longest answer, IP header included (RFC 1812 §4.3.2.3; RFC 4443 §2.4 c). */
const IPV4_ANSWER = 576;
const IPV6_ANSWER = 1280;
const TTL = 64;
/** The least MTU that can be told: below, a sender has no use for it (RFC 791, RFC 8200 §5). */
const IPV4_LEAST = 68;
const IPV6_LEAST = 1280;

/** Answers a second, and as many at once after a pause. */
const RATE = 100;
const BURST = 50;

/** A token bucket; one for each worker. */
export class AnswerLimit {
  private tokens = BURST;
  private filledAt = 0;

  admits(now: number): boolean {
    const earned = ((now - this.filledAt) * RATE) / 1000;
    if (earned >= 1) {
      this.tokens = Math.min(BURST, this.tokens + earned);
      this.filledAt = now;
    }
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

/**
 * Turns the frame of a row into the answer to it. `frameRoom` is the longest frame that would have gone through. False: there is no
 * answer to this frame, and it is as it was.
 */
export function answerTooBig(batch: Batch, row: number, frameRoom: number, limit: AnswerLimit, now: number): boolean {
  const { arena } = batch;
  const frame = batch.offset[row];
  const ip = innerIpAt(arena, frame, batch.length[row]);
  if (ip < 0 || isGroupAddress(arena, frame + ETHERNET_DESTINATION)) return false;
  const mtu = frameRoom - (ip - frame);
  const isIpv4 = arena[ip] >>> 4 === 4;
  if (!(isIpv4 ? mayAnswer4(batch, row, ip, mtu) : mayAnswer6(batch, row, ip, mtu)) || !limit.admits(now)) return false;
  if (isIpv4) answer4(batch, row, ip, mtu);
  else answer6(batch, row, ip, mtu);
  return true;
}

function mayAnswer4(batch: Batch, row: number, ip: number, mtu: number): boolean {
  const { arena } = batch;
  const fragment = readUint16(arena, ip + IPV4_FRAGMENT);
  const header = (arena[ip] & 0xf) << 2;
  const end = batch.offset[row] + batch.length[row];
  if (mtu < IPV4_LEAST || fragment !== IPV4_DONT_FRAGMENT || header < IPV4_HEADER_LENGTH) return false;
  if (ip + header + ICMP_HEADER_LENGTH > end || ipv4TotalLength(arena, ip) <= mtu) return false;
  if (!isUnicast4(ipv4Source(arena, ip)) || !isUnicast4(ipv4Destination(arena, ip))) return false;
  return ipv4Protocol(arena, ip) !== PROTOCOL_ICMP || !isIcmpError(arena[ip + header]);
}

function answer4(batch: Batch, row: number, ip: number, mtu: number): void {
  const { arena } = batch;
  const end = batch.offset[row] + batch.length[row];
  const source = ipv4Source(arena, ip);
  const destination = ipv4Destination(arena, ip);
  const quoted = Math.min(end - ip, IPV4_ANSWER - IPV4_HEADER_LENGTH - ICMP_HEADER_LENGTH);
  const icmp = ip - ICMP_HEADER_LENGTH;
  const outer = icmp - IPV4_HEADER_LENGTH;
  turnAround(batch, row, ip, outer, ip + quoted);
  writeFragmentationNeeded(arena, icmp, mtu);
  writeUint16(arena, icmp + ICMP_CHECKSUM, checksumOf(sumBytes(arena, icmp, ICMP_HEADER_LENGTH + quoted, 0)));
  const total = IPV4_HEADER_LENGTH + ICMP_HEADER_LENGTH + quoted;
  writeIpv4(arena, outer, total, 0, 0, IPV4_DONT_FRAGMENT, TTL, PROTOCOL_ICMP, destination, source);
}

/** Neither 0/8, 127/8, a group, nor reserved. */
function isUnicast4(address: number): boolean {
  const first = address >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

function mayAnswer6(batch: Batch, row: number, ip: number, mtu: number): boolean {
  const { arena } = batch;
  const end = batch.offset[row] + batch.length[row];
  if (mtu < IPV6_LEAST || IPV6_HEADER_LENGTH + ipv6PayloadLength(arena, ip) <= mtu) return false;
  // A group as destination may be answered (RFC 4443 §2.4 e.3); with the group as source it may not, so here it is not.
  if (arena[ip + IPV6_SOURCE] === 0xff || arena[ip + IPV6_DESTINATION] === 0xff || isUnspecified(arena, ip))
    return false;
  if (arena[ip + IPV6_NEXT_HEADER] !== PROTOCOL_ICMPV6) return true;
  return ip + IPV6_HEADER_LENGTH < end && arena[ip + IPV6_HEADER_LENGTH] >= ICMPV6_FIRST_INFORMATIONAL;
}

function answer6(batch: Batch, row: number, ip: number, mtu: number): void {
  const { arena } = batch;
  const end = batch.offset[row] + batch.length[row];
  const quoted = Math.min(end - ip, IPV6_ANSWER - IPV6_HEADER_LENGTH - ICMP_HEADER_LENGTH);
  const icmp = ip - ICMP_HEADER_LENGTH;
  const outer = icmp - IPV6_HEADER_LENGTH;
  const length = ICMP_HEADER_LENGTH + quoted;
  turnAround(batch, row, ip, outer, ip + quoted);
  writeInt32(arena, outer, 0x60000000);
  writeUint16(arena, outer + 4, length);
  arena[outer + IPV6_NEXT_HEADER] = PROTOCOL_ICMPV6;
  arena[outer + 7] = TTL;
  arena.copyWithin(outer + IPV6_SOURCE, ip + IPV6_DESTINATION, ip + IPV6_DESTINATION + 16);
  arena.copyWithin(outer + IPV6_DESTINATION, ip + IPV6_SOURCE, ip + IPV6_SOURCE + 16);
  writePacketTooBig(arena, icmp, mtu);
  const pseudo = foldSum(sumBytes(arena, outer + IPV6_SOURCE, 32, 0) + PROTOCOL_ICMPV6 + length);
  writeUint16(arena, icmp + ICMP_CHECKSUM, checksumOf(sumBytes(arena, icmp, length, pseudo)));
}

function isUnspecified(arena: Uint8Array, ip: number): boolean {
  for (let i = 0; i < 16; i++) if (arena[ip + IPV6_SOURCE + i] !== 0) return false;
  return true;
}

/** The Ethernet header, tags and all, in front of `outer` with its addresses exchanged; the row ends at `end`. */
function turnAround(batch: Batch, row: number, ip: number, outer: number, end: number): void {
  const { arena } = batch;
  const from = batch.offset[row];
  const to = outer - (ip - from);
  arena.copyWithin(to, from, ip);
  for (let i = 0; i < ETHERNET_ADDRESS_LENGTH; i++) {
    const octet = arena[to + i];
    arena[to + i] = arena[to + ETHERNET_ADDRESS_LENGTH + i];
    arena[to + ETHERNET_ADDRESS_LENGTH + i] = octet;
  }
  batch.offset[row] = to;
  batch.length[row] = end - to;
}
