/**
 * Uplink backend `raw-socket`: the npm package of that name, one system call a packet, IPv4 only, for hosts without our addon's
 * sockets and for comparison. Its addon loads on the main thread only (it is not context-aware), so `workers` must be 0.
 *
 * One raw socket each for ESP, GRE and UDP receives, with everything of its protocol: there is no BPF here, so
 * UDP is sorted by port in JavaScript. One IPPROTO_RAW socket for each mark sends. The package reuses one receive buffer, so
 * a message is copied into a queue at once. What does not fit into the queue is lost, as with a socket.
 */

import type { FrameColumns } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import {
  ERRNO,
  IP_PROTOCOL,
  NO_DESCRIPTORS,
  type Uplink,
  type UplinkBackend,
  type UplinkDemand,
  type UplinkDescriptors,
} from './uplink.ts';

/** What we use of the package, which has no types of its own. */
interface RawSocket {
  on(event: 'message', listener: (message: Buffer, source: string) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  setOption(level: number, option: number, value: number): void;
  send(
    buffer: Buffer,
    offset: number,
    length: number,
    address: string,
    after: (error: Error | null, bytes: number) => void,
  ): void;
  close(): void;
}

interface RawSocketModule {
  createSocket(options: { protocol: number; bufferSize: number }): RawSocket;
  readonly SocketLevel: { readonly SOL_SOCKET: number; readonly IPPROTO_IP: number };
  readonly SocketOption: { readonly IP_HDRINCL: number };
}

/** Linux setsockopt numbers that the package does not name. */
const SO_MARK = 36;
/** Largest IPv4 packet. */
const BUFFER_BYTES = 65_536;
const QUEUE_PACKETS = 1024;

type Log = (message: string) => void;

/** Loads the package. Throws one line when it is not installed or not built. */
export async function loadRawSocket(): Promise<RawSocketModule> {
  const name = 'raw-socket';
  try {
    const loaded = (await import(name)) as { default: RawSocketModule };
    return loaded.default;
  } catch (error) {
    throw new Error(
      `uplink-io raw-socket: the package raw-socket does not load (${(error as Error).message.split('\n')[0]}); install and build it (npm rebuild raw-socket), or use --uplink-io=mmsg`,
    );
  }
}

/** Those not closed. The package refers to its sockets weakly: what only waits for a packet would be collected, and wait for ever. */
const open = new Set<RawSocketBackend>();

export class RawSocketBackend implements UplinkBackend, Uplink {
  private readonly raw: RawSocketModule;
  private readonly log: Log;
  private readonly esp: RawSocket;
  private gre: RawSocket | undefined;
  private udp: RawSocket | undefined;
  private readonly senders = new Map<number, RawSocket>();
  private udpPorts: ReadonlySet<number> = new Set();
  private readonly queue: Buffer[] = [];
  /** Packets that a socket has been given and not sent yet, bounded by QUEUE_PACKETS. */
  private inFlight = 0;
  private callback: (() => void) | undefined;
  private closed = false;

  constructor(raw: RawSocketModule, log: Log) {
    this.raw = raw;
    this.log = log;
    this.esp = this.receiver(IP_PROTOCOL.esp);
    open.add(this);
  }

  open(demand: UplinkDemand): readonly UplinkDescriptors[] {
    if (demand.ipv6 !== undefined)
      throw new Error('uplink-io raw-socket carries tunnels over IPv4 only; use --uplink-io=mmsg for IPv6');
    const { gre, udpPorts, espInUdp } = demand.ipv4;
    if (espInUdp)
      throw new Error('uplink-io raw-socket carries no ESP in UDP; use --uplink-io=mmsg for peers behind NATs');
    this.udpPorts = new Set(udpPorts);
    if (gre) this.gre ??= this.receiver(IP_PROTOCOL.gre);
    else {
      this.gre?.close();
      this.gre = undefined;
    }
    if (udpPorts.length > 0) this.udp ??= this.receiver(IP_PROTOCOL.udp);
    else {
      this.udp?.close();
      this.udp = undefined;
    }
    const marks = new Set([0, ...demand.marks]);
    for (const mark of marks) if (!this.senders.has(mark)) this.senders.set(mark, this.sender(mark));
    for (const [mark, socket] of this.senders) {
      if (marks.has(mark)) continue;
      socket.close();
      this.senders.delete(mark);
    }
    return [NO_DESCRIPTORS];
  }

