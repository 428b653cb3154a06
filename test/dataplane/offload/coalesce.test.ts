import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ACK,
  CWR,
  FIN,
  type LargeFrame,
  largeFrames,
  PSH,
  plainFrame,
  SYN,
  segmentsOf,
  withVnetHeader,
} from './large-frames.ts';
import { coalesce, openAndCut } from './segmenting.ts';

const SIZE = 100;
const sample: LargeFrame = {
  version: 4,
  protocol: 'tcp',
  tags: 0,
  id: 0xfffe,
  tos: 0,
  sequence: 0xfffffff0,
  flags: ACK,
  options: Uint8Array.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]),
  payload: new Uint8Array(3 * SIZE).map((_, i) => i),
  ports: [40000, 5201],
};
const plain = (frame: Uint8Array) => Uint8Array.of(...new Uint8Array(10), ...frame);

/** What a receiver that knows no large frames would see. */
const cutAgain = (written: readonly Uint8Array[]) =>
  written.flatMap((frame) => (frame[1] === 0 ? [frame.slice(10)] : openAndCut(frame).segments));

/** The sample's three segments, one changed. */
function changed(index: number, change: (bytes: Uint8Array) => void, frame = sample): Uint8Array[] {
  const segments = segmentsOf(frame, SIZE);
  change(segments[index]!);
  return segments;
}

const hex = (frames: readonly Uint8Array[]) => frames.map((frame) => Buffer.from(frame).toString('hex'));

