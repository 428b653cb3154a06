/**
 * What is asked of each certificate by itself: the time is within its validity, its key is strong enough and of a kind
 * that we verify with, it restricts itself in no way that we don't understand (RFC 5280 §4.1.2.5, §4.2).
 */

import type { KeyObject } from 'node:crypto';
import type { Certificate } from './certificate.ts';

/** NIST SP 800-131A: below 2048 bits RSA counts as broken; above 8192 a verification costs too much for a stranger. */
const RSA_BITS = { smallest: 2048, largest: 8192 } as const;
const CURVES: ReadonlySet<string> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

/** Why a key cannot be used for IKE, as the end of a sentence that begins with whose key it is; undefined: it can. */
export function keyProblem(key: KeyObject): string | undefined {
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case 'rsa':
      if (modulusLength < RSA_BITS.smallest) {
        return `is RSA of ${modulusLength} bits, expected at least ${RSA_BITS.smallest}`;
      }
      return modulusLength > RSA_BITS.largest
        ? `is RSA of ${modulusLength} bits, expected at most ${RSA_BITS.largest}`
        : undefined;
    case 'ec':
      return CURVES.has(namedCurve) ? undefined : `is of curve ${namedCurve}, expected P-256, P-384 or P-521`;
    case 'ed25519':
    case 'ed448':
      return undefined;
    default:
      return `is of type ${key.asymmetricKeyType}, expected RSA, ECDSA, Ed25519 or Ed448`;
  }
}

export const dateText = (ms: number): string => new Date(ms).toISOString().replace('.000Z', 'Z');

/** What is wrong with a certificate, as a sentence that names it; undefined: nothing. */
export function ownProblem(certificate: Certificate, nowMs: number): string | undefined {
  const { subject, notBeforeMs, notAfterMs, unknownRestrictions, publicKey } = certificate;
  if (!(notBeforeMs <= nowMs)) return `certificate ${subject} is not valid before ${dateText(notBeforeMs)}`;
  if (!(nowMs <= notAfterMs)) return `certificate ${subject} expired at ${dateText(notAfterMs)}`;
  const key = keyProblem(publicKey);
  if (key !== undefined) return `the key of certificate ${subject} ${key}`;
  if (unknownRestrictions.length > 0) {
    return `certificate ${subject} has restrictions that are not understood here (${unknownRestrictions.slice(0, 4).join(', ')})`;
  }
  return undefined;
}
