/**
 * The internet checksum: RFC 1071 (sum), RFC 1624 (update of one word), and the pseudo-header of UDP and TCP
 * (RFC 768, RFC 9293 §3.1, RFC 8200 §8.1).
 *
 * "Sum" here means the one's complement sum folded to 16 bits and not complemented, of bytes in network
 * order; the checksum that a header carries is its complement. Over a correct packet the sum is 0xffff.
 * Headers are summed here. Payloads are summed by native-shims in batches; `checksumBatch` is the same call
 * in TypeScript, for hosts without the addon and as its reference in tests.
 */

import type { FrameColumns } from '../../native-shims/types.ts';

/** A sum over a batch of ranges: Native.checksumBatch, or `checksumBatch` below. */
export type ChecksumBatch = (columns: FrameColumns, sum: Int32Array, first: number, count: number) => void;

/** Folds a sum of 16-bit words, each word added at most 2^15 times, to 16 bits. */
export function foldSum(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

/**
 * Sum of `length` bytes on top of `initial` (0 to 0xffff, a folded sum). An odd last byte counts as the high
 * half of a word (RFC 1071 §4.1). Up to 65535 bytes: the unfolded sum of so many words fits into 32 bits.
 */
export function sumBytes(bytes: Uint8Array, offset: number, length: number, initial: number): number {
  let sum = initial;
  const even = offset + (length & ~1);
  let at = offset;
  for (; at < even; at += 2) sum += (bytes[at] << 8) | bytes[at + 1];
  if ((length & 1) !== 0) sum += bytes[at] << 8;
  return foldSum(sum);
}

/**
 * Sum of the pseudo-header, the same for IPv4 and IPv6 (RFC 8200 §8.1): `addressSum` is that of both addresses, `length`
 * that of the UDP or TCP packet, at most 65535.
 */
export function pseudoHeaderSum(addressSum: number, protocol: number, length: number): number {
  return foldSum(addressSum + (protocol & 0xff) + (length & 0xffff));
}

/** The checksum after one 16-bit word that it covers went from `before` to `after` (RFC 1624 §3, equation 3). */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return ~foldSum((~checksum & 0xffff) + (~before & 0xffff) + (after & 0xffff)) & 0xffff;
}

/** Native.checksumBatch in TypeScript: `sum[i]` goes in as initial sum and comes out as the sum of row i on top of it. */
export function checksumBatch(columns: FrameColumns, sum: Int32Array, first: number, count: number): void {
  for (let i = first; i < first + count; i++) {
    sum[i] = sumBytes(columns.arena, columns.offset[i], columns.length[i], sum[i]);
  }
}

/** The checksum for a sum: its complement (RFC 1071 §1). */
export function checksumOf(sum: number): number {
  return ~sum & 0xffff;
}
