/**
 * The way back, from the uplink to a TAP; the mirror of outbound.ts:
 *
 *     1. receive       a batch of IP packets from the uplink
 *     2. outer header  checked and taken off, and UDP in front of ESP
 *     3. open          ESP over the batch (esp/): SPI, replay window, ICV, selectors
 *     4. policy        plaintext, ESP or drop (policy.ts)
 *     5. decapsulate   tunnel header taken off, checksums over the batch, the tunnel found, ECN combined
 *                      STT: segments put together before, its frame header heeded after (stt/)
 *     6. forward       learn, look up, flood; frames for TAPs are written (forward.ts)
 *
 * Which protection a plaintext packet needs is a matter of its type and addresses (tunnel-table.ts); that of an ESP
 * packet is its SA's, and the tunnel that the packet turns out to be for must have the same.
 */

import { ETHERNET_HEADER } from './batch.ts';
import { PACKETS_RECEIVED, TFC_PADDED } from './counters.ts';
import { DROP } from './drops.ts';
import { noteChecksum, verifyChecksums } from './encap/checksums.ts';
import { POP_CHECKSUM, POP_END, POP_EXTENSION, POP_KEY, POP_KEY_PRESENT, POP_PORT } from './encap/encapsulation.ts';
import { combineEcn, ecnMatters } from './encap/inner-ip.ts';
import { openBatch } from './esp/open.ts';
import { takeOffUdpEncapsulation } from './esp/udp-encap.ts';
import { finishBatch } from './finish.ts';
import { forward } from './forward.ts';
import { transmit } from './outbound.ts';
import { ESP, inboundEspVerdict, inboundPlaintextVerdict, PLAINTEXT } from './policy.ts';
import { giveBack } from './routed.ts';
import { finish as finishStt, reassemble } from './stt/inbound.ts';
import { GRE, popperOf } from './tunnel-table.ts';
import { espSpi } from './wire/esp.ts';
import {
  checkIpv4,
  IPV4_SOURCE,
  ipv4Protocol,
  ipv4Tos,
  ipv4ToText,
  ipv4TotalLength,
  PROTOCOL_GRE,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './wire/ipv4.ts';
import {
  checkIpv6,
  IPV6_SOURCE,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6ToText,
  ipv6TrafficClass,
} from './wire/ipv6.ts';
import { readInt32 } from './wire/octets.ts';
import { UDP_HEADER_LENGTH, udpDestinationPort } from './wire/udp.ts';
import type { WorkerState } from './worker-state.ts';

const IP_TOO_LONG = DROP['ip-too-long'];
const IP_PROTOCOL = DROP['ip-protocol'];
const ESP_NEXT_HEADER = DROP['esp-next-header'];
const UNKNOWN_SPI = DROP['unknown-spi'];
const UDP_TOO_SHORT = DROP['udp-too-short'];
const UDP_PORT = DROP['udp-port'];
const TCP_TOO_SHORT = DROP['tcp-too-short'];
const TCP_PORT = DROP['tcp-port'];
const NO_TUNNEL = DROP['no-tunnel'];
const WRONG_PROTECTION = DROP['wrong-protection'];
const VXLAN_FLAGS = DROP['vxlan-flags'];
const INNER_TOO_SHORT = DROP['inner-too-short'];

/** At most one peer-moved event a second for each SA (commands.ts). */
const MOVED_INTERVAL_MS = 1000;

/** Steps 1 to 6 for one batch from the uplink. Returns the packets received. */
export function inbound(state: WorkerState): number {
  const received = receive(state);
  if (received === 0) return 0;
  state.afterReceipt?.();
  state.observer?.after('receive', state);
  takeOffOuterHeaders(state);
  takeOffUdpEncapsulation(state.batch);
  state.observer?.after('take-off', state);
  openBatch(state.batch, state.aeadList, state.inboundSas);
  state.observer?.after('open', state);
  reportUnknownSpis(state);
  reportMovedPeer(state);
  classify(state);
  applyPolicy(state);
  state.observer?.after('policy-in', state);
  if (state.routed !== undefined) giveBack(state, state.routed);
  reassemble(state);
  decapsulate(state);
  combineCongestion(state);
  finishStt(state);
  state.observer?.after('decapsulate', state);
  deliver(state);
  finishBatch(state);
  return received;
}

function receive(state: WorkerState): number {
  const { arena, batch } = state;
  arena.reset();
  const received = state.uplink.receive(batch, 0, arena.size.reads, arena.size.frameBytes);
  batch.count = received;
  state.counters.add(PACKETS_RECEIVED, received);
  return received;
}

function takeOffOuterHeaders(state: WorkerState): void {
  const { batch, pairs } = state;
  const { arena, offset, length, verdict } = batch;
  for (let row = 0; row < batch.count; row++) {
    batch.port[row] = -1;
    batch.tunnel[row] = -1;
    batch.sa[row] = -1;
    batch.protection[row] = -1;
    batch.protocol[row] = 0;
    verdict[row] = 0;
    if (length[row] < 0) {
      verdict[row] = IP_TOO_LONG;
      continue;
    }
    const start = offset[row];
    batch.outer[row] = start;
    let header: number;
    let pair: number;
    if (length[row] > 0 && arena[start] >>> 4 === 6) {
      header = checkIpv6(arena, start, length[row]);
      if (header < 0) {
        verdict[row] = -header;
        continue;
      }
      pair = pairs.find6(arena, start);
      batch.protocol[row] = ipv6NextHeader(arena, start);
      batch.tos[row] = ipv6TrafficClass(arena, start);
      length[row] = ipv6PayloadLength(arena, start);
    } else {
      header = checkIpv4(arena, start, length[row]);
      if (header < 0) {
        verdict[row] = -header;
        continue;
      }
      pair = pairs.find4(arena, start);
      batch.protocol[row] = ipv4Protocol(arena, start);
      batch.tos[row] = ipv4Tos(arena, start);
      length[row] = ipv4TotalLength(arena, start) - header;
    }
    offset[row] = start + header;
    batch.pair[row] = pair;
    batch.addressSum[row] = pair < 0 ? 0 : pairs.addressSum[pair];
  }
}

/** The offset of a refused ESP packet still points to its header. */
function reportUnknownSpis(state: WorkerState): void {
  const { batch } = state;
  const { arena, outer } = batch;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== UNKNOWN_SPI) continue;
    const source = sourceOffset(arena, outer[row]);
    const lowWord = arena[outer[row]] >>> 4 === 6 ? source + 12 : source;
    if (!state.unknownSpis.admits(readInt32(arena, lowWord), state.now)) continue;
    const spi = espSpi(arena, batch.offset[row]) >>> 0;
    state.emit({ event: 'unknown-spi', spi, remote: sourceText(arena, outer[row]) });
  }
}

