/**
 * The AEADs that ESP can use: one row each. A cipher is added here and in the backends of aead.ts.
 *
 * All of them have a 4-byte salt from KEYMAT, an 8-byte IV in the packet and a 16-byte ICV (RFC 4106 §3, §4, §8.1;
 * RFC 7634 §2), which is what wire/esp.ts and the AEAD columns of native-shims are made for.
 */

import type { EspAlgorithm } from '../commands.ts';
import { ESP_HEADER_LENGTH, ESP_ICV_LENGTH, ESP_IV_LENGTH, ESP_TRAILER_LENGTH, espPadLength } from '../wire/esp.ts';

export interface EspAlgorithmRow {
  readonly name: EspAlgorithm;
  /** Bytes of key and of salt, in the order KEYMAT gives them. */
  readonly keyLength: number;
  readonly saltLength: number;
  /** Bytes of IV and ICV in each packet. */
  readonly ivLength: number;
  readonly icvLength: number;
  /** Name of the cipher in OpenSSL. */
  readonly openssl: 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
}

const SALT = 4;

function row(name: EspAlgorithm, keyLength: number, openssl: EspAlgorithmRow['openssl']): EspAlgorithmRow {
  return { name, keyLength, saltLength: SALT, ivLength: ESP_IV_LENGTH, icvLength: ESP_ICV_LENGTH, openssl };
}

export const ESP_ALGORITHMS: Readonly<Record<EspAlgorithm, EspAlgorithmRow>> = {
  aes128gcm16: row('aes128gcm16', 16, 'aes-128-gcm'),
  aes192gcm16: row('aes192gcm16', 24, 'aes-192-gcm'),
  aes256gcm16: row('aes256gcm16', 32, 'aes-256-gcm'),
  chacha20poly1305: row('chacha20poly1305', 32, 'chacha20-poly1305'),
};

/** Bytes that ESP adds to a payload of this length in transport mode: 34 to 37. */
export function espOverhead(payloadLength: number): number {
  return ESP_HEADER_LENGTH + espPadLength(payloadLength) + ESP_TRAILER_LENGTH + ESP_ICV_LENGTH;
}

/** Cuts key and salt apart. Throws if the length is wrong; the message never contains key bytes. */
export function splitKeyAndSalt(name: EspAlgorithm, keyAndSalt: Uint8Array): { key: Uint8Array; salt: Uint8Array } {
  const { keyLength, saltLength } = ESP_ALGORITHMS[name];
  if (keyAndSalt.length !== keyLength + saltLength) {
    throw new RangeError(
      `${name} key material: expected ${keyLength} bytes of key and ${saltLength} of salt, got ${keyAndSalt.length} bytes in all`,
    );
  }
  return { key: keyAndSalt.slice(0, keyLength), salt: keyAndSalt.slice(keyLength) };
}
