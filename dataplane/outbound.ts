/**
 * The way out, from a TAP to the uplink. The functions stand in the order of the packet's way:
 *
 *     1. read          a batch of frames from a TAP or device
 *     2. forward       learn, look up, flood; frames for TAPs are written (forward.ts)
 *     3. encapsulate   tunnel header in front of the frame, checksums over the batch; what is too big for the path is
 *                      answered (too-big.ts), or cut by STT (stt/)
 *     4. policy        plaintext, ESP or drop (policy.ts)
 *     5. seal          ESP over the batch, in UDP where the SA says so (esp/)
 *     6. outer header  IPv4 or IPv6 in front of it all
 *     7. send          a batch for each mark
 *
 * inbound.ts mirrors it. A frame that comes out of one tunnel and goes into another joins at step 3.
 */

import { PAIR_WORDS, REMOTE } from './address-pairs.ts';
import { type Batch, ETHERNET_HEADER, GONE, LATER } from './batch.ts';
import { FRAMES_READ, PACKETS_SENT } from './counters.ts';
import { DROP } from './drops.ts';
import { fillChecksums, noteChecksum } from './encap/checksums.ts';
import { flowHash } from './encap/flow-hash.ts';
import { ECN_MASK, hopLimit, innerIpAt, outerEcn, trafficClass } from './encap/inner-ip.ts';
import { sealBatch } from './esp/seal.ts';
import { putOnUdpEncapsulation } from './esp/udp-encap.ts';
import { countDrops, finishBatch } from './finish.ts';
import { fitTag, forward, give, writeLocal } from './forward.ts';
import { ERRNO } from './io/uplink.ts';
import { ESP, outboundVerdict, PROTECTION_STATE } from './policy.ts';
import { numberFrame, segment, segmentCount } from './stt/outbound.ts';
import { answerTooBig } from './too-big.ts';
import { STT, type Tunnel } from './tunnel-table.ts';
import { espRoom } from './wire/esp.ts';
import { IPV4_HEADER_LENGTH, IPV4_MAX_PAYLOAD, writeIpv4 } from './wire/ipv4.ts';
import { IPV6_HEADER_LENGTH, writeIpv6 } from './wire/ipv6.ts';
import { UDP_HEADER_LENGTH } from './wire/udp.ts';
import type { LocalPort, WorkerState } from './worker-state.ts';

// Looked up once: DROP is an object, and a stage should not search it for each packet.
const FRAME_TOO_LONG = DROP['frame-too-long'];
const FRAME_TOO_SHORT = DROP['frame-too-short'];
const ENCAP_TOO_LONG = DROP['encap-too-long'];
const TOO_BIG = DROP['too-big'];
const QUEUE_FULL = DROP['send-queue-full'];
const UNREACHABLE = DROP['send-unreachable'];
const REFUSED = DROP['send-refused'];
const NO_FREE_SLOT = DROP['no-free-slot'];

/** At most one sa-wanted event a second for each protection (commands.ts). */
const WANTED_INTERVAL_MS = 1000;

/** Steps 1 to 7 for one batch from a port. Returns the frames read. */
export function outbound(state: WorkerState, port: LocalPort): number {
  const read = readFrames(state, port);
  if (read === 0) return 0;
  state.observer?.after('read', state);
  forward(state);
  transmit(state);
  finishBatch(state);
  return read;
}

/** Step 1. Returns the frames read. */
export function readFrames(state: WorkerState, source: LocalPort): number {
  const { arena, batch, counters } = state;
  const { hasVnetHeader } = source.frames;
  let capacity = arena.size.frameBytes;
  if (hasVnetHeader) capacity = arena.resetLarge();
  else arena.reset();
  const read = source.frames.read(batch, 0, arena.size.reads, capacity);
  batch.count = read;
  batch.verdict.fill(0, 0, read);
  if (hasVnetHeader) state.segmenter.openFrames(read);
  for (let row = 0; row < read; row++) {
    const length = batch.length[row];
    batch.port[row] = source.port;
    batch.bridge[row] = source.bridge;
    batch.tunnel[row] = -1;
    if (length < 0) batch.verdict[row] = FRAME_TOO_LONG;
    else if (length < ETHERNET_HEADER) batch.verdict[row] = FRAME_TOO_SHORT;
    counters.received(source.port, Math.max(length, 0));
  }
  counters.add(FRAMES_READ, read);
  return read;
}

/** Steps 3 to 7 for the rows that forward() has given a tunnel. */
export function transmit(state: WorkerState): void {
  const rows = state.batch.count;
  let next = 0;
  do {
    next = encapsulate(state, next, rows);
    transmitMade(state);
    // STT frames may have used up the rows behind the batch: these are sent, and used again.
    if (next < rows) makeRoom(state, next, rows);
  } while (next < rows);
  writeLocal(state);
}