describe('the coalescer', () => {
  it('gives back a large frame that was cut into segments, byte for byte', () => {
    const tcp = largeFrames().filter(
      ({ frame, size }) => frame.protocol === 'tcp' && (frame.flags & ~PSH) === ACK && frame.payload.length > size,
    );
    fc.assert(
      fc.property(tcp, ({ frame, size }) => {
        expect(hex(coalesce(segmentsOf(frame, size)))).toEqual(hex([withVnetHeader(frame, size)]));
      }),
      { numRuns: 100 },
    );
  });

  it('keeps every flow as it was, whatever comes in between', { timeout: 120_000 }, () => {
    const flow = fc.record({
      flow: fc.nat(3),
      count: fc.integer({ min: 1, max: 8 }),
      flags: fc.constantFrom(ACK, ACK, ACK, ACK | PSH, ACK | FIN, ACK | CWR, ACK | SYN),
      empty: fc.constantFrom(false, false, false, true),
      skip: fc.constantFrom(0, 0, 0, 1),
      damage: fc.constantFrom(-1, -1, -1, 40, 24),
    });
    fc.assert(
      fc.property(
        fc.array(flow, { minLength: 1, maxLength: 12 }),
        fc.array(fc.nat(), { maxLength: 60 }),
        (runs, order) => {
          const flows: Uint8Array[][] = [[], [], [], []];
          const sequences = [0, 0xfffffff0, 77, 1e9];
          // Ids that stand still would count up after joining and cutting.
          const ids = [0xfff0, 0, 5, 0];
          for (const { flow: index, count, flags, empty, skip, damage } of runs) {
            const payload = new Uint8Array(empty ? 0 : count * SIZE - 30).fill(count);
            const version = index === 3 ? (6 as const) : (4 as const);
            const whole = {
              ...sample,
              version,
              flags,
              payload,
              ports: [1000 + index, 80] as const,
              sequence: sequences[index]! + skip,
              id: ids[index]! & 0xffff,
            };
            sequences[index]! += payload.length;
            ids[index]! += empty ? 1 : count;
            const segments = empty ? [plainFrame(whole)] : segmentsOf(whole, SIZE);
            if (damage >= 0) segments[0]![damage]! ^= 1;
            flows[index]!.push(...segments);
          }
          const queues = flows.map((frames) => [...frames]);
          const mixed: Uint8Array[] = [];
          for (let i = 0; queues.some((queue) => queue.length > 0); i++) {
            const waiting = queues.filter((queue) => queue.length > 0);
            mixed.push(waiting[(order[i] ?? i) % waiting.length]!.shift()!);
          }
          const after = cutAgain(coalesce(mixed));
          expect(after.length).toBe(mixed.length);
          const portAt = (frame: Uint8Array) => (frame[12] === 8 ? 34 : 54);
          flows.forEach((frames, index) => {
            const own = after.filter(
              (frame) => frame[portAt(frame)]! * 256 + frame[portAt(frame) + 1]! === 1000 + index,
            );
            expect(hex(own)).toEqual(hex(frames));
          });
        },
      ),
      { numRuns: 150 },
    );
  });

  it('joins two flows that come by turns', () => {
    const other = { ...sample, ports: [40001, 5201] as const };
    const [a, b] = [segmentsOf(sample, SIZE), segmentsOf(other, SIZE)];
    expect(coalesce([a[0]!, b[0]!, a[1]!, b[1]!, a[2]!, b[2]!])).toEqual([
      withVnetHeader(sample, SIZE),
      withVnetHeader(other, SIZE),
    ]);
  });

  it.each<[string, (bytes: Uint8Array) => void]>([
    ['a wrong TCP checksum', (bytes) => bytes.fill(bytes[50]! ^ 1, 50, 51)],
    ['a damaged payload', (bytes) => bytes.fill(bytes[90]! ^ 0x80, 90, 91)],
    ['a wrong IPv4 header checksum', (bytes) => bytes.fill(bytes[24]! ^ 1, 24, 25)],
  ])('leaves a segment with %s alone, and its bytes as they are', (_, change) => {
    const segments = changed(1, change);
    expect(coalesce(segments)).toEqual(segments.map(plain));
  });

  /** The change is made before checksums are: the segment is right, but another one. */
  it.each<[string, Partial<LargeFrame>]>([
    ['a gap in the sequence numbers', { sequence: sample.sequence + 1 }],
    ['a repeated sequence number', { sequence: sample.sequence - SIZE }],
    ['another TOS', { tos: 1 }],
    ['an id out of order', { id: sample.id + 5 }],
    ['other options', { options: Uint8Array.from([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 3]) }],
    ['options of another length', { options: new Uint8Array(4).fill(1) }],
    ['another port', { ports: [40000, 5202] }],
    ['FIN', { flags: ACK | FIN }],
    ['CWR', { flags: ACK | CWR }],
    ['no ACK', { flags: 0 }],
    ['a tag', { tags: 4 }],
  ])('does not join a segment with %s to what is before or behind', (_, difference) => {
    const segments = segmentsOf(sample, SIZE);
    segments[1] = segmentsOf({ ...sample, ...difference }, SIZE)[1]!;
    if (difference.flags !== undefined) segments[1] = plainFrame({ ...oneOf(sample, 1), flags: difference.flags });
    expect(coalesce(segments)).toEqual(segments.map(plain));
  });

  it('does not join a longer segment, nor anything behind a shorter one', () => {
    const first = oneOf(sample, 0);
    const longer = {
      ...sample,
      sequence: sample.sequence + SIZE,
      id: sample.id + 1,
      payload: new Uint8Array(SIZE + 1),
    };
    expect(coalesce([plainFrame(first), plainFrame(longer)])).toHaveLength(2);
    const shorter = { ...longer, payload: new Uint8Array(SIZE - 1) };
    const next = {
      ...longer,
      sequence: longer.sequence + SIZE - 1,
      id: longer.id + 1,
      payload: new Uint8Array(SIZE - 1),
    };
    expect(coalesce([first, shorter, next].map(plainFrame))).toHaveLength(2);
  });

  it('ends a frame with the segment that has PSH', () => {
    const pushed = { ...sample, flags: ACK | PSH };
    const behind = { ...sample, sequence: sample.sequence + 3 * SIZE, id: (sample.id + 3) & 0xffff };
    const written = coalesce([...segmentsOf(pushed, SIZE), ...segmentsOf(behind, SIZE)]);
    expect(written).toEqual([withVnetHeader(pushed, SIZE), withVnetHeader(behind, SIZE)]);
  });

  it('joins ids that stand still if DF is set, and only then', () => {
    const still = [0, 1, 2].map((i) => plainFrame({ ...oneOf(sample, i), id: 7 }));
    const written = coalesce(still);
    expect(written).toHaveLength(1);
    expect(written[0]!.length).toBe(10 + 66 + 3 * SIZE);
    const mixed = [7, 7, 8].map((id, i) => plainFrame({ ...oneOf(sample, i), id }));
    expect(coalesce(mixed)).toHaveLength(2);
    // Without DF; the header checksum makes up for the changed word.
    const fragmentable = still.map((bytes) => {
      const copy = bytes.slice();
      copy[20] = 0;
      copy[24]! += 0x40;
      return copy;
    });
    expect(coalesce(fragmentable)).toHaveLength(3);
  });

  it('goes up to 64 KB and no further', () => {
    const payload = new Uint8Array(65 * 1400).map((_, i) => i);
    const written = coalesce(segmentsOf({ ...sample, payload }, 1400));
    expect(written).toHaveLength(2);
    expect(written[0]!.length).toBe(10 + 66 + 46 * 1400);
    expect(cutAgain(written)).toEqual(segmentsOf({ ...sample, payload }, 1400));
  });

  it('joins nothing that other ports read too, and nothing when it is off', () => {
    const segments = segmentsOf(sample, SIZE);
    expect(coalesce(segments, { shared: true })).toEqual(segments.map(plain));
    expect(coalesce(segments, { joins: false })).toEqual(segments.map(plain));
  });

  it('writes other frames as they are: UDP, ARP, a single segment, random bytes', () => {
    const udp = plainFrame({ ...sample, protocol: 'udp', options: new Uint8Array(0) });
    const single = segmentsOf(sample, SIZE).slice(0, 1);
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 14, maxLength: 120 }), { maxLength: 5 }), (random) => {
        const frames = [udp, ...random, udp, ...single];
        expect(coalesce(frames)).toEqual(frames.map(plain));
      }),
    );
  });

  it('takes segments that are cut off anywhere as they are', () => {
    const [whole, second] = segmentsOf(sample, SIZE);
    for (let length = 14; length < second!.length; length++) {
      const frames = [whole!, second!.slice(0, length)];
      expect(coalesce(frames)).toEqual(frames.map(plain));
    }
  });
});

/** Segment i of the whole, as a frame of its own. */
function oneOf(frame: LargeFrame, i: number): LargeFrame {
  return {
    ...frame,
    id: (frame.id + i) & 0xffff,
    sequence: frame.sequence + i * SIZE,
    payload: frame.payload.slice(i * SIZE, (i + 1) * SIZE),
  };
}
