/** Authentication payload (RFC 7296 §3.8). What the data has to be is crypto/auth-psk.ts. */

import type { Parsed } from '../failures.ts';
import type { AuthPayload } from '../payloads.ts';

/** Auth method, then 24 reserved bits. */
const FIXED = 4;

export function sizeOfAuth(payload: AuthPayload): number {
  return FIXED + payload.data.length;
}

export function parseAuth(bytes: Uint8Array, start: number, end: number): Parsed<AuthPayload> {
  if (end - start <= FIXED) return 'bad-auth';
  return { type: 'AUTH', method: bytes[start], data: bytes.subarray(start + FIXED, end) };
}

export function emitAuth(payload: AuthPayload, out: Uint8Array, start: number): void {
  out[start] = payload.method;
  out.fill(0, start + 1, start + FIXED);
  out.set(payload.data, start + FIXED);
}
