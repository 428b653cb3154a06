import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CounterReader, countersBytes, WorkerCounters } from '../../../dataplane/counters.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { SaMemory } from '../../../dataplane/esp/sa-memory.ts';
import {
  STT_FRAMES,
  STT_FRAMES_OF_SENDER,
  STT_HELD,
  STT_MEMORY,
  STT_RANGES,
  STT_TIMEOUT_MS,
  SttReassembly,
} from '../../../dataplane/stt/reassembly.ts';
import { TEST_LIMITS } from '../engine/pair.ts';

const PORT = 3;
/** Behind the reassembly's memory: where segments come from. */
const FROM = STT_MEMORY;
const arena = new Uint8Array(STT_MEMORY + 65_536);

interface Segment {
  readonly at: number;
  readonly bytes: Uint8Array;
}

class Bench {
  readonly shared = new SharedArrayBuffer(countersBytes(1, TEST_LIMITS));
  readonly reassembly = new SttReassembly(arena, 0, new WorkerCounters(this.shared, 0, TEST_LIMITS));
  private readonly reader = new CounterReader(
    this.shared,
    1,
    TEST_LIMITS,
    new SaMemory({ inboundSlots: 1, outboundSlots: 1, workers: 1 }),
  );

  add(
    segment: Segment,
    total: number,
    { pair = 1, protection = -1, ports = 7, id = 5, tos = 0, now = 0 } = {},
  ): number {
    arena.set(segment.bytes, FROM);
    return this.reassembly.add(
      pair,
      protection,
      ports,
      id,
      total,
      segment.at,
      FROM,
      segment.bytes.length,
      tos,
      PORT,
      now,
    );
  }

  frame(slot: number, total: number): Uint8Array {
    const start = this.reassembly.frameStart(slot);
    return arena.slice(start, start + total);
  }

  drops(): Partial<Record<DropName, number>> {
    return Object.fromEntries(this.reader.portDrops(PORT));
  }
}

const refused = (name: DropName): number => -DROP[name];
const piece = (at: number, length: number): Segment => ({ at, bytes: new Uint8Array(length).fill(at) });

/** A frame's bytes cut at random places. */
const cutFrames = fc
  .tuple(fc.uint8Array({ minLength: 40, maxLength: 3000 }), fc.array(fc.nat(), { minLength: 1, maxLength: 12 }))
  .map(([bytes, cuts]) => {
    const edges = [...new Set([0, bytes.length, ...cuts.map((cut) => cut % bytes.length)])].sort((a, b) => a - b);
    const segments = edges.slice(1).map((end, i): Segment => ({ at: edges[i]!, bytes: bytes.subarray(edges[i], end) }));
    return { bytes, segments };
  });

describe('segments of an STT frame', () => {
  it('make the frame again in whatever order they come, and nothing is whole before the last one', () => {
    fc.assert(
      fc.property(
        cutFrames.chain(({ bytes, segments }) =>
          fc.shuffledSubarray(segments, { minLength: segments.length }).map((order) => ({ bytes, order })),
        ),
        ({ bytes, order }) => {
          const bench = new Bench();
          const results = order.map((segment) => bench.add(segment, bytes.length));
          const slot = results.pop()!;
          expect(results.every((result) => result === STT_HELD)).toBe(true);
          expect(slot).toBeGreaterThanOrEqual(0);
          expect(slot).toBeLessThan(STT_FRAMES);
          expect(bench.frame(slot, bytes.length)).toEqual(bytes);
          bench.reassembly.release(0);
          expect(bench.reassembly.active).toBe(0);
          expect(bench.drops()).toEqual({});
        },
      ),
    );
  });

  it('never change a byte that is there: every second copy and every overlap is refused', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(99), fc.integer({ min: 1, max: 60 })), { minLength: 1, maxLength: 60 }),
        (pieces) => {
          const bench = new Bench();
          const total = 100;
          const have = new Array<number>(total).fill(-1);
          pieces.forEach(([at, wanted], index) => {
            const length = Math.min(wanted, total - at);
            if (!have.includes(-1)) return;
            const result = bench.add({ at, bytes: new Uint8Array(length).fill(index) }, total);
            const there = have.slice(at, at + length).filter((value) => value >= 0).length;
            const loose = have.filter((value, i) => value >= 0 && (i === 0 || have[i - 1]! < 0)).length;
            if (there === length) expect(result).toBe(refused('stt-duplicate'));
            else if (there > 0) expect(result).toBe(refused('stt-overlap'));
            else if (result === refused('stt-scattered')) expect(loose).toBe(STT_RANGES);
            else have.fill(index, at, at + length);
            if (result >= 0 && result < STT_FRAMES) {
              expect(have).not.toContain(-1);
              expect([...bench.frame(result, total)]).toEqual(have);
            }
          });
        },
      ),
      { numRuns: 500 },
    );
  });

  it('are refused beyond the pieces that are kept apart, and the frame goes on', () => {
    const bench = new Bench();
    const total = 2 * STT_RANGES + 3;
    for (let i = 0; i < STT_RANGES; i++) expect(bench.add(piece(2 * i, 1), total)).toBe(STT_HELD);
    expect(bench.add(piece(total - 1, 1), total)).toBe(refused('stt-scattered'));
    for (let i = 0; i < STT_RANGES - 1; i++) expect(bench.add(piece(2 * i + 1, 1), total)).toBe(STT_HELD);
    expect(bench.add(piece(2 * STT_RANGES - 1, 4), total)).toBeLessThan(STT_FRAMES);
  });

  it('are refused when they do not agree on the length of the frame', () => {
    const bench = new Bench();
    bench.add(piece(0, 10), 30);
    expect(bench.add(piece(10, 10), 40)).toBe(refused('stt-length'));
  });

  it.each([{ pair: 2 }, { protection: 4 }, { ports: 8 }, { id: 6 }])(
    'of another frame, %j, are not mixed in',
    (other) => {
      const bench = new Bench();
      bench.add(piece(0, 20), 40);
      expect(bench.add(piece(20, 20), 40, other)).toBe(STT_HELD);
      expect(bench.add(piece(20, 20), 40)).toBeLessThan(STT_FRAMES);
    },
  );

  it('give the frame the traffic class of the first, and CE if any of them has it', () => {
    for (const [first, second, result] of [
      [0xba, 0x00, 0xba],
      [0xba, 0xbb, 0xbb],
      [0xbb, 0xba, 0xbb],
    ] as const) {
      const bench = new Bench();
      bench.add(piece(0, 20), 40, { tos: first });
      expect(bench.reassembly.frameTos(bench.add(piece(20, 20), 40, { tos: second }))).toBe(result);
    }
  });

  it('are given up after the timeout, each one counted', () => {
    const bench = new Bench();
    bench.add(piece(0, 20), 60, { now: 1000 });
    bench.add(piece(20, 20), 60, { now: 1001 });
    bench.reassembly.release(1000 + STT_TIMEOUT_MS - 1);
    expect(bench.reassembly.active).toBe(1);
    bench.reassembly.release(1000 + STT_TIMEOUT_MS);
    expect(bench.reassembly.active).toBe(0);
    expect(bench.drops()).toEqual({ 'stt-timeout': 2 });
    // What comes late begins a frame of its own.
    expect(bench.add(piece(40, 20), 60, { now: 9000 })).toBe(STT_HELD);
  });
});

