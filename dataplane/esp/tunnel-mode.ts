/**
 * ESP tunnel mode (RFC 4303 §3.1.2): an IP header of the tunnel packet's own inside the sealed text.
 *
 * The inner addresses are those of the tunnel, which are also the SA's selectors; the outer ones those of the SA's path.
 * Outbound the inner header gets the DSCP/ECN byte and TTL that the outer one has (RFC 6040 §4.1, normal mode). Inbound the
 * ECN fields are combined into the `tos` column (§4.2, figure 4), for the stage that combines it into the frame.
 * Bytes behind the inner packet are TFC padding (RFC 4303 §2.7).
 */

import { type AddressPairs, PAIR_WORDS, REMOTE } from '../address-pairs.ts';
import type { Batch } from '../batch.ts';
import { DROP } from '../drops.ts';
import { ECN_CE, ECN_ECT0, ECN_ECT1, ECN_MASK, ECN_NOT_ECT } from '../encap/inner-ip.ts';
import {
  checkIpv4,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER_LENGTH,
  ipv4Protocol,
  ipv4Tos,
  ipv4TotalLength,
  writeIpv4,
} from '../wire/ipv4.ts';
import {
  checkIpv6,
  IPV6_HEADER_LENGTH,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
  writeIpv6,
} from '../wire/ipv6.ts';

/** Next headers of an IP packet within an IP packet. */
export const PROTOCOL_IPV4 = 4;
export const PROTOCOL_IPV6 = 41;

const OUTSIDE_SELECTORS = DROP['esp-selector-in'];
const CE_NOT_ECT = DROP['ecn-ce'];

/** Bytes of the inner header for a family. */
export function innerHeaderLength(family: number): number {
  return family === 6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH;
}

/** Writes the inner header in front of the row's packet and moves `offset` and `length`; returns the next header of ESP. */
export function pushInnerHeader(batch: Batch, row: number, pairs: AddressPairs): number {
  const { arena, offset, length } = batch;
  const pair = batch.pair[row];
  const local = pair * PAIR_WORDS;
  const { words } = pairs;
  const payload = length[row];
  const isIpv6 = pairs.family[pair] === 6;
  const header = innerHeaderLength(pairs.family[pair]);
  const start = offset[row] - header;
  const total = payload + header;
  if (isIpv6) {
    writeIpv6(arena, start, payload, batch.tos[row], batch.ttl[row], batch.protocol[row], words, local, local + REMOTE);
  } else {
    writeIpv4(
      arena,
      start,
      total,
      batch.tos[row],
      0,
      IPV4_DONT_FRAGMENT,
      batch.ttl[row],
      batch.protocol[row],
      words[local],
      words[local + REMOTE],
    );
  }
  offset[row] = start;
  length[row] = total;
  return isIpv6 ? PROTOCOL_IPV6 : PROTOCOL_IPV4;
}

/**
 * Takes the inner header off the opened text at `offset`, whose next header is `protocol`: the row is the tunnel packet then.
 * Returns 0, or the drop reason. `pair` are the addresses that the SA is for.
 */
export function popInnerHeader(batch: Batch, row: number, protocol: number, pair: number, pairs: AddressPairs): number {
  const { arena, offset, length } = batch;
  const start = offset[row];
  let header: number;
  if (protocol === PROTOCOL_IPV4) header = checkIpv4(arena, start, length[row]);
  else if (protocol === PROTOCOL_IPV6) header = checkIpv6(arena, start, length[row]);
  else return OUTSIDE_SELECTORS;
  if (header < 0) return -header;
  const isIpv6 = protocol === PROTOCOL_IPV6;
  if ((isIpv6 ? pairs.find6(arena, start) : pairs.find4(arena, start)) !== pair) return OUTSIDE_SELECTORS;
  const tos = combinedTos(isIpv6 ? ipv6TrafficClass(arena, start) : ipv4Tos(arena, start), batch.tos[row]);
  if (tos < 0) return CE_NOT_ECT;
  batch.tos[row] = tos;
  batch.protocol[row] = isIpv6 ? ipv6NextHeader(arena, start) : ipv4Protocol(arena, start);
  length[row] = isIpv6 ? ipv6PayloadLength(arena, start) : ipv4TotalLength(arena, start) - header;
  offset[row] = start + header;
  return 0;
}

/** The inner DSCP with both ECN fields in one; -1: congestion was experienced by a packet that can't tell (RFC 6040 §4.2). */
function combinedTos(inner: number, outer: number): number {
  const innerEcn = inner & ECN_MASK;
  const outerEcn = outer & ECN_MASK;
  if (outerEcn === ECN_CE) return innerEcn === ECN_NOT_ECT ? -1 : inner | ECN_CE;
  if (outerEcn === ECN_ECT1 && innerEcn === ECN_ECT0) return (inner & ~ECN_MASK) | ECN_ECT1;
  return inner;
}
