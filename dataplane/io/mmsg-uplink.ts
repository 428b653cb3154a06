/**
 * Uplink backend `mmsg`, the worker's half: recvmmsg and sendmmsg over the raw sockets that mmsg.ts has opened.
 *
 * A raw IPv4 socket takes any number of packets in one call, and so does a raw IPv6 socket; a list with packets of both
 * families is sent in runs of one family. ESP in UDP goes through sockets of its own (esp-in-udp.ts) where there are any, and
 * with `--uplink-io=packet` ESP leaves past the IP stack (direct-sender.ts) where that makes no difference.
 */

import { ADDRESS_SLOT, type FrameColumns, type Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { IPV4_DESTINATION } from '../wire/ipv4.ts';
import { IPV6_ADDRESS_LENGTH, IPV6_DESTINATION } from '../wire/ipv6.ts';
import { DirectSender } from './direct-sender.ts';
import { EspInUdp } from './esp-in-udp.ts';
import { ERRNO, NO_DESCRIPTORS, type Uplink, type UplinkDescriptors } from './uplink.ts';

const NO_SOCKET = -1;
/** In place of a UDP socket: past the IP stack. */
const DIRECT = -2;
/** sa_family, in host order: the low byte comes first on every platform that Node's Linux builds serve. */
const AF_INET = 2;
const AF_INET6 = 10;
/** Where the address stands in a sockaddr_in and in a sockaddr_in6; ports, flow information and scope stay 0. */
const SIN_ADDR = 4;
const SIN6_ADDR = 8;

export class MmsgUplink implements Uplink {
  private readonly native: Native;
  private receivers: UplinkDescriptors['receive'] = NO_DESCRIPTORS.receive;
  private descriptorList: readonly number[] = [];
  private senders: UplinkDescriptors['send'] = NO_DESCRIPTORS.send;
  /** sendmmsg needs a destination address beside the header: one for each row of the list. */
  private readonly addresses: Uint8Array;
  private readonly espInUdp: EspInUdp;
  private direct: DirectSender | undefined;
  /** Whether ESP in UDP leaves through them as well. */
  private readonly segments: boolean;
  private watches: (() => void)[] = [];
  private callback: (() => void) | undefined;

  /** `capacity`: entries of the longest list that is sent or received. `segments`: UDP_SEGMENT is used. */
  constructor(native: Native, capacity: number, segments = true) {
    this.native = native;
    this.segments = segments;
    this.espInUdp = new EspInUdp(native, capacity);
    this.addresses = new Uint8Array(ADDRESS_SLOT * capacity);
  }

  descriptors(): readonly number[] {
    return this.descriptorList;
  }

  get holdsMore(): boolean {
    return this.espInUdp.holdsMore;
  }

  use(descriptors: UplinkDescriptors): void {
    this.receivers = descriptors.receive;
    this.descriptorList = [...descriptors.receive, ...descriptors.espInUdp].map(({ fd }) => fd);
    this.espInUdp.use(descriptors.espInUdp);
    if (descriptors.direct === undefined) this.direct = undefined;
    else this.direct ??= new DirectSender(this.native, descriptors.direct);
    this.senders = descriptors.send.map((sender) => ({ ...sender, mark: sender.mark | 0 }));
    if (this.callback !== undefined) this.watch(this.callback);
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    let filled = 0;
    for (let i = 0; i < this.receivers.length && filled < count; i++) {
      const { family, protocol, fd } = this.receivers[i]!;
      const from = first + filled;
      filled +=
        family === 4
          ? this.native.receiveBatch(fd, columns, from, count - filled, capacity)
          : this.native.receiveBatch6(fd, protocol, columns, from, count - filled, capacity);
    }
    if (filled < count) filled += this.espInUdp.receive(columns, first + filled, count - filled, capacity);
    return filled;
  }

  send(list: FrameList, mark: number): void {
    const { count } = list;
    const direct = mark === 0 ? this.direct : undefined;
    direct?.refresh();
    let end = 0;
    let next = count > 0 ? this.wayOf(list, 0, direct) : NO_SOCKET;
    for (let first = 0; first < count; first = end) {
      const way = next;
      const family = versionOf(list, first);
      for (end = first + 1; end < count; end++) {
        next = this.wayOf(list, end, direct);
        if (next !== way || versionOf(list, end) !== family) break;
      }
      if (way === DIRECT) list.errors.fill(ERRNO.EAGAIN, direct!.send(list, first, end), end);
      else if (way !== NO_SOCKET) this.espInUdp.send(way, list, first, end, mark);
      else {
        for (let j = first; j < end; j++) this.writeAddress(list, j, family);
        this.sendRun(list, first, end, this.senderOf(family, mark));
      }
    }
  }

  /** How entry j leaves: DIRECT, a UDP socket, or NO_SOCKET, which is through the raw one of its mark. */
  private wayOf(list: FrameList, j: number, direct: DirectSender | undefined): number {
    if (direct?.takes(list, j) === true) return DIRECT;
    return this.segments ? this.espInUdp.senderOf(list, j) : NO_SOCKET;
  }

  watch(callback: () => void): () => void {
    for (const stop of this.watches) stop();
    this.callback = callback;
    this.watches = this.descriptorList.map((fd) => this.native.watchReadable(fd, callback));
    return () => {
      for (const stop of this.watches) stop();
      this.watches = [];
      this.callback = undefined;
    };
  }

  private sendRun(list: FrameList, first: number, end: number, fd: number): void {
    if (fd === NO_SOCKET) {
      list.errors.fill(ERRNO.ENETDOWN, first, end);
      return;
    }
    let sent = first;
    while (sent < end) {
      const taken = this.native.sendBatch(fd, list, sent, end - sent, this.addresses, list.toIndex, list.errors);
      if (taken <= 0) break;
      sent += taken;
    }
    list.errors.fill(ERRNO.EAGAIN, sent, end);
  }

  private writeAddress(list: FrameList, j: number, family: number): void {
    const { addresses } = this;
    const { arena } = list;
    const slot = ADDRESS_SLOT * j;
    const header = list.offset[j]!;
    const isIpv6 = family === 6;
    const from = header + (isIpv6 ? IPV6_DESTINATION : IPV4_DESTINATION);
    const to = slot + (isIpv6 ? SIN6_ADDR : SIN_ADDR);
    addresses[slot] = isIpv6 ? AF_INET6 : AF_INET;
    // What an address of the other family has left behind is flow information or padding: it must be 0.
    if (isIpv6) addresses.fill(0, slot + SIN_ADDR, to);
    const length = isIpv6 ? IPV6_ADDRESS_LENGTH : 4;
    for (let i = 0; i < length; i++) addresses[to + i] = arena[from + i]!;
    list.toIndex[j] = j;
  }

  private senderOf(family: number, mark: number): number {
    for (let i = 0; i < this.senders.length; i++) {
      const sender = this.senders[i]!;
      if (sender.mark === mark && sender.family === family) return sender.fd;
    }
    return NO_SOCKET;
  }
}

function versionOf(list: FrameList, j: number): number {
  return list.arena[list.offset[j]!]! >>> 4;
}
