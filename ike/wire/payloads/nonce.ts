/** Nonce payload (RFC 7296 §3.9): nothing but 16 to 256 random bytes. */

import type { Parsed } from '../failures.ts';
import type { NoncePayload } from '../payloads.ts';

export const MIN_NONCE_BYTES = 16;
export const MAX_NONCE_BYTES = 256;

export function sizeOfNonce(payload: NoncePayload): number {
  return payload.data.length;
}

export function parseNonce(bytes: Uint8Array, start: number, end: number): Parsed<NoncePayload> {
  const size = end - start;
  if (size < MIN_NONCE_BYTES || size > MAX_NONCE_BYTES) return 'bad-nonce';
  return { type: 'NONCE', data: bytes.subarray(start, end) };
}

export function emitNonce(payload: NoncePayload, out: Uint8Array, start: number): void {
  out.set(payload.data, start);
}
