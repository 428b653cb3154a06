/**
 * Puts the segments of STT frames together (draft-davie-stt-08 §3.1), in memory of fixed size.
 *
 * A frame is a slot: its addresses and protection, both ports and its id name it, so that what came in ESP is never mixed with what
 * came in the clear. Bytes are copied to where they belong; which ones are there is a short sorted list of ranges, one range as long as
 * segments come in order. Every call does bounded work:
 *
 *   - a range that is there already is a duplicate, one that is there in part an overlap; both leave the frame as it is
 *   - a segment that would make more than RANGES ranges is refused
 *   - a frame that is not whole TIMEOUT_MS after its first segment is given up
 *   - a sender (addresses and protection) that has its share of slots gives up its oldest frame for a new one; when all slots are taken,
 *     the sender with the most gives up its oldest. So nobody pushes out the frames of one that has fewer.
 *
 * A frame that is whole stays in its slot until `release`, before the next batch: nothing is copied a second time. The slot has
 * headroom and tailroom as one of the arena. Every segment given up is counted; checksums have been verified before.
 */

import { HEADROOM, TAILROOM } from '../batch.ts';
import type { WorkerCounters } from '../counters.ts';
import { DROP } from '../drops.ts';
import { ECN_CE, ECN_MASK } from '../encap/inner-ip.ts';
import { STT_MAX_LENGTH, STT_SEGMENT_HEADER_LENGTH } from '../wire/stt.ts';

/** Frames that can be incomplete at a time, and how many of them one sender may have. */
export const STT_FRAMES = 64;
export const STT_FRAMES_OF_SENDER = 16;
/** Ranges of a frame that may lie apart. */
export const STT_RANGES = 16;
export const STT_TIMEOUT_MS = 2000;

/** Bytes from one slot to the next; a multiple of 64. */
const STRIDE = (HEADROOM + STT_SEGMENT_HEADER_LENGTH + STT_MAX_LENGTH + TAILROOM + 63) & ~63;
export const STT_MEMORY = STRIDE * STT_FRAMES;

/** What `add` gives for a segment that is kept while its frame is not whole. Whole frames give their slot, refused segments minus a drop reason. */
export const STT_HELD = STT_FRAMES;

const DUPLICATE = -DROP['stt-duplicate'];
const OVERLAP = -DROP['stt-overlap'];
const WRONG_LENGTH = -DROP['stt-length'];
const SCATTERED = -DROP['stt-scattered'];
const NO_ROOM = -DROP['stt-evicted'];
const TIMEOUT = DROP['stt-timeout'];
const EVICTED = DROP['stt-evicted'];

const FREE = 0;
const GROWING = 1;
/** Its frame is in the batch at hand. */
const WHOLE = 2;

export class SttReassembly {
  /** Slots that are not free. */
  active = 0;
  /** Segments taken, those of them given up, and frames that became whole, since the beginning. */
  accepted = 0;
  givenUp = 0;
  completed = 0;

  private readonly bytes: Uint8Array;
  private readonly region: number;
  private readonly counters: WorkerCounters;
  private readonly state = new Uint8Array(STT_FRAMES);
  private readonly pair = new Int32Array(STT_FRAMES);
  private readonly protection = new Int32Array(STT_FRAMES);
  private readonly ports = new Int32Array(STT_FRAMES);
  private readonly id = new Int32Array(STT_FRAMES);
  private readonly port = new Int32Array(STT_FRAMES);
  private readonly total = new Int32Array(STT_FRAMES);
  private readonly segments = new Int32Array(STT_FRAMES);
  private readonly tos = new Int32Array(STT_FRAMES);
  /** How many slots the sender of this one has. */
  private readonly share = new Int32Array(STT_FRAMES);
  private readonly born = new Float64Array(STT_FRAMES);
  private readonly rangeCount = new Int32Array(STT_FRAMES);
  private readonly rangeStart = new Int32Array(STT_FRAMES * STT_RANGES);
  private readonly rangeEnd = new Int32Array(STT_FRAMES * STT_RANGES);