/** One a batch will do: the peer goes on sending from there. */
export function reportMovedPeer(state: WorkerState): void {
  const { batch, inboundSas, counters } = state;
  if (inboundSas.padded > 0) {
    counters.add(TFC_PADDED, inboundSas.padded);
    inboundSas.padded = 0;
  }
  const row = inboundSas.movedRow;
  if (row < 0) return;
  inboundSas.movedRow = -1;
  const slot = batch.sa[row];
  if (state.now - inboundSas.movedAt[slot] < MOVED_INTERVAL_MS) return;
  inboundSas.movedAt[slot] = state.now;
  const remote = { address: sourceText(batch.arena, batch.outer[row]), port: batch.udpPort[row] };
  state.emit({ event: 'peer-moved', slot, remote });
}

function sourceOffset(arena: Uint8Array, header: number): number {
  return header + (arena[header] >>> 4 === 6 ? IPV6_SOURCE : IPV4_SOURCE);
}

function sourceText(arena: Uint8Array, header: number): string {
  const source = sourceOffset(arena, header);
  return arena[header] >>> 4 === 6 ? ipv6ToText(arena, source) : ipv4ToText(readInt32(arena, source));
}

/** Type and port of each tunnel packet; what is none is dropped. */
function classify(state: WorkerState): void {
  const { batch, tunnels } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0) continue;
    const protocol = batch.protocol[row];
    if (protocol === PROTOCOL_GRE) {
      batch.tunnelType[row] = GRE;
      batch.tunnelPort[row] = 0;
    } else if (protocol === PROTOCOL_UDP || protocol === PROTOCOL_TCP) {
      if (batch.length[row] < UDP_HEADER_LENGTH) {
        batch.verdict[row] = protocol === PROTOCOL_UDP ? UDP_TOO_SHORT : TCP_TOO_SHORT;
        continue;
      }
      // TCP has its ports where UDP has them.
      const port = udpDestinationPort(batch.arena, batch.offset[row]);
      const type = tunnels.typeOfPort(protocol, port);
      batch.tunnelType[row] = type;
      batch.tunnelPort[row] = port;
      if (type < 0) batch.verdict[row] = protocol === PROTOCOL_UDP ? UDP_PORT : TCP_PORT;
    } else batch.verdict[row] = batch.sa[row] >= 0 ? ESP_NEXT_HEADER : IP_PROTOCOL;
  }
}

