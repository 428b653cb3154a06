/**
 * What the threads share of every SA, in one SharedArrayBuffer: outbound sequence numbers, replay windows, flags and
 * counters. Keys, SPIs and selectors are each worker's own (sa-table.ts).
 *
 * The main thread calls `resetOutbound` or `resetInbound` before it tells the workers of an SA, and nobody
 * else writes but the workers. The sequence number of an outbound SA is one word on a cache line of its own, from
 * which workers reserve blocks. It must never wrap: a number used twice under one key is the end of GCM
 * (RFC 4106 §2, §10). RFC 4303 §3.3.3 lets a sender with ESN go on to 2^64; we do not, the high half of what we
 * send is always 0. An SA ends SEQUENCE_MARGIN below 2^32, and control has rekeyed long before.
 */

import { REPLAY_TOP_HIGH, REPLAY_TOP_LOW, REPLAY_WORDS, replayReset, replayRestore, replaySave } from './replay.ts';

/**
 * The last sequence number that may be sent. Workers look before they reserve, so what goes past it is at most
 * one block for each worker, far less than the margin.
 */
const SEQUENCE_MARGIN = 1 << 20;
export const SEQUENCE_LIMIT = 0x100000000 - SEQUENCE_MARGIN;

/** Flags of an SA; each is raised once. */
export const SA_SOFT_LIMIT = 1;
export const SA_EXHAUSTED = 2;
export const SA_FIRST_PACKET = 4;

// An outbound SA: two cache lines of Int32 words.
const OUT_WORDS = 32;
const OUT_SEQUENCE = 0;
const OUT_GENERATION = 16;
const OUT_FLAGS = 17;

// An inbound SA: the words of replay.ts, the flags in one that it leaves free.
const IN_FLAGS = 8;

// Counters, as doubles: exact to 2^53. Outbound ones for each worker, because several send on one SA.
const OUT_COUNTERS = 2;
const IN_COUNTERS = 4;
export const COUNTER_PACKETS = 0;
export const COUNTER_BYTES = 1;
/** Inbound only: packets that the replay window or the ICV refused. */
export const COUNTER_REPLAYED = 2;
export const COUNTER_FORGED = 3;

export interface SaMemorySize {
  readonly inboundSlots: number;
  readonly outboundSlots: number;
  readonly workers: number;
}

export interface OutboundStatus {
  /** The last number that a worker has reserved. */
  readonly sequence: number;
  readonly packets: number;
  /** Of payload, without ESP. */
  readonly bytes: number;
  readonly softLimit: boolean;
  readonly exhausted: boolean;
}

export interface InboundStatus {
  /** Highest sequence number received; above 2^53 it is rounded. */
  readonly sequence: number;
  readonly packets: number;
  readonly bytes: number;
  readonly replayed: number;
  readonly forged: number;
  readonly softLimit: boolean;
  readonly seenPacket: boolean;
}

export class SaMemory {
  readonly size: SaMemorySize;
  /** Post this and `size` to a worker, which makes its own SaMemory over it. */
  readonly buffer: SharedArrayBuffer;
  readonly outbound: Int32Array;
  readonly inbound: Int32Array;
  readonly outboundCounters: Float64Array;
  readonly inboundCounters: Float64Array;

  constructor(size: SaMemorySize, buffer?: SharedArrayBuffer) {
    this.size = size;
    const outbound = size.outboundSlots * OUT_WORDS;
    const inbound = size.inboundSlots * REPLAY_WORDS;
    const outboundCounters = size.outboundSlots * size.workers * OUT_COUNTERS;
    const inboundCounters = size.inboundSlots * IN_COUNTERS;
    const words = (outbound + inbound) * Int32Array.BYTES_PER_ELEMENT;
    const bytes = words + (outboundCounters + inboundCounters) * Float64Array.BYTES_PER_ELEMENT;
    this.buffer = buffer ?? new SharedArrayBuffer(bytes);
    if (this.buffer.byteLength !== bytes) {
      throw new RangeError(
        `SA memory: expected a buffer of ${bytes} bytes for this size, got ${this.buffer.byteLength}`,
      );
    }
    this.outbound = new Int32Array(this.buffer, 0, outbound);
    this.inbound = new Int32Array(this.buffer, outbound * Int32Array.BYTES_PER_ELEMENT, inbound);
    this.outboundCounters = new Float64Array(this.buffer, words, outboundCounters);
    this.inboundCounters = new Float64Array(
      this.buffer,
      words + outboundCounters * Float64Array.BYTES_PER_ELEMENT,
      inboundCounters,
    );
  }

