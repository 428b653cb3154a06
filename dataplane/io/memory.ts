/**
 * Uplinks and ports in memory: what engines are tested and measured with, no kernel involved.
 *
 * A wire joins uplinks; a packet that one sends arrives at all others, dropped by the same rules that the kernel and
 * the filters of the mmsg backend apply: ESP always, GRE and UDP only when asked for.
 * Queues have fixed slots, so the packet path allocates as little as with sockets.
 */

import type { FrameColumns } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import type { FramePort } from './port.ts';
import {
  ERRNO,
  IP_PROTOCOL,
  NO_DESCRIPTORS,
  type Uplink,
  type UplinkBackend,
  type UplinkDemand,
  type UplinkDescriptors,
} from './uplink.ts';

/** A ring of packets of bounded length. */
class PacketQueue {
  private readonly bytes: Uint8Array;
  private readonly lengths: Int32Array;
  private readonly slotBytes: number;
  private head = 0;
  count = 0;

  constructor(slots: number, slotBytes: number) {
    this.slotBytes = slotBytes;
    this.bytes = new Uint8Array(slots * slotBytes);
    this.lengths = new Int32Array(slots);
  }

  /** False: the queue is full or the packet too long for it. */
  push(from: Uint8Array, offset: number, length: number): boolean {
    if (this.count === this.lengths.length || length > this.slotBytes) return false;
    const slot = (this.head + this.count) % this.lengths.length;
    copyBytes(from, offset, this.bytes, slot * this.slotBytes, length);
    this.lengths[slot] = length;
    this.count++;
    return true;
  }

  /** Appends to the newest packet what fits. */
  extend(from: Uint8Array, offset: number, length: number): void {
    const slot = (this.head + this.count - 1) % this.lengths.length;
    const at = this.lengths[slot]!;
    const fits = Math.min(length, this.slotBytes - at);
    copyBytes(from, offset, this.bytes, slot * this.slotBytes + at, fits);
    this.lengths[slot] = at + fits;
  }

  /** Takes the oldest packet; -1 if it is longer than capacity. The queue must not be empty. */
  shift(into: Uint8Array, offset: number, capacity: number): number {
    const length = this.lengths[this.head]!;
    copyBytes(this.bytes, this.head * this.slotBytes, into, offset, Math.min(length, capacity));
    this.head = (this.head + 1) % this.lengths.length;
    this.count--;
    return length <= capacity ? length : -1;
  }
}

/** A loop, because a view for `set` would be an allocation for each packet. */
function copyBytes(from: Uint8Array, at: number, into: Uint8Array, to: number, length: number): void {
  for (let i = 0; i < length; i++) into[to + i] = from[at + i]!;
}

function drain(queue: PacketQueue, columns: FrameColumns, first: number, count: number, capacity: number): number {
  let filled = 0;
  while (filled < count && queue.count > 0) {
    const row = first + filled++;
    columns.length[row] = queue.shift(columns.arena, columns.offset[row]!, capacity);
  }
  return filled;
}

export interface MemoryWireOptions {
  /** Packets that each queue holds, default 1024. */
  readonly slots?: number;
  /** Largest packet in bytes: more gives EMSGSIZE. Default 9000. */
  readonly mtu?: number;
  /** Sees each packet that is sent (a view, valid during the call) and may change it; false loses it. */
  tap?: (packet: Uint8Array, mark: number) => boolean;
}

/** Several uplinks on one wire. */
export class MemoryWire {
  readonly options: MemoryWireOptions;
  private readonly ends: MemoryUplink[] = [];

  constructor(options: MemoryWireOptions = {}) {
    this.options = options;
  }

  attach(): MemoryUplink {
    const end = new MemoryUplink(this, this.options.slots ?? 1024, this.options.mtu ?? 9000);
    this.ends.push(end);
    return end;
  }

  /** One packet from one end to all others; the errno for the sender. */
  carry(sender: MemoryUplink | undefined, arena: Uint8Array, offset: number, length: number, mark: number): number {
    if (length > (this.options.mtu ?? 9000)) return ERRNO.EMSGSIZE;
    const tap = this.options.tap;
    if (tap !== undefined && !tap(arena.subarray(offset, offset + length), mark)) return 0;
    for (let i = 0; i < this.ends.length; i++) {
      const end = this.ends[i]!;
      if (end !== sender) end.arrive(arena, offset, length);
    }
    return 0;
  }

  /** Puts a packet on the wire that no engine has sent. */
  inject(packet: Uint8Array): void {
    this.carry(undefined, packet, 0, packet.length, 0);
  }
}

/** One end of a wire: backend and uplink in one, for engines with 0 workers. */
export class MemoryUplink implements UplinkBackend, Uplink {
  private readonly wire: MemoryWire;
  private readonly queue: PacketQueue;
  private demand: UplinkDemand = {
    ipv4: { esp: true, espInUdp: false, gre: false, udpPorts: [], tcpPorts: [] },
    ipv6: undefined,
    marks: [],
  };
  private callback: (() => void) | undefined;

