/** Stateless cookies (RFC 7296 §2.6): bound to nonce, address and SPI, good for one to two periods. */

import { describe, expect, it } from 'vitest';
import { COOKIE_BYTES, type CookieSubject, createCookieJar } from '../../../ike/crypto/cookie.ts';
import { patternKey } from '../wire/suites.ts';

const PERIOD = 1000;
const SUBJECT: CookieSubject = {
  nonce: patternKey(32, 1),
  address: '10.0.0.1',
  initiatorSpi: '0123456789abcdef',
};

function jar() {
  let draws = 0;
  return createCookieJar((bytes) => patternKey(bytes, ++draws), PERIOD);
}

describe('a cookie', () => {
  it('is the same for the same request, and verifies', () => {
    const cookies = jar();
    const cookie = cookies.make(0, SUBJECT);
    expect(cookie).toHaveLength(COOKIE_BYTES);
    expect(cookies.make(1, SUBJECT)).toEqual(cookie);
    expect(cookies.verify(2, SUBJECT, cookie)).toBe(true);
  });

  it.each<[string, Partial<CookieSubject>]>([
    ['nonce', { nonce: patternKey(32, 2) }],
    ['nonce of another length', { nonce: patternKey(31, 1) }],
    ['address', { address: '10.0.0.2' }],
    ['SPI', { initiatorSpi: '0123456789abcdee' }],
  ])('is no good for another %s', (_what, change) => {
    const cookies = jar();
    expect(cookies.verify(0, { ...SUBJECT, ...change }, cookies.make(0, SUBJECT))).toBe(false);
  });

  it('is no good with a bit changed or another length', () => {
    const cookies = jar();
    const cookie = cookies.make(0, SUBJECT);
    for (let at = 0; at < cookie.length; at++) {
      const changed = cookie.slice();
      changed[at] ^= 1;
      expect(cookies.verify(0, SUBJECT, changed)).toBe(false);
    }
    for (const length of [0, 1, 64]) expect(cookies.verify(0, SUBJECT, new Uint8Array(length))).toBe(false);
    for (const length of [1, 16, COOKIE_BYTES - 1]) {
      expect(cookies.verify(0, SUBJECT, cookie.subarray(0, length)), `${length} bytes`).toBe(false);
    }
    expect(cookies.verify(0, SUBJECT, Uint8Array.of(...cookie, 0))).toBe(false);
  });

  it('lives through one change of the secret, and not through two', () => {
    const cookies = jar();
    const cookie = cookies.make(0, SUBJECT);
    expect(cookies.verify(PERIOD - 1, SUBJECT, cookie)).toBe(true);
    expect(cookies.verify(PERIOD, SUBJECT, cookie)).toBe(true);
    expect(cookies.make(PERIOD, SUBJECT)).not.toEqual(cookie);
    expect(cookies.verify(2 * PERIOD - 1, SUBJECT, cookie)).toBe(true);
    expect(cookies.verify(2 * PERIOD, SUBJECT, cookie)).toBe(false);
  });

  it('lives through every change of the secret alike, also where the versions begin again', () => {
    const cookies = jar();
    let last = cookies.make(0, SUBJECT);
    for (let period = 1; period < 600; period++) {
      const now = period * PERIOD;
      expect(cookies.verify(now, SUBJECT, last), `period ${period}`).toBe(true);
      last = cookies.make(now, SUBJECT);
      expect(cookies.verify(now, SUBJECT, last), `period ${period}`).toBe(true);
    }
  });

  it('is dead after two periods of silence to the millisecond', () => {
    for (const [silence, alive] of [
      [2 * PERIOD - 1, true],
      [2 * PERIOD, false],
    ] as const) {
      const cookies = jar();
      const cookie = cookies.make(0, SUBJECT);
      expect(cookies.verify(silence, SUBJECT, cookie)).toBe(alive);
    }
  });

  it('is made of a secret that is overwritten once it is too old, and not before', () => {
    const secrets: Uint8Array[] = [];
    const cookies = createCookieJar((bytes) => {
      const secret = patternKey(bytes, secrets.length + 1);
      secrets.push(secret);
      return secret;
    }, PERIOD);
    const wiped = () => secrets.map((secret) => secret.every((byte) => byte === 0));
    for (const now of [0, PERIOD, 2 * PERIOD]) cookies.make(now, SUBJECT);
    expect(wiped()).toEqual([true, false, false]);
    cookies.make(10 * PERIOD, SUBJECT);
    expect(wiped()).toEqual([true, true, true, false]);
  });

  it('is dead after a long silence, though the secret changed only once since', () => {
    const cookies = jar();
    const cookie = cookies.make(0, SUBJECT);
    expect(cookies.verify(10 * PERIOD, SUBJECT, cookie)).toBe(false);
  });

  it('of another daemon, with other secrets, does not verify', () => {
    const foreign = createCookieJar((bytes) => patternKey(bytes, 99), PERIOD).make(0, SUBJECT);
    const cookies = jar();
    cookies.make(0, SUBJECT);
    expect(cookies.verify(0, SUBJECT, foreign)).toBe(false);
  });
});
