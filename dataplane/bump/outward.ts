/**
 * From a real ovs-vswitchd to the network: tunnel packets become ESP, pass, or are dropped, as the one policy table
 * says; all other frames pass unchanged.
 *
 *     1. read       a batch of frames from the TAP that is the datapath's uplink
 *     2. classify   which are tunnel packets, and of which tunnel
 *     3. policy     plaintext, ESP or drop (policy.ts), with the tunnel's mark, else the uplink's
 *     4. seal       ESP in transport mode over the batch (esp/)
 *     5. rejoin     the frame's own headers in front of it
 *     6. write      to the NIC
 *
 * inward.ts mirrors it. A fragment between the addresses of a tunnel is dropped: it can be neither told nor sealed, and
 * a userspace datapath makes none of its tunnel packets.
 */

import { DROP } from '../drops.ts';
import { sealBatch } from '../esp/seal.ts';
import { putOnUdpEncapsulation } from '../esp/udp-encap.ts';
import { readFrames, want } from '../outbound.ts';
import { ESP, type MarkRule, outboundVerdict, PLAINTEXT, PROTECTION_STATE } from '../policy.ts';
import { GRE, typeOfDefaultPort } from '../tunnel-table.ts';
import { PROTOCOL_GRE, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { UDP_HEADER_LENGTH, udpDestinationPort } from '../wire/udp.ts';
import type { Bump, LocalPort, WorkerState } from '../worker-state.ts';
import { type BumpFrames, FRAME_KIND, IS_FRAGMENT, IS_IP, IS_NO_IP, locate, makeRoom } from './frames.ts';
import { passOn } from './pass-on.ts';

const BUMP_FRAGMENT = DROP['bump-fragment'];
const BUMP_MOVED = DROP['bump-moved'];
const BUMP_LARGE = DROP['bump-large'];
const BUMP_FOREIGN = DROP['bump-foreign'];
const BUMP_RETURNED = DROP['bump-returned'];

/** What the flows have made of ipsec_skb_mark for a packet: it names no mark, or every one. */
const RULE_OF_FLOWS: readonly MarkRule[] = [
  { set: false, value: 0, mask: 0 },
  { set: true, value: 0, mask: 0 },
];

/** Steps 1 to 6 for one batch. Returns the frames read. */
export function outward(state: WorkerState, bump: Bump): number {
  const read = readBump(state, bump.inside);
  if (read > 0) sendOut(state, bump);
  return read;
}

/** Steps 2 to 6 for the rows without a verdict. */
export function sendOut(state: WorkerState, bump: Bump): void {
  classify(state, state.bumpFrames);
  if (bump.inside === bump.outside) refuseTheRest(state, state.bumpFrames);
  applyPolicy(state, state.bumpFrames, bump);
  sealBatch(state.batch, state.aeadList, state.outboundSas);
  keepToAddresses(state);
  putOnUdpEncapsulation(state.batch, state.outboundSas, state.pairs, state.checksums, state.checksum);
  passOn(state, bump.outside);
}

/** Step 1, of either direction. */
export function readBump(state: WorkerState, source: LocalPort): number {
  const { batch } = state;
  const read = readFrames(state, source);
  batch.sa.fill(-1, 0, read);
  batch.protection.fill(-1, 0, read);
  return read;
}

function classify(state: WorkerState, frames: BumpFrames): void {
  const { batch } = state;
  for (let row = 0; row < batch.count; row++) {
    frames.kind[row] = FRAME_KIND.passes;
    if (batch.verdict[row] !== 0) continue;
    const located = locate(state, frames, row, true);
    if (located === IS_IP) {
      if (!isTunnelPacket(state, row)) continue;
      frames.kind[row] = FRAME_KIND.tunnel;
      if (batch.pair[row] < 0 && isOfProtectedPeer(state, row)) batch.verdict[row] = BUMP_RETURNED;
    } else if (located === IS_FRAGMENT) {
      if (batch.pair[row] >= 0) batch.verdict[row] = BUMP_FRAGMENT;
    } else if (located !== IS_NO_IP) batch.verdict[row] = located;
  }
}

/** Whether a tunnel packet is one that a peer with IPsec has sent to this host: opened, it must not leave again. */
function isOfProtectedPeer({ batch, pairs, tunnels }: WorkerState, row: number): boolean {
  const ip = batch.outer[row];
  const pair = batch.arena[ip] >>> 4 === 4 ? pairs.find4(batch.arena, ip) : pairs.find6(batch.arena, ip);
  const port = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], pair);
  return port >= 0 && tunnels.tunnels[port]!.protection >= 0;
}

