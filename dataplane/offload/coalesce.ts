/**
 * Coalescing: TCP segments that came out of tunnels are joined to frames of up to 64 KB before they are written to a TAP,
 * the receive offload of this side (Linux Documentation/networking/segmentation-offloads, GRO). The mirror of segment.ts:
 * what it joins, cutting gives back byte for byte.
 *
 * Frames are joined if they stand next to each other in one flow: equal Ethernet and IP headers, IPv4 ids that count up
 * (or stand still, with DF), equal TCP acknowledgement, window and options, only ACK and on the last one PSH, sequence
 * numbers without a gap, and payloads as long as the first but for the last. Header and TCP checksums of all of them must
 * be right: a wrong one must reach the host as it is, for a joined frame gets checksums that are.
 *
 *   1. inspect   which frames are candidates; their checksums noted
 *   2. verify    one native call
 *   3. link      candidates to chains, in order; a frame that does not continue the chain of its flow ends it
 *   4. list      pieces to write: for each chain vnet header, joined header and first payload in place, then the payloads
 */

import { type Batch, FrameList } from '../batch.ts';
import { type ChecksumBatch, checksumOf, foldSum, sumBytes } from '../wire/checksum.ts';
import { ETHERNET_HEADER_LENGTH, ETHERTYPE_IPV4, ETHERTYPE_IPV6, payloadTypeAt } from '../wire/ethernet.ts';
import {
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_IDENTIFICATION,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  IPV4_TTL,
  PROTOCOL_TCP,
} from '../wire/ipv4.ts';
import { readInt32, readUint16, writeUint16 } from '../wire/octets.ts';
import {
  TCP_ACK,
  TCP_ACKNOWLEDGEMENT,
  TCP_CHECKSUM,
  TCP_DATA_OFFSET,
  TCP_FLAGS,
  TCP_HEADER_LENGTH,
  TCP_PSH,
  TCP_SEQUENCE,
  TCP_SOURCE_PORT,
  TCP_WINDOW,
  tcpHeaderLength,
} from '../wire/tcp.ts';
import { clearVnetHeader, GSO_TCPV4, GSO_TCPV6, VNET_HEADER_LENGTH, writeVnetHeader } from './vnet-header.ts';

const IPV4_VERSION_IHL_PLAIN = 0x45;
const IPV4_FRAGMENTED = 0x3fff;
const IPV6_HEADER_LENGTH = 40;
const IPV6_PAYLOAD_LENGTH = 4;
const IPV6_NEXT_HEADER = 6;
const IPV6_SOURCE = 8;
const IPV6_DESTINATION = 24;
const IPV6_ADDRESSES = 32;
/** The sum of a range whose checksum is right. */
const CORRECT = 0xffff;
/** Longest IP packet of a chain. */
const PACKET_MAXIMUM = 65535;
/** Rows of one native writeGroups group. */
const CHAIN_MAXIMUM = 256;
/** Flows with a chain that may still grow: more at once in one batch are rare, and only cost a chance to join. */
const OPEN_CHAINS = 16;

const NOT_TCP = 0;
const TCP_ALONE = 1;
const CANDIDATE = 2;
const NONE = -1;

export class Coalescer {
  /** What to write after list(): pieces, with `group` rows to each frame. */
  readonly pieces: FrameList;
  private readonly batch: Batch;
  private readonly checksum: ChecksumBatch;
  private readonly noted: FrameList;

  // Of each entry of the list. Positions are counted from the start of the frame.
  private readonly kind: Uint8Array;
  private readonly network: Int32Array;
  private readonly transport: Int32Array;
  private readonly payloadAt: Int32Array;
  private readonly payload: Int32Array;
  private readonly ports: Int32Array;
  private readonly addresses: Int32Array;
  /** The next entry of its chain; of a chain's first its last one and its length in entries. */
  private readonly next: Int32Array;
  private readonly last: Int32Array;
  private readonly chained: Int32Array;
  /** 1: the entry continues a chain. */
  private readonly continues: Uint8Array;

  /** First entries of the chains that may grow, oldest first. */
  private readonly growing = new Int32Array(OPEN_CHAINS);
  private growingCount = 0;