/** Steps 4 to 7, for the `made` rows that have a tunnel and an IP payload to travel in it. */
export function transmitMade(state: WorkerState): void {
  state.observer?.after('encapsulate', state);
  if (state.made === 0) return;
  applyPolicy(state);
  state.observer?.after('policy-out', state);
  sealBatch(state.batch, state.aeadList, state.outboundSas);
  putOnUdpEncapsulation(state.batch, state.outboundSas, state.pairs, state.checksums, state.checksum);
  state.observer?.after('seal', state);
  writeOuterHeaders(state);
  state.observer?.after('outer-header', state);
  send(state);
  state.observer?.after('send', state);
}

/**
 * Encapsulates rows `first` to `rows` - 1. Returns the row where free rows ran out, to go on with when what is
 * made has been sent, or `rows`; `state.made` is the number of frames handled.
 */
function encapsulate(state: WorkerState, first: number, rows: number): number {
  const { batch, checksums, pairs } = state;
  const { arena, offset, length } = batch;
  state.made = 0;
  let next = rows;
  for (let row = first; row < rows; row++) {
    // Of every row: what is not to be sealed must not have an SA, whatever the row was before.
    batch.sa[row] = -1;
    if (batch.verdict[row] === LATER) batch.verdict[row] = 0;
    if (batch.verdict[row] !== 0 || batch.tunnel[row] < 0) continue;
    if (next < rows) {
      batch.verdict[row] = LATER;
      continue;
    }
    const room = fitToPath(state, row);
    if (batch.verdict[row] !== 0) continue;
    const port = batch.tunnel[row];
    const tunnel = state.tunnels.tunnels[port]!;
    const frame = offset[row];
    const end = frame + length[row];
    const segments = tunnel.type === STT ? segmentCount(length[row] + tunnel.state.overhead, room) : 1;
    if (tunnel.type === STT && batch.count + segments > batch.capacity && (segments > 1 || batch.count > rows)) {
      if (batch.count > rows) {
        batch.verdict[row] = LATER;
        next = row;
      } else batch.verdict[row] = NO_FREE_SLOT;
      continue;
    }
    const hash = flowHash(arena, frame, length[row]);
    const start = tunnel.encapsulation.push(arena, frame, length[row], tunnel.state, hash);
    if (end - start > IPV4_MAX_PAYLOAD) {
      batch.verdict[row] = ENCAP_TOO_LONG;
      continue;
    }
    state.counters.sent(port, length[row]);
    offset[row] = start;
    length[row] = end - start;
    batch.flowHash[row] = hash;
    batch.protocol[row] = tunnel.encapsulation.protocol;
    batch.pair[row] = tunnel.pair;
    batch.addressSum[row] = pairs.addressSum[tunnel.pair];
    inherit(batch, row, tunnel, frame, end - frame);
    batch.mark[row] = tunnel.egressMark ?? state.uplinkMark;
    batch.protection[row] = tunnel.protection;
    state.made++;
    if (tunnel.type === STT) numberFrame(state, row);
    // An STT frame must not overtake one before it that was cut.
    if (segments > 1 || (tunnel.type === STT && batch.count > rows)) segment(state, row, room, segments);
    else if (tunnel.state.checksum) noteChecksum(batch, checksums, row, start, end - start);
  }
  if (checksums.count > 0) fillChecksums(batch, checksums, state.checksum);
  return next;
}

/** Rows up to `next` have been sent, those behind the batch as well. */
function makeRoom(state: WorkerState, next: number, rows: number): void {
  const { batch } = state;
  for (let row = 0; row < next; row++)
    if (batch.verdict[row] === 0 && batch.tunnel[row] >= 0) batch.verdict[row] = GONE;
  countDrops(state, rows);
  batch.count = rows;
}

/**
 * Bytes that the tunnel packet of a row may have, from its tunnel header on. A frame that is too big is dropped; where an answer
 * can be given, the row becomes that answer: it leaves through the port that the frame came in through.
 */
function fitToPath(state: WorkerState, row: number): number {
  const { batch } = state;
  for (;;) {
    const port = batch.tunnel[row];
    const tunnel = state.tunnels.tunnels[port]!;
    const room = roomOf(state, tunnel);
    const frameRoom = room - tunnel.state.overhead;
    if (batch.length[row] <= frameRoom || tunnel.type === STT) return room;
    if (!answerTooBig(batch, row, frameRoom, state.answers, state.now)) {
      batch.verdict[row] = TOO_BIG;
      return room;
    }
    state.counters.dropped(TOO_BIG, port);
    const ingress = batch.port[row];
    fitTag(state, row, ingress);
    if (give(state, row, ingress, false) || state.tunnels.tunnels[ingress] === undefined) {
      batch.verdict[row] = GONE;
      return room;
    }
    // It came out of a tunnel: the answer goes back into that. An answer is never answered, so this ends.
    batch.tunnel[row] = ingress;
  }
}