  settle(): void {
    // open() closes at once: both halves run on one thread.
  }

  uplink(): Uplink {
    return this;
  }

  close(): void {
    this.closed = true;
    open.delete(this);
    this.callback = undefined;
    for (const socket of [this.esp, this.gre, this.udp, ...this.senders.values()]) socket?.close();
    this.senders.clear();
  }

  descriptors(): readonly number[] {
    return [];
  }

  use(_descriptors: UplinkDescriptors): void {
    // open() has done it.
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    let filled = 0;
    while (filled < count && this.queue.length > 0) {
      const packet = this.queue.shift()!;
      const row = first + filled++;
      columns.length[row] = packet.length <= capacity ? packet.length : -1;
      columns.arena.set(packet.subarray(0, capacity), columns.offset[row]);
    }
    return filled;
  }

  send(list: FrameList, mark: number): void {
    const socket = this.senders.get(mark >>> 0);
    for (let j = 0; j < list.count; j++) {
      if (socket === undefined) list.errors[j] = ERRNO.ENETDOWN;
      else if (this.inFlight >= QUEUE_PACKETS) list.errors[j] = ERRNO.EAGAIN;
      else {
        const at = list.offset[j]!;
        // The socket sends when the event loop says it is writable; by then the slot holds another packet.
        const packet = Buffer.from(list.arena.slice(at, at + list.length[j]!));
        const address = `${packet[16]}.${packet[17]}.${packet[18]}.${packet[19]}`;
        this.inFlight++;
        socket.send(packet, 0, packet.length, address, this.sent);
        list.errors[j] = 0;
      }
    }
  }

  watch(callback: () => void): () => void {
    this.callback = callback;
    return () => {
      this.callback = undefined;
    };
  }

  /** errno comes too late for the packet's row: the package reports when the packet is long gone. */
  private readonly sent = (error: Error | null): void => {
    this.inFlight--;
    if (error !== null && !this.closed) this.log(`uplink-io raw-socket: a packet was not sent: ${error.message}`);
  };

  private receiver(protocol: number): RawSocket {
    const socket = this.raw.createSocket({ protocol, bufferSize: BUFFER_BYTES });
    socket.on('error', this.failed);
    socket.on('message', (message) => {
      if (this.queue.length >= QUEUE_PACKETS || !this.takes(message)) return;
      this.queue.push(Buffer.from(message));
      this.callback?.();
    });
    return socket;
  }

  private sender(mark: number): RawSocket {
    const socket = this.raw.createSocket({ protocol: IP_PROTOCOL.raw, bufferSize: BUFFER_BYTES });
    socket.on('error', this.failed);
    socket.setOption(this.raw.SocketLevel.IPPROTO_IP, this.raw.SocketOption.IP_HDRINCL, 1);
    if (mark !== 0) socket.setOption(this.raw.SocketLevel.SOL_SOCKET, SO_MARK, mark);
    return socket;
  }

  private readonly failed = (error: Error): void => {
    if (!this.closed) this.log(`uplink-io raw-socket: ${error.message}`);
  };

  private takes(packet: Buffer): boolean {
    if (packet.length < 20) return false;
    if (packet[9] !== IP_PROTOCOL.udp) return true;
    const header = (packet[0]! & 15) * 4;
    return packet.length >= header + 8 && this.udpPorts.has(packet.readUInt16BE(header + 2));
  }
}
