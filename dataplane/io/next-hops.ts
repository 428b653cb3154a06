/**
 * The next hop of each destination, as the kernel would choose it: device and Ethernet address from its routes, rules and
 * neighbours, asked once and kept until it tells of a change (rtnetlink(7)). For packets without a firewall mark.
 *
 * Each uncertainty makes a destination unknown, and what is sent there goes through the IP stack: a route that is not
 * plain, a neighbour that does not answer, changes that were lost, more questions than a turn has time for.
 * A change of links, addresses, routes or rules makes all of it unknown; one of a neighbour that neighbour only.
 * A neighbour that the kernel has not heard of for a while (stale) gets one packet through the IP stack, whereupon the
 * kernel makes sure of it, as it would without us.
 */

import { ADDRESS_SLOT, type Native } from '../../native-shims/types.ts';
import type { FrameList } from '../batch.ts';
import { TupleIndex } from '../tuple-index.ts';
import { IPV4_SOURCE } from '../wire/ipv4.ts';
import { IPV6_SOURCE } from '../wire/ipv6.ts';
import {
  asksForProtocol,
  type Neighbour,
  neighbourRequest,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  readMessages,
  readNeighbour,
  readRoute,
  routeRequest,
  rulesRequest,
} from '../wire/netlink.ts';
import { readInt32 } from '../wire/octets.ts';

export const UNKNOWN = -1;

/** Destinations and neighbours kept; should there be more, all are asked for again. */
const MOST = 4096;
/** Questions of one refresh, each two messages: some 50 µs. */
const QUESTIONS = 4;
/** Messages heard in one refresh; if there are more, what is known counts for nothing. */
const HEARD = 64;
const MESSAGE_BYTES = 16_384;

const AF_PACKET = 17;
/** Of a sockaddr_ll: family and device in host order, EtherType in network order. */
const SLL_PROTOCOL = 2;
const SLL_DEVICE = 4;
const SLL_ADDRESS_LENGTH = 11;
const SLL_ADDRESS = 12;
const ETHERTYPE = { 4: 0x0800, 6: 0x86dd } as const;
const WORDS = { 4: 2, 6: 8 } as const;

/** Netlink sockets of one worker: one to ask, one that hears. */
export interface RouteSockets {
  readonly ask: number;
  readonly hear: number;
}

/** A link-layer destination; `slot` is its sockaddr_ll. */
interface Hop {
  readonly slot: number;
  isUsable: boolean;
  isStale: boolean;
}

/** Addresses of a packet as in its header, and where it goes; no hop: through the IP stack. */
interface Path {
  readonly words: Int32Array;
  readonly hop: Hop | undefined;
}

export class NextHops {
  /** sockaddr_ll slots of ADDRESS_SLOT bytes. */
  readonly addresses = new Uint8Array(MOST * ADDRESS_SLOT);
  private readonly native: Native;
  private readonly sockets: RouteSockets;
  private readonly message = new Uint8Array(MESSAGE_BYTES);
  private index = new TupleIndex();
  private paths: Path[] = [];
  private hops = new Map<string, Hop>();
  private last: Path | undefined;
  private questions = 0;
  /** No rule asks for a protocol; undefined: not looked. */
  private hasPlainRules: boolean | undefined;
  private isBehind = false;

  constructor(native: Native, sockets: RouteSockets) {
    this.native = native;
    this.sockets = sockets;
  }

  /** Hears what has changed. To be called before sending, a thousand times a second at most. */
  refresh(): void {
    this.questions = QUESTIONS;
    this.isBehind = false;
    for (let heard = 0; ; heard++) {
      const length = this.native.netlinkReceive(this.sockets.hear, this.message);
      if (length === 0) return;
      if (length < 0) this.forget();
      else this.heed(length);
      if (heard < HEARD) continue;
      this.isBehind = true;
      return;
    }
  }

  /** The slot of entry j's next hop, or UNKNOWN. */
  find(list: FrameList, j: number, family: 4 | 6): number {
    if (this.isBehind) return UNKNOWN;
    const { arena } = list;
    const at = list.offset[j]! + (family === 4 ? IPV4_SOURCE : IPV6_SOURCE);
    const count = WORDS[family];
    let path = this.last;
    if (path === undefined || !isOf(path, arena, at, count)) {
      path = this.lookUp(arena, at, count);
      this.last = path;
    }
    const hop = path?.hop;
    if (hop === undefined || !hop.isUsable) return UNKNOWN;
    if (!hop.isStale) return hop.slot;
    hop.isStale = false;
    return UNKNOWN;
  }

  /** Everything is unknown from here on. */
  forget(): void {
    this.index = new TupleIndex();
    this.paths = [];
    this.hops = new Map();
    this.last = undefined;
    this.hasPlainRules = undefined;
  }

