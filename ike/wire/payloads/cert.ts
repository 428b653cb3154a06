/** Certificate and Certificate Request payloads (RFC 7296 §3.6, §3.7): an encoding and its data, here opaque. */

import type { Parsed } from '../failures.ts';
import type { CertPayload, CertReqPayload } from '../payloads.ts';

const FIXED = 1;

export function sizeOfCert(payload: CertPayload | CertReqPayload): number {
  return FIXED + payload.data.length;
}

export function parseCert(bytes: Uint8Array, start: number, end: number): Parsed<CertPayload> {
  if (end - start < FIXED) return 'bad-cert';
  return { type: 'CERT', encoding: bytes[start], data: bytes.subarray(start + FIXED, end) };
}

export function parseCertReq(bytes: Uint8Array, start: number, end: number): Parsed<CertReqPayload> {
  if (end - start < FIXED) return 'bad-cert';
  return { type: 'CERTREQ', encoding: bytes[start], data: bytes.subarray(start + FIXED, end) };
}

export function emitCert(payload: CertPayload | CertReqPayload, out: Uint8Array, start: number): void {
  out[start] = payload.encoding;
  out.set(payload.data, start + FIXED);
}
