/** Identification payloads, IDi and IDr (RFC 7296 §3.5). */

import type { Parsed } from '../failures.ts';
import type { IdPayload } from '../payloads.ts';

/** ID type, then 24 reserved bits. */
const FIXED = 4;

export function sizeOfId(payload: IdPayload): number {
  return FIXED + payload.data.length;
}

export function parseId(bytes: Uint8Array, start: number, end: number, type: IdPayload['type']): Parsed<IdPayload> {
  if (end - start < FIXED) return 'bad-id';
  const reserved = (bytes[start + 1] << 16) | (bytes[start + 2] << 8) | bytes[start + 3];
  const id = { type, idType: bytes[start], data: bytes.subarray(start + FIXED, end) };
  return reserved === 0 ? id : { ...id, reserved };
}

export function emitId(payload: IdPayload, out: Uint8Array, start: number): void {
  const reserved = payload.reserved ?? 0;
  out[start] = payload.idType;
  out[start + 1] = reserved >> 16;
  out[start + 2] = reserved >> 8;
  out[start + 3] = reserved;
  out.set(payload.data, start + FIXED);
}

/** The body without generic header, RestOfInitIDPayload or RestOfRespIDPayload of AUTH (RFC 7296 §2.15). */
export function idBody(payload: IdPayload): Uint8Array {
  const body = new Uint8Array(sizeOfId(payload));
  emitId(payload, body, 0);
  return body;
}
