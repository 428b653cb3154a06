import { describe, expect, it } from 'vitest';
import type { CaptureSettings } from '../../../dataplane/index.ts';
import { frame, openPair, type Pair, type PairOptions, type Side, settle } from '../engine/pair.ts';
import { packetsOf } from './blocks.ts';

const ALL: CaptureSettings = { points: ['inside', 'outside'], dropsOnly: false, packetsPerSecond: 1000 };

async function withPair(options: PairOptions, body: (pair: Pair) => Promise<void>): Promise<void> {
  const pair = await openPair(options);
  try {
    await body(pair);
  } finally {
    await pair.stop();
  }
}

const capture = (side: Side, settings: Partial<CaptureSettings> | undefined) =>
  side.engine.apply({ op: 'set-capture', capture: settings && { ...ALL, ...settings } });
const events = (side: Side) => side.events.flatMap((event) => (event.event === 'captured' ? [event] : []));
const packets = (side: Side) => events(side).flatMap((event) => packetsOf(event.blocks));
const skipped = (side: Side) => events(side).reduce((sum, { skipped: s }) => sum + s.inside + s.outside, 0);

async function exchange({ a, b }: Pair): Promise<void> {
  a.port.put(frame(2, 1));
  await b.frame();
  b.port.put(frame(1, 2));
  await a.frame();
}

describe('a capture', () => {
  it('holds the frames of both directions inside, and the packets outside as they were on the wire', async () => {
    const wire: Uint8Array[] = [];
    await withPair({ protection: 'never-up', tap: (packet) => wire.push(packet.slice()) > 0 }, async (pair) => {
      await pair.protect();
      await capture(pair.a, {});
      await exchange(pair);
      expect(packets(pair.a).map(({ point, flags, comment }) => [point, flags, comment])).toEqual([
        [1, 2, undefined],
        [0, 2, undefined],
        [1, 1, undefined],
        [0, 1, undefined],
      ]);
      const [sent, inner, received, delivered] = packets(pair.a);
      expect(inner!.bytes).toEqual(frame(2, 1));
      expect(delivered!.bytes).toEqual(frame(1, 2));
      // The kernel, and not the engine, fills in checksum and id; the memory wire changes nothing.
      expect(sent!.bytes).toEqual(wire[0]);
      expect(received!.bytes).toEqual(wire[1]);
      expect(sent!.bytes[9]).toBe(50);
    });
  });

  it('says of each dropped packet why, with the packet as it came', async () => {
    const wire: Uint8Array[] = [];
    await withPair({ protection: 'never-up', tap: (packet) => wire.push(packet.slice()) > 0 }, async (pair) => {
      await pair.protect();
      await exchange(pair);
      await capture(pair.b, { dropsOnly: true });
      pair.wire.inject(wire[0]!);
      const forged = wire[0]!.slice();
      forged[27] = 9;
      pair.wire.inject(forged);
      await settle();
      const comments = packets(pair.b).map(({ comment }) => comment?.split(':')[0]);
      expect(comments).toEqual(['dropped, replay-duplicate', 'dropped, icv-mismatch']);
      expect(packets(pair.b)[1]!.bytes).toEqual(forged);
      const before = packets(pair.b).length;
      await exchange(pair);
      expect(packets(pair.b)).toHaveLength(before);
    });
  });

  it('says so inside when policy lets a frame not leave', async () => {
    await withPair({ protection: 'protected' }, async (pair) => {
      await capture(pair.a, {});
      pair.a.port.put(frame(2, 1));
      await settle();
      expect(packets(pair.a)).toHaveLength(1);
      expect(packets(pair.a)[0]).toMatchObject({ point: 0, bytes: frame(2, 1) });
      expect(packets(pair.a)[0]!.comment).toMatch(/^dropped, policy-no-sa: A tunnel that is or was protected/);
    });
  });

  it.each(['inside', 'outside'] as const)('of %s holds nothing of the other side', async (point) => {
    await withPair({}, async (pair) => {
      await capture(pair.a, { points: [point] });
      await exchange(pair);
      expect(packets(pair.a).map((packet) => packet.point)).toEqual(point === 'inside' ? [0, 0] : [1, 1]);
    });
  });

  it('leaves out what is beyond its budget of a second, and counts it', async () => {
    let now = 0;
    await withPair({ now: () => now }, async (pair) => {
      await capture(pair.a, { points: ['inside'], packetsPerSecond: 3 });
      for (let i = 0; i < 10; i++) pair.a.port.put(frame(2, 1));
      await settle();
      expect(packets(pair.a)).toHaveLength(3);
      expect(skipped(pair.a)).toBe(7);
      now += 1000;
      pair.a.port.put(frame(2, 1));
      await settle();
      expect(packets(pair.a)).toHaveLength(4);
    });
  });

  it('ends when it is told to, and watches nothing any more', async () => {
    await withPair({}, async (pair) => {
      await capture(pair.a, {});
      await exchange(pair);
      const before = events(pair.a).length;
      await capture(pair.a, undefined);
      await exchange(pair);
      expect(events(pair.a)).toHaveLength(before);
      expect(before).toBeGreaterThan(0);
    });
  });
});
