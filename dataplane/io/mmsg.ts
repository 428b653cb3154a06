/**
 * Uplink backend `mmsg`: raw IPv4 sockets with recvmmsg and sendmmsg, one set for each worker.
 *
 * In: a raw ESP socket always; raw GRE and raw UDP sockets while a tunnel of that kind may come in as plaintext.
 * Raw sockets get reassembled packets with their IP header. Each worker's BPF filter takes its own (bpf.ts).
 * A UDP socket bound to each tunnel port, with a filter that drops all, keeps the kernel from
 * answering with ICMP port unreachable.
 * Out: IPPROTO_RAW (the header is ours), one socket for each mark. They are opened on the main thread, where
 * a missing privilege is one clear error, and outlive a worker that dies.
 */

import { ADDRESS_SLOT, type FrameColumns, type Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { DROP_ALL, espFilter, greFilter, udpFilter } from './bpf.ts';
import {
  ERRNO,
  IP_PROTOCOL,
  type Uplink,
  type UplinkBackend,
  type UplinkDemand,
  type UplinkDescriptors,
} from './uplink.ts';

/** Socket buffers in bytes: a few thousand packets, so that a worker may be away for some milliseconds. */
const RECEIVE_BUFFER = 8 << 20;
const SEND_BUFFER = 4 << 20;
const NO_SOCKET = -1;
/** sa_family of a sockaddr_in, in host order: the low byte comes first on every platform that Node's Linux builds serve. */
const AF_INET = 2;

type Log = (message: string) => void;

interface WorkerSockets {
  readonly esp: number;
  gre: number;
  udp: number;
  readonly send: Map<number, number>;
}

export class MmsgBackend implements UplinkBackend {
  private readonly native: Native;
  private readonly workers: number;
  private readonly log: Log;
  private readonly sockets: WorkerSockets[] = [];
  /** Bound and silent UDP sockets by port. */
  private readonly guards = new Map<number, number>();
  private udpPorts = '';
  private replaced: number[] = [];

  /** `workers`: sets of sockets, at least 1. Throws NativeError (EPERM without CAP_NET_RAW). */
  constructor(native: Native, workers: number, log: Log) {
    this.native = native;
    this.workers = workers;
    this.log = log;
    for (let worker = 0; worker < workers; worker++) {
      const esp = this.openReceiver(IP_PROTOCOL.esp, espFilter(worker, workers));
      this.sockets.push({ esp, gre: NO_SOCKET, udp: NO_SOCKET, send: new Map() });
    }
  }

  open(demand: UplinkDemand): readonly UplinkDescriptors[] {
    this.openGuards(demand.udpPorts);
    const udpPorts = demand.udpPorts.join();
    const udpChanged = udpPorts !== this.udpPorts;
    this.udpPorts = udpPorts;
    this.sockets.forEach((set, worker) => {
      if (demand.gre && set.gre === NO_SOCKET)
        set.gre = this.openReceiver(IP_PROTOCOL.gre, greFilter(worker, this.workers));
      else if (!demand.gre && set.gre !== NO_SOCKET) set.gre = this.retire(set.gre);
      if (udpChanged) {
        if (set.udp !== NO_SOCKET) set.udp = this.retire(set.udp);
        if (demand.udpPorts.length > 0)
          set.udp = this.openReceiver(IP_PROTOCOL.udp, udpFilter(demand.udpPorts, worker, this.workers));
      }
      this.openSenders(set.send, demand.marks);
    });
    return this.sockets.map((set) => ({
      esp: set.esp,
      gre: set.gre,
      udp: set.udp,
      send: [...set.send].map(([mark, fd]) => ({ mark, fd })),
    }));
  }

  settle(): void {
    for (const fd of this.replaced) this.native.close(fd);
    this.replaced = [];
  }

  close(): void {
    this.settle();
    for (const set of this.sockets) {
      for (const fd of [set.esp, set.gre, set.udp, ...set.send.values()]) if (fd !== NO_SOCKET) this.native.close(fd);
    }
    this.sockets.length = 0;
    for (const fd of this.guards.values()) if (fd !== NO_SOCKET) this.native.close(fd);
    this.guards.clear();
  }

  private openReceiver(protocol: number, filter: Parameters<Native['attachFilter']>[1]): number {
    const fd = this.native.openRawSocket({ family: 4, protocol, receiveBuffer: RECEIVE_BUFFER });
    this.native.attachFilter(fd, filter);
    return fd;
  }

  private openSenders(send: Map<number, number>, marks: readonly number[]): void {
    const wanted = new Set([0, ...marks]);
    for (const mark of wanted) {
      if (send.has(mark)) continue;
      const fd = this.native.openRawSocket({
        family: 4,
        protocol: IP_PROTOCOL.raw,
        headerIncluded: true,
        sendBuffer: SEND_BUFFER,
        ...(mark === 0 ? {} : { mark }),
      });
      this.native.attachFilter(fd, DROP_ALL);
      send.set(mark, fd);
    }
    for (const [mark, fd] of send) {
      if (wanted.has(mark)) continue;
      send.delete(mark);
      this.retire(fd);
    }
  }

  private openGuards(ports: readonly number[]): void {
    for (const port of ports) {
      if (this.guards.has(port)) continue;
      this.guards.set(port, this.openGuard(port));
    }
    for (const [port, fd] of this.guards) {
      if (ports.includes(port)) continue;
      this.guards.delete(port);
      if (fd !== NO_SOCKET) this.native.close(fd);
    }
  }

  /** A port that somebody else holds is answered by nobody either; that is all the guard is for. */
  private openGuard(port: number): number {
    try {
      const fd = this.native.openUdpSocket({ family: 4, address: '0.0.0.0', port });
      this.native.attachFilter(fd, DROP_ALL);
      return fd;
    } catch (error) {
      this.log(
        `UDP port ${port} is held by another program (${(error as Error).message}): tunnels use it all the same`,
      );
      return NO_SOCKET;
    }
  }

  private retire(fd: number): number {
    this.replaced.push(fd);
    return NO_SOCKET;
  }
}

/** The worker's half. */
export class MmsgUplink implements Uplink {
  private readonly native: Native;
  private receivers: number[] = [];
  private sendMarks: Int32Array = new Int32Array(0);
  private sendFds: Int32Array = new Int32Array(0);
  /** sendmmsg needs a destination address beside the header: a sockaddr_in of the list's rows. */
  private readonly addresses: Uint8Array;
  private watches: (() => void)[] = [];
  private callback: (() => void) | undefined;

  /** `capacity`: entries of the longest list that is sent. */
  constructor(native: Native, capacity: number) {
    this.native = native;
    this.addresses = new Uint8Array(ADDRESS_SLOT * capacity);
    for (let j = 0; j < capacity; j++) this.addresses[ADDRESS_SLOT * j] = AF_INET;
  }

  descriptors(): readonly number[] {
    return this.receivers;
  }

  use(descriptors: UplinkDescriptors): void {
    this.receivers = [descriptors.esp, descriptors.gre, descriptors.udp].filter((fd) => fd !== NO_SOCKET);
    this.sendMarks = Int32Array.from(descriptors.send, (entry) => entry.mark | 0);
    this.sendFds = Int32Array.from(descriptors.send, (entry) => entry.fd);
    if (this.callback !== undefined) this.watch(this.callback);
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    let filled = 0;
    for (let i = 0; i < this.receivers.length && filled < count; i++) {
      filled += this.native.receiveBatch(this.receivers[i]!, columns, first + filled, count - filled, capacity);
    }
    return filled;
  }

  send(list: FrameList, mark: number): void {
    const fd = this.senderOf(mark);
    const { arena, offset, count, toIndex, errors } = list;
    if (fd === NO_SOCKET) {
      errors.fill(ERRNO.ENETDOWN, 0, count);
      return;
    }
    const addresses = this.addresses;
    for (let j = 0; j < count; j++) {
      const from = offset[j]! + 16;
      const to = ADDRESS_SLOT * j + 4;
      addresses[to] = arena[from]!;
      addresses[to + 1] = arena[from + 1]!;
      addresses[to + 2] = arena[from + 2]!;
      addresses[to + 3] = arena[from + 3]!;
      toIndex[j] = j;
    }
    let sent = 0;
    while (sent < count) {
      const taken = this.native.sendBatch(fd, list, sent, count - sent, addresses, toIndex, errors);
      if (taken <= 0) break;
      sent += taken;
    }
    errors.fill(ERRNO.EAGAIN, sent, count);
  }

  watch(callback: () => void): () => void {
    for (const stop of this.watches) stop();
    this.callback = callback;
    this.watches = this.receivers.map((fd) => this.native.watchReadable(fd, callback));
    return () => {
      for (const stop of this.watches) stop();
      this.watches = [];
      this.callback = undefined;
    };
  }

  private senderOf(mark: number): number {
    for (let i = 0; i < this.sendMarks.length; i++) if (this.sendMarks[i] === mark) return this.sendFds[i]!;
    return NO_SOCKET;
  }
}
