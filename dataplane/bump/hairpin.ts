/**
 * Both ways of a bump through one TAP, a port of a real ovs-vswitchd's physical bridge: flows lead the tunnel packets of
 * peers with IPsec here, and take what comes back on to where it was bound (control/openflow/flows.ts).
 *
 *     1. read       a batch of frames from the TAP
 *     2. part       from a tunnel's own end, from its peer, or from neither: dropped, as nobody has led it here
 *     3. outward    what is from the own end: seal, back into the TAP (outward.ts)
 *     4. inward     what is from the peer: open, back into the TAP (inward.ts)
 *
 * What is said of a packet in the flows is whether its pkt_mark is one that ipsec_skb_mark names, by the group bit of its source
 * address, which no real frame has: the mark itself does not leave the datapath.
 */

import { GONE, LATER } from '../batch.ts';
import { DROP } from '../drops.ts';
import { ETHERNET_SOURCE } from '../wire/ethernet.ts';
import type { Bump, WorkerState } from '../worker-state.ts';
import { RECEIVED, SENT, senderOf } from './frames.ts';
import { bringIn } from './inward.ts';
import { readBump, sendOut } from './outward.ts';

const FOREIGN = DROP['bump-foreign'];
const GROUP_BIT = 1;

/** Steps 1 to 4 for one batch. Returns the frames read. */
export function hairpin(state: WorkerState, bump: Bump): number {
  const read = readBump(state, bump.inside);
  if (read === 0) return 0;
  state.afterReceipt?.();
  part(state);
  sendOut(state, bump);
  release(state, read);
  bringIn(state, bump);
  return read;
}

/** Rows of what the peer sent wait for the other half. */
function part(state: WorkerState): void {
  const { batch, bumpFrames } = state;
  const { arena } = batch;
  for (let row = 0; row < batch.count; row++) {
    bumpFrames.marked[row] = 0;
    if (batch.verdict[row] !== 0) continue;
    const source = batch.offset[row] + ETHERNET_SOURCE;
    bumpFrames.marked[row] = arena[source] & GROUP_BIT;
    arena[source] &= ~GROUP_BIT;
    const sender = senderOf(state, row);
    if (sender === RECEIVED) batch.verdict[row] = LATER;
    else if (sender !== SENT) batch.verdict[row] = FOREIGN;
  }
}

/** What waited goes on; all else has left, or was counted. */
function release(state: WorkerState, read: number): void {
  const { batch } = state;
  batch.count = read;
  batch.sa.fill(-1, 0, read);
  batch.protection.fill(-1, 0, read);
  for (let row = 0; row < read; row++) batch.verdict[row] = batch.verdict[row] === LATER ? 0 : GONE;
}
