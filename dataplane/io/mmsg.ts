/**
 * Uplink backend `mmsg`, the main thread's half: raw sockets for each worker and address family. mmsg-uplink.ts uses them.
 *
 * In: a raw ESP socket, with NATs UDP sockets of port 4500 beside it (nat-sockets.ts; a raw one where they can't be had); raw GRE and raw UDP
 * sockets while a tunnel of that kind may come in as plaintext.
 * Raw sockets get reassembled packets. Each worker's BPF filter takes its own (bpf.ts).
 * A UDP socket bound to each tunnel port, with a filter that drops all, keeps the kernel from
 * answering with ICMP port unreachable.
 * Out: IPPROTO_RAW (the header is ours), one socket for each mark. They are opened on the main thread, where
 * a missing privilege is one clear error, and outlive a worker that dies. With `direct` there are packet and netlink
 * sockets beside them, for sending past the IP stack (direct-sender.ts).
 */

import type { Native } from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NFTABLES_GROUP, ROUTE_GROUPS } from '../wire/netlink.ts';
import { DROP_ALL, espFilter, espInUdpFilter, greFilter, portFilter } from './bpf.ts';
import type { DirectSockets } from './direct-sender.ts';
import { NatSockets } from './nat-sockets.ts';
import {
  type FamilyDemand,
  IP_PROTOCOL,
  type UplinkBackend,
  type UplinkDemand,
  type UplinkDescriptors,
} from './uplink.ts';

/** Socket buffers in bytes: a few thousand packets, so that a worker may be away for some milliseconds. */
const RECEIVE_BUFFER = 8 << 20;
const SEND_BUFFER = 4 << 20;
const NO_SOCKET = -1;
const NOTHING: FamilyDemand = { esp: false, espInUdp: false, gre: false, udpPorts: [], tcpPorts: [] };

type Log = (message: string) => void;

/** The sockets of one worker and family. */
interface FamilySockets {
  readonly worker: number;
  /** By what they receive: protocol, and for UDP the ports. */
  readonly receive: Map<string, { readonly protocol: number; readonly fd: number }>;
  /** By mark. */
  readonly send: Map<number, number>;
}

export class MmsgBackend implements UplinkBackend {
  private readonly native: Native;
  private readonly workers: number;
  private readonly log: Log;
  private readonly sockets: Readonly<Record<Family, readonly FamilySockets[]>>;
  /** Bound and silent UDP sockets, TCP sockets that listen to nothing, by family, protocol and port. */
  private readonly guards = new Map<string, number>();
  private readonly nat: NatSockets;
  /** Of each worker; none without `direct`. */
  private readonly direct: DirectSockets[];
  private replaced: number[] = [];

  /**
   * `workers`: sets of sockets, at least 1. `joins`: ESP in UDP is received with UDP_GRO. `direct`: ESP leaves past the IP
   * stack where that makes no difference. Throws NativeError if the sockets for that can't be had.
   */
  constructor(native: Native, workers: number, log: Log, { joins = true, direct = false } = {}) {
    this.nat = new NatSockets(native, workers, joins, log);
    this.native = native;
    this.workers = workers;
    this.log = log;
    const perWorker = (): FamilySockets[] =>
      Array.from({ length: workers }, (_, worker) => ({ worker, receive: new Map(), send: new Map() }));
    this.sockets = { 4: perWorker(), 6: perWorker() };
    this.direct = Array.from({ length: direct ? workers : 0 }, () => openDirect(native));
  }

  /** Throws NativeError (EPERM without CAP_NET_RAW). A host without IPv6 is told so, and its other tunnels go on. */
  open(demand: UplinkDemand): readonly UplinkDescriptors[] {
    const { ipv4, ipv6 } = demand;
    const marks = new Set([0, ...demand.marks]);
    this.openGuards(4, ipv4);
    for (const set of this.sockets[4]) this.openSet(4, set, ipv4, marks);
    try {
      this.openGuards(6, ipv6 ?? NOTHING);
      for (const set of this.sockets[6]) this.openSet(6, set, ipv6 ?? NOTHING, ipv6 === undefined ? new Set() : marks);
    } catch (error) {
      this.log(`tunnels over IPv6 carry nothing: ${(error as Error).message}`);
    }
    return this.sockets[4].map((_, worker) => this.descriptorsOf(worker));
  }

  settle(): void {
    for (const fd of this.replaced) this.native.close(fd);
    this.replaced = [];
  }

  close(): void {
    this.settle();
    for (const set of [...this.sockets[4], ...this.sockets[6]]) {
      for (const { fd } of set.receive.values()) this.native.close(fd);
      for (const fd of set.send.values()) this.native.close(fd);
      set.receive.clear();
      set.send.clear();
    }
    for (const fd of this.guards.values()) if (fd !== NO_SOCKET) this.native.close(fd);
    this.guards.clear();
    this.nat.close();
    for (const { packet, routes, netfilter } of this.direct.splice(0))
      for (const fd of [packet, routes.ask, routes.hear, netfilter]) if (fd !== undefined) this.native.close(fd);
  }