/** Where flows lead the packets here, nothing else is to go on: our own ESP, flooded back to us, would come round for ever. */
function refuseTheRest({ batch }: WorkerState, frames: BumpFrames): void {
  for (let row = 0; row < batch.count; row++)
    if (batch.verdict[row] === 0 && frames.kind[row] === FRAME_KIND.passes) batch.verdict[row] = BUMP_FOREIGN;
}

/**
 * Whether the IP payload of a row is a tunnel packet; then its type and port are in the columns. The types' own ports count
 * also while no tunnel is configured: the datapath may hear of a new tunnel, and use it, before we do.
 */
export function isTunnelPacket(state: WorkerState, row: number): boolean {
  const { batch, tunnels } = state;
  if (batch.protocol[row] === PROTOCOL_GRE) {
    batch.tunnelType[row] = GRE;
    batch.tunnelPort[row] = 0;
    return true;
  }
  const protocol = batch.protocol[row];
  if ((protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_TCP) || batch.length[row] < UDP_HEADER_LENGTH) return false;
  // UDP and TCP have their ports in the same place.
  const port = udpDestinationPort(batch.arena, batch.offset[row]);
  let type = tunnels.typeOfPort(protocol, port);
  if (type < 0) type = typeOfDefaultPort(protocol, port);
  if (type < 0) return false;
  batch.tunnelType[row] = type;
  batch.tunnelPort[row] = port;
  return true;
}

function applyPolicy(state: WorkerState, frames: BumpFrames, { inside, outside, mark }: Bump): void {
  const { batch, protections, tunnels, markRule, counters } = state;
  const isHairpin = inside === outside;
  for (let row = 0; row < batch.count; row++) {
    if (frames.kind[row] !== FRAME_KIND.tunnel || batch.verdict[row] !== 0) continue;
    const port = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], batch.pair[row]);
    const tunnel = port < 0 ? undefined : tunnels.tunnels[port];
    const protection = tunnel === undefined ? -1 : tunnel.protection;
    const sa = protection < 0 ? -1 : protections.outboundSa[protection];
    const rule = isHairpin ? RULE_OF_FLOWS[frames.marked[row]] : markRule;
    const flowTunnel = port < 0 ? tunnels.flowTunnel(batch.tunnelType[row], batch.tunnelPort[row]) : undefined;
    const packetMark = tunnel?.egressMark ?? flowTunnel?.egressMark ?? mark;
    const protectionState = flowTunnel?.closed === true ? PROTECTION_STATE.invalid : protections.stateOf(protection);
    const verdict = outboundVerdict(protectionState, sa >= 0, packetMark, rule);
    batch.tunnel[row] = port;
    batch.protection[row] = protection;
    if (verdict === ESP && batch.gso[row] > 0) batch.verdict[row] = BUMP_LARGE;
    else if (verdict === ESP) {
      batch.sa[row] = sa;
      makeRoom(batch, frames, row);
    } else if (verdict !== PLAINTEXT) batch.verdict[row] = verdict;
    if (protection >= 0 && sa < 0) want(state, protection);
    if (port >= 0 && (verdict === ESP || verdict === PLAINTEXT)) counters.sent(port, batch.length[row]);
  }
}

/** The addresses in the frame are the datapath's, so a peer that moved behind its NAT cannot be reached through it. */
function keepToAddresses(state: WorkerState): void {
  const { batch, outboundSas } = state;
  for (let row = 0; row < batch.count; row++) {
    const slot = batch.sa[row];
    if (slot < 0 || batch.verdict[row] !== 0) continue;
    if (outboundSas.path[slot] !== outboundSas.pair[slot]) batch.verdict[row] = BUMP_MOVED;
  }
}
