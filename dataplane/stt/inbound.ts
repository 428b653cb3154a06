/**
 * STT on the way in: the two stages that other tunnels do not have.
 *
 *     reassemble   before decapsulation: the segments of cut frames are verified and put together
 *     finish       after it: the VLAN tag and the checksum that the frame header tells of go into the frame
 *
 * A frame in one segment passes the first stage untouched. A segment whose frame is not whole yet leaves the batch with
 * the verdict GONE; the one that makes it whole goes on as the whole frame, with a segment header in front as if it had come in one.
 */

import { GONE } from '../batch.ts';
import { DROP } from '../drops.ts';
import { noteChecksum, verifyChecksums } from '../encap/checksums.ts';
import { innerIpAt } from '../encap/inner-ip.ts';
import { STT } from '../tunnel-table.ts';
import { checksumOf, foldSum, sumBytes } from '../wire/checksum.ts';
import { pushTag, VLAN_TAG_LENGTH } from '../wire/ethernet.ts';
import { IPV4_SOURCE, ipv4TotalLength, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { IPV6_HEADER_LENGTH, IPV6_SOURCE, ipv6PayloadLength } from '../wire/ipv6.ts';
import { readInt32, writeUint16 } from '../wire/octets.ts';
import {
  checkSttSegment,
  STT_FLAG_PARTIAL,
  STT_FLAG_TCP,
  STT_HEADER_LENGTH,
  STT_SEGMENT_HEADER_LENGTH,
  sttFlags,
  sttFragmentOffset,
  sttFrameId,
  sttFrameLength,
  sttL4Offset,
  sttVlan,
} from '../wire/stt.ts';
import {
  TCP_ACK,
  TCP_CHECKSUM,
  TCP_HEADER_LENGTH,
  TCP_PSH,
  tcpDestinationPort,
  tcpSourcePort,
  writeTcp,
} from '../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_HEADER_LENGTH } from '../wire/udp.ts';
import type { WorkerState } from '../worker-state.ts';
import { STT_HELD } from './reassembly.ts';

const NO_TUNNEL = DROP['no-tunnel'];
const WRONG_OFFLOAD = DROP['stt-offload'];
const TOO_LONG = DROP['stt-too-long'];

/** Puts the segments of the batch together; policy has decided on each of them. */
export function reassemble(state: WorkerState): void {
  const { batch, checksums, stt } = state;
  const { arena, offset, length } = batch;
  stt.release(state.now);
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0 || batch.tunnelType[row] !== STT) continue;
    const start = offset[row];
    const header = checkSttSegment(arena, start, length[row]);
    if (header < 0) batch.verdict[row] = -header;
    else if (batch.pair[row] < 0) batch.verdict[row] = NO_TUNNEL;
    else if (sttFragmentOffset(arena, start) !== 0 || sttFrameLength(arena, start) !== length[row] - header)
      noteChecksum(batch, checksums, row, start, length[row]);
  }
  const segments = checksums.count;
  if (segments === 0) return;
  verifyChecksums(batch, checksums, state.checksum);
  for (let j = 0; j < segments; j++) if (batch.verdict[checksums.row[j]] === 0) take(state, checksums.row[j]);
}

function take(state: WorkerState, row: number): void {
  const { batch, stt, tunnels } = state;
  const { arena, offset, length } = batch;
  // A stranger's segments get no memory.
  const port = tunnels.lookupAddresses(STT, batch.tunnelPort[row], batch.pair[row]);
  if (port < 0) {
    batch.verdict[row] = NO_TUNNEL;
    return;
  }
  const start = offset[row];
  const header = checkSttSegment(arena, start, length[row]);
  const total = sttFrameLength(arena, start);
  const id = sttFrameId(arena, start);
  const result = stt.add(
    batch.pair[row],
    batch.protection[row],
    readInt32(arena, start),
    id,
    total,
    sttFragmentOffset(arena, start),
    start + header,
    length[row] - header,
    batch.tos[row],
    port,
    state.now,
  );
  if (result < 0) batch.verdict[row] = -result;
  else if (result === STT_HELD) batch.verdict[row] = GONE;
  else {
    const whole = stt.frameStart(result) - STT_SEGMENT_HEADER_LENGTH;
    const flags = TCP_ACK | TCP_PSH;
    writeTcp(
      arena,
      whole,
      tcpSourcePort(arena, start),
      tcpDestinationPort(arena, start),
      total << 16,
      id,
      flags,
      0xffff,
    );
    offset[row] = whole;
    length[row] = STT_SEGMENT_HEADER_LENGTH + total;
    batch.tos[row] = stt.frameTos(result);
  }
}

