/** A post-quantum preshared key in the keys of an IKE SA (RFC 8784 §3), by noble. */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { adoptPpkKeys, mixPpk, type PpkKeys, wipePpkKeys } from '../../../ike/crypto/ppk.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import { patternKey } from '../wire/suites.ts';

const PPK = patternKey(40, 9);

describe.each([
  { id: 5, noble: sha256 },
  { id: 6, noble: sha384 },
])('a PPK with PRF $id', ({ id, noble }) => {
  const keysBefore = (): PpkKeys => ({
    skD: patternKey(noble.outputLen, 1),
    skPi: patternKey(noble.outputLen, 2),
    skPr: patternKey(noble.outputLen, 3),
  });
  const mixed = (key: Uint8Array): Uint8Array => hmac(noble, PPK, concatBytes(key, Uint8Array.of(1)));

  it('makes prf+(PPK, SK) of each of the three keys and leaves these alone', () => {
    const keys = keysBefore();
    expect(mixPpk(id, keys, PPK)).toEqual({ skD: mixed(keys.skD), skPi: mixed(keys.skPi), skPr: mixed(keys.skPr) });
    expect(keys).toEqual(keysBefore());
  });

  it('takes the place of the former keys in the same memory, and leaves no second copy', () => {
    const keys = keysBefore();
    const { skD } = keys;
    const fresh = mixPpk(id, keys, PPK);
    const expected = structuredClone(fresh);
    adoptPpkKeys(keys, fresh);
    expect(keys).toEqual(expected);
    expect(keys.skD).toBe(skD);
    for (const key of Object.values(fresh)) expect(key).toEqual(new Uint8Array(noble.outputLen));
  });

  it('that is not used is wiped', () => {
    const keys = keysBefore();
    wipePpkKeys(keys);
    for (const key of Object.values(keys)) expect(key).toEqual(new Uint8Array(noble.outputLen));
  });
});
