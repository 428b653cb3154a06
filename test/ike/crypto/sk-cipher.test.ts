/** SK protection against noble, an independent implementation: AES-GCM, ChaCha20-Poly1305, AES-CBC with HMAC-SHA2. */

import { cbc, gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { openBody, sealBody, skSizes } from '../../../ike/crypto/sk-cipher.ts';
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
  const { iv: ivBytes, icv, block } = skSizes(keys);
  const aad = patternKey(32, 9);
  const iv = patternKey(ivBytes, 10);
  const lengths = block === 1 ? [1, 2, 15, 16, 17, 255, 1000] : [16, 32, 1008];

  it.each(lengths)('with %i bytes of plaintext is what noble makes', (length) => {
    const plaintext = patternKey(length, 11);
    const message = concatBytes(aad, iv, plaintext, new Uint8Array(icv));
    sealBody(message, aad.length, keys);
    expect(message).toEqual(concatBytes(aad, nobleBody(keys, aad, iv, plaintext)));
  });

  it('made by noble opens', () => {
    const plaintext = patternKey(48, 12);
    const message = concatBytes(aad, nobleBody(keys, aad, iv, plaintext));
    expect(openBody(message, aad.length, keys)).toEqual(plaintext);
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
