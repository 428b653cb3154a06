/**
 * The checksums of tunnel packets, over a whole batch: GRE (RFC 2784 §2.3), outer UDP (RFC 768) and the TCP of STT.
 *
 * They cover the payload, so they are summed with one native call a batch. While headers are pushed or popped,
 * rows that need a checksum are noted in a FrameList with the pseudo-header in `sum`; then
 *
 *     out: noteChecksum for each row … fillChecksums    all headers stand, ESP not yet
 *     in:  noteChecksum for each row … verifyChecksums  ESP is off; a wrong sum is a drop
 *
 * A tunnel packet inside ESP gets its checksum like any other: the peer sees no difference.
 */

import type { Batch, FrameList } from '../batch.ts';
import { DROP } from '../drops.ts';
import { type ChecksumBatch, checksumOf, pseudoHeaderSum } from '../wire/checksum.ts';
import { GRE_CHECKSUM } from '../wire/gre.ts';
import { PROTOCOL_GRE, PROTOCOL_TCP } from '../wire/ipv4.ts';
import { writeUint16 } from '../wire/octets.ts';
import { TCP_CHECKSUM } from '../wire/tcp.ts';
import { UDP_CHECKSUM } from '../wire/udp.ts';

/** The sum of a correct packet, checksum field included. */
const CORRECT = 0xffff;
// Looked up once: DROP is an object, and a stage should not search it for each packet.
const GRE_WRONG = DROP['gre-checksum'];
const UDP_WRONG = DROP['udp-checksum'];
const STT_WRONG = DROP['stt-checksum'];

/**
 * Notes that the packet of `row` carries a checksum: its `length` bytes from the GRE, UDP or TCP header at
 * `offset`. The columns addressSum and protocol of the row must be set.
 */
export function noteChecksum(batch: Batch, list: FrameList, row: number, offset: number, length: number): void {
  const j = list.count;
  list.add(row, offset, length);
  list.sum[j] =
    batch.protocol[row] === PROTOCOL_GRE ? 0 : pseudoHeaderSum(batch.addressSum[row], batch.protocol[row], length);
}

/** Computes the checksums of all noted packets and writes them into their headers. Empties the list. */
export function fillChecksums(batch: Batch, list: FrameList, checksum: ChecksumBatch): void {
  if (list.count === 0) return;
  checksum(list, list.sum, 0, list.count);
  for (let j = 0; j < list.count; j++) {
    const value = checksumOf(list.sum[j]);
    if (batch.protocol[list.row[j]] === PROTOCOL_GRE) {
      writeUint16(batch.arena, list.offset[j] + GRE_CHECKSUM, value);
    } else if (batch.protocol[list.row[j]] === PROTOCOL_TCP) {
      writeUint16(batch.arena, list.offset[j] + TCP_CHECKSUM, value);
    } else {
      // 0 would say that there is no checksum; its other representation is 0xffff (RFC 768).
      writeUint16(batch.arena, list.offset[j] + UDP_CHECKSUM, value === 0 ? 0xffff : value);
    }
  }
  list.count = 0;
}

/** Verifies the checksums of all noted packets; rows where one is wrong get their verdict. Empties the list. */
export function verifyChecksums(batch: Batch, list: FrameList, checksum: ChecksumBatch): void {
  if (list.count === 0) return;
  checksum(list, list.sum, 0, list.count);
  for (let j = 0; j < list.count; j++) {
    const row = list.row[j];
    if (list.sum[j] === CORRECT || batch.verdict[row] !== 0) continue;
    const protocol = batch.protocol[row];
    batch.verdict[row] = protocol === PROTOCOL_GRE ? GRE_WRONG : protocol === PROTOCOL_TCP ? STT_WRONG : UDP_WRONG;
  }
  list.count = 0;
}
