/**
 * STT on the way out: numbers each frame, and cuts one that its path does not take whole (draft-davie-stt-08 §3.1).
 *
 * Segments are copied into free rows behind the batch, for ESP needs room in front of each and behind it. They leave in the order of the
 * frames: where one frame of a batch was cut, those after it go behind the batch as well, in one segment. Checksums, ESP and outer
 * headers then are those of any tunnel packet.
 */

import { GONE } from '../batch.ts';
import { noteChecksum } from '../encap/checksums.ts';
import { writeInt32, writeUint16 } from '../wire/octets.ts';
import { STT_SEGMENT_HEADER_LENGTH } from '../wire/stt.ts';
import { TCP_ACKNOWLEDGEMENT, TCP_SEQUENCE } from '../wire/tcp.ts';
import type { WorkerState } from '../worker-state.ts';

/** Rows that are kept free of copies of flooded frames: a jumbo frame over a path of 1280 bytes takes 9. */
export const SEGMENT_ROWS = 32;

/** How many segments of at most `room` bytes, headers included, an STT packet of `length` bytes is. */
export function segmentCount(length: number, room: number): number {
  return Math.ceil((length - STT_SEGMENT_HEADER_LENGTH) / (room - STT_SEGMENT_HEADER_LENGTH));
}

/** Numbers the packet of a row, which begins with its segment header; one that needs no cutting then is as it should be. */
export function numberFrame(state: WorkerState, row: number): void {
  // Ids of one host must differ over all its workers (draft §3.1): each has its own residue class.
  const id = Math.imul(state.sttFrames++, state.shared.workers) + state.worker;
  writeInt32(state.batch.arena, state.batch.offset[row] + TCP_ACKNOWLEDGEMENT, id);
}

/**
 * Copies the packet of a row into segments of at most `room` bytes, `count` of them as segmentCount says, which are appended to the batch
 * with the columns of the row; the rows must be free. The row itself is gone then.
 */
export function segment(state: WorkerState, row: number, room: number, count: number): void {
  const { batch, arena, checksums } = state;
  const bytes = batch.arena;
  const header = batch.offset[row];
  const payload = header + STT_SEGMENT_HEADER_LENGTH;
  const end = header + batch.length[row];
  const chunk = room - STT_SEGMENT_HEADER_LENGTH;
  for (let i = 0; i < count; i++) {
    const to = batch.count++;
    const from = payload + i * chunk;
    const length = Math.min(chunk, end - from);
    const start = arena.packetStart(to);
    const at = start - STT_SEGMENT_HEADER_LENGTH;
    bytes.copyWithin(at, header, payload);
    bytes.copyWithin(start, from, from + length);
    // The low half of the sequence number; the high half, the frame's length, is the same in all segments.
    writeUint16(bytes, at + TCP_SEQUENCE + 2, i * chunk);
    batch.copyColumns(row, to);
    batch.offset[to] = at;
    batch.length[to] = length + STT_SEGMENT_HEADER_LENGTH;
    noteChecksum(batch, checksums, to, at, batch.length[to]);
  }
  batch.verdict[row] = GONE;
}
