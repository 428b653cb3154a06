/**
 * ESP in UDP through UDP sockets of port 4500, a part of the mmsg uplink: with UDP_SEGMENT one system call sends up to 64
 * packets that pass the IP stack as one, and with UDP_GRO what the NIC has joined comes up as one.
 *
 * Outside this file packets are as everywhere: whole, with IP and UDP header. Sending takes the headers off (the kernel
 * makes them again, with a checksum, which RFC 3948 §2.1 allows); receiving writes them in front of each datagram as it
 * is copied to its slot, since datagrams that came joined leave no room between them.
 */

import {
  ADDRESS_SLOT,
  type FrameColumns,
  type Native,
  type ReceivedSegments,
  type SentSegments,
} from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';
import { FrameList } from '../batch.ts';
import {
  IPV4_DESTINATION,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV4_TOS,
  IPV4_TTL,
  IPV4_VERSION_IHL,
  PROTOCOL_UDP,
  writeIpv4,
} from '../wire/ipv4.ts';
import {
  IPV6_ADDRESS_LENGTH,
  IPV6_DESTINATION,
  IPV6_HEADER_LENGTH,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_SOURCE,
  ipv6TrafficClass,
  writeIpv6,
} from '../wire/ipv6.ts';
import { readInt32, readUint16 } from '../wire/octets.ts';
import { UDP_DESTINATION_PORT, UDP_HEADER_LENGTH, udpSourcePort, writeUdp } from '../wire/udp.ts';
import { ERRNO, type UplinkDescriptors } from './uplink.ts';

const NAT_TRAVERSAL_PORT = 4500;
/** Messages of one receive call, and the bytes that one can have. */
const MESSAGES = 32;
const MESSAGE_BYTES = 65_536;
/** What native sendSegments takes as one message: rows, and bytes of UDP payload. */
const GROUP_ROWS = 64;
const GROUP_BYTES = 65_000;
/** sa_family, in host order: the low byte comes first on every platform that Node's Linux builds serve. */
const AF_INET = 2;
const AF_INET6 = 10;
/** Where port and address stand in a sockaddr_in and a sockaddr_in6. */
const SIN_PORT = 2;
const SIN_ADDR = 4;
const SIN6_ADDR = 8;
/** The hop limit of a received packet is not asked for: nothing depends on it. */
const RECEIVED_TTL = 64;

type Sockets = UplinkDescriptors['espInUdp'];
/** The list that is sent lies in an arena that is known only then. */
type Sent = { -readonly [Column in keyof SentSegments]: SentSegments[Column] };

export class EspInUdp {
  private readonly native: Native;
  private sockets: Sockets = [];

  // Messages received and not handed out: row `message` from `position` on is the next. None if it is `messages`.
  private staged: ReceivedSegments | undefined;
  private messages = 0;
  private message = 0;
  private position = 0;
  private stagedFamily: Family = 4;
  private readonly capacity: number;
  private copies: FrameList;
  private readonly to: Int32Array;
  private readonly addresses = new Int32Array(8);

  private readonly sent: Sent;
  private readonly destinations: Uint8Array;
  private readonly sources: Uint8Array;

  /** `capacity`: rows of the longest list that is sent or received. */
  constructor(native: Native, capacity: number) {
    this.native = native;
    this.capacity = capacity;
    this.copies = new FrameList(new Uint8Array(0), capacity);
    this.to = new Int32Array(capacity);
    const column = (): Int32Array => new Int32Array(capacity);
    this.sent = {
      arena: this.copies.arena,
      offset: column(),
      length: column(),
      group: column(),
      toIndex: column(),
      tos: column(),
      ttl: column(),
      errors: column(),
    };
    this.destinations = new Uint8Array(ADDRESS_SLOT * capacity);
    this.sources = new Uint8Array(ADDRESS_SLOT * capacity);
  }

  use(sockets: Sockets): void {
    this.sockets = sockets;
    if (sockets.length === 0 || this.staged !== undefined) return;
    const staging = this.native.packetMemory(MESSAGES * MESSAGE_BYTES);
    this.staged = {
      arena: staging,
      offset: Int32Array.from({ length: MESSAGES }, (_, row) => row * MESSAGE_BYTES),
      length: new Int32Array(MESSAGES),
      segment: new Int32Array(MESSAGES),
      tos: new Int32Array(MESSAGES),
      from: new Uint8Array(MESSAGES * ADDRESS_SLOT),
      local: new Uint8Array(MESSAGES * ADDRESS_SLOT),
    };
    this.copies = new FrameList(staging, this.capacity);
  }

