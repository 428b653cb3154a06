/**
 * Receives ICMP "fragmentation needed" and ICMPv6 "packet too big" on the main thread, and nothing else: a filter in the kernel
 * sees to it. Whether a message is believed is decided in path-mtu.ts.
 *
 * Messages are rare, so a flood of them is one: BURST are read at a time, then nothing for PAUSE_MS, and what the sockets'
 * buffers do not hold is lost.
 */

import type { Native } from '../../native-shims/types.ts';
import type { Family } from '../address-pairs.ts';
import { tooBigFilter } from './bpf.ts';

const PROTOCOL: Readonly<Record<Family, number>> = { 4: 1, 6: 58 };
const RECEIVE_BUFFER = 64 << 10;
const BURST = 32;
const PAUSE_MS = 100;

export class IcmpListener {
  private readonly native: Native;
  private readonly onMessage: (family: Family, message: Uint8Array) => void;
  private readonly sockets = new Map<number, { readonly family: Family; stop: () => void }>();
  private readonly pauses = new Set<NodeJS.Timeout>();

  /** Throws NativeError (EPERM without CAP_NET_RAW). A host without IPv6 gets the messages of IPv4 only. */
  constructor(native: Native, onMessage: (family: Family, message: Uint8Array) => void) {
    this.native = native;
    this.onMessage = onMessage;
    this.open(4);
    try {
      this.open(6);
    } catch {
      // The uplink says so when a tunnel needs IPv6.
    }
  }

  close(): void {
    for (const pause of this.pauses) clearTimeout(pause);
    for (const [fd, { stop }] of this.sockets) {
      stop();
      this.native.close(fd);
    }
    this.sockets.clear();
  }

  private open(family: Family): void {
    const fd = this.native.openRawSocket({ family, protocol: PROTOCOL[family], receiveBuffer: RECEIVE_BUFFER });
    this.native.attachFilter(fd, tooBigFilter(family));
    this.sockets.set(fd, { family, stop: () => {} });
    this.watch(fd);
  }

  private watch(fd: number): void {
    const socket = this.sockets.get(fd)!;
    socket.stop = this.native.watchReadable(fd, () => this.read(fd));
  }

  private read(fd: number): void {
    const socket = this.sockets.get(fd);
    if (socket === undefined) return;
    const messages = this.native.receiveDatagrams(fd, BURST);
    for (const { data } of messages) this.onMessage(socket.family, data);
    if (messages.length < BURST) return;
    socket.stop();
    const pause = setTimeout(() => {
      this.pauses.delete(pause);
      this.watch(fd);
      this.read(fd);
    }, PAUSE_MS);
    this.pauses.add(pause);
  }
}
