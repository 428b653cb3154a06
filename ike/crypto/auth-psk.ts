/**
 * AUTH with a shared key (RFC 7296 §2.15): what is signed, and the MIC over it.
 *
 * AUTH = prf(prf(secret, "Key Pad for IKEv2"), signed octets), with the PRF of the IKE SA. Identities are judged by the
 * engine; signatures with certificates will take the same signed octets.
 */

import { timingSafeEqual } from 'node:crypto';
import type { Transform } from '../types.ts';
import { concatBytes } from '../wire/bytes.ts';
import { prf, wipe } from './prf.ts';

/** ASCII, 17 octets, without terminator (RFC 7296 §2.15). */
const KEY_PAD = Buffer.from('Key Pad for IKEv2', 'ascii');

export interface SignedOctetsInput {
  /** PRF of the IKE SA. */
  readonly prf: Transform;
  /** The IKE_SA_INIT message of the side that authenticates, the whole of it, as sent. */
  readonly initMessage: Uint8Array;
  /** The nonce of the other side: data of its NONCE payload. */
  readonly peerNonce: Uint8Array;
  /** SK_pi if the original initiator authenticates, else SK_pr. */
  readonly skP: Uint8Array;
  /** Body of the ID payload of the side that authenticates, without generic header (`idBody`). */
  readonly idBody: Uint8Array;
  /** What IKE_INTERMEDIATE exchanges add (int-auth.ts); undefined if there were none. */
  readonly intAuth: Uint8Array | undefined;
}

/** RealMessage | NonceOther | prf(SK_p, RestOfIDPayload) [| IntAuth]: InitiatorSignedOctets or ResponderSignedOctets. */
export function signedOctets(input: SignedOctetsInput): Uint8Array {
  const macedId = prf(input.prf.id, input.skP, input.idBody);
  return concatBytes(
    input.initMessage,
    input.peerNonce,
    macedId,
    ...(input.intAuth === undefined ? [] : [input.intAuth]),
  );
}

/** Data of the AUTH payload for a shared key. */
export function pskAuth(prfTransform: Transform, secret: Uint8Array, octets: Uint8Array): Uint8Array {
  const padded = prf(prfTransform.id, secret, KEY_PAD);
  const auth = prf(prfTransform.id, padded, octets);
  wipe(padded);
  return auth;
}

/** Whether `received` is the AUTH data that this secret gives; constant time for data of the right length. */
export function verifyPskAuth(
  prfTransform: Transform,
  secret: Uint8Array,
  octets: Uint8Array,
  received: Uint8Array,
): boolean {
  const expected = pskAuth(prfTransform, secret, octets);
  return received.length === expected.length && timingSafeEqual(received, expected);
}