  /** There is something to receive that no poll will tell of. */
  get holdsMore(): boolean {
    return this.message < this.messages;
  }

  /** As Uplink.receive. */
  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    const { staged } = this;
    if (staged === undefined) return 0;
    let filled = this.handOut(staged, columns, first, count, capacity);
    for (let i = 0; i < this.sockets.length && filled < count; i++) {
      const { family, fd } = this.sockets[i]!;
      this.messages = this.native.receiveSegments(fd, staged, 0, MESSAGES, MESSAGE_BYTES);
      this.message = 0;
      this.position = 0;
      this.stagedFamily = family;
      filled += this.handOut(staged, columns, first + filled, count - filled, capacity);
    }
    return filled;
  }

  /** The socket that takes entry j of a list, or -1: it is no ESP in UDP of ours, or one that may be fragmented. */
  senderOf(list: FrameList, j: number): number {
    const { arena } = list;
    const header = list.offset[j]!;
    const family = arena[header]! >>> 4;
    const isIpv6 = family === 6;
    if (!isIpv6) {
      if (arena[header + IPV4_PROTOCOL] !== PROTOCOL_UDP || arena[header + IPV4_VERSION_IHL] !== 0x45) return -1;
      if ((readUint16(arena, header + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) === 0) return -1;
    } else if (arena[header + IPV6_NEXT_HEADER] !== PROTOCOL_UDP) return -1;
    const udp = header + (isIpv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH);
    if (udpSourcePort(arena, udp) !== NAT_TRAVERSAL_PORT) return -1;
    for (let i = 0; i < this.sockets.length; i++) if (this.sockets[i]!.family === family) return this.sockets[i]!.fd;
    return -1;
  }

  /** Sends entries first … end-1, all of one socket; their errors as Uplink.send gives them. */
  send(fd: number, list: FrameList, first: number, end: number, mark: number): void {
    const { sent } = this;
    sent.arena = list.arena;
    const count = end - first;
    for (let i = 0; i < count; i++) this.fill(list, first + i, i);
    for (let i = 0; i < count; ) i += this.gather(i, count);
    let done = 0;
    while (done < count) {
      const taken = this.native.sendSegments(fd, sent, done, count - done, this.destinations, this.sources, mark >>> 0);
      if (taken <= 0) break;
      done += taken;
    }
    for (let i = 0; i < count; i++) list.errors[first + i] = i < done ? errnoOf(sent.errors[i]!) : ERRNO.EAGAIN;
  }

  /** Datagrams out of the staged messages into rows; the number of rows. */
  private handOut(
    staged: ReceivedSegments,
    columns: FrameColumns,
    first: number,
    count: number,
    capacity: number,
  ): number {
    const { copies } = this;
    const headers = UDP_HEADER_LENGTH + (this.stagedFamily === 6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH);
    let filled = 0;
    while (filled < count && this.message < this.messages) {
      const row = first + filled++;
      const whole = staged.length[this.message]!;
      const size = staged.segment[this.message]! || whole;
      const length = Math.min(size, whole - this.position);
      if (length < 0 || headers + length > capacity) columns.length[row] = -1;
      else {
        const at = columns.offset[row]!;
        this.to[copies.count] = at + headers;
        copies.add(row, staged.offset[this.message]! + this.position, length);
        this.writeHeaders(staged, columns.arena, at, length);
        columns.length[row] = headers + length;
      }
      this.position += size;
      if (this.position < whole) continue;
      this.message++;
      this.position = 0;
    }
    if (copies.count > 0) this.native.copyBatch(copies, this.to, copies.sum, 0, copies.count, columns.arena);
    copies.count = 0;
    return filled;
  }

  private writeHeaders(staged: ReceivedSegments, bytes: Uint8Array, at: number, length: number): void {
    const { from, local } = staged;
    const slot = this.message * ADDRESS_SLOT;
    const tos = staged.tos[this.message]!;
    const udpLength = UDP_HEADER_LENGTH + length;
    let udp = at + IPV4_HEADER_LENGTH;
    if (this.stagedFamily === 4) {
      const source = readInt32(from, slot + SIN_ADDR);
      const total = IPV4_HEADER_LENGTH + udpLength;
      writeIpv4(bytes, at, total, tos, 0, 0, RECEIVED_TTL, PROTOCOL_UDP, source, readInt32(local, slot + SIN_ADDR));
    } else {
      for (let i = 0; i < 4; i++) {
        this.addresses[i] = readInt32(from, slot + SIN6_ADDR + 4 * i);
        this.addresses[4 + i] = readInt32(local, slot + SIN6_ADDR + 4 * i);
      }
      writeIpv6(bytes, at, udpLength, tos, RECEIVED_TTL, PROTOCOL_UDP, this.addresses, 0, 4);
      udp = at + IPV6_HEADER_LENGTH;
    }
    writeUdp(bytes, udp, readUint16(from, slot + SIN_PORT), NAT_TRAVERSAL_PORT, udpLength);
  }

  /** Entry j of the list as row i to send: payload, addresses, TOS and TTL. */
  private fill(list: FrameList, j: number, i: number): void {
    const { arena } = list;
    const { sent, destinations, sources } = this;
    const header = list.offset[j]!;
    const slot = i * ADDRESS_SLOT;
    const isIpv6 = arena[header]! >>> 4 === 6;
    const headers = (isIpv6 ? IPV6_HEADER_LENGTH : IPV4_HEADER_LENGTH) + UDP_HEADER_LENGTH;
    const port = header + headers - UDP_HEADER_LENGTH + UDP_DESTINATION_PORT;
    destinations.fill(0, slot, slot + ADDRESS_SLOT);
    sources.fill(0, slot, slot + ADDRESS_SLOT);
    destinations[slot] = isIpv6 ? AF_INET6 : AF_INET;
    sources[slot] = destinations[slot]!;
    destinations[slot + SIN_PORT] = arena[port]!;
    destinations[slot + SIN_PORT + 1] = arena[port + 1]!;
    const source = header + (isIpv6 ? IPV6_SOURCE : IPV4_SOURCE);
    const destination = header + (isIpv6 ? IPV6_DESTINATION : IPV4_DESTINATION);
    const into = slot + (isIpv6 ? SIN6_ADDR : SIN_ADDR);
    const bytes = isIpv6 ? IPV6_ADDRESS_LENGTH : 4;
    for (let k = 0; k < bytes; k++) {
      destinations[into + k] = arena[destination + k]!;
      sources[into + k] = arena[source + k]!;
    }
    sent.offset[i] = header + headers;
    sent.length[i] = list.length[j]! - headers;
    sent.toIndex[i] = i;
    sent.tos[i] = isIpv6 ? ipv6TrafficClass(arena, header) : arena[header + IPV4_TOS]!;
    sent.ttl[i] = arena[header + (isIpv6 ? IPV6_HOP_LIMIT : IPV4_TTL)]!;
  }

  /** The rows from i on that make one message: one peer, equal lengths but for the last. Sets `group` and returns it. */
  private gather(i: number, count: number): number {
    const { sent } = this;
    const size = sent.length[i]!;
    const most = Math.min(count - i, GROUP_ROWS, Math.max(1, Math.floor(GROUP_BYTES / size)));
    let rows = 1;
    while (rows < most && sent.length[i + rows]! <= size && this.isAlike(i, i + rows)) {
      rows++;
      if (sent.length[i + rows - 1] !== size) break;
    }
    sent.group[i] = rows;
    return rows;
  }

  private isAlike(a: number, b: number): boolean {
    const { sent, destinations, sources } = this;
    if (sent.tos[a] !== sent.tos[b] || sent.ttl[a] !== sent.ttl[b]) return false;
    const at = a * ADDRESS_SLOT;
    const other = b * ADDRESS_SLOT;
    for (let k = 0; k < ADDRESS_SLOT; k++)
      if (destinations[at + k] !== destinations[other + k] || sources[at + k] !== sources[other + k]) return false;
    return true;
  }
}

/** Kernels before 6.15 say EINVAL of segments that are too big for the path. */
function errnoOf(errno: number): number {
  return errno === ERRNO.EINVAL ? ERRNO.EMSGSIZE : errno;
}
