/** What threads share of an SA: where each number lies, and what is left of an SA when its slot gets another one. */
import { describe, expect, it } from 'vitest';
import { replayCommit } from '../../../dataplane/esp/replay.ts';
import {
  COUNTER_BYTES,
  COUNTER_FORGED,
  COUNTER_PACKETS,
  COUNTER_REPLAYED,
  SA_EXHAUSTED,
  SA_FIRST_PACKET,
  SA_SOFT_LIMIT,
  SaMemory,
  SEQUENCE_LIMIT,
} from '../../../dataplane/esp/sa-memory.ts';

const SIZE = { inboundSlots: 3, outboundSlots: 4, workers: 2 };
const SLOT = 1;
const memory = (): SaMemory => new SaMemory(SIZE);

/** Counts one packet of 10 bytes for each worker and both directions, and raises every flag. */
function use(shared: SaMemory, slot: number): void {
  for (let worker = 0; worker < SIZE.workers; worker++) {
    shared.outboundCounters[shared.outboundCounter(worker, slot) + COUNTER_PACKETS] += 1;
    shared.outboundCounters[shared.outboundCounter(worker, slot) + COUNTER_BYTES] += 10;
  }
  const inbound = shared.inboundCounter(slot);
  for (const [counter, count] of [
    [COUNTER_PACKETS, 1],
    [COUNTER_BYTES, 10],
    [COUNTER_REPLAYED, 2],
    [COUNTER_FORGED, 3],
  ] as const)
    shared.inboundCounters[inbound + counter] += count;
  shared.raiseOutbound(slot, SA_SOFT_LIMIT);
  shared.raiseOutbound(slot, SA_EXHAUSTED);
  shared.raiseInbound(slot, SA_SOFT_LIMIT);
  shared.raiseInbound(slot, SA_FIRST_PACKET);
  shared.reserve(slot, 7);
  expect(replayCommit(shared.inbound, shared.replayBase(slot), 5, 2)).toBe(0);
}

const UNUSED_OUT = { sequence: 0, packets: 0, bytes: 0, softLimit: false, exhausted: false };
const USED_OUT = { sequence: 7, packets: 2, bytes: 20, softLimit: true, exhausted: true };
const UNUSED_IN = { sequence: 0, packets: 0, bytes: 0, replayed: 0, forged: 0, softLimit: false, seenPacket: false };
const USED_IN = {
  ...{ sequence: 2 * 2 ** 32 + 5, packets: 1, bytes: 10, replayed: 2, forged: 3 },
  ...{ softLimit: true, seenPacket: true },
};

function reset(shared: SaMemory): SaMemory {
  for (let slot = 0; slot < SIZE.outboundSlots; slot++) shared.resetOutbound(slot, 0);
  for (let slot = 0; slot < SIZE.inboundSlots; slot++) shared.resetInbound(slot, 64, true);
  return shared;
}

