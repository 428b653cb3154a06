/**
 * Stateless cookies of a responder under load (RFC 7296 §2.6): Cookie = version | HMAC(secret, Ni | IPi | SPIi).
 *
 * The secret rotates; the one before stays good for one more period, so a cookie lives between one and two periods and
 * nothing is kept per initiator. When to ask for a cookie is the engine's.
 */

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { RandomSource } from './dh.ts';

const SECRET_BYTES = 32;
const VERSION_BYTES = 1;
const MAC_BYTES = 32;

/** Length of our cookies; the protocol allows 1 to 64 bytes. */
export const COOKIE_BYTES = VERSION_BYTES + MAC_BYTES;

/** What a cookie is bound to. */
export interface CookieSubject {
  /** Data of the initiator's NONCE payload. */
  readonly nonce: Uint8Array;
  /** Address the request came from, as text. */
  readonly address: string;
  /** The initiator's SPI, 16 hex digits. */
  readonly initiatorSpi: string;
}

export interface CookieJar {
  make(nowMs: number, subject: CookieSubject): Uint8Array;
  /** Whether we gave this cookie to this subject in the current or the last period. */
  verify(nowMs: number, subject: CookieSubject, cookie: Uint8Array): boolean;
}

interface Secret {
  readonly version: number;
  readonly key: Uint8Array;
}

/** `periodMs` is the life of one secret. */
export function createCookieJar(random: RandomSource, periodMs = 60_000): CookieJar {
  let current: Secret | undefined;
  let previous: Secret | undefined;
  let rotateAtMs = 0;

  const rotate = (nowMs: number): Secret => {
    if (current === undefined || nowMs >= rotateAtMs) {
      // After a pause of more than a period even the last secret is too old.
      const kept = nowMs < rotateAtMs + periodMs ? current : undefined;
      for (const old of [previous, current]) if (old !== kept) old?.key.fill(0);
      previous = kept;
      current = { version: ((current?.version ?? 0) + 1) & 0xff, key: random(SECRET_BYTES) };
      rotateAtMs = nowMs + periodMs;
    }
    return current;
  };

  return {
    make: (nowMs, subject) => cookieOf(rotate(nowMs), subject),
    verify(nowMs, subject, cookie) {
      if (cookie.length !== COOKIE_BYTES) return false;
      const secret = rotate(nowMs).version === cookie[0] ? current : previous;
      if (secret === undefined || secret.version !== cookie[0]) return false;
      return timingSafeEqual(cookieOf(secret, subject), cookie);
    },
  };
}

function cookieOf(secret: Secret, subject: CookieSubject): Uint8Array {
  const hmac = createHmac('sha256', secret.key);
  // Each part but the last has its length in front: no two subjects give the same input.
  hmac.update(Uint8Array.of(subject.nonce.length & 0xff, subject.nonce.length >>> 8)).update(subject.nonce);
  hmac.update(Uint8Array.of(subject.address.length)).update(subject.address);
  hmac.update(subject.initiatorSpi);
  const cookie = new Uint8Array(COOKIE_BYTES);
  cookie[0] = secret.version;
  cookie.set(hmac.digest(), VERSION_BYTES);
  return cookie;
}
