/**
 * Tunnel packets where somebody else has made them: in Ethernet frames between a real ovs-vswitchd and the network
 * ("bump in the wire", RFC 4301 §3.3). Finds the IP packet in a frame, and puts another payload behind its headers.
 *
 * Ethernet and IP headers stay as they came, with tags, options, TTL and ECN field: transport mode changes length,
 * protocol and checksum alone. What is to be done with a packet is said in outward.ts and inward.ts.
 */

import type { Batch } from '../batch.ts';
import { DROP } from '../drops.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, payloadTypeAt } from '../wire/ethernet.ts';
import {
  checkIpv4,
  IPV4_HEADER_LENGTH,
  IPV4_TTL,
  ipv4Protocol,
  ipv4Tos,
  ipv4TotalLength,
  setIpv4Payload,
} from '../wire/ipv4.ts';
import {
  checkIpv6,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
  setIpv6Payload,
} from '../wire/ipv6.ts';
import { readUint16 } from '../wire/octets.ts';
import type { WorkerState } from '../worker-state.ts';

/** What a frame turned out to be, in `kind`. */
export const FRAME_KIND = {
  /** Goes on unchanged. */
  passes: 0,
  /** A tunnel packet in the clear. */
  tunnel: 1,
  /** ESP of ours: to be opened. */
  esp: 2,
} as const;

const FRAGMENT = DROP['ip-fragment'];

/** Rows of the batch at hand as frames; the batch's own columns are of the IP payload. */
export class BumpFrames {
  readonly kind: Uint8Array;
  /** Where the frame begins, and its length as read. */
  readonly start: Int32Array;
  readonly length: Int32Array;
  /** Where the IP payload began. */
  readonly payload: Int32Array;
  /** 1: the flows say that ipsec_skb_mark names the packet's mark (hairpin.ts). */
  readonly marked: Uint8Array;

  constructor(rows: number) {
    this.kind = new Uint8Array(rows);
    this.start = new Int32Array(rows);
    this.length = new Int32Array(rows);
    this.payload = new Int32Array(rows);
    this.marked = new Uint8Array(rows);
  }
}

/** Results of `locate` that are no drop reasons. */
export const IS_IP = 0;
export const IS_NO_IP = -1;
export const IS_FRAGMENT = -2;

/**
 * Finds the IP packet in a row's frame: afterwards `offset` and `length` are its payload's, `outer` is its header,
 * `protocol` what the payload is, and `pair` its addresses (`sent`: its source is the local one); TOS and TTL are in their columns.
 * Of a fragment `offset` is right, and `length` is what the fragment has. Returns IS_IP, IS_NO_IP, IS_FRAGMENT or a drop reason.
 */
export function locate(state: WorkerState, frames: BumpFrames, row: number, sent: boolean): number {
  const { batch, pairs } = state;
  const { arena, offset, length } = batch;
  const start = offset[row];
  frames.start[row] = start;
  frames.length[row] = length[row];
  batch.protocol[row] = 0;
  batch.pair[row] = -1;
  batch.udpPort[row] = 0;
  const typeAt = payloadTypeAt(arena, start, length[row]);
  if (typeAt < 0) return IS_NO_IP;
  const type = readUint16(arena, start + typeAt);
  const ip = start + typeAt + 2;
  const rest = length[row] - typeAt - 2;
  let header: number;
  if (type === ETHERTYPE_IPV4) {
    header = checkIpv4(arena, ip, rest);
    if (header < 0 && header !== -FRAGMENT) return -header;
    batch.pair[row] = sent ? pairs.findSent4(arena, ip) : pairs.find4(arena, ip);
    batch.protocol[row] = ipv4Protocol(arena, ip);
    batch.tos[row] = ipv4Tos(arena, ip);
    batch.ttl[row] = arena[ip + IPV4_TTL];
    const isFragment = header < 0;
    if (isFragment) header = (arena[ip] & 0xf) << 2;
    length[row] = ipv4TotalLength(arena, ip) - header;
    settle(batch, frames, row, ip, header);
    return isFragment ? IS_FRAGMENT : IS_IP;
  }
  if (type !== ETHERTYPE_IPV6) return IS_NO_IP;
  header = checkIpv6(arena, ip, rest);
  if (header < 0) return -header;
  batch.pair[row] = sent ? pairs.findSent6(arena, ip) : pairs.find6(arena, ip);
  batch.protocol[row] = ipv6NextHeader(arena, ip);
  batch.tos[row] = ipv6TrafficClass(arena, ip);
  batch.ttl[row] = arena[ip + IPV6_HOP_LIMIT];
  length[row] = ipv6PayloadLength(arena, ip);
  settle(batch, frames, row, ip, header);
  return IS_IP;
}

