/** Key Exchange payload (RFC 7296 §3.4). Whether the public value is sound is crypto/dh.ts. */

import { readU16, writeU16 } from '../bytes.ts';
import type { Parsed } from '../failures.ts';
import type { KePayload } from '../payloads.ts';

/** Group, then 16 reserved bits. */
const FIXED = 4;

export function sizeOfKe(payload: KePayload): number {
  return FIXED + payload.data.length;
}

export function parseKe(bytes: Uint8Array, start: number, end: number): Parsed<KePayload> {
  if (end - start <= FIXED) return 'bad-ke';
  return { type: 'KE', group: readU16(bytes, start), data: bytes.subarray(start + FIXED, end) };
}

export function emitKe(payload: KePayload, out: Uint8Array, start: number): void {
  writeU16(payload.group, out, start);
  writeU16(0, out, start + 2);
  out.set(payload.data, start + FIXED);
}
