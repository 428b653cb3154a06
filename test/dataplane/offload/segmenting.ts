/** Drives Segmenter and Coalescer over an arena of their own: frames in, frames out. */

import { Arena } from '../../../dataplane/arena.ts';
import { FrameList } from '../../../dataplane/batch.ts';
import { Coalescer } from '../../../dataplane/offload/coalesce.ts';
import { Segmenter } from '../../../dataplane/offload/segment.ts';
import { loadNative } from '../../../native-shims/index.ts';

const native = loadNative();
const ROWS = 160;
const SIZE = { rows: ROWS, reads: 1, frameBytes: 1600 };

export interface Opened {
  readonly verdict: number;
  /** The frame itself, where it is a whole one. */
  readonly frame: Uint8Array;
  readonly segments: readonly Uint8Array[];
}

const large = new Arena(SIZE, true);
const segmenter = new Segmenter(large.batch, SIZE.frameBytes, native);
const small = new Arena(SIZE);
const coalescer = new Coalescer(small.batch, native.checksumBatch);
const list = new FrameList(small.bytes, ROWS);

/** Reads one frame with its vnet header, and cuts it if it is a large one. `residue`: what lies around it. */
export function openAndCut(read: Uint8Array, residue = 0xee): Opened {
  const arena = large;
  const { batch } = arena;
  arena.resetLarge();
  batch.verdict.fill(0);
  batch.arena.fill(residue, batch.offset[0], batch.offset[0] + read.length + 512);
  batch.arena.set(read, batch.offset[0]);
  batch.length[0] = read.length;
  batch.count = 1;
  segmenter.openFrames(1);
  const bytes = (row: number) => batch.arena.slice(batch.offset[row], batch.offset[row] + batch.length[row]);
  const segments: Uint8Array[] = [];
  if (batch.verdict[0] === 0 && batch.gso[0] > 0) {
    const count = segmenter.segmentsOf(0);
    for (let number = 0; number < count; number++) {
      const row = 1 + (number % (ROWS - 1));
      batch.offset[row] = arena.packetStart(row);
      segmenter.add(0, number, row);
      // As many as there are rows, then those again.
      if (row === ROWS - 1 || number === count - 1) {
        segmenter.cut();
        for (let done = 1; done <= row; done++) segments.push(bytes(done));
      }
    }
  }
  return { verdict: batch.verdict[0], frame: bytes(0), segments };
}

/** Writes frames to a port that takes large ones; gives each as it is written, vnet header first. */
export function coalesce(frames: readonly Uint8Array[], { joins = true, shared = false } = {}): Uint8Array[] {
  if (frames.length > ROWS) throw new RangeError(`${frames.length} frames, there is room for ${ROWS}`);
  const arena = small;
  const { batch } = arena;
  arena.reset();
  batch.gso.fill(0);
  list.count = 0;
  frames.forEach((frame, row) => {
    const at = arena.packetStart(row);
    // What was there before must not matter.
    batch.arena.fill(0xee, at - 10, at);
    batch.arena.set(frame, at);
    batch.length[row] = frame.length;
    list.shared[row] = shared ? 1 : 0;
    list.add(row, at, frame.length);
  });
  const pieces = coalescer.list(list, joins);
  const written: Uint8Array[] = [];
  for (let j = 0; j < pieces.count; j += pieces.group[j]) {
    const parts = Array.from({ length: pieces.group[j] }, (_, i) =>
      batch.arena.subarray(pieces.offset[j + i], pieces.offset[j + i] + pieces.length[j + i]),
    );
    written.push(Uint8Array.from(Buffer.concat(parts)));
  }
  return written;
}
