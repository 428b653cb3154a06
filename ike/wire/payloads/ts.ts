/** Traffic Selector payloads, TSi and TSr (RFC 7296 §3.13). Narrowing and comparing are the engine's. */

import type { TrafficSelector } from '../../types.ts';
import { addressBytes, IPV4_BYTES, IPV6_BYTES, readAddress } from '../address.ts';
import { readU16, writeU16 } from '../bytes.ts';
import type { Parsed } from '../failures.ts';
import { TS_TYPE } from '../names.ts';
import type { TsPayload } from '../payloads.ts';

/** Number of selectors, then 24 reserved bits. */
const FIXED = 4;
/** One selector: type, protocol, length, two ports, then two addresses (§3.13.1, figure 20). */
const SELECTOR_FIXED = 8;

/** Peers send one or two; the count on the wire is a byte. */
export const MAX_SELECTORS = 64;

export function sizeOfTs(payload: TsPayload): number {
  return payload.selectors.reduce((sum, selector) => sum + SELECTOR_FIXED + 2 * addressSize(selector), FIXED);
}

function addressSize(selector: TrafficSelector): number {
  return selector.startAddress.includes(':') ? IPV6_BYTES : IPV4_BYTES;
}

export function parseTs(bytes: Uint8Array, start: number, end: number, type: TsPayload['type']): Parsed<TsPayload> {
  if (end - start < FIXED) return 'bad-ts';
  const count = bytes[start];
  if (count > MAX_SELECTORS) return 'too-many-selectors';
  const selectors: TrafficSelector[] = [];
  let unknownSelectors = 0;
  let offset = start + FIXED;
  for (let left = count; left > 0; left--) {
    if (end - offset < SELECTOR_FIXED) return 'bad-ts';
    const length = readU16(bytes, offset + 2);
    if (length < SELECTOR_FIXED || offset + length > end) return 'bad-ts';
    const size = sizeOfType(bytes[offset]);
    if (size === undefined) unknownSelectors++;
    else if (length !== SELECTOR_FIXED + 2 * size) return 'bad-ts';
    else {
      selectors.push({
        protocol: bytes[offset + 1],
        startPort: readU16(bytes, offset + 4),
        endPort: readU16(bytes, offset + 6),
        startAddress: readAddress(bytes, offset + SELECTOR_FIXED, size),
        endAddress: readAddress(bytes, offset + SELECTOR_FIXED + size, size),
      });
    }
    offset += length;
  }
  // None at all is no selector set: §3.13 wants one or more.
  if (offset !== end || count === 0) return 'bad-ts';
  return { type, selectors, unknownSelectors };
}

function sizeOfType(tsType: number): 4 | 16 | undefined {
  if (tsType === TS_TYPE.TS_IPV4_ADDR_RANGE) return IPV4_BYTES;
  if (tsType === TS_TYPE.TS_IPV6_ADDR_RANGE) return IPV6_BYTES;
  return undefined;
}

/** Throws RangeError if an address is none, or a range mixes families. Unknown selectors can't be emitted. */
export function emitTs(payload: TsPayload, out: Uint8Array, start: number): void {
  out[start] = payload.selectors.length;
  out.fill(0, start + 1, start + FIXED);
  let offset = start + FIXED;
  for (const selector of payload.selectors) {
    const first = addressBytes(selector.startAddress);
    const last = addressBytes(selector.endAddress);
    if (first.length !== last.length) {
      throw new RangeError(`traffic selector ${selector.startAddress}-${selector.endAddress} mixes IPv4 and IPv6`);
    }
    const length = SELECTOR_FIXED + 2 * first.length;
    out[offset] = first.length === IPV4_BYTES ? TS_TYPE.TS_IPV4_ADDR_RANGE : TS_TYPE.TS_IPV6_ADDR_RANGE;
    out[offset + 1] = selector.protocol;
    writeU16(length, out, offset + 2);
    writeU16(selector.startPort, out, offset + 4);
    writeU16(selector.endPort, out, offset + 6);
    out.set(first, offset + SELECTOR_FIXED);
    out.set(last, offset + SELECTOR_FIXED + first.length);
    offset += length;
  }
}
