/**
 * From the network to a real ovs-vswitchd, the mirror of outward.ts: ESP of ours becomes the tunnel packet it carries,
 * tunnel packets in the clear pass or are dropped as the policy table says; all other frames pass unchanged.
 *
 *     1. read       a batch of frames from the NIC
 *     2. classify   ESP for one of our SPIs, tunnel packets in the clear, and the rest
 *     3. open       ESP over the batch (esp/): replay window, ICV, selectors
 *     4. policy     plaintext, ESP or drop (policy.ts); what was opened goes to the host and nobody else (hosts.ts)
 *     5. rejoin     the frame's own headers in front of what was in it
 *     6. write      to the TAP that is the datapath's uplink
 *
 * ESP for SPIs of others passes: it may be a guest's. Fragments pass too, but for those that show a tunnel packet: no userspace
 * datapath decapsulates a fragment, and IKE messages may come in some. An IP packet that contradicts itself is dropped either way.
 */

import { DROP } from '../drops.ts';
import { openBatch } from '../esp/open.ts';
import { NAT_TRAVERSAL_PORT } from '../esp/udp-encap.ts';
import { reportMovedPeer } from '../inbound.ts';
import { ESP, inboundEspVerdict, inboundPlaintextVerdict, PLAINTEXT, PROTECTION_STATE } from '../policy.ts';
import { espSpi } from '../wire/esp.ts';
import { ipv4FragmentOffset, PROTOCOL_ESP, PROTOCOL_GRE, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { checkUdp, UDP_HEADER_LENGTH, udpDestinationPort, udpSourcePort } from '../wire/udp.ts';
import type { Bump, WorkerState } from '../worker-state.ts';
import { type BumpFrames, FRAME_KIND, IS_FRAGMENT, IS_IP, IS_NO_IP, locate } from './frames.ts';
import { isForHost } from './hosts.ts';
import { isTunnelPacket, readBump } from './outward.ts';
import { passOn } from './pass-on.ts';

const ESP_NEXT_HEADER = DROP['esp-next-header'];
const BUMP_LARGE = DROP['bump-large'];
const BUMP_READDRESSED = DROP['bump-readdressed'];
const WRONG_PROTECTION = DROP['wrong-protection'];
/** Bytes of an ESP header that name its SA. */
const SPI_LENGTH = 4;

/** Steps 1 to 6 for one batch. Returns the frames read. */
export function inward(state: WorkerState, bump: Bump): number {
  const read = readBump(state, bump.outside);
  if (read === 0) return 0;
  state.afterReceipt?.();
  bringIn(state, bump);
  return read;
}

/** Steps 2 to 6 for the rows without a verdict. */
export function bringIn(state: WorkerState, { inside, hosts }: Bump): void {
  classify(state, state.bumpFrames);
  openBatch(state.batch, state.aeadList, state.inboundSas);
  reportMovedPeer(state);
  applyPolicy(state, state.bumpFrames, hosts);
  passOn(state, inside);
}

function classify(state: WorkerState, frames: BumpFrames): void {
  const { batch } = state;
  for (let row = 0; row < batch.count; row++) {
    frames.kind[row] = FRAME_KIND.passes;
    if (batch.verdict[row] !== 0) continue;
    const located = locate(state, frames, row, false);
    if (located === IS_IP) {
      frames.kind[row] = kindOf(state, row);
      if (frames.kind[row] === FRAME_KIND.esp && batch.gso[row] > 0) batch.verdict[row] = BUMP_LARGE;
    } else if (located === IS_FRAGMENT) {
      if (showsTunnel(state, row)) frames.kind[row] = FRAME_KIND.tunnel;
    } else if (located !== IS_NO_IP) batch.verdict[row] = located;
    if (frames.kind[row] !== FRAME_KIND.esp) hideFromOpen(state, row);
  }
}

function kindOf(state: WorkerState, row: number): number {
  const { batch, inboundSas } = state;
  if (batch.protocol[row] === PROTOCOL_UDP && isEspInUdp(state, row)) return FRAME_KIND.esp;
  if (batch.protocol[row] === PROTOCOL_ESP) {
    if (batch.length[row] < SPI_LENGTH) return FRAME_KIND.passes;
    return inboundSas.slotOf(espSpi(batch.arena, batch.offset[row])) < 0 ? FRAME_KIND.passes : FRAME_KIND.esp;
  }
  return isTunnelPacket(state, row) ? FRAME_KIND.tunnel : FRAME_KIND.passes;
}

/** ESP of ours in UDP (RFC 3948): then the row is the ESP packet. IKE and keepalives on that port pass. */
function isEspInUdp(state: WorkerState, row: number): boolean {
  const { arena, length, offset, protocol, udpPort } = state.batch;
  const start = offset[row];
  if (length[row] < UDP_HEADER_LENGTH + SPI_LENGTH || udpDestinationPort(arena, start) !== NAT_TRAVERSAL_PORT)
    return false;
  const payload = start + UDP_HEADER_LENGTH;
  const stated = checkUdp(arena, start, length[row]);
  if (stated < UDP_HEADER_LENGTH + SPI_LENGTH || state.inboundSas.slotOf(espSpi(arena, payload)) < 0) return false;
  udpPort[row] = udpSourcePort(arena, start);
  protocol[row] = PROTOCOL_ESP;
  offset[row] = payload;
  length[row] = stated - UDP_HEADER_LENGTH;
  return true;
}

/** The first fragment has the ports; GRE has none. */
function showsTunnel(state: WorkerState, row: number): boolean {
  const { batch } = state;
  const isFirst = ipv4FragmentOffset(batch.arena, batch.outer[row]) === 0;
  return (isFirst || batch.protocol[row] === PROTOCOL_GRE) && isTunnelPacket(state, row);
}

/** openBatch takes every row whose protocol is ESP. */
function hideFromOpen(state: WorkerState, row: number): void {
  if (state.batch.protocol[row] === PROTOCOL_ESP) state.batch.protocol[row] = 0;
}

function applyPolicy(state: WorkerState, frames: BumpFrames, hosts: Int32Array | undefined): void {
  const { batch, protections, tunnels, markRule, counters } = state;
  for (let row = 0; row < batch.count; row++) {
    if (frames.kind[row] === FRAME_KIND.passes || batch.verdict[row] !== 0) continue;
    const isEsp = frames.kind[row] === FRAME_KIND.esp;
    if (isEsp && !isTunnelPacket(state, row)) {
      batch.verdict[row] = ESP_NEXT_HEADER;
      continue;
    }
    const port = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], batch.pair[row]);
    const protection = port < 0 ? -1 : tunnels.tunnels[port]!.protection;
    batch.tunnel[row] = port;
    const flowTunnel = port < 0 ? tunnels.flowTunnel(batch.tunnelType[row], batch.tunnelPort[row]) : undefined;
    const protectionState = flowTunnel?.closed === true ? PROTECTION_STATE.invalid : protections.stateOf(protection);
    let verdict: number;
    if (isEsp && protection !== batch.protection[row]) verdict = WRONG_PROTECTION;
    else if (isEsp && hosts !== undefined && !isForHost(hosts, batch.arena, frames.start[row], frames.length[row]))
      verdict = BUMP_READDRESSED;
    else if (isEsp) verdict = inboundEspVerdict(protectionState);
    else {
      const saUp = protection >= 0 && protections.outboundSa[protection] >= 0;
      verdict = inboundPlaintextVerdict(protectionState, saUp, markRule);
    }
    if (verdict !== ESP && verdict !== PLAINTEXT) batch.verdict[row] = verdict;
    else if (port >= 0) counters.received(port, batch.length[row]);
  }
}
