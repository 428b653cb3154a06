/** SK protection against noble, an independent implementation: AES-GCM, ChaCha20-Poly1305, AES-CBC with HMAC-SHA2. */

import { cbc, gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { createIvSource, openBody, sealBody, skSizes } from '../../../ike/crypto/sk-cipher.ts';
import type { SkKeys } from '../../../ike/crypto/sk-keys.ts';
import { encryptionRow, integrityRow, UnsupportedTransformError } from '../../../ike/crypto/transforms.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import { allSuites, patternKey } from '../wire/suites.ts';

const NOBLE_HASH = { sha256, sha384, sha512 };

/** `IV | ciphertext | ICV` by noble. */
function nobleBody(keys: SkKeys, aad: Uint8Array, iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const row = encryptionRow(keys.encryption);
  if (row.aead) {
    const key = keys.skE.slice(0, row.keyBytes);
    const nonce = concatBytes(keys.skE.subarray(row.keyBytes), iv);
    const cipher = row.cipher === 'chacha20-poly1305' ? chacha20poly1305(key, nonce, aad) : gcm(key, nonce, aad);
    return concatBytes(iv, cipher.encrypt(plaintext));
  }
  const ciphertext = cbc(keys.skE, iv, { disablePadding: true }).encrypt(plaintext);
  const integrity = integrityRow(keys.integrity!.id);
  const mac = hmac(NOBLE_HASH[integrity.hash], keys.skA, concatBytes(aad, iv, ciphertext));
  return concatBytes(iv, ciphertext, mac.subarray(0, integrity.icvBytes));
}

describe.each(allSuites())('SK body of $name', (keys) => {
  const row = encryptionRow(keys.encryption);
  const { ivBytes, blockBytes: block } = row;
  const icv = row.aead ? row.icvBytes : integrityRow(keys.integrity!.id).icvBytes;
  // What stands before the body need not be a multiple of anything.
  const aad = patternKey(33, 9);
  const iv = patternKey(ivBytes, 10);
  const lengths = block === 1 ? [1, 2, 15, 16, 17, 255, 1000] : [16, 32, 1008];

  it('has the sizes of its cipher and integrity', () => {
    expect(skSizes(keys)).toEqual({ iv: ivBytes, icv, block });
  });

  it.each(lengths)('with %i bytes of plaintext is what noble makes', (length) => {
    const plaintext = patternKey(length, 11);
    const message = concatBytes(aad, iv, plaintext, new Uint8Array(icv));
    sealBody(message, aad.length, keys);
    expect(message).toEqual(concatBytes(aad, nobleBody(keys, aad, iv, plaintext)));
  });

  it.each(lengths)('of %i bytes made by noble opens', (length) => {
    const plaintext = patternKey(length, 12);
    const message = concatBytes(aad, nobleBody(keys, aad, iv, plaintext));
    expect(openBody(message, aad.length, keys)).toEqual(plaintext);
  });

  it('with a bit changed anywhere does not open: what stands before it, IV, ciphertext or ICV', () => {
    const whole = concatBytes(aad, nobleBody(keys, aad, iv, patternKey(32, 13)));
    for (let at = 0; at < whole.length; at++) {
      const changed = whole.slice();
      changed[at] ^= 0x10;
      expect(openBody(changed, aad.length, keys), `byte ${at}`).toBeUndefined();
    }
    expect(openBody(whole, aad.length, keys)).toEqual(patternKey(32, 13));
  });

  it('that is no whole number of blocks does not open, though its ICV be right', () => {
    if (row.aead) return expect(block).toBe(1);
    const covered = concatBytes(aad, iv, patternKey(17, 14));
    const { hash } = integrityRow(keys.integrity!.id);
    const mac = hmac(NOBLE_HASH[hash], keys.skA, covered).subarray(0, icv);
    expect(openBody(concatBytes(covered, mac), aad.length, keys)).toBeUndefined();
  });

  it('gets IVs that count for an AEAD, and those of the random source for any other', () => {
    const random = (bytes: number) => patternKey(bytes, 15);
    const next = createIvSource(keys.encryption, random);
    const expected = row.aead
      ? [1, 2].map((count) => Uint8Array.of(0, 0, 0, 0, 0, 0, 0, count))
      : [random(16), random(16)];
    expect([next(ivBytes), next(ivBytes)]).toEqual(expected);
  });

  it('of a length that no sealed body can have does not open', () => {
    for (const length of [0, 1, ivBytes, ivBytes + icv, ivBytes + icv + block - 1]) {
      if (block === 1 && length === ivBytes + icv + 1) continue;
      const message = concatBytes(aad, new Uint8Array(length));
      expect(openBody(message, aad.length, keys)).toBeUndefined();
    }
  });
});

it('a cipher without row, or without the integrity it needs, is a programming error', () => {
  const keys: SkKeys = { ...allSuites()[0], encryption: { type: 'ENCR', id: 3 } };
  expect(() => skSizes(keys)).toThrow(UnsupportedTransformError);
  const cbcKeys = allSuites().find(({ integrity }) => integrity !== undefined)!;
  expect(() => skSizes({ ...cbcKeys, integrity: undefined })).toThrow(/needs an integrity transform/);
});
