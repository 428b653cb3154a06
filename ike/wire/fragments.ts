/**
 * IKE fragmentation on the wire (RFC 7383 §2.5): one message too large for a datagram goes as several, each of which is
 * protected by itself. The encrypted part of each begins with its number and how many there are; only the first names the
 * type of the first payload inside. Putting them together again is sa/fragment-buffer.ts.
 */

import { type IvSource, sealBody, skSizes } from '../crypto/sk-cipher.ts';
import type { SkKeys } from '../crypto/sk-keys.ts';
import { readU16, writeU16 } from './bytes.ts';
import { emitHeader, HEADER_SIZE, type MessageHeader } from './header.ts';
import { PAYLOAD } from './names.ts';
import { emitChain, emitGenericHeader, GENERIC_HEADER, payloadTypeOf, sizeOfChain } from './payload-chain.ts';
import type { Payload } from './payloads.ts';

/** Fragment Number and Total Fragments, between the generic header and the IV. */
export const FRAGMENT_HEADER = 4;
const PAD_LENGTH = 1;

export interface FragmentPlace {
  /** From 1. */
  readonly number: number;
  readonly total: number;
}

/** The place of a fragment, whose generic header is at `offset`; undefined if the numbers are impossible. */
export function parseFragmentPlace(bytes: Uint8Array, offset: number): FragmentPlace | undefined {
  if (bytes.length - offset < GENERIC_HEADER + FRAGMENT_HEADER) return undefined;
  const number = readU16(bytes, offset + GENERIC_HEADER);
  const total = readU16(bytes, offset + GENERIC_HEADER + 2);
  return number >= 1 && number <= total ? { number, total } : undefined;
}

/** Bytes of inner payloads that a fragment of at most `maximumBytes` holds. */
function capacityOf(maximumBytes: number, keys: SkKeys): number {
  const { iv, icv, block } = skSizes(keys);
  const room = maximumBytes - HEADER_SIZE - GENERIC_HEADER - FRAGMENT_HEADER - iv - icv;
  return Math.floor(room / block) * block - PAD_LENGTH;
}

/** The message in as many parts as it takes, each of at most `maximumBytes`, header included. Throws RangeError if that is too few. */
export function sealFragments(
  header: MessageHeader,
  payloads: readonly Payload[],
  keys: SkKeys,
  nextIv: IvSource,
  maximumBytes: number,
): Uint8Array[] {
  const inner = new Uint8Array(sizeOfChain(payloads));
  emitChain(payloads, inner, 0, PAYLOAD.NO_NEXT);
  const capacity = capacityOf(maximumBytes, keys);
  if (capacity < 1) throw new RangeError(`no room for a fragment in ${maximumBytes} bytes`);
  const total = Math.max(1, Math.ceil(inner.length / capacity));
  const first = payloads.length === 0 ? PAYLOAD.NO_NEXT : payloadTypeOf(payloads[0]);
  return Array.from({ length: total }, (_, index) => {
    const part = inner.subarray(index * capacity, (index + 1) * capacity);
    const next = index === 0 ? first : PAYLOAD.NO_NEXT;
    return sealFragment(header, part, next, { number: index + 1, total }, keys, nextIv);
  });
}

function sealFragment(
  header: MessageHeader,
  part: Uint8Array,
  next: number,
  place: FragmentPlace,
  keys: SkKeys,
  nextIv: IvSource,
): Uint8Array {
  const { iv, icv, block } = skSizes(keys);
  const padding = (block - ((part.length + PAD_LENGTH) % block)) % block;
  const length = GENERIC_HEADER + FRAGMENT_HEADER + iv + part.length + padding + PAD_LENGTH + icv;
  const out = new Uint8Array(HEADER_SIZE + length);
  emitHeader(header, PAYLOAD.SKF, out.length, out);
  emitGenericHeader(next, false, length, out, HEADER_SIZE);
  writeU16(place.number, out, HEADER_SIZE + GENERIC_HEADER);
  writeU16(place.total, out, HEADER_SIZE + GENERIC_HEADER + 2);
  const bodyOffset = HEADER_SIZE + GENERIC_HEADER + FRAGMENT_HEADER;
  out.set(nextIv(iv), bodyOffset);
  out.set(part, bodyOffset + iv);
  out[bodyOffset + iv + part.length + padding] = padding;
  sealBody(out, bodyOffset, keys);
  return out;
}