describe('the memory that threads share', () => {
  it('keeps its parts and slots apart', () => {
    const shared = reset(memory());
    use(shared, SLOT);
    for (let slot = 0; slot < SIZE.outboundSlots; slot++)
      expect(shared.outboundStatus(slot)).toEqual(slot === SLOT ? USED_OUT : UNUSED_OUT);
    for (let slot = 0; slot < SIZE.inboundSlots; slot++)
      expect(shared.inboundStatus(slot)).toEqual(slot === SLOT ? USED_IN : UNUSED_IN);
    const parts = [shared.outbound, shared.inbound, shared.outboundCounters, shared.inboundCounters];
    let at = 0;
    for (const part of parts) {
      expect(part.byteOffset).toBe(at);
      at += part.byteLength;
    }
    expect(shared.buffer.byteLength).toBe(at);
  });

  it('is the same to another thread, and refuses a buffer of another size', () => {
    const shared = reset(memory());
    use(shared, SLOT);
    expect(new SaMemory(SIZE, shared.buffer).outboundStatus(SLOT)).toEqual(USED_OUT);
    expect(new SaMemory(SIZE, shared.buffer).inboundStatus(SLOT)).toEqual(USED_IN);
    const { byteLength } = shared.buffer;
    for (const wrong of [byteLength - 8, byteLength + 8])
      expect(() => new SaMemory(SIZE, new SharedArrayBuffer(wrong))).toThrow(
        new RangeError(`SA memory: expected a buffer of ${byteLength} bytes for this size, got ${wrong}`),
      );
  });

  it('forgets all of an SA when its slot gets another one, and nothing of the others', () => {
    const shared = reset(memory());
    for (let slot = 0; slot < SIZE.inboundSlots; slot++) use(shared, slot);
    shared.resetOutbound(SLOT, 0);
    shared.resetInbound(SLOT, 64, true);
    expect([0, 1, 2].map((slot) => shared.outboundStatus(slot))).toEqual([USED_OUT, UNUSED_OUT, USED_OUT]);
    expect([0, 1, 2].map((slot) => shared.inboundStatus(slot))).toEqual([USED_IN, UNUSED_IN, USED_IN]);
  });

  it('tells each flag apart, and one thread only that it has raised it', () => {
    const shared = reset(memory());
    expect([shared.raiseOutbound(SLOT, SA_SOFT_LIMIT), shared.raiseOutbound(SLOT, SA_SOFT_LIMIT)]).toEqual([
      true,
      false,
    ]);
    expect(shared.outboundStatus(SLOT)).toEqual({ ...UNUSED_OUT, softLimit: true });
    expect(shared.isExhausted(SLOT)).toBe(false);
    expect([shared.raiseInbound(SLOT, SA_FIRST_PACKET), shared.raiseInbound(SLOT, SA_FIRST_PACKET)]).toEqual([
      true,
      false,
    ]);
    expect(shared.inboundStatus(SLOT)).toEqual({ ...UNUSED_IN, seenPacket: true });
    expect(shared.raiseOutbound(SLOT, SA_EXHAUSTED)).toBe(true);
    expect(shared.isExhausted(SLOT)).toBe(true);
  });

  it('takes an SA over from another process: its window, and no counts', () => {
    const before = reset(memory());
    use(before, SLOT);
    const after = reset(memory());
    after.resetInbound(2, 64, true, before.replayState(SLOT));
    expect(after.inboundStatus(2)).toEqual({ ...UNUSED_IN, sequence: USED_IN.sequence });
    expect(after.inboundStatus(SLOT)).toEqual(UNUSED_IN);
  });

  it('counts on from the last sequence number, and an SA at the limit is used up before it begins', () => {
    const shared = memory();
    for (const [last, exhausted] of [
      [0, false],
      [2 ** 31, false],
      [SEQUENCE_LIMIT - 1, false],
      [SEQUENCE_LIMIT, true],
      [2 ** 32 - 1, true],
    ] as const) {
      const generation = shared.generation(SLOT);
      shared.resetOutbound(SLOT, last);
      expect(shared.outboundStatus(SLOT)).toEqual({ ...UNUSED_OUT, sequence: last, exhausted });
      expect(shared.isExhausted(SLOT)).toBe(exhausted);
      expect(shared.generation(SLOT)).toBe(generation + 1);
    }
    for (const wrong of [-1, 2 ** 32, 0.5, Number.NaN])
      expect(() => shared.resetOutbound(SLOT, wrong)).toThrow(
        new RangeError(`last sequence number: expected 0 to 4294967295, got ${wrong}`),
      );
  });

  it('refuses slots that it does not have', () => {
    const shared = memory();
    for (const wrong of [-1, 0.5, Number.NaN, 4]) {
      expect(() => shared.resetOutbound(wrong, 0)).toThrow(
        new RangeError(`outbound SA slot: expected 0 to 3, got ${wrong}`),
      );
      expect(() => shared.resetInbound(wrong, 64, false)).toThrow(
        new RangeError(`inbound SA slot: expected 0 to 2, got ${wrong}`),
      );
    }
  });
});
