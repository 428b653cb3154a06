/**
 * The SAs as one worker knows them: columns by slot, and the worker's keys. What the workers share
 * of an SA is in sa-memory.ts.
 *
 * An inbound SPI names its slot (steering.ts), so finding an SA is one array access and one comparison of the whole
 * SPI (RFC 4303 §2.1). A slot without an SA has key -1. Things that control must hear of, a limit passed or
 * a first packet, go into `events`, which the worker empties after each batch.
 */

import { type AddressPairs, NO_PAIR, pairWords } from '../address-pairs.ts';
import type { InboundSa, OutboundSa, UdpPath } from '../commands.ts';
import { slotOfSpi } from '../steering.ts';
import type { Aead } from './aead.ts';
import {
  COUNTER_BYTES,
  COUNTER_PACKETS,
  SA_EXHAUSTED,
  SA_FIRST_PACKET,
  SA_SOFT_LIMIT,
  type SaMemory,
  SEQUENCE_LIMIT,
} from './sa-memory.ts';
import { compileSelectors } from './selectors.ts';

/**
 * A list of (slot, flag) with room for what one batch can cause: two events for each of 512 packets.
 * The flags in SaMemory stay, so an event beyond that is late, not lost.
 */
export class SaEvents {
  static readonly capacity = 1024;
  count = 0;
  readonly slot = new Int32Array(SaEvents.capacity);
  /** SA_SOFT_LIMIT, SA_EXHAUSTED or SA_FIRST_PACKET. */
  readonly flag = new Int32Array(SaEvents.capacity);

  add(slot: number, flag: number): void {
    if (this.count === SaEvents.capacity) return;
    this.slot[this.count] = slot;
    this.flag[this.count] = flag;
    this.count++;
  }
}

const NOTHING = new Int32Array(0);
const NO_KEY = -1;

/** What both directions have. */
class Sas {
  readonly memory: SaMemory;
  readonly aead: Aead;
  readonly events = new SaEvents();
  /** Number that Aead.prepareKey gave; -1 where the slot has no SA. */
  readonly key: Int32Array;
  readonly spi: Int32Array;
  /** 1 with extended sequence numbers. */
  readonly esn: Uint8Array;
  readonly protection: Int32Array;
  /** The addresses of the tunnel packets and those of the outer header, ids of address-pairs.ts. */
  readonly pair: Int32Array;
  readonly path: Int32Array;
  /** Ports of ESP in UDP; 0: plain ESP. */
  readonly localPort: Int32Array;
  readonly remotePort: Int32Array;
  /** 1 in tunnel mode. */
  readonly tunnel: Uint8Array;
  /** How many SAs travel in UDP. */
  encapsulated = 0;
  /** Limits of packets and bytes; Infinity is none. */
  readonly softPackets: Float64Array;
  readonly softBytes: Float64Array;
  /** Compiled selectors of our end and of the peer's. */
  readonly tsLocal: Int32Array[];
  readonly tsRemote: Int32Array[];

  readonly pairs: AddressPairs;

  constructor(memory: SaMemory, slots: number, aead: Aead, pairs: AddressPairs) {
    this.memory = memory;
    this.aead = aead;
    this.pairs = pairs;
    this.key = new Int32Array(slots).fill(NO_KEY);
    this.spi = new Int32Array(slots);
    this.esn = new Uint8Array(slots);
    this.protection = new Int32Array(slots).fill(-1);
    this.pair = new Int32Array(slots).fill(NO_PAIR);
    this.path = new Int32Array(slots).fill(NO_PAIR);
    this.localPort = new Int32Array(slots);
    this.remotePort = new Int32Array(slots);
    this.tunnel = new Uint8Array(slots);
    this.softPackets = new Float64Array(slots);
    this.softBytes = new Float64Array(slots);
    this.tsLocal = new Array<Int32Array>(slots).fill(NOTHING);
    this.tsRemote = new Array<Int32Array>(slots).fill(NOTHING);
  }

