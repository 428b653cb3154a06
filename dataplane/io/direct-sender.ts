/**
 * Sending past the IP stack, a part of the mmsg uplink (`--uplink-io=packet`): ESP leaves through a packet socket, straight
 * to the next hop that the kernel would choose (next-hops.ts). Half of what raw ESP costs the sender is the IP stack.
 *
 * Only what is sealed goes this way, without a mark and unfragmentable; and only while nothing in the IP stack would have
 * a say in it (netfilter.ts). All else, and all that is not known for certain, is left to the raw sockets.
 */

import type { Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { IPV4_DONT_FRAGMENT, IPV4_FRAGMENT, IPV4_PROTOCOL, IPV4_VERSION_IHL, PROTOCOL_ESP } from '../wire/ipv4.ts';
import { IPV6_NEXT_HEADER } from '../wire/ipv6.ts';
import { readUint16 } from '../wire/octets.ts';
import { Netfilter } from './netfilter.ts';
import { NextHops, type RouteSockets, UNKNOWN } from './next-hops.ts';

/** Descriptors of one worker. */
export interface DirectSockets {
  readonly packet: number;
  readonly routes: RouteSockets;
  /** In the group of nftables; undefined: the kernel has none. */
  readonly netfilter: number | undefined;
}

export class DirectSender {
  private readonly native: Native;
  private readonly packet: number;
  private readonly hops: NextHops;
  private readonly netfilter: Netfilter;
  private refreshedAt = Number.NEGATIVE_INFINITY;

  constructor(native: Native, { packet, routes, netfilter }: DirectSockets) {
    this.native = native;
    this.packet = packet;
    this.hops = new NextHops(native, routes);
    this.netfilter = new Netfilter(native, netfilter);
  }

  /** To be called before each list. */
  refresh(): void {
    const now = this.native.monotonicMs();
    if (now === this.refreshedAt) return;
    this.refreshedAt = now;
    this.hops.refresh();
    this.netfilter.refresh(now);
  }

  /** Whether entry j of a list without a mark may leave this way; if so, its toIndex is set. */
  takes(list: FrameList, j: number): boolean {
    if (this.netfilter.isUsed) return false;
    const { arena } = list;
    const header = list.offset[j]!;
    let family: 4 | 6 = 6;
    if (arena[header + IPV4_VERSION_IHL] === 0x45) {
      // What may be fragmented needs an id, which the IP stack gives it.
      if ((readUint16(arena, header + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) === 0) return false;
      if (arena[header + IPV4_PROTOCOL] !== PROTOCOL_ESP) return false;
      family = 4;
    } else if (arena[header]! >>> 4 !== 6 || arena[header + IPV6_NEXT_HEADER] !== PROTOCOL_ESP) return false;
    const slot = this.hops.find(list, j, family);
    if (slot === UNKNOWN) return false;
    list.toIndex[j] = slot;
    return true;
  }

  /** Sends entries first … end-1, which takes() has taken; their errors as Uplink.send gives them. */
  send(list: FrameList, first: number, end: number): number {
    let sent = first;
    while (sent < end) {
      const { native, packet, hops } = this;
      const taken = native.sendBatch(packet, list, sent, end - sent, hops.addresses, list.toIndex, list.errors);
      if (taken <= 0) break;
      sent += taken;
    }
    return sent;
  }
}
