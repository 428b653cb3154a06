/**
 * What every AEAD backend must do; each backend's test imports this. Published vectors, both directions, and what
 * ESP relies on: rows of several keys in one call, nothing written beside them, a wrong tag refused and zeroed.
 */

import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { AeadList } from '../../../dataplane/batch.ts';
import type { EspAlgorithm } from '../../../dataplane/commands.ts';
import type { Aead } from '../../../dataplane/esp/aead.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import esp from '../../vectors/esp/packets.json' with { type: 'json' };
import gcm from '../../vectors/gcm/specification.json' with { type: 'json' };
import wycheproof from '../../vectors/gcm/wycheproof.json' with { type: 'json' };
import { ALGORITHMS } from './sa-rig.ts';

const ROWS = 16;
const SLOT = 512;
const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

interface Row {
  readonly key: number;
  readonly iv: Uint8Array;
  readonly aad: Uint8Array;
  readonly text: Uint8Array;
}

/** A list over shared memory with each row's IV, AAD and text in a slot of its own, odd offsets included. */
function listOf(rows: readonly Row[], shift = 0): AeadList {
  const arena = new Uint8Array(new SharedArrayBuffer(ROWS * SLOT + 16 * ROWS)).fill(0xaa);
  const list = new AeadList(arena, ROWS, ROWS * SLOT);
  rows.forEach((row, j) => {
    const at = j * SLOT + shift;
    list.key[j] = row.key;
    list.ivOffset[j] = at;
    list.aadOffset[j] = at + 8;
    list.aadLength[j] = row.aad.length;
    list.textOffset[j] = at + 64;
    list.textLength[j] = row.text.length;
    arena.set(row.iv, at);
    arena.set(row.aad, at + 8);
    arena.set(row.text, at + 64);
  });
  list.count = rows.length;
  return list;
}

function textAndTag(list: AeadList, j: number): string {
  const at = list.textOffset[j];
  return hexOf(list.arena.subarray(at, at + list.textLength[j] + 16));
}

/** The same by OpenSSL through node:crypto, as an independent answer. */
function reference(algorithm: EspAlgorithm, keyAndSalt: Uint8Array, row: Row): string {
  const { keyLength, openssl } = ESP_ALGORITHMS[algorithm];
  const nonce = Buffer.concat([keyAndSalt.subarray(keyLength), row.iv]);
  const cipher = createCipheriv(openssl as 'aes-128-gcm', keyAndSalt.subarray(0, keyLength), nonce, {
    authTagLength: 16,
  });
  cipher.setAAD(row.aad);
  return Buffer.concat([cipher.update(row.text), cipher.final(), cipher.getAuthTag()]).toString('hex');
}