  /**
   * A new outbound SA in the slot; the next number is lastSequence + 1. The generation changes first: a worker that
   * still has the SA before sees it after it has reserved, and does not send with a number of this one.
   */
  resetOutbound(slot: number, lastSequence: number): void {
    checkSlot(slot, this.size.outboundSlots, 'outbound');
    if (!Number.isInteger(lastSequence) || lastSequence < 0 || lastSequence >= 0x100000000) {
      throw new RangeError(`last sequence number: expected 0 to 4294967295, got ${lastSequence}`);
    }
    const at = slot * OUT_WORDS;
    Atomics.add(this.outbound, at + OUT_GENERATION, 1);
    Atomics.store(this.outbound, at + OUT_SEQUENCE, lastSequence | 0);
    Atomics.store(this.outbound, at + OUT_FLAGS, lastSequence >= SEQUENCE_LIMIT ? SA_EXHAUSTED : 0);
    for (let worker = 0; worker < this.size.workers; worker++) {
      this.outboundCounters.fill(
        0,
        this.outboundCounter(worker, slot),
        this.outboundCounter(worker, slot) + OUT_COUNTERS,
      );
    }
  }

  /**
   * A new inbound SA in the slot, with an empty replay window (replay.ts says which sizes there are), or with that of
   * `replayState` of another process.
   */
  resetInbound(slot: number, window: number, esn: boolean, replay?: Uint8Array): void {
    checkSlot(slot, this.size.inboundSlots, 'inbound');
    const base = slot * REPLAY_WORDS;
    replayReset(this.inbound, base, window, esn);
    if (replay !== undefined) replayRestore(this.inbound, base, replay);
    this.inboundCounters.fill(0, slot * IN_COUNTERS, (slot + 1) * IN_COUNTERS);
  }

  replayState(slot: number): Uint8Array {
    return replaySave(this.inbound, slot * REPLAY_WORDS);
  }

  /** Changes with every SA that the slot gets. */
  generation(slot: number): number {
    return Atomics.load(this.outbound, slot * OUT_WORDS + OUT_GENERATION);
  }

  isExhausted(slot: number): boolean {
    return (Atomics.load(this.outbound, slot * OUT_WORDS + OUT_FLAGS) & SA_EXHAUSTED) !== 0;
  }

  /** Reserves `count` numbers for this thread alone; returns the number before the first, as int32. */
  reserve(slot: number, count: number): number {
    return Atomics.add(this.outbound, slot * OUT_WORDS + OUT_SEQUENCE, count);
  }

  /** Raises a flag; true for the one thread that raised it first. */
  raiseOutbound(slot: number, flag: number): boolean {
    return (Atomics.or(this.outbound, slot * OUT_WORDS + OUT_FLAGS, flag) & flag) === 0;
  }

  raiseInbound(slot: number, flag: number): boolean {
    return (Atomics.or(this.inbound, slot * REPLAY_WORDS + IN_FLAGS, flag) & flag) === 0;
  }

  /** Index of the first counter of an outbound SA for one worker. */
  outboundCounter(worker: number, slot: number): number {
    return (worker * this.size.outboundSlots + slot) * OUT_COUNTERS;
  }

  inboundCounter(slot: number): number {
    return slot * IN_COUNTERS;
  }

  /** First word of the replay window of an inbound SA. */
  replayBase(slot: number): number {
    return slot * REPLAY_WORDS;
  }

  /** Packets or bytes that all workers together have sent on the SA. */
  outboundTotal(slot: number, counter: typeof COUNTER_PACKETS | typeof COUNTER_BYTES): number {
    let total = 0;
    for (let worker = 0; worker < this.size.workers; worker++) {
      total += this.outboundCounters[this.outboundCounter(worker, slot) + counter];
    }
    return total;
  }

  outboundStatus(slot: number): OutboundStatus {
    const flags = Atomics.load(this.outbound, slot * OUT_WORDS + OUT_FLAGS);
    return {
      sequence: Atomics.load(this.outbound, slot * OUT_WORDS + OUT_SEQUENCE) >>> 0,
      packets: this.outboundTotal(slot, COUNTER_PACKETS),
      bytes: this.outboundTotal(slot, COUNTER_BYTES),
      softLimit: (flags & SA_SOFT_LIMIT) !== 0,
      exhausted: (flags & SA_EXHAUSTED) !== 0,
    };
  }

  inboundStatus(slot: number): InboundStatus {
    const words = slot * REPLAY_WORDS;
    const counters = slot * IN_COUNTERS;
    const flags = Atomics.load(this.inbound, words + IN_FLAGS);
    return {
      sequence:
        (this.inbound[words + REPLAY_TOP_HIGH] >>> 0) * 0x100000000 + (this.inbound[words + REPLAY_TOP_LOW] >>> 0),
      packets: this.inboundCounters[counters + COUNTER_PACKETS],
      bytes: this.inboundCounters[counters + COUNTER_BYTES],
      replayed: this.inboundCounters[counters + COUNTER_REPLAYED],
      forged: this.inboundCounters[counters + COUNTER_FORGED],
      softLimit: (flags & SA_SOFT_LIMIT) !== 0,
      seenPacket: (flags & SA_FIRST_PACKET) !== 0,
    };
  }
}

function checkSlot(slot: number, slots: number, direction: string): void {
  if (!Number.isInteger(slot) || slot < 0 || slot >= slots) {
    throw new RangeError(`${direction} SA slot: expected 0 to ${slots - 1}, got ${slot}`);
  }
}
