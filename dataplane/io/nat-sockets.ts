/**
 * UDP sockets of port 4500 for ESP in UDP, one for each worker and address family, on the main thread; esp-in-udp.ts uses them.
 *
 * They share the port with the socket of IKE by SO_REUSEPORT: a BPF program gives ESP to the worker that its SPI names and
 * all else to whoever bound first, which is IKE; where there is none, a socket that hears nothing takes its place. They
 * stay open once opened, because the program counts sockets in the order in which they came.
 */

import type { Native } from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';
import { DROP_ALL, portShare } from './bpf.ts';

const NAT_TRAVERSAL_PORT = 4500;

export class NatSockets {
  private readonly native: Native;
  private readonly workers: number;
  private readonly joins: boolean;
  private readonly log: (message: string) => void;
  private readonly opened = new Map<Family, readonly number[] | undefined>();
  private readonly standIns: number[] = [];

  /** `joins`: UDP_GRO. */
  constructor(native: Native, workers: number, joins: boolean, log: (message: string) => void) {
    this.native = native;
    this.workers = workers;
    this.joins = joins;
    this.log = log;
  }

  /** The socket of each worker, opened at the first call; undefined if they cannot be had: then raw sockets must do. */
  open(family: Family): readonly number[] | undefined {
    if (!this.opened.has(family)) this.opened.set(family, this.tryOpen(family));
    return this.opened.get(family);
  }

  /** What open() has opened of a family. */
  of(family: Family): readonly number[] | undefined {
    return this.opened.get(family);
  }

  close(): void {
    const fds = [...this.opened.values()].flatMap((opened) => opened ?? []);
    for (const fd of [...fds, ...this.standIns]) this.native.close(fd);
    this.opened.clear();
    this.standIns.length = 0;
  }

  private tryOpen(family: Family): readonly number[] | undefined {
    const fds: number[] = [];
    try {
      this.standIn(family);
      for (let worker = 0; worker < this.workers; worker++) fds.push(this.bind(family, this.joins));
      this.native.attachReusePortFilter(fds[0]!, portShare(this.workers));
      return fds;
    } catch (error) {
      for (const fd of fds) this.native.close(fd);
      this.log(`ESP in UDP goes without the offloads of UDP: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** The first socket of the port, unless IKE has it. */
  private standIn(family: Family): void {
    const address = family === 6 ? '::' : '0.0.0.0';
    try {
      this.native.close(this.native.openUdpSocket({ family, address, port: NAT_TRAVERSAL_PORT }));
    } catch {
      // Somebody has the port. If it is not IKE, sharing it fails next.
      return;
    }
    const fd = this.bind(family, false);
    this.native.attachFilter(fd, DROP_ALL);
    this.standIns.push(fd);
  }

  private bind(family: Family, joined: boolean): number {
    return this.native.openUdpSocket({
      family,
      address: family === 6 ? '::' : '0.0.0.0',
      port: NAT_TRAVERSAL_PORT,
      reusePort: true,
      packetInfo: true,
      receiveTos: true,
      dontFragment: true,
      joined,
      receiveBuffer: 8 << 20,
      sendBuffer: 4 << 20,
    });
  }
}