describe('memory of fixed size', () => {
  it('takes a sender the oldest of its own frames when it has its share, and nobody elses', () => {
    const bench = new Bench();
    bench.add(piece(0, 10), 20, { pair: 2, id: 1, now: 0 });
    for (let id = 0; id <= STT_FRAMES_OF_SENDER; id++) bench.add(piece(0, 10), 20, { id, now: 1 + id });
    expect(bench.drops()).toEqual({ 'stt-evicted': 1 });
    expect(bench.add(piece(10, 10), 20, { id: 0, now: 90 })).toBe(STT_HELD);
    expect(bench.add(piece(10, 10), 20, { id: 2, now: 91 })).toBeLessThan(STT_FRAMES);
    expect(bench.add(piece(10, 10), 20, { pair: 2, id: 1, now: 92 })).toBeLessThan(STT_FRAMES);
  });

  it('takes the oldest of the sender with the most when all slots are taken', () => {
    const bench = new Bench();
    const senders = STT_FRAMES / STT_FRAMES_OF_SENDER;
    bench.add(piece(0, 10), 20, { pair: 100, id: 1, now: 0 });
    for (let pair = 0; pair < senders; pair++) {
      for (let id = 0; id < STT_FRAMES_OF_SENDER; id++) bench.add(piece(0, 10), 20, { pair, id, now: 1 });
    }
    expect(bench.drops()).toEqual({ 'stt-evicted': 1 });
    expect(bench.reassembly.active).toBe(STT_FRAMES);
    expect(bench.add(piece(10, 10), 20, { pair: 100, id: 1, now: 2 })).toBeLessThan(STT_FRAMES);
  });

  it('does not give away a frame of the batch at hand', () => {
    const bench = new Bench();
    for (let i = 0; i < STT_FRAMES; i++) {
      bench.add(piece(0, 10), 20, { pair: i, id: 1 });
      expect(bench.add(piece(10, 10), 20, { pair: i, id: 1 })).toBeLessThan(STT_FRAMES);
    }
    expect(bench.add(piece(0, 10), 20, { pair: 1000, id: 1 })).toBe(refused('stt-evicted'));
    bench.reassembly.release(0);
    expect(bench.add(piece(0, 10), 20, { pair: 1000, id: 1 })).toBe(STT_HELD);
  });

  it('holds the longest frame there can be, within its slot', () => {
    const bench = new Bench();
    const half = new Uint8Array(32_767).fill(9);
    bench.add({ at: 0, bytes: half }, 65_535);
    bench.add({ at: 32_767, bytes: half }, 65_535);
    const slot = bench.add({ at: 65_534, bytes: half.subarray(0, 1) }, 65_535);
    expect(bench.frame(slot, 65_535).every((byte) => byte === 9)).toBe(true);
    expect(bench.reassembly.owns(bench.reassembly.frameStart(slot) - 20)).toBe(true);
    expect(bench.reassembly.frameStart(STT_FRAMES - 1) + 65_535 + 32).toBeLessThanOrEqual(STT_MEMORY);
    expect(bench.reassembly.owns(STT_MEMORY)).toBe(false);
  });
});
