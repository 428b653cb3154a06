/**
 * Gives a frame another outermost 802.1Q tag, or takes it off: in place, the addresses move by the four bytes of a tag.
 * What the frame is to have is said by vlans.ts.
 *
 * A tag that is put on goes into the headroom, where frames of frameBytes have become four bytes longer: the tailroom of
 * the slot that one of them is copied to still takes the longest ESP trailer.
 */

import type { Batch } from '../batch.ts';
import type { Segmenter } from '../offload/segment.ts';
import { NO_TAG, popTag, pushTag, VLAN_TAG_LENGTH, writeTag } from '../wire/ethernet.ts';

/** `from` is the tag that the frame of the row has, `to` the one that it gets; they differ. Nobody may have the frame on a list. */
export function retag(batch: Batch, segmenter: Segmenter, row: number, from: number, to: number): void {
  const { arena, offset, length } = batch;
  const frame = offset[row];
  const isLarge = batch.gso[row] > 0;
  if (from !== NO_TAG && to !== NO_TAG) {
    writeTag(arena, frame, to);
    return;
  }
  const more = to === NO_TAG ? -VLAN_TAG_LENGTH : VLAN_TAG_LENGTH;
  // The vnet header of a large frame stands where the addresses go, or they stand where it goes.
  if (isLarge && more > 0) segmenter.moveHeaders(row, more);
  if (more > 0) pushTag(arena, frame, to);
  else popTag(arena, frame);
  if (isLarge && more < 0) segmenter.moveHeaders(row, more);
  offset[row] = frame - more;
  length[row] += more;
}
