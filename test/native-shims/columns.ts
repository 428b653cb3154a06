/** Batches for the tests: columns over a SharedArrayBuffer, and an arena with guard bytes around it. */

import type { AeadColumns, FrameColumns } from '../../native-shims/index.ts';

/** An Int32Array over shared memory, as the dataplane has them. */
export function column(rows: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(rows * 4));
}

/** `rows` packets of `slot` bytes each, one behind the other; length is `slot` at first. */
export function frames(rows: number, slot: number): FrameColumns {
  const arena = new Uint8Array(new SharedArrayBuffer(rows * slot));
  return { arena, offset: column(rows).map((_, i) => i * slot), length: column(rows).fill(slot) };
}

/** Row i as a copy. */
export function row(columns: FrameColumns, i: number): Uint8Array {
  return columns.arena.slice(columns.offset[i], columns.offset[i] + columns.length[i]);
}

/** Writes a packet into row i. */
export function put(columns: FrameColumns, i: number, bytes: Uint8Array): void {
  columns.arena.set(bytes, columns.offset[i]);
  columns.length[i] = bytes.length;
}

export function aeadColumns(arena: Uint8Array, rows: number): AeadColumns {
  return {
    arena,
    key: column(rows),
    aadOffset: column(rows),
    aadLength: column(rows),
    ivOffset: column(rows),
    textOffset: column(rows),
    textLength: column(rows),
    result: column(rows),
  };
}

const GUARD = 64;
const GUARD_BYTE = 0xa5;

/** An arena amid guard bytes; `intact` says whether they are as they were. */
export function guardedArena(bytes: number): { arena: Uint8Array; intact: () => boolean } {
  const whole = new Uint8Array(new SharedArrayBuffer(GUARD + bytes + GUARD)).fill(GUARD_BYTE);
  const guards = [whole.subarray(0, GUARD), whole.subarray(GUARD + bytes)];
  const arena = whole.subarray(GUARD, GUARD + bytes).fill(0);
  return { arena, intact: () => guards.every((guard) => guard.every((byte) => byte === GUARD_BYTE)) };
}

/** A sockaddr_in in an address slot. */
export function writeIpv4Slot(slots: Uint8Array, index: number, address: string, port: number): void {
  const slot = slots.subarray(index * 28, index * 28 + 28).fill(0);
  new Uint16Array(slots.buffer, slot.byteOffset, 1)[0] = 2;
  slot.set([port >> 8, port & 255, ...address.split('.').map(Number)], 2);
}
