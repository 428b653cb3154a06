/**
 * The AEAD backend over node:crypto: OpenSSL, one cipher object a packet.
 *
 * Several times slower than the native backend at any size, but it needs no addon.
 */

import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto';
import type { AeadColumns } from '../../native-shims/types.ts';
import { ESP_ICV_LENGTH, ESP_IV_LENGTH } from '../wire/esp.ts';
import { type Aead, KeySlots } from './aead.ts';
import { ESP_ALGORITHMS, splitKeyAndSalt } from './algorithms.ts';

interface NodeKey {
  readonly cipher: 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
  readonly key: KeyObject;
  /** Salt, then room for the IV of the packet. */
  readonly nonce: Uint8Array;
}

const OPTIONS = { authTagLength: ESP_ICV_LENGTH };

export function createNodeAead(): Aead {
  const keys = new KeySlots<NodeKey>();

  function nonceOf(key: NodeKey, columns: AeadColumns, row: number): Uint8Array {
    const at = columns.ivOffset[row];
    key.nonce.set(columns.arena.subarray(at, at + ESP_IV_LENGTH), key.nonce.length - ESP_IV_LENGTH);
    return key.nonce;
  }

  function sealRow(columns: AeadColumns, row: number): void {
    const key = keys.get(columns.key[row]);
    const { arena } = columns;
    const text = columns.textOffset[row];
    const end = text + columns.textLength[row];
    // OpenSSL has one name for the union of these types; the options tell AES-GCM and ChaCha20 apart for nobody.
    const cipher = createCipheriv(key.cipher as 'aes-128-gcm', key.key, nonceOf(key, columns, row), OPTIONS);
    cipher.setAAD(arena.subarray(columns.aadOffset[row], columns.aadOffset[row] + columns.aadLength[row]));
    arena.set(cipher.update(arena.subarray(text, end)), text);
    cipher.final();
    arena.set(cipher.getAuthTag(), end);
  }

  function openRow(columns: AeadColumns, row: number): boolean {
    const key = keys.get(columns.key[row]);
    const { arena } = columns;
    const text = columns.textOffset[row];
    const end = text + columns.textLength[row];
    const decipher = createDecipheriv(key.cipher as 'aes-128-gcm', key.key, nonceOf(key, columns, row), OPTIONS);
    decipher.setAAD(arena.subarray(columns.aadOffset[row], columns.aadOffset[row] + columns.aadLength[row]));
    decipher.setAuthTag(arena.slice(end, end + ESP_ICV_LENGTH));
    const plain = decipher.update(arena.subarray(text, end));
    try {
      decipher.final();
    } catch {
      // final() throws for one reason only: the tag is wrong.
      arena.fill(0, text, end);
      return false;
    }
    arena.set(plain, text);
    return true;
  }

  return {
    name: 'node',
    prepareKey(algorithm, _direction, keyAndSalt) {
      const { key, salt } = splitKeyAndSalt(algorithm, keyAndSalt);
      const nonce = new Uint8Array(salt.length + ESP_IV_LENGTH);
      nonce.set(salt);
      const slot = keys.add({ cipher: ESP_ALGORITHMS[algorithm].openssl, key: createSecretKey(key), nonce });
      key.fill(0);
      return slot;
    },
    dropKey(key) {
      keys.take(key).nonce.fill(0);
    },
    seal(columns, first, count) {
      for (let row = first; row < first + count; row++) sealRow(columns, row);
    },
    open(columns, first, count) {
      for (let row = first; row < first + count; row++) columns.result[row] = openRow(columns, row) ? 1 : 0;
    },
  };
}