  protected fill(sa: Omit<InboundSa, 'replayWindow'>, direction: 'seal' | 'open'): void {
    const { slot } = sa;
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.key.length) {
      throw new RangeError(`SA slot: expected 0 to ${this.key.length - 1}, got ${slot}`);
    }
    if (this.key[slot] !== NO_KEY) throw new RangeError(`SA slot ${slot} is taken; remove its SA first`);
    const tsLocal = compileSelectors(sa.tsLocal, sa.local);
    const tsRemote = compileSelectors(sa.tsRemote, sa.remote);
    // What throws comes first, so that a refused SA leaves nothing behind.
    pairWords(sa.local, sa.remote);
    if (sa.udp !== undefined) checkPath(sa.udp);
    this.key[slot] = this.aead.prepareKey(sa.algorithm, direction, sa.keyAndSalt);
    this.pair[slot] = this.pairs.take(sa.local, sa.remote);
    this.path[slot] = this.pairs.take(sa.udp?.local.address ?? sa.local, sa.udp?.remote.address ?? sa.remote);
    this.localPort[slot] = sa.udp?.local.port ?? 0;
    this.remotePort[slot] = sa.udp?.remote.port ?? 0;
    if (sa.udp !== undefined) this.encapsulated++;
    this.tunnel[slot] = sa.mode === 'tunnel' ? 1 : 0;
    this.spi[slot] = sa.spi | 0;
    this.esn[slot] = sa.esn ? 1 : 0;
    this.protection[slot] = sa.protection;
    this.softPackets[slot] = sa.softPackets > 0 ? sa.softPackets : Number.POSITIVE_INFINITY;
    this.softBytes[slot] = sa.softBytes > 0 ? sa.softBytes : Number.POSITIVE_INFINITY;
    this.tsLocal[slot] = tsLocal;
    this.tsRemote[slot] = tsRemote;
  }

  /** The peer of an SA in UDP is elsewhere now; another SA, or none, is left alone. Throws RangeError for a wrong path. */
  move(slot: number, udp: UdpPath): void {
    if (this.key[slot] === undefined || this.key[slot] === NO_KEY || this.remotePort[slot] === 0) return;
    checkPath(udp);
    const before = this.path[slot];
    this.path[slot] = this.pairs.take(udp.local.address, udp.remote.address);
    this.localPort[slot] = udp.local.port;
    this.remotePort[slot] = udp.remote.port;
    this.pairs.release(before);
  }

  /** Forgets the SA and wipes its key. A slot without an SA is left alone. */
  remove(slot: number): void {
    const key = this.key[slot];
    if (key === undefined || key === NO_KEY) return;
    this.key[slot] = NO_KEY;
    this.spi[slot] = 0;
    this.protection[slot] = -1;
    this.pairs.release(this.pair[slot]);
    this.pairs.release(this.path[slot]);
    if (this.remotePort[slot] !== 0) this.encapsulated--;
    this.pair[slot] = NO_PAIR;
    this.path[slot] = NO_PAIR;
    this.remotePort[slot] = 0;
    this.tsLocal[slot] = NOTHING;
    this.tsRemote[slot] = NOTHING;
    this.aead.dropKey(key);
  }
}

function checkPath({ local, remote }: UdpPath): void {
  pairWords(local.address, remote.address);
  for (const { port } of [local, remote]) {
    if (!Number.isInteger(port) || port < 1 || port > 65535)
      throw new RangeError(`UDP port of ESP: expected 1 to 65535, got ${port}`);
  }
}

/** What OutboundSas.reserve answers. */
export const RESERVED = 0;
export const RESERVE_GONE = 1;
export const RESERVE_EXHAUSTED = 2;

export class OutboundSas extends Sas {
  /** This worker's number: whose counters it writes. */
  readonly worker: number;
  private readonly generation: Int32Array;
  /** Packets of the batch at hand that want a number, and the next one to give; only within sealBatch. */
  readonly wanted: Int32Array;
  readonly next: Int32Array;
  /** Slots that the batch at hand uses. */
  readonly touched: Int32Array;

  constructor(memory: SaMemory, worker: number, aead: Aead, pairs: AddressPairs) {
    const slots = memory.size.outboundSlots;
    super(memory, slots, aead, pairs);
    this.worker = worker;
    this.generation = new Int32Array(slots);
    this.wanted = new Int32Array(slots);
    this.next = new Int32Array(slots);
    this.touched = new Int32Array(slots);
  }

