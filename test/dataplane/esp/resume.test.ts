/** What a successor process goes on with: replay windows, sequence numbers, SPIs. */
import { describe, expect, it } from 'vitest';
import {
  REPLAY_WORDS,
  replayCheck,
  replayCommit,
  replayReset,
  replayRestore,
  replaySave,
} from '../../../dataplane/esp/replay.ts';
import { SaMemory } from '../../../dataplane/esp/sa-memory.ts';
import { makeSpi, SpiAllocator } from '../../../dataplane/steering.ts';
import { createIvSource } from '../../../ike/crypto/sk-cipher.ts';

describe('a successor process', () => {
  it('refuses every number that its predecessor had received, and takes those that it had not', () => {
    const before = new Int32Array(REPLAY_WORDS);
    replayReset(before, 0, 64, true);
    for (const number of [5, 7, 40]) expect(replayCommit(before, 0, number, 0)).toBe(0);
    const after = new Int32Array(2 * REPLAY_WORDS);
    replayReset(after, REPLAY_WORDS, 64, true);
    replayRestore(after, REPLAY_WORDS, replaySave(before, 0));
    const verdicts = [5, 6, 7, 40, 41].map(
      (number) => replayCheck(after, REPLAY_WORDS, number, new Int32Array(1), 0) === 0,
    );
    expect(verdicts).toEqual([false, true, false, false, true]);
  });

  it('goes on in the epoch of its predecessor, with nothing changed beside the window', () => {
    const before = new Int32Array(3 * REPLAY_WORDS).fill(0x55555555);
    replayReset(before, REPLAY_WORDS, 64, true);
    expect(replayCommit(before, REPLAY_WORDS, 7, 3)).toBe(0);
    const saved = replaySave(before, REPLAY_WORDS);
    expect(saved).toHaveLength(4 * REPLAY_WORDS);
    // As it is read out of a file: somewhere in a larger buffer.
    const file = new Uint8Array(saved.length + 9);
    file.set(saved, 5);
    const after = new Int32Array(3 * REPLAY_WORDS).fill(0x55555555);
    replayReset(after, REPLAY_WORDS, 64, true);
    replayRestore(after, REPLAY_WORDS, file.subarray(5, 5 + saved.length));
    expect(after).toEqual(before);
    const highs = new Int32Array(1);
    expect(replayCheck(after, REPLAY_WORDS, 7, highs, 0)).not.toBe(0);
    expect(replayCheck(after, REPLAY_WORDS, 8, highs, 0)).toBe(0);
    expect(highs[0]).toBe(3);
  });

  it('refuses the state of another window, of no ESN, and of another length, and stays as it was', () => {
    const reset = (window: number, esn: boolean): Int32Array => {
      const words = new Int32Array(2 * REPLAY_WORDS);
      replayReset(words, 0, window, esn);
      return words;
    };
    const saved = replaySave(reset(64, true), 0);
    const wrong: readonly (readonly [number, boolean, Uint8Array])[] = [
      [128, true, saved],
      [64, false, saved],
      [64, true, saved.subarray(0, saved.length - 4)],
      [64, true, Uint8Array.of(...saved, 0, 0, 0, 0)],
      [64, true, new Uint8Array()],
    ];
    for (const [window, esn, state] of wrong) {
      const words = reset(window, esn);
      expect(() => replayRestore(words, 0, state)).toThrow(
        new RangeError(`replay state: expected ${REPLAY_WORDS} words of this window, got ${state.length / 4}`),
      );
      expect(words).toEqual(reset(window, esn));
    }
  });

  it('sends with higher numbers than its predecessor', () => {
    const memory = new SaMemory({ inboundSlots: 2, outboundSlots: 2, workers: 1 });
    memory.resetOutbound(1, 65_000);
    expect(memory.reserve(1, 1)).toBe(65_000);
  });

  it('keeps the SPIs that it takes over to itself, unless they are of a worker or slot that it has not', () => {
    const random = (bytes: number) => new Uint8Array(bytes).fill(3);
    const spis = new SpiAllocator({ workers: 2, slots: 3, random, now: () => 0 });
    const [mine, ofThirdWorker, ofFourthSlot] = [makeSpi(1, 9, 0), makeSpi(2, 9, 1), makeSpi(0, 9, 3)];
    expect([mine, mine, ofThirdWorker, ofFourthSlot].map((spi) => spis.adopt(spi))).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(spis.holds(mine)).toBe(true);
    expect([spis.allocate(), spis.allocate()].map((spi) => spi & 0xffff)).toEqual([1, 2]);
    expect(() => spis.allocate()).toThrow(/no free SPI/);
    spis.release(mine);
    expect(spis.holds(mine)).toBe(false);
  });

  it('never takes an IV of an IKE key again', () => {
    const gcm = { type: 'ENCR', id: 20, keyBits: 256 } as const;
    const nothing = (bytes: number) => new Uint8Array(bytes);
    const first = createIvSource(gcm, nothing);
    const used = [first(8), first(8)].map((iv) => Buffer.from(iv).readBigUInt64BE());
    const next = createIvSource(gcm, nothing, 2);
    expect(used).toEqual([1n, 2n]);
    expect(Buffer.from(next(8)).readBigUInt64BE()).toBe(3n);
    const high = createIvSource(gcm, nothing, 2 ** 32 - 1);
    expect([high(8), high(8)].map((iv) => Buffer.from(iv).readBigUInt64BE())).toEqual([2n ** 32n, 2n ** 32n + 1n]);
  });
});