  /** `region`: where STT_MEMORY bytes of `bytes` begin that nobody else uses. */
  constructor(bytes: Uint8Array, region: number, counters: WorkerCounters) {
    this.bytes = bytes;
    this.region = region;
    this.counters = counters;
  }

  /**
   * Takes a segment: `length` bytes at `from` belong at `at` of a frame of `total` bytes, and at + length is at most total. `port` is
   * the tunnel port that a loss is counted at. Gives STT_HELD, the slot of a frame that is whole now, or minus a drop reason.
   */
  add(
    pair: number,
    protection: number,
    ports: number,
    id: number,
    total: number,
    at: number,
    from: number,
    length: number,
    tos: number,
    port: number,
    now: number,
  ): number {
    let slot = this.find(pair, protection, ports, id);
    if (slot < 0) {
      slot = this.open(pair, protection, ports, id, total, port, now);
      if (slot < 0) return NO_ROOM;
    } else if (this.total[slot] !== total) return WRONG_LENGTH;
    const refused = this.enter(slot, at, at + length);
    if (refused < 0) return refused;
    const to = this.frameStart(slot) + at;
    this.bytes.copyWithin(to, from, from + length);
    this.segments[slot]++;
    this.accepted++;
    // Congestion that one segment has met is met by the frame (RFC 3168 §5.3).
    if (this.segments[slot] === 1) this.tos[slot] = tos;
    else if ((tos & ECN_MASK) === ECN_CE) this.tos[slot] |= ECN_CE;
    const first = slot * STT_RANGES;
    if (this.rangeCount[slot] !== 1 || this.rangeStart[first] !== 0 || this.rangeEnd[first] !== total) return STT_HELD;
    this.state[slot] = WHOLE;
    this.completed += this.segments[slot] - 1;
    return slot;
  }

  /** Where the frame header of a slot stands; room for a segment header and more is in front of it. */
  frameStart(slot: number): number {
    return this.region + slot * STRIDE + HEADROOM + STT_SEGMENT_HEADER_LENGTH;
  }

  /** Whether an offset into the arena lies in a slot: the row there has been put together. */
  owns(offset: number): boolean {
    return offset >= this.region && offset < this.region + STT_MEMORY;
  }

  /** DSCP/ECN byte of a frame, CE if one of its segments had it. */
  frameTos(slot: number): number {
    return this.tos[slot];
  }

  /** Frees the slots of whole frames, and gives up those that took too long. Once a batch, before its first segment. */
  release(now: number): void {
    if (this.active === 0) return;
    for (let slot = 0; slot < STT_FRAMES; slot++) {
      if (this.state[slot] === WHOLE) this.free(slot);
      else if (this.state[slot] === GROWING && now - this.born[slot] >= STT_TIMEOUT_MS) this.giveUp(slot, TIMEOUT);
    }
  }

  /** Gives up what is not whole: tunnels have changed, and ids of addresses may mean others now. */
  clear(): void {
    for (let slot = 0; slot < STT_FRAMES; slot++) if (this.state[slot] === GROWING) this.giveUp(slot, EVICTED);
  }

  private find(pair: number, protection: number, ports: number, id: number): number {
    if (this.active === 0) return -1;
    for (let slot = 0; slot < STT_FRAMES; slot++) {
      if (
        this.id[slot] === id &&
        this.state[slot] === GROWING &&
        this.pair[slot] === pair &&
        this.ports[slot] === ports &&
        this.protection[slot] === protection
      )
        return slot;
    }
    return -1;
  }