/** Finishes decapsulated frames; their frame header still stands in front of them. */
export function finish(state: WorkerState): void {
  const { batch, checksums } = state;
  for (let row = 0; row < batch.count; row++) {
    if (batch.verdict[row] !== 0 || batch.tunnelType[row] !== STT) continue;
    const header = batch.offset[row] - STT_HEADER_LENGTH;
    const partial = (sttFlags(batch.arena, header) & STT_FLAG_PARTIAL) !== 0;
    const vlan = sttVlan(batch.arena, header);
    if (partial && !noteInnerChecksum(state, row, header)) batch.verdict[row] = WRONG_OFFLOAD;
    else if (vlan >= 0) {
      // Over the end of the frame header, which has been read.
      pushTag(batch.arena, batch.offset[row], vlan);
      batch.offset[row] -= VLAN_TAG_LENGTH;
      batch.length[row] += VLAN_TAG_LENGTH;
    }
    if (batch.length[row] > state.arena.size.frameBytes) batch.verdict[row] = TOO_LONG;
  }
  if (checksums.count === 0) return;
  state.checksum(checksums, checksums.sum, 0, checksums.count);
  for (let j = 0; j < checksums.count; j++) {
    const value = checksumOf(checksums.sum[j]);
    // A UDP checksum of 0 would say that there is none (RFC 768); in TCP both zeros mean the same.
    writeUint16(batch.arena, checksums.toIndex[j], value === 0 ? 0xffff : value);
  }
  checksums.count = 0;
}

/**
 * Notes that the inner TCP or UDP checksum is to be made. It is made from nothing, whatever the sender left in
 * its field. False: where the header says TCP or UDP is, the frame has none.
 */
function noteInnerChecksum(state: WorkerState, row: number, header: number): boolean {
  const { batch, checksums } = state;
  const { arena } = batch;
  const frame = batch.offset[row];
  const ip = innerIpAt(arena, frame, batch.length[row]);
  if (ip < 0) return false;
  const isIpv6 = arena[ip] >>> 4 === 6;
  const isTcp = (sttFlags(arena, header) & STT_FLAG_TCP) !== 0;
  const packet = isIpv6 ? IPV6_HEADER_LENGTH + ipv6PayloadLength(arena, ip) : ipv4TotalLength(arena, ip);
  const end = ip + packet;
  const at = frame + sttL4Offset(arena, header);
  const ipHeader = isIpv6 ? IPV6_HEADER_LENGTH : (arena[ip] & 0xf) << 2;
  if (end > frame + batch.length[row] || at < ip + ipHeader) return false;
  const length = end - at;
  if (length < (isTcp ? TCP_HEADER_LENGTH : UDP_HEADER_LENGTH)) return false;

  const field = at + (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM);
  writeUint16(arena, field, 0);
  const addresses = isIpv6 ? sumBytes(arena, ip + IPV6_SOURCE, 32, 0) : sumBytes(arena, ip + IPV4_SOURCE, 8, 0);
  const j = checksums.count;
  checksums.add(row, at, length);
  checksums.sum[j] = foldSum(addresses + (isTcp ? PROTOCOL_TCP : PROTOCOL_UDP) + length);
  checksums.toIndex[j] = field;
  return true;
}