/** Results of `senderOf`. */
export const NEITHER = 0;
export const SENT = 1;
export const RECEIVED = 2;

/** Who sent the IP packet in a row's frame: the own end of a tunnel (SENT), the peer (RECEIVED), or neither. */
export function senderOf(state: WorkerState, row: number): number {
  const { batch, pairs } = state;
  const { arena } = batch;
  const start = batch.offset[row];
  const typeAt = payloadTypeAt(arena, start, batch.length[row]);
  if (typeAt < 0) return NEITHER;
  const type = readUint16(arena, start + typeAt);
  const ip = start + typeAt + 2;
  const rest = batch.length[row] - typeAt - 2;
  if (type === ETHERTYPE_IPV4 && rest >= IPV4_HEADER_LENGTH) {
    if (pairs.findSent4(arena, ip) >= 0) return SENT;
    return pairs.find4(arena, ip) >= 0 ? RECEIVED : NEITHER;
  }
  if (type === ETHERTYPE_IPV6 && rest >= IPV6_HEADER_LENGTH) {
    if (pairs.findSent6(arena, ip) >= 0) return SENT;
    return pairs.find6(arena, ip) >= 0 ? RECEIVED : NEITHER;
  }
  return NEITHER;
}

function settle(batch: Batch, frames: BumpFrames, row: number, ip: number, header: number): void {
  batch.outer[row] = ip;
  batch.offset[row] = ip + header;
  frames.payload[row] = ip + header;
}

/** Bytes for what sealing writes in front of a payload, where the frame's own headers are: UDP 8, ESP 16, and tunnel mode's IPv6 header 40. */
const SEAL_SPACE = 64;

/** Moves the headers of the frame out of the way of what sealing writes in front of the payload. The headroom must be there. */
export function makeRoom(batch: Batch, frames: BumpFrames, row: number): void {
  const from = frames.start[row];
  batch.arena.copyWithin(from - SEAL_SPACE, from, frames.payload[row]);
  frames.start[row] = from - SEAL_SPACE;
  frames.payload[row] -= SEAL_SPACE;
  batch.outer[row] -= SEAL_SPACE;
}

/** Makes the row's `offset` and `length` those of the frame as it came. */
export function restore(batch: Batch, frames: BumpFrames, row: number): void {
  batch.offset[row] = frames.start[row];
  batch.length[row] = frames.length[row];
}

/**
 * Moves the headers of the frame in front of the payload that the row has now, says in them how long and what it is, and
 * makes the row the frame again. The headroom must be there.
 */
export function rejoin(batch: Batch, frames: BumpFrames, row: number): void {
  const { arena } = batch;
  const from = frames.start[row];
  const headers = frames.payload[row] - from;
  const to = batch.offset[row] - headers;
  arena.copyWithin(to, from, from + headers);
  const ip = to + batch.outer[row] - from;
  if (arena[ip] >>> 4 === 4) setIpv4Payload(arena, ip, batch.length[row], batch.protocol[row]);
  else setIpv6Payload(arena, ip, batch.length[row], batch.protocol[row]);
  batch.offset[row] = to;
  batch.length[row] += headers;
}