  private open(
    pair: number,
    protection: number,
    ports: number,
    id: number,
    total: number,
    port: number,
    now: number,
  ): number {
    const slot = this.makeRoom(pair, protection);
    if (slot < 0) return slot;
    this.state[slot] = GROWING;
    this.active++;
    this.pair[slot] = pair;
    this.protection[slot] = protection;
    this.ports[slot] = ports;
    this.id[slot] = id;
    this.port[slot] = port;
    this.total[slot] = total;
    this.segments[slot] = 0;
    this.born[slot] = now;
    this.rangeCount[slot] = 0;
    this.countShare(pair, protection);
    return slot;
  }

  /** A free slot, freed if need be; -1 when all hold frames of the batch at hand. */
  private makeRoom(pair: number, protection: number): number {
    let free = -1;
    let own = -1;
    let greediest = -1;
    for (let slot = 0; slot < STT_FRAMES; slot++) {
      if (this.state[slot] === FREE) free = slot;
      if (this.state[slot] !== GROWING) continue;
      if (this.isOf(slot, pair, protection)) {
        if (own < 0 || this.born[slot] < this.born[own]) own = slot;
      }
      const more = greediest < 0 ? 1 : this.share[slot] - this.share[greediest];
      if (more > 0 || (more === 0 && this.born[slot] < this.born[greediest])) greediest = slot;
    }
    if (own >= 0 && this.share[own] >= STT_FRAMES_OF_SENDER) {
      this.giveUp(own, EVICTED);
      return own;
    }
    if (free < 0 && greediest >= 0) {
      this.giveUp(greediest, EVICTED);
      return greediest;
    }
    return free;
  }

  /** Enters start to end into the slot's ranges. Returns 0, or minus a drop reason with nothing changed. */
  private enter(slot: number, start: number, end: number): number {
    const { rangeStart, rangeEnd } = this;
    const first = slot * STT_RANGES;
    const last = first + this.rangeCount[slot];
    let at = first;
    while (at < last && rangeEnd[at] < start) at++;
    if (at === last || end < rangeStart[at]) return this.insert(slot, at, start, end);
    if (start >= rangeStart[at] && end <= rangeEnd[at]) return DUPLICATE;
    if (end === rangeStart[at]) {
      rangeStart[at] = start;
      return 0;
    }
    const next = at + 1;
    if (start !== rangeEnd[at] || (next < last && end > rangeStart[next])) return OVERLAP;
    rangeEnd[at] = end;
    if (next < last && end === rangeStart[next]) {
      rangeEnd[at] = rangeEnd[next];
      rangeStart.copyWithin(next, next + 1, last);
      rangeEnd.copyWithin(next, next + 1, last);
      this.rangeCount[slot]--;
    }
    return 0;
  }

  private insert(slot: number, at: number, start: number, end: number): number {
    const last = slot * STT_RANGES + this.rangeCount[slot];
    if (this.rangeCount[slot] === STT_RANGES) return SCATTERED;
    this.rangeStart.copyWithin(at + 1, at, last);
    this.rangeEnd.copyWithin(at + 1, at, last);
    this.rangeStart[at] = start;
    this.rangeEnd[at] = end;
    this.rangeCount[slot]++;
    return 0;
  }

  private giveUp(slot: number, reason: number): void {
    this.givenUp += this.segments[slot];
    this.counters.dropped(reason, this.port[slot], this.segments[slot]);
    this.free(slot);
  }

  private free(slot: number): void {
    this.state[slot] = FREE;
    this.active--;
    this.countShare(this.pair[slot], this.protection[slot]);
  }

  /** Every slot of the sender says how many there are. */
  private countShare(pair: number, protection: number): void {
    let slots = 0;
    for (let slot = 0; slot < STT_FRAMES; slot++) if (this.isOf(slot, pair, protection)) slots++;
    for (let slot = 0; slot < STT_FRAMES; slot++) if (this.isOf(slot, pair, protection)) this.share[slot] = slots;
  }

  private isOf(slot: number, pair: number, protection: number): boolean {
    return this.state[slot] !== FREE && this.pair[slot] === pair && this.protection[slot] === protection;
  }
}
