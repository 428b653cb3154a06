/**
 * The bytes of an IKE_INTERMEDIATE message that its authentication covers (RFC 9242 §3.3.2, figure 2): the message as if
 * it had been sent whole, without IV, padding and ICV, and with lengths that count none of them. So both ends come to the
 * same bytes whatever the cipher, and whether the message went in fragments or not.
 *
 * Payloads in front of the SK payload are not taken: we send none, and who receives one refuses the message.
 */

import { writeU32 } from './bytes.ts';
import { emitHeader, HEADER_SIZE, type MessageHeader } from './header.ts';
import { PAYLOAD } from './names.ts';
import { emitChain, emitGenericHeader, GENERIC_HEADER, payloadTypeOf, sizeOfChain } from './payload-chain.ts';
import type { Payload } from './payloads.ts';

const NEXT_PAYLOAD = 16;
const LENGTH = 24;
const INNER = HEADER_SIZE + GENERIC_HEADER;

/** A message of ours. */
export function sentOctets(header: MessageHeader, payloads: readonly Payload[]): Uint8Array {
  const out = new Uint8Array(INNER + sizeOfChain(payloads));
  emitHeader(header, PAYLOAD.SK, out.length, out);
  const first = payloads.length === 0 ? PAYLOAD.NO_NEXT : payloadTypeOf(payloads[0]);
  emitGenericHeader(first, false, out.length - HEADER_SIZE, out, HEADER_SIZE);
  emitChain(payloads, out, INNER, PAYLOAD.NO_NEXT);
  return out;
}

/** What was inside the SK payload, or inside all fragments, as `firstPayload` and `flags` of the (first) generic header say. */
export interface InnerPart {
  readonly inner: Uint8Array;
  readonly firstPayload: number;
  /** The octet of the critical bit and RESERVED. */
  readonly flags: number;
}

/** A message of the peer's, of which `datagram` is the whole or the last fragment. */
export function receivedOctets(datagram: Uint8Array, { inner, firstPayload, flags }: InnerPart): Uint8Array {
  const out = new Uint8Array(INNER + inner.length);
  out.set(datagram.subarray(0, HEADER_SIZE));
  out[NEXT_PAYLOAD] = PAYLOAD.SK;
  writeU32(out.length, out, LENGTH);
  emitGenericHeader(firstPayload, false, out.length - HEADER_SIZE, out, HEADER_SIZE);
  out[HEADER_SIZE + 1] = flags;
  out.set(inner, INNER);
  return out;
}