  constructor(batch: Batch, checksum: ChecksumBatch) {
    const rows = batch.capacity;
    this.batch = batch;
    this.checksum = checksum;
    this.pieces = new FrameList(batch.arena, rows);
    this.noted = new FrameList(batch.arena, rows);
    this.kind = new Uint8Array(rows);
    this.network = new Int32Array(rows);
    this.transport = new Int32Array(rows);
    this.payloadAt = new Int32Array(rows);
    this.payload = new Int32Array(rows);
    this.ports = new Int32Array(rows);
    this.addresses = new Int32Array(rows);
    this.next = new Int32Array(rows);
    this.last = new Int32Array(rows);
    this.chained = new Int32Array(rows);
    this.continues = new Uint8Array(rows);
  }

  /**
   * Gives the pieces to write for the frames of `list`, each frame with a vnet header; joined, if `joins`. Entries with
   * `shared` are written as they are, since others read them too; frames with a `gso` size have their vnet header already.
   */
  list(list: FrameList, joins: boolean): FrameList {
    const { pieces } = this;
    pieces.count = 0;
    if (!joins || list.count < 2 || !this.inspect(list)) {
      for (let j = 0; j < list.count; j++) this.single(list, j);
      return pieces;
    }
    this.checksum(this.noted, this.noted.sum, 0, this.noted.count);
    for (let i = 0; i < this.noted.count; i++) {
      if (this.noted.sum[i] !== CORRECT) this.kind[this.noted.row[i]] = TCP_ALONE;
    }
    this.link(list);
    for (let j = 0; j < list.count; j++) {
      if (this.continues[j] === 1) continue;
      if (this.chained[j] > 1) this.chain(list, j);
      else this.single(list, j);
    }
    return pieces;
  }

  /** Step 1. False if there are not even two candidates. */
  private inspect(list: FrameList): boolean {
    const { gso } = this.batch;
    this.noted.count = 0;
    for (let j = 0; j < list.count; j++) {
      this.kind[j] = NOT_TCP;
      this.continues[j] = 0;
      this.chained[j] = 1;
      const isWhole = list.shared[j] === 0 && gso[list.row[j]] === 0;
      this.inspectFrame(j, list.offset[j], list.length[j], isWhole);
    }
    return this.noted.count > 1;
  }

  private inspectFrame(j: number, frame: number, length: number, mayJoin: boolean): void {
    const { arena } = this.batch;
    if (length < ETHERNET_HEADER_LENGTH + IPV4_HEADER_LENGTH + TCP_HEADER_LENGTH) return;
    const typeAt = payloadTypeAt(arena, frame, length);
    const network = typeAt + 2;
    if (typeAt < 0 || network + IPV4_HEADER_LENGTH > length) return;
    const etherType = readUint16(arena, frame + typeAt);
    const at = frame + network;
    let transport = network;
    let isPlain = false;
    let sum = 0;
    if (etherType === ETHERTYPE_IPV4) {
      transport += (arena[at] & 0xf) << 2;
      if (arena[at + IPV4_PROTOCOL] !== PROTOCOL_TCP || transport < network + IPV4_HEADER_LENGTH) return;
      this.addresses[j] = readInt32(arena, at + IPV4_SOURCE) ^ Math.imul(readInt32(arena, at + IPV4_DESTINATION), 31);
      isPlain =
        arena[at] === IPV4_VERSION_IHL_PLAIN &&
        (readUint16(arena, at + IPV4_FRAGMENT) & IPV4_FRAGMENTED) === 0 &&
        network + readUint16(arena, at + IPV4_TOTAL_LENGTH) === length &&
        sumBytes(arena, at, IPV4_HEADER_LENGTH, 0) === CORRECT;
      sum = sumBytes(arena, at + IPV4_SOURCE, 8, 0);
    } else if (etherType === ETHERTYPE_IPV6 && network + IPV6_HEADER_LENGTH <= length) {
      transport += IPV6_HEADER_LENGTH;
      if (arena[at + IPV6_NEXT_HEADER] !== PROTOCOL_TCP) return;
      this.addresses[j] =
        readInt32(arena, at + IPV6_SOURCE + 12) ^ Math.imul(readInt32(arena, at + IPV6_DESTINATION + 12), 31);
      isPlain = arena[at] >>> 4 === 6 && transport + readUint16(arena, at + IPV6_PAYLOAD_LENGTH) === length;
      sum = sumBytes(arena, at + IPV6_SOURCE, IPV6_ADDRESSES, 0);
    } else return;

    const header = transport > length ? 0 : tcpHeaderLength(arena, frame + transport, length - transport);
    if (header === 0) return;
    this.kind[j] = TCP_ALONE;
    this.network[j] = network;
    this.transport[j] = transport;
    this.payloadAt[j] = transport + header;
    this.payload[j] = length - transport - header;
    this.ports[j] = readInt32(arena, frame + transport + TCP_SOURCE_PORT);
    const flags = arena[frame + transport + TCP_FLAGS];
    if (!mayJoin || !isPlain || this.payload[j] === 0 || (flags & ~TCP_PSH) !== TCP_ACK) return;
    this.kind[j] = CANDIDATE;
    const whole = length - transport;
    this.noted.sum[this.noted.count] = foldSum(sum + PROTOCOL_TCP + whole);
    this.noted.add(j, frame + transport, whole);
  }

