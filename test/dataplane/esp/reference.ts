/** ESP packets by an independent hand: node:crypto and the text of RFC 4303 and 4106. Nothing of the dataplane makes them. */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { EspAlgorithm } from '../../../dataplane/commands.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { keyFor, SPI } from './sa-rig.ts';

export interface Reference {
  readonly algorithm: EspAlgorithm;
  readonly keyAndSalt: Uint8Array;
  readonly spi: number;
  readonly sequenceLow: number;
  /** undefined: no ESN. */
  readonly sequenceHigh: number | undefined;
}

function additionalData(reference: Reference): Buffer {
  const words = [reference.spi];
  if (reference.sequenceHigh !== undefined) words.push(reference.sequenceHigh);
  words.push(reference.sequenceLow);
  const data = Buffer.alloc(words.length * 4);
  for (const [i, word] of words.entries()) data.writeUInt32BE(word >>> 0, i * 4);
  return data;
}

function nonce(reference: Reference, iv: Uint8Array): Buffer {
  return Buffer.concat([reference.keyAndSalt.subarray(ESP_ALGORITHMS[reference.algorithm].keyLength), iv]);
}

/** An ESP packet around `plaintext`, which is payload, padding and trailer. */
export function referenceSeal(reference: Reference, iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const { keyLength, openssl } = ESP_ALGORITHMS[reference.algorithm];
  const key = reference.keyAndSalt.subarray(0, keyLength);
  const cipher = createCipheriv(openssl as 'aes-128-gcm', key, nonce(reference, iv), { authTagLength: 16 });
  cipher.setAAD(additionalData(reference));
  const header = Buffer.alloc(8);
  header.writeUInt32BE(reference.spi >>> 0, 0);
  header.writeUInt32BE(reference.sequenceLow >>> 0, 4);
  return Uint8Array.from(Buffer.concat([header, iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
}

/** Payload, padding and trailer of an ESP packet; throws if its ICV is wrong. */
export function referenceOpen(reference: Reference, packet: Uint8Array): Uint8Array {
  const { keyLength, openssl } = ESP_ALGORITHMS[reference.algorithm];
  const key = reference.keyAndSalt.subarray(0, keyLength);
  const decipher = createDecipheriv(openssl as 'aes-128-gcm', key, nonce(reference, packet.subarray(8, 16)), {
    authTagLength: 16,
  });
  decipher.setAAD(additionalData(reference));
  decipher.setAuthTag(packet.subarray(packet.length - 16));
  return Uint8Array.from(Buffer.concat([decipher.update(packet.subarray(16, packet.length - 16)), decipher.final()]));
}

/** Payload with padding 1, 2, 3 … and trailer, as RFC 4303 §2.4 has it. */
export function withTrailer(payload: Uint8Array, nextHeader: number): Uint8Array {
  const padding = Array.from({ length: (4 - ((payload.length + 2) % 4)) % 4 }, (_, i) => i + 1);
  return Uint8Array.of(...payload, ...padding, padding.length, nextHeader);
}

/** IV of our packets: the sequence number. */
const ivOf = (sequence: number): Uint8Array => {
  const iv = Buffer.alloc(8);
  iv.writeUInt32BE(sequence, 4);
  return Uint8Array.from(iv);
};

/** A packet of the peer, by the reference. */
export function fromPeer(
  sequence: number | bigint,
  options: { payload?: Uint8Array; esn?: boolean; next?: number; plaintext?: Uint8Array; spi?: number } = {},
): Uint8Array {
  const number = BigInt(sequence);
  return referenceSeal(
    {
      algorithm: 'aes256gcm16',
      keyAndSalt: keyFor('aes256gcm16'),
      spi: options.spi ?? SPI,
      sequenceLow: Number(number & 0xffffffffn),
      sequenceHigh: options.esn === true ? Number(number >> 32n) : undefined,
    },
    ivOf(Number(number & 0xffffffffn)),
    options.plaintext ?? withTrailer(options.payload ?? new Uint8Array(20).fill(1), options.next ?? 47),
  );
}
