/** The table of ESP's AEADs against RFC 4106 and RFC 7634, and how KEYMAT is cut by it. */
import { describe, expect, it } from 'vitest';
import { ESP_ALGORITHMS, espOverhead, splitKeyAndSalt } from '../../../dataplane/esp/algorithms.ts';
import { ALGORITHMS } from './sa-rig.ts';

const KEY_LENGTH = { aes128gcm16: 16, aes192gcm16: 24, aes256gcm16: 32, chacha20poly1305: 32 } as const;

describe('the AEADs of ESP', () => {
  it('are these, each with 4 bytes of salt, 8 of IV and 16 of ICV', () => {
    expect(Object.keys(ESP_ALGORITHMS)).toEqual(ALGORITHMS);
    for (const name of ALGORITHMS) {
      const { keyLength, saltLength, ivLength, icvLength } = ESP_ALGORITHMS[name];
      expect([ESP_ALGORITHMS[name].name, keyLength, saltLength, ivLength, icvLength]).toEqual([
        name,
        KEY_LENGTH[name as keyof typeof KEY_LENGTH],
        4,
        8,
        16,
      ]);
    }
  });

  it('have the names that OpenSSL gives them', () => {
    expect(ALGORITHMS.map((name) => ESP_ALGORITHMS[name].openssl)).toEqual([
      'aes-128-gcm',
      'aes-192-gcm',
      'aes-256-gcm',
      'chacha20-poly1305',
    ]);
  });

  it('cost 34 to 37 bytes a packet', () => {
    expect([0, 1, 2, 3, 1400].map(espOverhead)).toEqual([36, 35, 34, 37, 36]);
  });
});

describe('key material', () => {
  it('is the key, then the salt, both copied', () => {
    const keyAndSalt = Uint8Array.from({ length: 20 }, (_, i) => i);
    const { key, salt } = splitKeyAndSalt('aes128gcm16', keyAndSalt);
    keyAndSalt.fill(0xff);
    expect([...key]).toEqual(Array.from({ length: 16 }, (_, i) => i));
    expect([...salt]).toEqual([16, 17, 18, 19]);
  });

  it.each([0, 16, 19, 21, 36])(
    'of %s bytes is none for AES-128, which the error says without a byte of it',
    (length) => {
      expect(() => splitKeyAndSalt('aes128gcm16', new Uint8Array(length).fill(0x5a))).toThrow(
        new RangeError(`aes128gcm16 key material: expected 16 bytes of key and 4 of salt, got ${length} bytes in all`),
      );
    },
  );
});