  /** Step 3. */
  private link(list: FrameList): void {
    this.growingCount = 0;
    for (let j = 0; j < list.count; j++) {
      if (this.kind[j] === NOT_TCP) continue;
      const i = this.growingChain(j);
      if (this.kind[j] === CANDIDATE && i !== NONE && this.follows(list, this.growing[i], j)) {
        const first = this.growing[i];
        this.next[this.last[first]] = j;
        this.last[first] = j;
        this.chained[first]++;
        this.continues[j] = 1;
        if (this.payload[j] < this.payload[first] || this.isPushed(list, j)) this.endChain(i);
        continue;
      }
      if (i !== NONE) this.endChain(i);
      if (this.kind[j] === CANDIDATE && !this.isPushed(list, j)) this.begin(j);
    }
  }

  private isPushed(list: FrameList, j: number): boolean {
    return (this.batch.arena[list.offset[j] + this.transport[j] + TCP_FLAGS] & TCP_PSH) !== 0;
  }

  private begin(j: number): void {
    if (this.growingCount === OPEN_CHAINS) this.endChain(0);
    this.growing[this.growingCount++] = j;
    this.last[j] = j;
  }

  private endChain(i: number): void {
    this.growingCount--;
    for (let k = i; k < this.growingCount; k++) this.growing[k] = this.growing[k + 1];
  }

  /** The growing chain of the flow that entry j belongs to: its place in `growing`. */
  private growingChain(j: number): number {
    for (let i = 0; i < this.growingCount; i++) {
      const first = this.growing[i];
      if (this.ports[first] === this.ports[j] && this.addresses[first] === this.addresses[j]) return i;
    }
    return NONE;
  }

  /** Whether candidate j is the next segment of the chain that begins with candidate `first`. */
  private follows(list: FrameList, first: number, j: number): boolean {
    const { arena } = this.batch;
    const network = this.network[first];
    const transport = this.transport[first];
    const count = this.chained[first];
    const size = this.payload[first];
    // All but the last are equally long, or the chain would have ended.
    const packet = this.payloadAt[first] - network + size * count + this.payload[j];
    if (
      this.payloadAt[j] !== this.payloadAt[first] ||
      this.network[j] !== network ||
      this.payload[j] > size ||
      count === CHAIN_MAXIMUM ||
      packet > PACKET_MAXIMUM
    )
      return false;
    const a = list.offset[first];
    const b = list.offset[j];
    const sequence = (readInt32(arena, a + transport + TCP_SEQUENCE) + size * count) | 0;
    if (readInt32(arena, b + transport + TCP_SEQUENCE) !== sequence) return false;
    if (!isEqual(arena, a, b, network)) return false;
    const isIpv4 = transport - network === IPV4_HEADER_LENGTH;
    if (isIpv4 ? !this.isNextIpv4(list, first, j) : !isEqualIpv6(arena, a + network, b + network)) return false;
    return isEqualTcp(arena, a + transport, b + transport, this.payloadAt[first] - transport);
  }

