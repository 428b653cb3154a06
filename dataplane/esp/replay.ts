/**
 * The anti-replay window: a ring of bits (RFC 6479) with 64-bit sequence numbers (RFC 4303 §3.4.3, Appendix A).
 *
 * State of one SA is a run of Int32 words in shared memory, so that it outlives the worker that owns the SA:
 *
 *     top low | top high | window | ring mask | ESN | … ring of 32-bit blocks
 *
 * A block is found by its number modulo the ring, so the window moves by clearing blocks and never shifts bits. The ring
 * holds one block more than the window needs, as RFC 6479 §2 asks. One worker owns an SA: nothing here is atomic.
 * `replayCheck` comes before decryption and changes nothing; `replayCommit` after it, and looks again, because
 * a duplicate may stand in the same batch.
 */

import { DROP } from '../drops.ts';

export const REPLAY_TOP_LOW = 0;
export const REPLAY_TOP_HIGH = 1;
const WINDOW = 2;
const RING_MASK = 3;
const ESN = 4;
/** Words 5 to 15 are free for the owner of the memory; the ring begins on a cache line of its own. */
const RING = 16;

export const REPLAY_WINDOW_MIN = 64;
export const REPLAY_WINDOW_MAX = 4096;
/** 4096 bits and one block more, up to the next power of two. */
const RING_WORDS_MAX = 256;
/** Words that one SA takes. */
export const REPLAY_WORDS = RING + RING_WORDS_MAX;

const OLD = DROP['replay-old'];
const DUPLICATE = DROP['replay-duplicate'];

const TWO_32 = 0x100000000;
const BLOCKS_PER_EPOCH = 1 << 27;

/**
 * Empties the window of an SA. `window` in packets, 64 to 4096, rounded up to a multiple of 32. The first
 * packet has number 1, so number 0 counts as seen. Throws RangeError for another window.
 */
export function replayReset(words: Int32Array, base: number, window: number, esn: boolean): void {
  if (!Number.isInteger(window) || window < REPLAY_WINDOW_MIN || window > REPLAY_WINDOW_MAX) {
    throw new RangeError(
      `replay window: expected ${REPLAY_WINDOW_MIN} to ${REPLAY_WINDOW_MAX} packets, got ${window}; set options:ipsec_replay_window`,
    );
  }
  const blocks = Math.ceil(window / 32);
  let ring = 1;
  while (ring < blocks + 1) ring <<= 1;
  words.fill(0, base, base + REPLAY_WORDS);
  words[base + WINDOW] = blocks * 32;
  words[base + RING_MASK] = ring - 1;
  words[base + ESN] = esn ? 1 : 0;
  words[base + RING] = 1;
}

/** The state of an SA for another process on this host. */
export function replaySave(words: Int32Array, base: number): Uint8Array {
  return new Uint8Array(words.slice(base, base + REPLAY_WORDS).buffer);
}

/** After `replayReset` with the same window. Throws RangeError for a state of another size or window. */
export function replayRestore(words: Int32Array, base: number, saved: Uint8Array): void {
  const state = new Int32Array(saved.slice().buffer);
  const isOfThisWindow = [WINDOW, RING_MASK, ESN].every((word) => state[word] === words[base + word]);
  if (state.length !== REPLAY_WORDS || !isOfThisWindow)
    throw new RangeError(`replay state: expected ${REPLAY_WORDS} words of this window, got ${state.length}`);
  words.set(state.subarray(RING), base + RING);
  words[base + REPLAY_TOP_LOW] = state[REPLAY_TOP_LOW]!;
  words[base + REPLAY_TOP_HIGH] = state[REPLAY_TOP_HIGH]!;
}

/**
 * How far the number (high, low) is above the highest seen, negative below. Exact as a double, because the
 * high halves differ by at most 1 wherever it matters.
 */
function distance(words: Int32Array, base: number, low: number, high: number): number {
  return (
    ((high >>> 0) - (words[base + REPLAY_TOP_HIGH] >>> 0)) * TWO_32 +
    ((low >>> 0) - (words[base + REPLAY_TOP_LOW] >>> 0))
  );
}

/**
 * The high half of a received number (RFC 4303 Appendix A2.2), as int32 in highs[row]: 0 without ESN. False
 * if the number would lie below 0: then it is older than anything.
 */
function inferHigh(words: Int32Array, base: number, low: number, highs: Int32Array, row: number): boolean {
  if (words[base + ESN] === 0) {
    highs[row] = 0;
    return true;
  }
  const topLow = words[base + REPLAY_TOP_LOW] >>> 0;
  const topHigh = words[base + REPLAY_TOP_HIGH];
  const window = words[base + WINDOW];
  const number = low >>> 0;
  if (topLow >= window - 1) {
    // Case A: the window lies within one epoch. A number below its bottom belongs to the next one.
    // Past the last epoch this wraps to 0, which is far below the window.
    highs[row] = number >= topLow - window + 1 ? topHigh : (topHigh + 1) | 0;
  } else if (number >= topLow - window + 1 + TWO_32) {
    // Case B: the window reaches back into the epoch before, and so does this number.
    if (topHigh === 0) return false;
    highs[row] = (topHigh - 1) | 0;
  } else {
    highs[row] = topHigh;
  }
  return true;
}

function seen(words: Int32Array, base: number, low: number): boolean {
  const block = (low >>> 5) & words[base + RING_MASK];
  return (words[base + RING + block] & (1 << (low & 31))) !== 0;
}

/** 0 if a packet with the low half `low` may be decrypted, with its high half in highs[row]; else a drop reason. */
export function replayCheck(words: Int32Array, base: number, low: number, highs: Int32Array, row: number): number {
  if (!inferHigh(words, base, low, highs, row)) return OLD;
  const ahead = distance(words, base, low, highs[row]);
  if (ahead > 0) return 0;
  if (ahead <= -words[base + WINDOW]) return OLD;
  return seen(words, base, low) ? DUPLICATE : 0;
}

/**
 * Marks an authentic packet as received and moves the window up if it is the highest. 0, or a drop reason if
 * packets before it in the batch have made it old or a duplicate.
 */
export function replayCommit(words: Int32Array, base: number, low: number, high: number): number {
  const ahead = distance(words, base, low, high);
  const mask = words[base + RING_MASK];
  if (ahead > 0) {
    const top = words[base + REPLAY_TOP_LOW] >>> 5;
    const epochs = (high >>> 0) - (words[base + REPLAY_TOP_HIGH] >>> 0);
    const blocks = (low >>> 5) - top + epochs * BLOCKS_PER_EPOCH;
    // A jump beyond the whole ring clears each block once.
    const clear = blocks > mask ? mask + 1 : blocks;
    for (let i = 1; i <= clear; i++) words[base + RING + ((top + i) & mask)] = 0;
    words[base + REPLAY_TOP_LOW] = low;
    words[base + REPLAY_TOP_HIGH] = high;
  } else {
    if (ahead <= -words[base + WINDOW]) return OLD;
    if (seen(words, base, low)) return DUPLICATE;
  }
  words[base + RING + ((low >>> 5) & mask)] |= 1 << (low & 31);
  return 0;
}
