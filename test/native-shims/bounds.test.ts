import { closeSync, openSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadNative } from '../../native-shims/index.ts';
import { aeadColumns, column, frames, guardedArena } from './columns.ts';

const native = loadNative();
const TAG = 16;
const IV = 8;

/** Endless bytes to read, a place where all writes succeed, and a UDP socket that sends to the discard port. */
let zero = -1;
let sink = -1;
let udp = -1;

beforeAll(() => {
  zero = openSync('/dev/zero', 'r');
  sink = openSync('/dev/null', 'w');
  udp = native.openUdpSocket({ family: 4, address: '127.0.0.1', port: 0 });
});

afterAll(() => {
  closeSync(zero);
  closeSync(sink);
  native.close(udp);
});

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
/** Mostly near the arena's edges, sometimes anything. */
const place = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 80 }) },
  { weight: 2, arbitrary: fc.integer({ min: -20, max: 320 }) },
  { weight: 1, arbitrary: int32 },
);
const ROWS = 5;
const places = fc.array(place, { minLength: ROWS, maxLength: ROWS });
const index = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 3 }) },
  { weight: 1, arbitrary: fc.integer({ min: -2, max: 7 }) },
  { weight: 1, arbitrary: fc.double() },
);
const arenaBytes = fc.integer({ min: 0, max: 300 });
/** How many rows each column has: usually enough. */
const rowsOf = fc.oneof(
  { weight: 5, arbitrary: fc.constant(ROWS) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: ROWS }) },
);

type Outcome = 'works' | 'RangeError' | 'TypeError';

function outcome(call: () => unknown): Outcome {
  try {
    call();
    return 'works';
  } catch (error) {
    if (error instanceof RangeError) return 'RangeError';
    if (error instanceof TypeError) return 'TypeError';
    throw error;
  }
}

const isCount = (value: number) => Number.isInteger(value) && value >= 0;
const isWithin = (arena: number, offset: number, length: number) =>
  offset >= 0 && length >= 0 && offset + length <= arena;

/** What a call over rows must come to, given which rows are in order. */
function expected(first: number, count: number, rows: number, isGood: (row: number) => boolean): Outcome {
  // The first argument at fault is the one complained of.
  if (isCount(first) && first > 0x7fffffff) return 'RangeError';
  if (!isCount(first) || !isCount(count)) return 'TypeError';
  if (first + count > rows) return 'RangeError';
  for (let row = first; row < first + count; row++) if (!isGood(row)) return 'RangeError';
  return 'works';
}

const frameCase = fc.record({
  bytes: arenaBytes,
  offset: places,
  length: places,
  first: index,
  count: index,
  rows: rowsOf,
  capacity: fc.integer({ min: 0, max: 200 }),
});

function frameColumns(test: { bytes: number; offset: number[]; length: number[]; rows: number }) {
  const { arena, intact } = guardedArena(test.bytes);
  const columns = { arena, offset: column(test.rows), length: column(ROWS) };
  columns.offset.set(test.offset.slice(0, test.rows));
  columns.length.set(test.length);
  return { columns, intact };
}

