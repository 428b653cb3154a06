/**
 * The AEAD backend over @noble/ciphers: plain JavaScript, audited, slow.
 *
 * It is what the other backends are compared with in tests, and what runs where even node:crypto is cut down.
 */

import { gcm } from '@noble/ciphers/aes.js';
import { chacha20poly1305 } from '@noble/ciphers/chacha.js';
import type { AeadColumns } from '../../native-shims/types.ts';
import { ESP_ICV_LENGTH, ESP_IV_LENGTH } from '../wire/esp.ts';
import { type Aead, KeySlots } from './aead.ts';
import { splitKeyAndSalt } from './algorithms.ts';

interface NobleKey {
  readonly cipher: typeof gcm | typeof chacha20poly1305;
  readonly key: Uint8Array;
  readonly salt: Uint8Array;
}

export function createNobleAead(): Aead {
  const keys = new KeySlots<NobleKey>();

  // noble reads 32-bit words, so it gets copies: they are aligned, and not in shared memory.
  function cipherFor(columns: AeadColumns, row: number): ReturnType<typeof gcm> {
    const key = keys.get(columns.key[row]);
    const { arena } = columns;
    const nonce = new Uint8Array(key.salt.length + ESP_IV_LENGTH);
    nonce.set(key.salt);
    nonce.set(arena.subarray(columns.ivOffset[row], columns.ivOffset[row] + ESP_IV_LENGTH), key.salt.length);
    const aad = arena.slice(columns.aadOffset[row], columns.aadOffset[row] + columns.aadLength[row]);
    return key.cipher(key.key, nonce, aad);
  }

  function openRow(columns: AeadColumns, row: number): boolean {
    const { arena } = columns;
    const text = columns.textOffset[row];
    const end = text + columns.textLength[row];
    const cipher = cipherFor(columns, row);
    let plain: Uint8Array;
    try {
      plain = cipher.decrypt(arena.slice(text, end + ESP_ICV_LENGTH));
    } catch {
      // decrypt() throws for one reason only here: the tag is wrong.
      arena.fill(0, text, end);
      return false;
    }
    arena.set(plain, text);
    return true;
  }

  return {
    name: 'noble',
    prepareKey(algorithm, _direction, keyAndSalt) {
      const { key, salt } = splitKeyAndSalt(algorithm, keyAndSalt);
      return keys.add({ cipher: algorithm === 'chacha20poly1305' ? chacha20poly1305 : gcm, key, salt });
    },
    dropKey(key) {
      const dropped = keys.take(key);
      dropped.key.fill(0);
      dropped.salt.fill(0);
    },
    seal(columns, first, count) {
      for (let row = first; row < first + count; row++) {
        const text = columns.textOffset[row];
        const plain = columns.arena.slice(text, text + columns.textLength[row]);
        columns.arena.set(cipherFor(columns, row).encrypt(plain), text);
      }
    },
    open(columns, first, count) {
      for (let row = first; row < first + count; row++) columns.result[row] = openRow(columns, row) ? 1 : 0;
    },
  };
}
