/** Vendor ID payload (RFC 7296 §3.12): opaque bytes, which nothing here acts on. */

import type { Parsed } from '../failures.ts';
import type { VendorPayload } from '../payloads.ts';

export function sizeOfVendor(payload: VendorPayload): number {
  return payload.data.length;
}

export function parseVendor(bytes: Uint8Array, start: number, end: number): Parsed<VendorPayload> {
  return { type: 'V', data: bytes.subarray(start, end) };
}

export function emitVendor(payload: VendorPayload, out: Uint8Array, start: number): void {
  out.set(payload.data, start);
}