describe('offsets and lengths', () => {
  it('of frames outside the arena throw RangeError before a byte is read: checksumBatch, writeFrames, sendBatch', () => {
    fc.assert(
      fc.property(frameCase, (test) => {
        const { columns, intact } = frameColumns(test);
        const want = expected(test.first, test.count, test.rows, (row) =>
          isWithin(test.bytes, test.offset[row], test.length[row]),
        );
        const to = new Uint8Array(28);
        new Uint16Array(to.buffer)[0] = 2;
        to.set([0, 9, 127, 0, 0, 1], 2);
        expect(outcome(() => native.checksumBatch(columns, column(ROWS), test.first, test.count))).toBe(want);
        expect(outcome(() => native.writeFrames(sink, columns, test.first, test.count))).toBe(want);
        expect(
          outcome(() => native.sendBatch(udp, columns, test.first, test.count, to, column(ROWS), column(ROWS))),
        ).toBe(want);
        expect(intact()).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('of space outside the arena throw RangeError before a byte is written: readFrames, receiveBatch, receiveDevice', () => {
    fc.assert(
      fc.property(frameCase, (test) => {
        const { columns, intact } = frameColumns(test);
        const want = expected(test.first, test.count, test.rows, (row) =>
          isWithin(test.bytes, test.offset[row], test.capacity),
        );
        columns.arena.fill(0xee);
        const got = outcome(() => native.readFrames(zero, columns, test.first, test.count, test.capacity));
        expect(got).toBe(want);
        if (got !== 'works') expect(columns.arena.every((byte) => byte === 0xee)).toBe(true);
        expect(outcome(() => native.receiveBatch(udp, columns, test.first, test.count, test.capacity))).toBe(want);
        const { first, count, capacity } = test;
        expect(outcome(() => native.receiveDevice(udp, columns, first, count, capacity, true))).toBe(want);
        expect(intact()).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('of a range outside the arena throw: checksum', () => {
    fc.assert(
      fc.property(arenaBytes, place, place, (bytes, offset, length) => {
        const want = offset < 0 || length < 0 ? 'TypeError' : isWithin(bytes, offset, length) ? 'works' : 'RangeError';
        expect(outcome(() => native.checksum(guardedArena(bytes).arena, offset, length, 0))).toBe(want);
      }),
    );
  });

  it('of aad, iv, text and tag outside the arena throw RangeError, and nothing was sealed or opened', () => {
    const keys = { seal: 0, open: 0 };
    for (const direction of ['seal', 'open'] as const)
      keys[direction] = native.aeadKey('aes128gcm16', direction, new Uint8Array(20));
    const aeadCase = fc.record({
      bytes: arenaBytes,
      aadOffset: places,
      aadLength: places,
      ivOffset: places,
      textOffset: places,
      textLength: places,
      key: fc.array(fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: int32 }), {
        minLength: ROWS,
        maxLength: ROWS,
      }),
      first: index,
      count: index,
    });
    fc.assert(
      fc.property(aeadCase, (test) => {
        const want = expected(
          test.first,
          test.count,
          ROWS,
          (row) =>
            test.key[row] === 0 &&
            isWithin(test.bytes, test.aadOffset[row], test.aadLength[row]) &&
            isWithin(test.bytes, test.ivOffset[row], IV) &&
            test.textLength[row] >= 0 &&
            isWithin(test.bytes, test.textOffset[row], test.textLength[row] + TAG),
        );
        for (const direction of ['seal', 'open'] as const) {
          const { arena, intact } = guardedArena(test.bytes);
          const columns = aeadColumns(arena, ROWS);
          for (const name of ['aadOffset', 'aadLength', 'ivOffset', 'textOffset', 'textLength'] as const)
            columns[name].set(test[name]);
          columns.key.set(test.key.map((key) => (key === 0 ? keys[direction] : key > 0 ? key | 0x10000 : key)));
          const run = direction === 'seal' ? native.sealBatch : native.openBatch;
          expect(outcome(() => run(columns, test.first, test.count))).toBe(want);
          expect(intact()).toBe(true);
          if (want !== 'works') expect(arena.every((byte) => byte === 0)).toBe(true);
        }
      }),
      { numRuns: 1500 },
    );
  });

  it('of address slots outside `to` and `from` throw RangeError', () => {
    const columns = frames(3, 8);
    const toIndex = Int32Array.of(0, 1, 2);
    expect(() => native.sendBatch(udp, columns, 0, 3, new Uint8Array(83), toIndex, column(3))).toThrow(
      'sendBatch: toIndex of row 2 is 2, there are 2 address slots',
    );
    expect(() => native.sendBatch(udp, columns, 0, 3, new Uint8Array(84), column(2), column(3))).toThrow(
      'sendBatch: rows 0 to 3 are outside column toIndex of 2 rows',
    );
    expect(() => native.receiveBatch(udp, columns, 1, 2, 8, new Uint8Array(83))).toThrow(RangeError);
    expect(native.receiveBatch(udp, columns, 1, 2, 8, new Uint8Array(84))).toBe(0);
  });

  it('of the poll columns are checked', () => {
    expect(() => native.poll(column(2), column(3), 3, 0)).toThrow(RangeError);
    expect(() => native.poll(column(3), column(2), 3, 0)).toThrow(RangeError);
    expect(() => native.poll(column(3), column(3), -1, 0)).toThrow(TypeError);
    expect(() => native.poll(column(2000), column(2000), 1025, 0)).toThrow(RangeError);
  });
});

describe('arguments of another type', () => {
  const good = frames(2, 16);

  it.each([
    ['a Float32Array as column', { ...good, offset: new Float32Array(2) }],
    ['a Uint32Array as column', { ...good, length: new Uint32Array(2) }],
    ['an array as column', { ...good, offset: [0, 0] }],
    ['an Int8Array as arena', { ...good, arena: new Int8Array(32) }],
    ['a DataView as arena', { ...good, arena: new DataView(new ArrayBuffer(32)) }],
    ['an ArrayBuffer as arena', { ...good, arena: new ArrayBuffer(32) }],
    ['no arena', { ...good, arena: undefined }],
    ['null columns', { arena: null, offset: null, length: null }],
  ])('%s: TypeError', (_, columns) => {
    const wrong = columns as unknown as typeof good;
    expect(() => native.checksumBatch(wrong, column(2), 0, 1)).toThrow(TypeError);
    expect(() => native.readFrames(zero, wrong, 0, 1, 8)).toThrow(TypeError);
    expect(() => native.writeFrames(sink, wrong, 0, 1)).toThrow(TypeError);
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null, undefined, {}])(
    '%s as a number: TypeError',
    (value) => {
      const wrong = value as number;
      expect(() => native.readFrames(wrong, good, 0, 1, 8)).toThrow(TypeError);
      expect(() => native.readFrames(zero, good, wrong, 1, 8)).toThrow(TypeError);
      expect(() => native.readFrames(zero, good, 0, wrong, 8)).toThrow(TypeError);
      expect(() => native.readFrames(zero, good, 0, 1, wrong)).toThrow(TypeError);
      expect(() => native.close(wrong)).toThrow(TypeError);
    },
  );

  it('a detached buffer: TypeError', () => {
    const arena = new Uint8Array(16);
    structuredClone(arena.buffer, { transfer: [arena.buffer] });
    expect(() => native.checksum(arena, 0, 0, 0)).toThrow('checksum: the buffer of arena is detached');
    const offset = new Int32Array(2);
    structuredClone(offset.buffer, { transfer: [offset.buffer] });
    expect(() => native.checksumBatch({ ...good, offset }, column(2), 0, 1)).toThrow(TypeError);
  });

  it('missing arguments: TypeError', () => {
    expect(() => (native.close as unknown as () => void)()).toThrow('close: 0 arguments came, 1 are needed');
  });

  it('empty views are no error where nothing is asked of them', () => {
    expect(native.checksum(new Uint8Array(0), 0, 0, 5)).toBe(5);
    const none = { arena: new Uint8Array(0), offset: new Int32Array(0), length: new Int32Array(0) };
    expect(native.readFrames(zero, none, 0, 0, 100)).toBe(0);
  });
});