  constructor(wire: MemoryWire, slots: number, mtu: number) {
    this.wire = wire;
    this.queue = new PacketQueue(slots, mtu);
  }

  open(demand: UplinkDemand): readonly UplinkDescriptors[] {
    this.demand = demand;
    return [NO_DESCRIPTORS];
  }

  settle(): void {
    // Nothing was opened, so nothing is to be closed.
  }

  uplink(): Uplink {
    return this;
  }

  close(): void {
    this.callback = undefined;
  }

  descriptors(): readonly number[] {
    return [];
  }

  use(_descriptors: UplinkDescriptors): void {
    // The demand was taken over by open(); there are no descriptors.
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    return drain(this.queue, columns, first, count, capacity);
  }

  send(list: FrameList, mark: number): void {
    for (let j = 0; j < list.count; j++)
      list.errors[j] = this.wire.carry(this, list.arena, list.offset[j]!, list.length[j]!, mark);
  }

  watch(callback: () => void): () => void {
    this.callback = callback;
    return () => {
      this.callback = undefined;
    };
  }

  /** The wire has a packet for this end. What no socket of ours would get is not taken. */
  arrive(arena: Uint8Array, offset: number, length: number): void {
    if (!this.takes(arena, offset, length)) return;
    if (this.queue.push(arena, offset, length)) this.callback?.();
  }

  private takes(arena: Uint8Array, offset: number, length: number): boolean {
    if (length < 20) return false;
    const isIpv6 = arena[offset]! >>> 4 === 6;
    const demand = isIpv6 ? this.demand.ipv6 : this.demand.ipv4;
    if (demand === undefined || (isIpv6 && length < 40)) return false;
    const protocol = arena[offset + (isIpv6 ? 6 : 9)];
    if (protocol === IP_PROTOCOL.esp) return demand.esp;
    if (protocol === IP_PROTOCOL.gre) return demand.gre;
    if (protocol !== IP_PROTOCOL.udp && protocol !== IP_PROTOCOL.tcp) return false;
    const ports = protocol === IP_PROTOCOL.udp ? demand.udpPorts : demand.tcpPorts;
    const header = isIpv6 ? 40 : (arena[offset]! & 15) * 4;
    const port = (arena[offset + header + 2]! << 8) | arena[offset + header + 3]!;
    if (header + 8 > length) return false;
    // IKE, with four zero bytes in place of an SPI, is for another socket.
    if (protocol === IP_PROTOCOL.udp && port === 4500 && demand.espInUdp)
      return arena.subarray(offset + header + 8, offset + header + 12).some(Boolean);
    return ports.includes(port);
  }
}

/** A port whose frames come from a test and go to it. */
export class MemoryPort implements FramePort {
  readonly descriptor = -1;
  readonly failure = undefined;
  /** As a TAP's: then put() and take() deal in frames with a vnet header. */
  readonly hasVnetHeader: boolean;
  readonly takesGroups = true;
  private readonly inbox: PacketQueue;
  private readonly outbox: PacketQueue;
  private callback: (() => void) | undefined;

  constructor(slots = 1024, frameBytes = 9600, hasVnetHeader = false) {
    this.hasVnetHeader = hasVnetHeader;
    this.inbox = new PacketQueue(slots, frameBytes);
    this.outbox = new PacketQueue(slots, frameBytes);
  }

  read(columns: FrameColumns, first: number, count: number, capacity: number): number {
    return drain(this.inbox, columns, first, count, capacity);
  }

  write(list: FrameList): void {
    for (let j = 0; j < list.count; j += list.group[j]!) {
      const taken = this.outbox.push(list.arena, list.offset[j]!, list.length[j]!);
      for (let piece = 1; taken && piece < list.group[j]!; piece++)
        this.outbox.extend(list.arena, list.offset[j + piece]!, list.length[j + piece]!);
      list.errors[j] = taken ? 0 : ERRNO.EAGAIN;
    }
  }

  watch(callback: () => void): () => void {
    this.callback = callback;
    return () => {
      this.callback = undefined;
    };
  }

  /** Hands the engine a frame, as if the kernel had sent it. False: the queue is full. */
  put(frame: Uint8Array): boolean {
    const taken = this.inbox.push(frame, 0, frame.length);
    if (taken) this.callback?.();
    return taken;
  }

  /** Takes the oldest frame that the engine has delivered. */
  take(): Uint8Array | undefined {
    if (this.outbox.count === 0) return undefined;
    const frame = new Uint8Array(65536);
    return frame.slice(0, this.outbox.shift(frame, 0, frame.length));
  }

  /** Frames delivered and not taken yet. */
  get delivered(): number {
    return this.outbox.count;
  }

  /** Takes the oldest delivered frame into a buffer of the caller's; its length, 0 when there is none. */
  takeInto(buffer: Uint8Array): number {
    return this.outbox.count === 0 ? 0 : this.outbox.shift(buffer, 0, buffer.length);
  }
}
