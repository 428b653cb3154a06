/**
 * Segmentation: a TCP or UDP frame of up to 64 KB that a TAP or device hands over is cut into frames as they would have
 * been on a wire, as Linux does in software (Documentation/networking/segmentation-offloads).
 *
 * Each segment gets the headers of the whole with its own lengths, IPv4 id (one more each), TCP sequence number (RFC 9293
 * §3.4), and checksums. FIN and PSH stay with the last, CWR with the first (RFC 3168 §6.1.2).
 *
 *   1. open     after a read: vnet headers off, checksums of small frames completed, large ones checked and noted
 *   2. add      a segment of a large frame is to stand in a slot
 *   3. cut      all added ones: one native call copies and sums, then each header is patched
 *
 * A segment costs no loop over its bytes in TypeScript: the sums of the headers without the fields that change are taken
 * once a frame. Who gets the segments is the business of forward.ts; coalesce.ts is the way back.
 */

import type { Native } from '../../native-shims/types.ts';
import { type Batch, FrameList } from '../batch.ts';
import { DROP } from '../drops.ts';
import { checksumOf, foldSum, sumBytes } from '../wire/checksum.ts';
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, payloadTypeAt } from '../wire/ethernet.ts';
import {
  IPV4_CHECKSUM,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4.ts';
import { readInt32, readUint16, writeInt32, writeUint16 } from '../wire/octets.ts';
import { TCP_CHECKSUM, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQUENCE, tcpHeaderLength } from '../wire/tcp.ts';
import { UDP_CHECKSUM, UDP_HEADER_LENGTH } from '../wire/udp.ts';
import {
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  GSO_UDP_L4,
  moveVnetHeader,
  VNET_HEADER_LENGTH,
  vnetChecksumOffset,
  vnetChecksumStart,
  vnetGsoSize,
  vnetGsoType,
  vnetNeedsChecksum,
} from './vnet-header.ts';

const GSO_HEADER = DROP['gso-header'];
const CHECKSUM_RANGE = DROP['checksum-range'];

const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_HEADER_LENGTH = 40;
const UDP_LENGTH = 4;
/** TCP flags that not every segment has. */
const EDGE_FLAGS = TCP_FIN | TCP_PSH | TCP_CWR;
/** Header bytes that are copied for each segment, at most: Ethernet with two tags, IPv6 with extensions, TCP with options. */
const HEADERS_MAXIMUM = 256;

export class Segmenter {
  private readonly batch: Batch;
  private readonly copyBatch: Native['copyBatch'];
  private readonly checksumBatch: Native['checksumBatch'];
  /** Largest segment that a slot takes. */
  private readonly frameBytes: number;

  // Of each large frame, by its row. Positions are counted from the start of the frame.
  private readonly network: Int32Array;
  private readonly transport: Int32Array;
  private readonly headers: Int32Array;
  /** Sum of the IPv4 header without total length, id and checksum; -1: the frame is IPv6. */
  private readonly networkSum: Int32Array;
  /** Sum of pseudo-header and TCP or UDP header, without what differs between the segments. */
  private readonly transportSum: Int32Array;
  private readonly isUdp: Uint8Array;

  /** Small frames whose checksum is open; `field[row]` is where it goes. */
  private readonly open: FrameList;
  private readonly field: Int32Array;

  /** Two entries for each segment, headers and payload: from `offset` to `to`. */
  private readonly copies: FrameList;
  private readonly to: Int32Array;
  /** Of each segment: the large frame, the segment's number and the row it stands in. */
  private readonly source: Int32Array;
  private readonly number: Int32Array;
  private segments = 0;

  constructor(batch: Batch, frameBytes: number, native: Pick<Native, 'copyBatch' | 'checksumBatch'>) {
    const rows = batch.capacity;
    this.batch = batch;
    this.frameBytes = frameBytes;
    this.copyBatch = native.copyBatch;
    this.checksumBatch = native.checksumBatch;
    this.network = new Int32Array(rows);
    this.transport = new Int32Array(rows);
    this.headers = new Int32Array(rows);
    this.networkSum = new Int32Array(rows);
    this.transportSum = new Int32Array(rows);
    this.isUdp = new Uint8Array(rows);
    this.open = new FrameList(batch.arena, rows);
    this.field = new Int32Array(rows);
    this.copies = new FrameList(batch.arena, 2 * rows);
    this.to = new Int32Array(2 * rows);
    this.source = new Int32Array(rows);
    this.number = new Int32Array(rows);
  }

  /**
   * Step 1, for rows 0 to count-1 as read, each with a vnet header at `offset`. Afterwards `offset` is the frame's and `gso`
   * the payload bytes of a segment, 0 where the frame is a whole one; what makes no sense has a verdict.
   */
  openFrames(count: number): void {
    const { batch } = this;
    const { arena, offset, length, gso, verdict } = batch;
    this.open.count = 0;
    for (let row = 0; row < count; row++) {
      const header = offset[row];
      offset[row] = header + VNET_HEADER_LENGTH;
      gso[row] = 0;
      // -1: it did not fit, and has its verdict.
      if (length[row] < 0) continue;
      length[row] = Math.max(0, length[row] - VNET_HEADER_LENGTH);
      if (verdict[row] !== 0) continue;
      if (vnetGsoType(arena, header) !== GSO_NONE) {
        if (this.note(row, header)) gso[row] = vnetGsoSize(arena, header);
        else verdict[row] = GSO_HEADER;
      } else if (vnetNeedsChecksum(arena, header)) this.noteOpen(row, header);
    }
    if (this.open.count > 0) this.complete();
  }

  /** The frame of `row`, a large one, is about to begin `more` bytes earlier, or has just begun so many later: a tag put on, or taken off. */
  moveHeaders(row: number, more: number): void {
    this.network[row] += more;
    this.transport[row] += more;
    this.headers[row] += more;
    moveVnetHeader(this.batch.arena, this.batch.offset[row] - VNET_HEADER_LENGTH, more);
  }

  /** How many segments the large frame of `row` makes. */
  segmentsOf(row: number): number {
    const { gso, length } = this.batch;
    return Math.ceil((length[row] - this.headers[row]) / gso[row]);
  }

  /** Step 2: segment `number` of the large frame in row `from` is to stand in row `to`, whose `offset` is set; sets its `length`. */
  add(from: number, number: number, to: number): void {
    const { batch, copies, headers } = this;
    const size = batch.gso[from];
    const header = headers[from];
    const start = header + number * size;
    const payload = Math.min(size, batch.length[from] - start);
    const at = batch.offset[to];
    const k = this.segments++;
    this.source[k] = from;
    this.number[k] = number;
    this.to[2 * k] = at;
    this.to[2 * k + 1] = at + header;
    copies.add(to, batch.offset[from], header);
    copies.add(to, batch.offset[from] + start, payload);
    batch.length[to] = header + payload;
  }

  /** Step 3. */
  cut(): void {
    const { copies, segments } = this;
    if (segments === 0) return;
    this.copyBatch(copies, this.to, copies.sum, 0, copies.count);
    for (let k = 0; k < segments; k++) this.patch(k);
    copies.count = 0;
    this.segments = 0;
  }

  /** Notes a frame whose checksum is open and nothing else. */
  private noteOpen(row: number, header: number): void {
    const { arena, offset, length, verdict } = this.batch;
    const start = vnetChecksumStart(arena, header);
    const field = start + vnetChecksumOffset(arena, header);
    if (field + 2 > length[row]) {
      verdict[row] = CHECKSUM_RANGE;
      return;
    }
    this.field[row] = offset[row] + field;
    this.open.sum[this.open.count] = 0;
    this.open.add(row, offset[row] + start, length[row] - start);
  }

  private complete(): void {
    const { open, batch } = this;
    this.checksumBatch(open, open.sum, 0, open.count);
    for (let j = 0; j < open.count; j++) {
      const value = checksumOf(open.sum[j]);
      // 0 would say "no checksum" in UDP; TCP takes either.
      writeUint16(batch.arena, this.field[open.row[j]], value === 0 ? 0xffff : value);
    }
  }

  /** Checks the headers of a large frame and notes what all its segments share. False if they don't fit together. */
  private note(row: number, header: number): boolean {
    const { arena, offset, length } = this.batch;
    const frame = offset[row];
    const total = length[row];
    const type = vnetGsoType(arena, header);
    const transport = vnetChecksumStart(arena, header);
    const size = vnetGsoSize(arena, header);
    const typeAt = total < IPV4_HEADER_LENGTH ? -1 : payloadTypeAt(arena, frame, total);
    const network = typeAt + 2;
    if (typeAt < 0 || size === 0 || !vnetNeedsChecksum(arena, header) || transport + UDP_HEADER_LENGTH > total)
      return false;

    const etherType = readUint16(arena, frame + typeAt);
    const isIpv4 = etherType === ETHERTYPE_IPV4;
    const isUdp = type === GSO_UDP_L4;
    if (isIpv4 ? !this.isIpv4(frame + network, transport - network, isUdp) : etherType !== ETHERTYPE_IPV6) return false;
    if (!isIpv4 && transport - network < IPV6_HEADER_LENGTH) return false;
    if (!isUdp && type !== (isIpv4 ? GSO_TCPV4 : GSO_TCPV6)) return false;
    if (vnetChecksumOffset(arena, header) !== (isUdp ? UDP_CHECKSUM : TCP_CHECKSUM)) return false;
    const own = isUdp ? UDP_HEADER_LENGTH : tcpHeaderLength(arena, frame + transport, total - transport);
    const headers = transport + own;
    if (own === 0 || headers > HEADERS_MAXIMUM || headers >= total || headers + size > this.frameBytes) return false;

    this.network[row] = network;
    this.transport[row] = transport;
    this.headers[row] = headers;
    this.isUdp[row] = isUdp ? 1 : 0;
    this.networkSum[row] = isIpv4 ? this.sumNetwork(frame + network, transport - network) : -1;
    this.transportSum[row] = this.sumTransport(frame + transport, own, total - transport, isUdp);
    return true;
  }

  private isIpv4(at: number, headerLength: number, isUdp: boolean): boolean {
    const { arena } = this.batch;
    return (
      headerLength >= IPV4_HEADER_LENGTH &&
      (arena[at] & 0xf) << 2 === headerLength &&
      arena[at + IPV4_PROTOCOL] === (isUdp ? PROTOCOL_UDP : PROTOCOL_TCP)
    );
  }

  private sumNetwork(at: number, length: number): number {
    const { arena } = this.batch;
    const changing =
      (readUint16(arena, at + IPV4_TOTAL_LENGTH) ^ 0xffff) +
      (readUint16(arena, at + IPV4_IDENTIFICATION) ^ 0xffff) +
      (readUint16(arena, at + IPV4_CHECKSUM) ^ 0xffff);
    return foldSum(sumBytes(arena, at, length, 0) + changing);
  }

  /**
   * The checksum field holds the pseudo-header's sum with the length of the whole, so the sum over the header has it; what
   * changes from segment to segment is taken out again (adding the complement subtracts, RFC 1624 §3).
   */
  private sumTransport(at: number, length: number, whole: number, isUdp: boolean): number {
    const { arena } = this.batch;
    let sum = sumBytes(arena, at, length, 0) + (whole ^ 0xffff);
    if (isUdp) sum += readUint16(arena, at + UDP_LENGTH) ^ 0xffff;
    else {
      sum += (readUint16(arena, at + TCP_SEQUENCE) ^ 0xffff) + (readUint16(arena, at + TCP_SEQUENCE + 2) ^ 0xffff);
      sum += (arena[at + TCP_FLAGS] & EDGE_FLAGS) ^ 0xffff;
    }
    return foldSum(sum);
  }

  /** Gives segment k the fields in which it differs from the whole. */
  private patch(k: number): void {
    const { batch, copies } = this;
    const { arena } = batch;
    const from = this.source[k];
    const row = copies.row[2 * k];
    const number = this.number[k];
    const frame = batch.offset[row];
    const length = batch.length[row];
    const network = frame + this.network[from];
    const transport = frame + this.transport[from];
    const transportLength = length - this.transport[from];
    this.patchNetwork(from, network, frame + length - network, number);

    let sum = this.transportSum[from] + transportLength + copies.sum[2 * k + 1];
    if (this.isUdp[from] === 1) {
      writeUint16(arena, transport + UDP_LENGTH, transportLength);
      const value = checksumOf(foldSum(sum + transportLength));
      writeUint16(arena, transport + UDP_CHECKSUM, value === 0 ? 0xffff : value);
      return;
    }
    const sequence = (readInt32(arena, transport + TCP_SEQUENCE) + number * batch.gso[from]) | 0;
    const isLast = this.headers[from] + (number + 1) * batch.gso[from] >= batch.length[from];
    let flags = arena[transport + TCP_FLAGS];
    if (!isLast) flags &= ~(TCP_FIN | TCP_PSH);
    if (number > 0) flags &= ~TCP_CWR;
    sum += (sequence >>> 16) + (sequence & 0xffff) + (flags & EDGE_FLAGS);
    writeInt32(arena, transport + TCP_SEQUENCE, sequence);
    arena[transport + TCP_FLAGS] = flags;
    writeUint16(arena, transport + TCP_CHECKSUM, checksumOf(foldSum(sum)));
  }

  private patchNetwork(from: number, at: number, length: number, number: number): void {
    const { arena } = this.batch;
    const sum = this.networkSum[from];
    if (sum < 0) {
      writeUint16(arena, at + IPV6_PAYLOAD_LENGTH, length - IPV6_HEADER_LENGTH);
      return;
    }
    const id = (readUint16(arena, at + IPV4_IDENTIFICATION) + number) & 0xffff;
    writeUint16(arena, at + IPV4_TOTAL_LENGTH, length);
    writeUint16(arena, at + IPV4_IDENTIFICATION, id);
    writeUint16(arena, at + IPV4_CHECKSUM, checksumOf(foldSum(sum + length + id)));
  }
}