  private isNextIpv4(list: FrameList, first: number, j: number): boolean {
    const { arena } = this.batch;
    const network = this.network[first];
    const a = list.offset[first] + network;
    const b = list.offset[j] + network;
    const id = readUint16(arena, a + IPV4_IDENTIFICATION);
    const ownId = readUint16(arena, b + IPV4_IDENTIFICATION);
    const count = this.chained[first];
    // Whether ids stand still is decided by the second of the chain.
    const before = readUint16(arena, list.offset[this.last[first]] + network + IPV4_IDENTIFICATION);
    const isCounting = count === 1 || before !== id;
    const isStill = (count === 1 || before === id) && (readUint16(arena, a + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) !== 0;
    if (!(isCounting && ownId === ((id + count) & 0xffff)) && !(isStill && ownId === id)) return false;
    return (
      arena[a + 1] === arena[b + 1] &&
      readUint16(arena, a + IPV4_FRAGMENT) === readUint16(arena, b + IPV4_FRAGMENT) &&
      arena[a + IPV4_TTL] === arena[b + IPV4_TTL] &&
      readInt32(arena, a + IPV4_SOURCE) === readInt32(arena, b + IPV4_SOURCE) &&
      readInt32(arena, a + IPV4_DESTINATION) === readInt32(arena, b + IPV4_DESTINATION)
    );
  }

  private single(list: FrameList, j: number): void {
    const header = list.offset[j] - VNET_HEADER_LENGTH;
    const row = list.row[j];
    if (this.batch.gso[row] === 0) clearVnetHeader(this.batch.arena, header);
    this.pieces.group[this.pieces.count] = 1;
    this.pieces.add(row, header, list.length[j] + VNET_HEADER_LENGTH);
  }

  /** Step 4: the chain that begins with entry `first`, whose headers become those of the whole. */
  private chain(list: FrameList, first: number): void {
    const { pieces } = this;
    const { arena } = this.batch;
    const count = this.chained[first];
    const at = list.offset[first];
    const header = at - VNET_HEADER_LENGTH;
    pieces.group[pieces.count] = count;
    pieces.add(list.row[first], header, list.length[first] + VNET_HEADER_LENGTH);
    let payload = this.payload[first];
    for (let k = 1, j = this.next[first]; k < count; k++, j = this.next[j]) {
      payload += this.payload[j];
      pieces.add(list.row[j], list.offset[j] + this.payloadAt[j], this.payload[j]);
    }
    const network = this.network[first];
    const transport = this.transport[first];
    const payloadAt = this.payloadAt[first];
    const isIpv4 = transport - network === IPV4_HEADER_LENGTH;
    const whole = payloadAt - transport + payload;
    let sum = 0;
    if (isIpv4) {
      writeUint16(arena, at + network + IPV4_TOTAL_LENGTH, transport - network + whole);
      writeUint16(arena, at + network + IPV4_CHECKSUM, 0);
      const value = checksumOf(sumBytes(arena, at + network, IPV4_HEADER_LENGTH, 0));
      writeUint16(arena, at + network + IPV4_CHECKSUM, value);
      sum = sumBytes(arena, at + network + IPV4_SOURCE, 8, 0);
    } else {
      writeUint16(arena, at + network + IPV6_PAYLOAD_LENGTH, whole);
      sum = sumBytes(arena, at + network + IPV6_SOURCE, IPV6_ADDRESSES, 0);
    }
    if (this.isPushed(list, this.last[first])) arena[at + transport + TCP_FLAGS] |= TCP_PSH;
    writeUint16(arena, at + transport + TCP_CHECKSUM, foldSum(sum + PROTOCOL_TCP + whole));
    const type = isIpv4 ? GSO_TCPV4 : GSO_TCPV6;
    writeVnetHeader(arena, header, type, payloadAt, this.payload[first], transport, TCP_CHECKSUM);
  }
}

function isEqual(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (bytes[a + i] !== bytes[b + i]) return false;
  return true;
}

/** All but the payload length. */
function isEqualIpv6(bytes: Uint8Array, a: number, b: number): boolean {
  return (
    readInt32(bytes, a) === readInt32(bytes, b) &&
    isEqual(bytes, a + IPV6_NEXT_HEADER, b + IPV6_NEXT_HEADER, IPV6_HEADER_LENGTH - IPV6_NEXT_HEADER)
  );
}

/** All but sequence number, PSH and checksum. */
function isEqualTcp(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  return (
    readInt32(bytes, a) === readInt32(bytes, b) &&
    readInt32(bytes, a + TCP_ACKNOWLEDGEMENT) === readInt32(bytes, b + TCP_ACKNOWLEDGEMENT) &&
    bytes[a + TCP_DATA_OFFSET] === bytes[b + TCP_DATA_OFFSET] &&
    readUint16(bytes, a + TCP_WINDOW) === readUint16(bytes, b + TCP_WINDOW) &&
    isEqual(bytes, a + TCP_CHECKSUM + 2, b + TCP_CHECKSUM + 2, length - TCP_CHECKSUM - 2)
  );
}