function roomOf({ protections, outboundSas, pairs }: WorkerState, tunnel: Tunnel): number {
  const sa = tunnel.protection < 0 ? -1 : protections.outboundSa[tunnel.protection];
  if (sa < 0) return tunnel.pathMtu - ipHeaderLength(tunnel.family);
  const outer = ipHeaderLength(pairs.family[outboundSas.path[sa]]);
  const udp = outboundSas.localPort[sa] === 0 ? 0 : UDP_HEADER_LENGTH;
  const inner = outboundSas.tunnel[sa] === 0 ? 0 : ipHeaderLength(tunnel.family);
  return espRoom(tunnel.pathMtu - outer - udp) - inner;
}

function ipHeaderLength(family: number): number {
  return family === 6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH;
}

/** TTL and DSCP/ECN byte of the outer header: the tunnel's settings and what the inner packet says. */
function inherit(batch: Batch, row: number, tunnel: Tunnel, frame: number, length: number): void {
  const at = innerIpAt(batch.arena, frame, length);
  let { tos, ttl } = tunnel;
  if (at >= 0) {
    const inner = trafficClass(batch.arena, at);
    tos = (tunnel.inheritsTos ? inner & ~ECN_MASK : tos) | outerEcn(inner);
    // A packet with TTL 0 is not to be on the wire; it is not ours to drop either.
    if (tunnel.inheritsTtl) ttl = hopLimit(batch.arena, at) || ttl;
  }
  batch.tos[row] = tos;
  batch.ttl[row] = ttl;
}

function applyPolicy(state: WorkerState): void {
  const { batch, protections, markRule } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0 || batch.tunnel[row] < 0) continue;
    const protection = batch.protection[row];
    const sa = protection < 0 ? -1 : protections.outboundSa[protection];
    const verdict = outboundVerdict(protections.stateOf(protection), sa >= 0, batch.mark[row], markRule);
    if (verdict === ESP) {
      batch.sa[row] = sa;
      continue;
    }
    batch.verdict[row] = verdict;
    if (protection >= 0 && sa < 0) want(state, protection);
  }
}

/** The tunnel would have sent ESP if there were an SA. */
export function want(state: WorkerState, protection: number): void {
  const { wantedAt } = state.protections;
  if (state.protections.stateOf(protection) === PROTECTION_STATE.invalid) return;
  if (state.now - wantedAt[protection] < WANTED_INTERVAL_MS) return;
  wantedAt[protection] = state.now;
  state.emit({ event: 'sa-wanted', protection });
}

function writeOuterHeaders(state: WorkerState): void {
  const { batch, pairs } = state;
  const { arena, offset, length } = batch;
  for (let row = 0; row < batch.count; row++) {
    const port = batch.tunnel[row];
    if (batch.verdict[row] !== 0 || port < 0) continue;
    const tunnel = state.tunnels.tunnels[port]!;
    const pair = batch.pair[row];
    const local = pair * PAIR_WORDS;
    const remote = local + REMOTE;
    const payload = length[row];
    if (pairs.family[pair] === 6) {
      offset[row] -= IPV6_HEADER_LENGTH;
      length[row] = payload + IPV6_HEADER_LENGTH;
      writeIpv6(
        arena,
        offset[row],
        payload,
        batch.tos[row],
        batch.ttl[row],
        batch.protocol[row],
        pairs.words,
        local,
        remote,
      );
    } else {
      offset[row] -= IPV4_HEADER_LENGTH;
      length[row] = payload + IPV4_HEADER_LENGTH;
      // Identification 0: the kernel fills it in.
      writeIpv4(
        arena,
        offset[row],
        length[row],
        batch.tos[row],
        0,
        tunnel.fragment,
        batch.ttl[row],
        batch.protocol[row],
        pairs.words[local],
        pairs.words[remote],
      );
    }
    state.senders.all[state.senders.ofPort[port]].list.add(row, offset[row], length[row]);
  }
}

function send(state: WorkerState): void {
  const senders = state.senders.all;
  for (let i = 0; i < senders.length; i++) {
    const { mark, list } = senders[i];
    if (list.count === 0) continue;
    state.uplink.send(list, mark);
    let sent = 0;
    for (let j = 0; j < list.count; j++) {
      const errno = list.errors[j];
      if (errno === 0) sent++;
      else state.batch.verdict[list.row[j]] = sendFailure(errno);
    }
    state.counters.add(PACKETS_SENT, sent);
    list.count = 0;
  }
}

function sendFailure(errno: number): number {
  switch (errno) {
    case ERRNO.EMSGSIZE:
      return TOO_BIG;
    case ERRNO.EAGAIN:
    case ERRNO.ENOBUFS:
      return QUEUE_FULL;
    case ERRNO.ENETUNREACH:
    case ERRNO.EHOSTUNREACH:
    case ERRNO.ENETDOWN:
      return UNREACHABLE;
    default:
      return REFUSED;
  }
}