  /** Takes on an SA for which the main thread has called SaMemory.resetOutbound. Throws RangeError. */
  add(sa: OutboundSa): void {
    this.fill(sa, 'seal');
    this.generation[sa.slot] = this.memory.generation(sa.slot);
  }

  /** Reserves `count` sequence numbers; the first goes to next[slot]. RESERVED, RESERVE_GONE or RESERVE_EXHAUSTED. */
  reserve(slot: number, count: number): number {
    const { memory } = this;
    if (memory.isExhausted(slot)) return RESERVE_EXHAUSTED;
    const before = memory.reserve(slot, count) >>> 0;
    if (memory.generation(slot) !== this.generation[slot]) return RESERVE_GONE;
    if (before + count > SEQUENCE_LIMIT) {
      this.raise(slot, SA_EXHAUSTED);
      return RESERVE_EXHAUSTED;
    }
    this.next[slot] = (before + 1) | 0;
    if (before + count >= this.softPackets[slot]) this.raise(slot, SA_SOFT_LIMIT);
    return RESERVED;
  }

  /** Counts a block of packets and looks at the limit of bytes. */
  count(slot: number, packets: number, bytes: number): void {
    const { memory } = this;
    const at = memory.outboundCounter(this.worker, slot);
    memory.outboundCounters[at + COUNTER_PACKETS] += packets;
    memory.outboundCounters[at + COUNTER_BYTES] += bytes;
    if (this.softBytes[slot] === Number.POSITIVE_INFINITY) return;
    if (memory.outboundTotal(slot, COUNTER_BYTES) >= this.softBytes[slot]) this.raise(slot, SA_SOFT_LIMIT);
  }

  private raise(slot: number, flag: number): void {
    if (this.memory.raiseOutbound(slot, flag)) this.events.add(slot, flag);
  }
}

export class InboundSas extends Sas {
  /** Row of the batch at hand whose authentic packet came from elsewhere than the path of its SA; -1: none. */
  movedRow = -1;
  /** Monotonic ms of the last peer-moved event. */
  readonly movedAt: Float64Array;
  /** Packets with TFC padding, until the worker counts them. */
  padded = 0;

  constructor(memory: SaMemory, aead: Aead, pairs: AddressPairs) {
    super(memory, memory.size.inboundSlots, aead, pairs);
    this.movedAt = new Float64Array(memory.size.inboundSlots).fill(Number.NEGATIVE_INFINITY);
  }

  /** Takes on an SA for which the main thread has called SaMemory.resetInbound. Throws RangeError. */
  add(sa: InboundSa): void {
    if (slotOfSpi(sa.spi) !== sa.slot) {
      throw new RangeError(
        `inbound SPI 0x${sa.spi.toString(16)} names slot ${slotOfSpi(sa.spi)}, the SA is for ${sa.slot}`,
      );
    }
    this.fill(sa, 'open');
  }

  /** Slot of the SA with this SPI (as int32), or -1. */
  slotOf(spi: number): number {
    const slot = slotOfSpi(spi);
    return slot < this.key.length && this.key[slot] !== NO_KEY && this.spi[slot] === spi ? slot : -1;
  }

  /** Counts an authentic packet of `bytes` of payload; notes the first one and the limits. */
  count(slot: number, bytes: number): void {
    const { memory } = this;
    const counters = memory.inboundCounters;
    const at = memory.inboundCounter(slot);
    const packets = counters[at + COUNTER_PACKETS] + 1;
    const total = counters[at + COUNTER_BYTES] + bytes;
    counters[at + COUNTER_PACKETS] = packets;
    counters[at + COUNTER_BYTES] = total;
    if (packets === 1) this.raise(slot, SA_FIRST_PACKET);
    if (packets >= this.softPackets[slot] || total >= this.softBytes[slot]) this.raise(slot, SA_SOFT_LIMIT);
  }

  private raise(slot: number, flag: number): void {
    if (this.memory.raiseInbound(slot, flag)) this.events.add(slot, flag);
  }
}
