/**
 * Tunnel packets that the kernel makes: its vxlan, geneve and gre devices, OVS's kernel datapath. Its routing hands them over as
 * IP packets through a TUN, and takes from there those that came in as ESP (control/route/ says by which rules).
 *
 *     out:  TUN ─ read ─ take off the IP header ─ policy ─ seal ─ outer IP ─ send       as outbound.ts, from step 4 on
 *     back: receive … open ─ policy ─ give back ─ TUN                                   as inbound.ts, up to step 4
 *
 * Packets in the clear do not come in this way: the kernel takes or drops them itself. A packet that no tunnel is known for
 * is dropped, for nobody could say whether it may leave.
 */

import { PAIR_WORDS, REMOTE } from './address-pairs.ts';
import { GONE } from './batch.ts';
import { isTunnelPacket } from './bump/outward.ts';
import { DROP } from './drops.ts';
import { finishBatch } from './finish.ts';
import { give, writeLocal } from './forward.ts';
import { readFrames, transmitMade } from './outbound.ts';
import {
  checkIpv4,
  IPV4_HEADER_LENGTH,
  IPV4_TTL,
  ipv4Protocol,
  ipv4Tos,
  ipv4TotalLength,
  writeIpv4,
} from './wire/ipv4.ts';
import {
  checkIpv6,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6TrafficClass,
  writeIpv6,
} from './wire/ipv6.ts';
import type { LocalPort, WorkerState } from './worker-state.ts';

const ROUTE_UNKNOWN = DROP['route-unknown'];
const WRONG_PROTECTION = DROP['wrong-protection'];
/** Of the headers that decrypted packets get: they travel no further than this host. */
const TTL = 64;

/** One batch of the kernel's tunnel packets on their way out. Returns the packets read. */
export function routedOut(state: WorkerState, port: LocalPort): number {
  const read = readFrames(state, port);
  if (read === 0) return 0;
  state.made = 0;
  for (let row = 0; row < read; row++) {
    state.batch.sa[row] = -1;
    if (state.batch.verdict[row] === 0) state.batch.verdict[row] = takeOff(state, row);
  }
  transmitMade(state);
  finishBatch(state);
  return read;
}

/** Takes the IP header off: afterwards the row is as encapsulation would have made it. Returns 0 or a drop reason. */
function takeOff(state: WorkerState, row: number): number {
  const { batch, counters, pairs, tunnels } = state;
  const { arena, offset, length } = batch;
  const start = offset[row];
  let header: number;
  if (arena[start] >>> 4 === 6) {
    header = checkIpv6(arena, start, length[row]);
    if (header < 0) return -header;
    batch.pair[row] = pairs.findSent6(arena, start);
    batch.protocol[row] = ipv6NextHeader(arena, start);
    batch.tos[row] = ipv6TrafficClass(arena, start);
    batch.ttl[row] = arena[start + IPV6_HOP_LIMIT];
    length[row] = ipv6PayloadLength(arena, start);
  } else {
    header = checkIpv4(arena, start, length[row]);
    if (header < 0) return -header;
    batch.pair[row] = pairs.findSent4(arena, start);
    batch.protocol[row] = ipv4Protocol(arena, start);
    batch.tos[row] = ipv4Tos(arena, start);
    batch.ttl[row] = arena[start + IPV4_TTL];
    length[row] = ipv4TotalLength(arena, start) - header;
  }
  offset[row] = start + header;
  if (batch.pair[row] < 0 || !isTunnelPacket(state, row)) return ROUTE_UNKNOWN;
  const port = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], batch.pair[row]);
  const tunnel = port < 0 ? undefined : tunnels.tunnels[port];
  if (tunnel === undefined) return ROUTE_UNKNOWN;
  batch.tunnel[row] = port;
  batch.addressSum[row] = pairs.addressSum[tunnel.pair];
  batch.flowHash[row] = 0;
  batch.protection[row] = tunnel.protection;
  // The packet's own mark is the kernel's to compare, by rules of its routing.
  batch.mark[row] = tunnel.egressMark ?? state.uplinkMark;
  counters.sent(port, length[row]);
  state.made++;
  return 0;
}

/** Rows that ESP has brought for a tunnel of the kernel's get an IP header again and go to the TUN. */
export function giveBack(state: WorkerState, routed: LocalPort): void {
  const { batch, counters, tunnels } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0 || batch.sa[row] < 0) continue;
    const port = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], batch.pair[row]);
    const tunnel = port < 0 ? undefined : tunnels.tunnels[port];
    if (tunnel === undefined || tunnel.bridge >= 0) continue;
    batch.tunnel[row] = port;
    if (tunnel.protection !== batch.protection[row]) {
      batch.verdict[row] = WRONG_PROTECTION;
      continue;
    }
    counters.received(port, batch.length[row]);
    putHeader(state, row);
    give(state, row, routed.port, false);
    batch.verdict[row] = GONE;
  }
  writeLocal(state);
}

/** From the remote to the local address; where ESP and the outer header were there is room for it. */
function putHeader({ batch, pairs }: WorkerState, row: number): void {
  const { arena, offset, length } = batch;
  const payload = length[row];
  const local = batch.pair[row] * PAIR_WORDS;
  const remote = local + REMOTE;
  const tos = batch.tos[row];
  const protocol = batch.protocol[row];
  if (pairs.family[batch.pair[row]] === 6) {
    offset[row] -= IPV6_HEADER_LENGTH;
    length[row] += IPV6_HEADER_LENGTH;
    writeIpv6(arena, offset[row], payload, tos, TTL, protocol, pairs.words, remote, local);
  } else {
    offset[row] -= IPV4_HEADER_LENGTH;
    length[row] += IPV4_HEADER_LENGTH;
    const source = pairs.words[remote];
    writeIpv4(arena, offset[row], length[row], tos, 0, 0, TTL, protocol, source, pairs.words[local]);
  }
}
