/**
 * Protection of the SK payload's body in place: AEAD (RFC 5282, RFC 7634) or AES-CBC with HMAC-SHA2 (RFC 7296 §3.14,
 * RFC 3602, RFC 4868).
 *
 * The body is `IV | ciphertext | ICV` at the end of a message; everything before it is authenticated with it. What is
 * inside the plaintext (payloads, padding, pad length) is wire/sk.ts.
 */

import type { CipherGCMTypes, DecipherGCM } from 'node:crypto';
import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import type { Transform } from '../types.ts';
import { writeU32 } from '../wire/bytes.ts';
import type { RandomSource } from './dh.ts';
import type { SkKeys } from './sk-keys.ts';
import { type EncryptionRow, encryptionRow, integrityRow } from './transforms.ts';

/** Sizes in bytes that the layout of an SK payload depends on. */
export interface SkSizes {
  readonly iv: number;
  readonly icv: number;
  /** The plaintext, padding and pad length included, is a multiple of this. */
  readonly block: number;
}

export function skSizes(keys: Pick<SkKeys, 'encryption' | 'integrity'>): SkSizes {
  const row = encryptionRow(keys.encryption);
  const icv = row.aead ? row.icvBytes : integrityRow(integrityId(keys)).icvBytes;
  return { iv: row.ivBytes, icv, block: row.blockBytes };
}

/** Gives a fresh IV of so many bytes: never the same twice for one key (AEAD), unpredictable (CBC). */
export type IvSource = (bytes: number) => Uint8Array;

/**
 * The IV source of one SK_e: make one, once, for each key. A counter for an AEAD, which must never repeat (RFC 5282 §3.1);
 * random bytes for CBC, which must not be foreseen (RFC 7296 §3.14). `used`: so many have been taken for this key already.
 */
export function createIvSource(encryption: Transform, random: RandomSource, used = 0): IvSource {
  if (!encryptionRow(encryption).aead) return random;
  let high = Math.floor(used / 2 ** 32);
  let low = used >>> 0;
  return (bytes) => {
    low = (low + 1) >>> 0;
    if (low === 0) high++;
    const iv = new Uint8Array(bytes);
    writeU32(high, iv, bytes - 8);
    writeU32(low, iv, bytes - 4);
    return iv;
  };
}

/**
 * Seals `message`, whose body from `bodyOffset` is IV, plaintext, and room for the ICV: encrypts the plaintext in place
 * and fills in the ICV.
 */
export function sealBody(message: Uint8Array, bodyOffset: number, keys: SkKeys): void {
  const row = encryptionRow(keys.encryption);
  const { iv, icv } = skSizes(keys);
  const start = bodyOffset + iv;
  const end = message.length - icv;
  const plaintext = message.subarray(start, end);
  const explicitIv = message.subarray(bodyOffset, start);
  if (row.aead) {
    const cipher = createCipheriv(gcmType(row), aeadKey(row, keys), nonce(row, keys, explicitIv), {
      authTagLength: icv,
    });
    cipher.setAAD(message.subarray(0, bodyOffset));
    message.set(cipher.update(plaintext), start);
    cipher.final();
    message.set(cipher.getAuthTag(), end);
    return;
  }
  const cipher = createCipheriv(row.cipher, keys.skE, explicitIv).setAutoPadding(false);
  message.set(cipher.update(plaintext), start);
  cipher.final();
  message.set(mac(message.subarray(0, end), keys), end);
}

/**
 * Verifies the ICV of `message`, then decrypts its body into a new array. Undefined if the body has an impossible length or
 * does not verify: one answer for all of it, in constant time for the MAC.
 */
export function openBody(message: Uint8Array, bodyOffset: number, keys: SkKeys): Uint8Array | undefined {
  const row = encryptionRow(keys.encryption);
  const { iv, icv, block } = skSizes(keys);
  const start = bodyOffset + iv;
  const end = message.length - icv;
  if (end - start < block || (end - start) % block !== 0) return undefined;
  const ciphertext = message.subarray(start, end);
  const explicitIv = message.subarray(bodyOffset, start);
  if (row.aead) {
    const decipher = createDecipheriv(gcmType(row), aeadKey(row, keys), nonce(row, keys, explicitIv), {
      authTagLength: icv,
    });
    decipher.setAAD(message.subarray(0, bodyOffset));
    decipher.setAuthTag(message.subarray(end));
    const plaintext = Uint8Array.from(decipher.update(ciphertext));
    return isAuthentic(decipher) ? plaintext : undefined;
  }
  if (!timingSafeEqual(mac(message.subarray(0, end), keys), message.subarray(end))) return undefined;
  const decipher = createDecipheriv(row.cipher, keys.skE, explicitIv).setAutoPadding(false);
  const plaintext = Uint8Array.from(decipher.update(ciphertext));
  decipher.final();
  return plaintext;
}

/** node:crypto says by an exception that the tag is wrong; nothing else can fail in final of an AEAD. */
function isAuthentic(decipher: DecipherGCM): boolean {
  try {
    decipher.final();
    return true;
  } catch {
    return false;
  }
}

/** ChaCha20-Poly1305 has the same interface as GCM in node:crypto; its typings only know one name at a time. */
function gcmType(row: EncryptionRow): CipherGCMTypes {
  return row.cipher as CipherGCMTypes;
}

function aeadKey(row: EncryptionRow, keys: SkKeys): Uint8Array {
  return keys.skE.subarray(0, row.keyBytes);
}

/** salt | explicit IV (RFC 5282 §4, RFC 7634 §2). */
function nonce(row: EncryptionRow, keys: SkKeys, explicitIv: Uint8Array): Uint8Array {
  const out = new Uint8Array(row.saltBytes + explicitIv.length);
  out.set(keys.skE.subarray(row.keyBytes));
  out.set(explicitIv, row.saltBytes);
  return out;
}

/** Covers the message from its first byte to the end of the ciphertext (RFC 7296 §3.14). */
function mac(covered: Uint8Array, keys: SkKeys): Uint8Array {
  const row = integrityRow(integrityId(keys));
  return createHmac(row.hash, keys.skA).update(covered).digest().subarray(0, row.icvBytes);
}

function integrityId(keys: Pick<SkKeys, 'integrity'>): number {
  if (keys.integrity === undefined)
    throw new TypeError('a cipher that is no AEAD needs an integrity transform; got none');
  return keys.integrity.id;
}