  private descriptorsOf(worker: number): UplinkDescriptors {
    const direct = this.direct[worker];
    const sets = ([4, 6] as const).map((family) => ({ family, ...this.sockets[family][worker]! }));
    return {
      receive: sets.flatMap(({ family, receive }) => [...receive.values()].map((socket) => ({ family, ...socket }))),
      send: sets.flatMap(({ family, send }) => [...send].map(([mark, fd]) => ({ family, mark, fd }))),
      espInUdp: sets.flatMap(({ family }) => {
        const fd = this.nat.of(family)?.[worker];
        return fd === undefined ? [] : [{ family, fd }];
      }),
      ...(direct === undefined ? {} : { direct }),
    };
  }

  private openSet(family: Family, set: FamilySockets, demand: FamilyDemand, marks: ReadonlySet<number>): void {
    const { worker } = set;
    const { workers } = this;
    const wanted = new Map<string, { protocol: number; filter: Parameters<Native['attachFilter']>[1] }>();
    if (demand.esp) wanted.set('esp', { protocol: IP_PROTOCOL.esp, filter: espFilter(worker, workers, family) });
    if (demand.espInUdp && this.nat.open(family) === undefined)
      wanted.set('esp in udp', { protocol: IP_PROTOCOL.udp, filter: espInUdpFilter(worker, workers, family) });
    if (demand.gre) wanted.set('gre', { protocol: IP_PROTOCOL.gre, filter: greFilter(worker, workers, family) });
    for (const name of ['udp', 'tcp'] as const) {
      const ports = name === 'udp' ? demand.udpPorts : demand.tcpPorts;
      if (ports.length === 0) continue;
      const filter = portFilter(ports, worker, workers, family);
      wanted.set(`${name} ${ports}`, { protocol: IP_PROTOCOL[name], filter });
    }
    for (const [name, { protocol, filter }] of wanted) {
      if (!set.receive.has(name)) set.receive.set(name, { protocol, fd: this.openReceiver(family, protocol, filter) });
    }
    for (const [name, { fd }] of set.receive) {
      if (wanted.has(name)) continue;
      set.receive.delete(name);
      this.replaced.push(fd);
    }
    for (const mark of marks) if (!set.send.has(mark)) set.send.set(mark, this.openSender(family, mark));
    for (const [mark, fd] of set.send) {
      if (marks.has(mark)) continue;
      set.send.delete(mark);
      this.replaced.push(fd);
    }
  }

  private openReceiver(family: Family, protocol: number, filter: Parameters<Native['attachFilter']>[1]): number {
    const fd = this.native.openRawSocket({ family, protocol, receiveBuffer: RECEIVE_BUFFER });
    if (family === 6) this.native.reportHeaders6(fd);
    this.native.attachFilter(fd, filter);
    return fd;
  }

  private openSender(family: Family, mark: number): number {
    const fd = this.native.openRawSocket({
      family,
      protocol: IP_PROTOCOL.raw,
      headerIncluded: true,
      sendBuffer: SEND_BUFFER,
      ...(mark === 0 ? {} : { mark }),
    });
    this.native.attachFilter(fd, DROP_ALL);
    return fd;
  }

  private openGuards(family: Family, { udpPorts, tcpPorts }: FamilyDemand): void {
    const wanted = new Set<string>();
    for (const [protocol, ports] of [
      ['UDP', udpPorts],
      ['TCP', tcpPorts],
    ] as const) {
      for (const port of ports) {
        const name = `${family} ${protocol} ${port}`;
        wanted.add(name);
        if (!this.guards.has(name)) this.guards.set(name, this.openGuard(family, protocol, port));
      }
    }
    for (const [name, fd] of this.guards) {
      if (wanted.has(name) || !name.startsWith(`${family} `)) continue;
      this.guards.delete(name);
      if (fd !== NO_SOCKET) this.native.close(fd);
    }
  }

  /** A port that somebody else holds is answered by nobody either; that is all the guard is for. */
  private openGuard(family: Family, protocol: 'UDP' | 'TCP', port: number): number {
    const address = family === 6 ? '::' : '0.0.0.0';
    try {
      if (protocol === 'TCP') return this.native.openSilentListener({ family, address, port });
      const fd = this.native.openUdpSocket({ family, address, port });
      this.native.attachFilter(fd, DROP_ALL);
      return fd;
    } catch (error) {
      this.log(
        `${protocol} port ${port} is held by another program (${(error as Error).message}): tunnels use it all the same`,
      );
      return NO_SOCKET;
    }
  }
}

function openDirect(native: Native): DirectSockets {
  return {
    packet: native.openPacketSender(SEND_BUFFER),
    routes: { ask: native.openNetlink(NETLINK_ROUTE, 0), hear: native.openNetlink(NETLINK_ROUTE, ROUTE_GROUPS >>> 0) },
    netfilter: openNetfilter(native),
  };
}

/** Undefined: this kernel has no netfilter to be asked. */
function openNetfilter(native: Native): number | undefined {
  try {
    return native.openNetlink(NETLINK_NETFILTER, NFTABLES_GROUP);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPROTONOSUPPORT') return undefined;
    throw error;
  }
}