  private lookUp(arena: Uint8Array, at: number, count: number): Path | undefined {
    let source = 0;
    let destination = 0;
    const half = count >> 1;
    for (let i = 0; i < half; i++) {
      source = (Math.imul(source, 31) + readInt32(arena, at + 4 * i)) | 0;
      destination = (Math.imul(destination, 31) + readInt32(arena, at + 4 * (half + i))) | 0;
    }
    const known = this.index.get(source, destination, count);
    // Two pairs of IPv6 addresses with one hash: only the first gets a path.
    if (known >= 0) return isOf(this.paths[known]!, arena, at, count) ? this.paths[known] : undefined;
    if (this.questions === 0) return undefined;
    this.questions--;
    if (this.paths.length >= MOST) this.forget();
    const words = new Int32Array(count);
    for (let i = 0; i < count; i++) words[i] = readInt32(arena, at + 4 * i);
    const path = { words, hop: this.ask(arena.slice(at, at + 2 * count), arena.slice(at + 2 * count, at + 4 * count)) };
    this.index.set(source, destination, count, this.paths.length);
    this.paths.push(path);
    return path;
  }

  private ask(source: Uint8Array, destination: Uint8Array): Hop | undefined {
    this.hasPlainRules ??= !this.asksForProtocol();
    if (!this.hasPlainRules) return undefined;
    const route = this.answer(routeRequest(source, destination), RTM_NEWROUTE, readRoute);
    if (route === undefined) return undefined;
    const address = route.gateway ?? destination;
    const key = keyOf(route.device, address);
    let hop = this.hops.get(key);
    if (hop !== undefined) return hop;
    // There are never more hops than paths.
    hop = { slot: this.hops.size, isUsable: false, isStale: false };
    this.hops.set(key, hop);
    const neighbour = this.answer(neighbourRequest(route.device, address), RTM_NEWNEIGH, readNeighbour);
    // Until it is known, packets through the IP stack make the kernel ask for it, and tell us.
    if (neighbour !== undefined) this.update(hop, neighbour);
    return hop;
  }

  /** The answer to a question, or undefined; what was left of an earlier one is thrown away. */
  private answer<T>(
    question: Uint8Array,
    type: number,
    read: (bytes: Uint8Array, message: Message) => T,
  ): T | undefined {
    const { native, message } = this;
    const { ask } = this.sockets;
    while (native.netlinkReceive(ask, message) !== 0);
    native.netlinkSend(ask, question);
    const length = native.netlinkReceive(ask, message);
    const found = length < 0 ? undefined : readMessages(message, length).find((one) => one.type === type);
    return found === undefined ? undefined : read(message, found);
  }

  /** Whether a policy routing rule asks for a protocol; true as well if the kernel's answer is not understood. */
  private asksForProtocol(): boolean {
    const { native, message } = this;
    const { ask } = this.sockets;
    while (native.netlinkReceive(ask, message) !== 0);
    native.netlinkSend(ask, rulesRequest());
    let rules = 0;
    for (;;) {
      const length = native.netlinkReceive(ask, message);
      if (length === 0) return rules === 0;
      if (length < 0) return true;
      for (const one of readMessages(message, length)) {
        if (one.type !== RTM_NEWRULE) continue;
        rules++;
        if (asksForProtocol(message, one)) return true;
      }
    }
  }

  private heed(length: number): void {
    for (const message of readMessages(this.message, length)) {
      if (message.type !== RTM_NEWNEIGH && message.type !== RTM_DELNEIGH) {
        this.forget();
        continue;
      }
      const neighbour = readNeighbour(this.message, message);
      const hop = neighbour === undefined ? undefined : this.hops.get(keyOf(neighbour.device, neighbour.address));
      if (hop !== undefined) this.update(hop, neighbour!);
    }
  }

  private update(hop: Hop, { device, address, linkAddress, isStale }: Neighbour): void {
    hop.isUsable = linkAddress !== undefined;
    hop.isStale = isStale;
    if (linkAddress === undefined) return;
    const at = ADDRESS_SLOT * hop.slot;
    const view = new DataView(this.addresses.buffer);
    this.addresses.fill(0, at, at + ADDRESS_SLOT);
    view.setUint16(at, AF_PACKET, true);
    view.setUint16(at + SLL_PROTOCOL, ETHERTYPE[address.length === 4 ? 4 : 6]);
    view.setInt32(at + SLL_DEVICE, device, true);
    this.addresses[at + SLL_ADDRESS_LENGTH] = linkAddress.length;
    this.addresses.set(linkAddress, at + SLL_ADDRESS);
  }
}

type Message = Parameters<typeof readRoute>[1];

function isOf({ words }: Path, arena: Uint8Array, at: number, count: number): boolean {
  if (words.length !== count) return false;
  for (let i = 0; i < count; i++) if (readInt32(arena, at + 4 * i) !== words[i]) return false;
  return true;
}

const keyOf = (device: number, address: Uint8Array) => `${device} ${address}`;