function applyPolicy(state: WorkerState): void {
  const { batch, protections, tunnels, markRule } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0) continue;
    let verdict: number;
    if (batch.sa[row] >= 0) {
      verdict = inboundEspVerdict(protections.stateOf(batch.protection[row]));
    } else {
      const decides = tunnels.lookupAddresses(batch.tunnelType[row], batch.tunnelPort[row], batch.pair[row]);
      const protection = decides < 0 ? -1 : tunnels.tunnels[decides]!.protection;
      batch.protection[row] = protection;
      const saUp = protection >= 0 && protections.outboundSa[protection] >= 0;
      verdict = inboundPlaintextVerdict(protections.stateOf(protection), saUp, markRule);
      // The packet may be dropped here, so that its drop is counted at a tunnel of its addresses.
      if (verdict !== PLAINTEXT) batch.tunnel[row] = decides;
    }
    if (verdict !== ESP) batch.verdict[row] = verdict;
  }
}

function decapsulate(state: WorkerState): void {
  const { batch, checksums, tunnels, popped, stt } = state;
  const { arena, offset, length } = batch;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0) continue;
    const start = offset[row];
    const type = batch.tunnelType[row];
    const header = popperOf(type).pop(arena, start, start + length[row], popped);
    if (header < 0) {
      batch.verdict[row] = -header;
      continue;
    }
    const port = tunnels.lookup(type, popped[POP_PORT], batch.pair[row], popped[POP_KEY]);
    const tunnel = port < 0 ? undefined : tunnels.tunnels[port];
    if (tunnel === undefined || tunnel.bridge < 0) {
      batch.verdict[row] = NO_TUNNEL;
      continue;
    }
    batch.tunnel[row] = port;
    batch.tunnelKey[row] = popped[POP_KEY];
    batch.keyPresent[row] = popped[POP_KEY_PRESENT];
    if (tunnel.protection !== batch.protection[row]) {
      batch.verdict[row] = WRONG_PROTECTION;
      continue;
    }
    if (popped[POP_EXTENSION] !== 0 && !tunnel.extended) {
      batch.verdict[row] = VXLAN_FLAGS;
      continue;
    }
    const end = popped[POP_END];
    // In transport mode UDP's length tells where TFC padding begins (RFC 4303 §2.7).
    if (batch.sa[row] >= 0 && end < start + length[row]) state.counters.add(TFC_PADDED, 1);
    // Inside ESP in UDP the sum may cover addresses that a NAT has changed; the ICV has proved more (RFC 3948 §3.1.2).
    if (popped[POP_CHECKSUM] !== 0 && batch.udpPort[row] === 0 && !stt.owns(start))
      noteChecksum(batch, checksums, row, start, end - start);
    offset[row] = start + header;
    length[row] = end - start - header;
    if (length[row] < ETHERNET_HEADER) batch.verdict[row] = INNER_TOO_SHORT;
  }
  if (checksums.count > 0) verifyChecksums(batch, checksums, state.checksum);
}

/** What the way here has told of congestion goes into the inner packets; after the checksums, which cover them. */
function combineCongestion(state: WorkerState): void {
  const { batch } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0 || !ecnMatters(batch.tos[row])) continue;
    batch.verdict[row] = combineEcn(batch.arena, batch.offset[row], batch.length[row], batch.tos[row]);
  }
}

/** Step 6: the tunnel is the port the frame comes in through. */
function deliver(state: WorkerState): void {
  const { batch, tunnels, counters } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0) continue;
    const port = batch.tunnel[row];
    batch.port[row] = port;
    batch.bridge[row] = tunnels.tunnels[port]!.bridge;
    batch.tunnel[row] = -1;
    counters.received(port, batch.length[row]);
  }
  forward(state);
  transmit(state);
}
