/** Delete payload (RFC 7296 §3.11): the SPIs under which the sender receives, all of one protocol. */

import { readU16, writeU16 } from '../bytes.ts';
import type { Parsed } from '../failures.ts';
import type { DeletePayload } from '../payloads.ts';
import { protocolFromNumber, protocolToNumber } from './protocol.ts';

/** Protocol id, SPI size, number of SPIs. */
const FIXED = 4;

export function sizeOfDelete(payload: DeletePayload): number {
  return FIXED + payload.spiSize * payload.spis.length;
}

export function parseDelete(bytes: Uint8Array, start: number, end: number): Parsed<DeletePayload> {
  if (end - start < FIXED) return 'bad-delete';
  const spiSize = bytes[start + 1];
  const count = readU16(bytes, start + 2);
  // A count without size would let two bytes stand for 65535 SPIs.
  if (start + FIXED + spiSize * count !== end || (spiSize === 0 && count !== 0)) return 'bad-delete';
  const spis: Uint8Array[] = [];
  for (let offset = start + FIXED; offset < end; offset += spiSize) spis.push(bytes.subarray(offset, offset + spiSize));
  return { type: 'D', protocol: protocolFromNumber(bytes[start]), spiSize, spis };
}

/** Throws RangeError if an SPI has another size than spiSize. */
export function emitDelete(payload: DeletePayload, out: Uint8Array, start: number): void {
  out[start] = protocolToNumber(payload.protocol);
  out[start + 1] = payload.spiSize;
  writeU16(payload.spis.length, out, start + 2);
  payload.spis.forEach((spi, index) => {
    if (spi.length !== payload.spiSize) {
      throw new RangeError(`delete payload: an SPI has ${spi.length} bytes, expected ${payload.spiSize}`);
    }
    out.set(spi, start + FIXED + index * payload.spiSize);
  });
}
