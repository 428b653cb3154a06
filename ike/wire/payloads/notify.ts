/** Notify payload (RFC 7296 §3.10). Numbers and their names are names.ts; meanings are the engine's. */

import { readU16, writeU16 } from '../bytes.ts';
import type { Parsed } from '../failures.ts';
import type { NotifyPayload } from '../payloads.ts';
import { protocolFromNumber, protocolToNumber } from './protocol.ts';

/** Protocol id, SPI size, notify message type. */
const FIXED = 4;

export function sizeOfNotify(payload: NotifyPayload): number {
  return FIXED + payload.spi.length + payload.data.length;
}

export function parseNotify(bytes: Uint8Array, start: number, end: number): Parsed<NotifyPayload> {
  if (end - start < FIXED) return 'bad-notify';
  const spiEnd = start + FIXED + bytes[start + 1];
  if (spiEnd > end) return 'bad-notify';
  return {
    type: 'N',
    protocol: protocolFromNumber(bytes[start]),
    spi: bytes.subarray(start + FIXED, spiEnd),
    notify: readU16(bytes, start + 2),
    data: bytes.subarray(spiEnd, end),
  };
}

export function emitNotify(payload: NotifyPayload, out: Uint8Array, start: number): void {
  out[start] = protocolToNumber(payload.protocol);
  out[start + 1] = payload.spi.length;
  writeU16(payload.notify, out, start + 2);
  out.set(payload.spi, start + FIXED);
  out.set(payload.data, start + FIXED + payload.spi.length);
}
