/**
 * The end of both ways across a bump: frames get their own headers again and leave through the port on the other side.
 */

import { countDrops, reportSas } from '../finish.ts';
import { giveFrame, writeGiven } from '../forward.ts';
import type { LocalPort, WorkerState } from '../worker-state.ts';
import { rejoin, restore } from './frames.ts';

/** Rows with an SA were sealed or opened, and their payload is another one; all others leave as they came. Ends the batch. */
export function passOn(state: WorkerState, to: LocalPort): void {
  const { batch, bumpFrames } = state;
  const read = batch.count;
  countDrops(state, 0);
  // Counted: from here on no row has a tunnel, as nothing here is encapsulated.
  batch.tunnel.fill(-1, 0, read);
  for (let row = 0; row < read; row++) {
    if (batch.verdict[row] !== 0) continue;
    if (batch.sa[row] >= 0) rejoin(batch, bumpFrames, row);
    else restore(batch, bumpFrames, row);
    giveFrame(state, row, to.port, read);
  }
  writeGiven(state);
  reportSas(state);
}