export function describeAead(name: Aead['name'], create: () => Aead): void {
  describe(`the AEAD backend ${name}`, () => {
    let aead: Aead;
    // Not while tests are collected: a backend that throws then would leave no test to fail.
    beforeAll(() => {
      aead = create();
    });

    it('says which it is', () => expect(aead.name).toBe(name));

    describe.each([...gcm, ...wycheproof.valid, ...esp])('with $name', (vector) => {
      const algorithm = vector.algorithm as EspAlgorithm;
      const keyAndSalt = bytesOf(vector.key + vector.salt);
      const row = { iv: bytesOf(vector.iv), aad: bytesOf(vector.aad) };

      it('seals to the published ciphertext and ICV', () => {
        const key = aead.prepareKey(algorithm, 'seal', keyAndSalt);
        const list = listOf([{ key, ...row, text: bytesOf(vector.plaintext) }]);
        aead.seal(list, 0, 1);
        expect(textAndTag(list, 0)).toBe(vector.ciphertext + vector.icv);
        aead.dropKey(key);
      });

      it('opens to the published plaintext', () => {
        const key = aead.prepareKey(algorithm, 'open', keyAndSalt);
        const list = listOf([{ key, ...row, text: bytesOf(vector.ciphertext) }]);
        list.arena.set(bytesOf(vector.icv), list.textOffset[0] + list.textLength[0]);
        aead.open(list, 0, 1);
        expect(list.result[0]).toBe(1);
        expect(textAndTag(list, 0)).toBe(vector.plaintext + vector.icv);
        aead.dropKey(key);
      });
    });

    it.each(wycheproof.invalid)('refuses $name', (vector) => {
      const key = aead.prepareKey(vector.algorithm as EspAlgorithm, 'open', bytesOf(vector.key + vector.salt));
      const row = { key, iv: bytesOf(vector.iv), aad: bytesOf(vector.aad), text: bytesOf(vector.ciphertext) };
      const list = listOf([row]);
      list.arena.set(bytesOf(vector.icv), list.textOffset[0] + list.textLength[0]);
      aead.open(list, 0, 1);
      expect(list.result[0]).toBe(0);
      expect(textAndTag(list, 0)).toBe('00'.repeat(row.text.length) + vector.icv);
      aead.dropKey(key);
    });

    it.each(ALGORITHMS)('agrees with OpenSSL on %s, for any text, additional data and place', (algorithm) => {
      const size = ESP_ALGORITHMS[algorithm].keyLength + 4;
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: size, maxLength: size }),
          fc.uint8Array({ minLength: 8, maxLength: 8 }),
          fc.constantFrom(8, 12),
          fc.uint8Array({ maxLength: 300 }),
          fc.nat(7),
          (keyAndSalt, iv, aadLength, text, shift) => {
            const seal = aead.prepareKey(algorithm, 'seal', keyAndSalt);
            const open = aead.prepareKey(algorithm, 'open', keyAndSalt);
            const row = { key: seal, iv, aad: new Uint8Array(aadLength).fill(7), text };
            const list = listOf([row], shift);
            aead.seal(list, 0, 1);
            expect(textAndTag(list, 0)).toBe(reference(algorithm, keyAndSalt, row));
            list.key[0] = open;
            aead.open(list, 0, 1);
            expect(list.result[0]).toBe(1);
            expect(textAndTag(list, 0).slice(0, 2 * text.length)).toBe(hexOf(text));
            aead.dropKey(seal);
            aead.dropKey(open);
          },
        ),
        { numRuns: 40 },
      );
    });

    it('seals only the rows it is asked for, each with its own key, and writes nothing beside them', () => {
      const keys = ALGORITHMS.map((algorithm) => {
        const keyAndSalt = new Uint8Array(ESP_ALGORITHMS[algorithm].keyLength + 4).fill(algorithm.length);
        return { algorithm, keyAndSalt, number: aead.prepareKey(algorithm, 'seal', keyAndSalt) };
      });
      const rows = [...keys, ...keys].map((key, j) => ({
        key: key.number,
        iv: new Uint8Array(8).fill(j),
        aad: new Uint8Array(8).fill(j),
        text: new Uint8Array(20 + j).fill(j),
      }));
      const list = listOf(rows);
      const before = list.arena.slice();
      aead.seal(list, 2, 4);
      rows.forEach((row, j) => {
        const { algorithm, keyAndSalt } = keys[j % keys.length];
        const at = list.textOffset[j];
        const end = at + row.text.length + 16;
        if (j >= 2 && j < 6) expect(textAndTag(list, j)).toBe(reference(algorithm, keyAndSalt, row));
        else expect(hexOf(list.arena.subarray(at, end))).toBe(hexOf(before.subarray(at, end)));
        expect(hexOf(list.arena.subarray(end, (j + 1) * SLOT))).toBe(hexOf(before.subarray(end, (j + 1) * SLOT)));
        expect(hexOf(list.arena.subarray(j * SLOT, at))).toBe(hexOf(before.subarray(j * SLOT, at)));
      });
      for (const key of keys) aead.dropKey(key.number);
    });

    it.each(ALGORITHMS)(
      'refuses %s with one bit changed in text, tag, IV or additional data, and zeroes the text',
      (algorithm) => {
        const keyAndSalt = new Uint8Array(ESP_ALGORITHMS[algorithm].keyLength + 4).fill(3);
        const seal = aead.prepareKey(algorithm, 'seal', keyAndSalt);
        const open = aead.prepareKey(algorithm, 'open', keyAndSalt);
        const row = { key: seal, iv: new Uint8Array(8), aad: new Uint8Array(8), text: new Uint8Array(32).fill(1) };
        const sealed = listOf([row]);
        aead.seal(sealed, 0, 1);
        const places = [0, 7, 8, 15, 64, 64 + 31, 64 + 32, 64 + 47];
        for (const place of places) {
          const list = listOf([row, row]);
          for (const j of [0, 1]) {
            list.key[j] = open;
            list.arena.set(sealed.arena.subarray(0, SLOT), j * SLOT);
          }
          list.arena[place] ^= 0x01;
          aead.open(list, 0, 2);
          expect([...list.result.subarray(0, 2)], `byte ${place}`).toEqual([0, 1]);
          expect(hexOf(list.arena.subarray(64, 64 + 32))).toBe('00'.repeat(32));
          expect(hexOf(list.arena.subarray(SLOT + 64, SLOT + 64 + 32))).toBe('01'.repeat(32));
        }
        aead.dropKey(seal);
        aead.dropKey(open);
      },
    );

    it('refuses key material of a wrong length, and does not print it', () => {
      for (const algorithm of ALGORITHMS) {
        const wrong = new Uint8Array(ESP_ALGORITHMS[algorithm].keyLength).fill(0x5a);
        expect(() => aead.prepareKey(algorithm, 'seal', wrong)).toThrow(RangeError);
        expect(() => aead.prepareKey(algorithm, 'seal', wrong)).toThrow(/^(?!.*(5a5a|90, ?90)).*$/s);
      }
    });

    it('throws for a key that was dropped: a packet must not pass unsealed', () => {
      const key = aead.prepareKey('aes128gcm16', 'seal', new Uint8Array(20));
      aead.dropKey(key);
      const list = listOf([{ key, iv: new Uint8Array(8), aad: new Uint8Array(8), text: new Uint8Array(4) }]);
      expect(() => aead.seal(list, 0, 1)).toThrow();
    });
  });
}
