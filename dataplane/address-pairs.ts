/**
 * The pairs of addresses that tunnels and SAs of a worker travel between, each a small integer: what later stages
 * compare and look up instead of the addresses, the same for IPv4 and IPv6.
 *
 * `find4` and `find6` read the addresses of a received header and give the id in constant time without allocation;
 * -1 is a pair that nobody has asked for. Ids are the worker's own. A pair is local then remote: a packet that
 * comes in has the remote address as its source. Users take and release a pair; the last release forgets it.
 */

import { foldSum } from './wire/checksum.ts';
import { IPV4_DESTINATION, IPV4_SOURCE, ipv4FromText } from './wire/ipv4.ts';
import { IPV6_ADDRESS_WORDS, IPV6_DESTINATION, IPV6_SOURCE, ipv6FromText } from './wire/ipv6.ts';
import { readInt32 } from './wire/octets.ts';

/** Words of a pair: the local address, then the remote one; an IPv4 address is the first word of its four. */
export const PAIR_WORDS = 2 * IPV6_ADDRESS_WORDS;
export const REMOTE = IPV6_ADDRESS_WORDS;
export const NO_PAIR = -1;

export type Family = 4 | 6;

/** The family of an address as text: what has a colon is IPv6. */
export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4;
}

/** Words of both addresses. Throws RangeError for text that is no address, and for two families. */
export function pairWords(local: string, remote: string): Int32Array {
  const words = new Int32Array(PAIR_WORDS);
  words.set(addressWords(local), 0);
  words.set(addressWords(remote), REMOTE);
  if (familyOf(local) !== familyOf(remote))
    throw new RangeError(`addresses ${local} and ${remote}: expected both of one family`);
  return words;
}

/** One word for IPv4, four for IPv6. Throws RangeError. */
export function addressWords(text: string): Int32Array {
  return familyOf(text) === 6 ? ipv6FromText(text) : Int32Array.of(ipv4FromText(text));
}

export class AddressPairs {
  /** PAIR_WORDS for each id. */
  words = new Int32Array(0);
  /** 4 or 6. */
  family = new Uint8Array(0);
  /** Sum of both addresses, folded to 16 bits: a part of the pseudo-header, the same in either direction. */
  addressSum = new Int32Array(0);
  private users = new Int32Array(0);
  private readonly free: number[] = [];
  /** Ids by hash, -1 is empty; open addressing, at most half full. */
  private cells = new Int32Array(0);
  /** A header's addresses in the order of `words`. */
  private readonly wanted = new Int32Array(PAIR_WORDS);

  constructor() {
    this.grow(8);
  }

  /** The id of a pair, which stays until as many releases. Throws RangeError for what is no pair of addresses. */
  take(local: string, remote: string): number {
    const words = pairWords(local, remote);
    const family = familyOf(local);
    this.wanted.set(words);
    const known = this.find(family);
    if (known >= 0) {
      this.users[known]++;
      return known;
    }
    if (this.free.length === 0) this.grow(2 * this.users.length);
    const id = this.free.pop()!;
    this.words.set(words, id * PAIR_WORDS);
    this.family[id] = family;
    this.addressSum[id] = sumOf(words);
    this.users[id] = 1;
    this.enter(id);
    return id;
  }

  release(id: number): void {
    if (--this.users[id] > 0) return;
    this.remove(id);
    this.free.push(id);
  }

  /** The pair of the IPv4 header at `offset` of a packet that came in, or -1. */
  find4(bytes: Uint8Array, offset: number): number {
    return this.read4(bytes, offset + IPV4_DESTINATION, offset + IPV4_SOURCE);
  }

  /** The pair of the IPv6 header at `offset` of a packet that came in, or -1. */
  find6(bytes: Uint8Array, offset: number): number {
    return this.read6(bytes, offset + IPV6_DESTINATION, offset + IPV6_SOURCE);
  }

  /** The pair of the IPv4 header at `offset` of a packet that leaves: its source is the local address. */
  findSent4(bytes: Uint8Array, offset: number): number {
    return this.read4(bytes, offset + IPV4_SOURCE, offset + IPV4_DESTINATION);
  }

  /** The pair of the IPv6 header at `offset` of a packet that leaves: its source is the local address. */
  findSent6(bytes: Uint8Array, offset: number): number {
    return this.read6(bytes, offset + IPV6_SOURCE, offset + IPV6_DESTINATION);
  }

  private read4(bytes: Uint8Array, local: number, remote: number): number {
    const { wanted } = this;
    wanted.fill(0);
    wanted[0] = readInt32(bytes, local);
    wanted[REMOTE] = readInt32(bytes, remote);
    return this.find(4);
  }

  private read6(bytes: Uint8Array, local: number, remote: number): number {
    const { wanted } = this;
    for (let i = 0; i < IPV6_ADDRESS_WORDS; i++) {
      wanted[i] = readInt32(bytes, local + 4 * i);
      wanted[REMOTE + i] = readInt32(bytes, remote + 4 * i);
    }
    return this.find(6);
  }

  /** The id of the pair in `wanted`. */
  private find(family: Family): number {
    const { cells, wanted, words } = this;
    const mask = cells.length - 1;
    for (let cell = hash(wanted, 0) & mask; ; cell = (cell + 1) & mask) {
      const id = cells[cell];
      if (id < 0) return NO_PAIR;
      if (this.family[id] !== family) continue;
      const at = id * PAIR_WORDS;
      let i = 0;
      while (i < PAIR_WORDS && words[at + i] === wanted[i]) i++;
      if (i === PAIR_WORDS) return id;
    }
  }

  private enter(id: number): void {
    const mask = this.cells.length - 1;
    let cell = hash(this.words, id * PAIR_WORDS) & mask;
    while (this.cells[cell] >= 0) cell = (cell + 1) & mask;
    this.cells[cell] = id;
  }

  /** Takes the pair out and enters what stands behind it anew, so that no search ends too early. */
  private remove(id: number): void {
    const { cells } = this;
    const mask = cells.length - 1;
    let cell = hash(this.words, id * PAIR_WORDS) & mask;
    while (cells[cell] !== id) cell = (cell + 1) & mask;
    cells[cell] = NO_PAIR;
    for (cell = (cell + 1) & mask; cells[cell] >= 0; cell = (cell + 1) & mask) {
      const moved = cells[cell];
      cells[cell] = NO_PAIR;
      this.enter(moved);
    }
  }

  private grow(capacity: number): void {
    const before = this.users.length;
    const { words, family, addressSum, users } = this;
    this.words = new Int32Array(capacity * PAIR_WORDS);
    this.words.set(words);
    this.family = new Uint8Array(capacity);
    this.family.set(family);
    this.addressSum = new Int32Array(capacity);
    this.addressSum.set(addressSum);
    this.users = new Int32Array(capacity);
    this.users.set(users);
    this.cells = new Int32Array(2 * capacity).fill(NO_PAIR);
    for (let id = 0; id < before; id++) if (this.users[id] > 0) this.enter(id);
    for (let id = capacity - 1; id >= before; id--) this.free.push(id);
  }
}

function sumOf(words: Int32Array): number {
  let sum = 0;
  for (const word of words) sum += (word >>> 16) + (word & 0xffff);
  return foldSum(sum);
}

/** Multiplies and folds each word in turn, so that neighbouring addresses spread over the table. */
function hash(words: Int32Array, at: number): number {
  let value = 0x2545f491;
  for (let i = 0; i < PAIR_WORDS; i++) {
    value = Math.imul(value ^ words[at + i], 0x85ebca6b);
    value ^= value >>> 15;
  }
  return value;
}
