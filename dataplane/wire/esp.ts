/**
 * The ESP packet, RFC 4303 §2, with the 8-byte IV and 16-byte ICV of RFC 4106 §3 and RFC 7634 §2.
 *
 *     |               Security Parameters Index (SPI)                 |
 *     |                      Sequence Number                          |
 *     |                 Initialization Vector (8 bytes)               |
 *     |   Payload …                 | Padding (1, 2, 3 …, 0 to 3 here)|
 *     |                             |  Pad Length   |  Next Header    |
 *     |         Integrity Check Value (16 bytes)                      |
 *
 * Offsets and padding only. What to do with a packet is in esp/seal.ts and esp/open.ts.
 */

import { readInt32, writeInt32 } from './octets.ts';

export const ESP_SPI = 0;
export const ESP_SEQUENCE = 4;
export const ESP_IV = 8;
export const ESP_IV_LENGTH = 8;
export const ESP_ICV_LENGTH = 16;
/** SPI, sequence number and IV. */
export const ESP_HEADER_LENGTH = 16;
/** Pad length and next header. */
export const ESP_TRAILER_LENGTH = 2;
/** Ciphertext ends on a multiple of this (RFC 4303 §2.4: 4, as GCM and ChaCha20 are stream ciphers). */
export const ESP_ALIGNMENT = 4;
/** The shortest packet: header, an aligned trailer, ICV. */
export const ESP_MINIMUM_LENGTH = ESP_HEADER_LENGTH + ESP_ALIGNMENT + ESP_ICV_LENGTH;
/** Additional data: SPI and 32-bit or 64-bit sequence number (RFC 4106 §5). */
export const ESP_AAD_LENGTH = 8;
export const ESP_AAD_LENGTH_ESN = 12;

export function espSpi(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ESP_SPI);
}

/** The low 32 bits of the sequence number, the ones that travel. */
export function espSequence(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + ESP_SEQUENCE);
}

/** Writes SPI, sequence number and the IV: high and low 32 bits. */
export function writeEspHeader(
  bytes: Uint8Array,
  offset: number,
  spi: number,
  sequence: number,
  ivHigh: number,
  ivLow: number,
): void {
  writeInt32(bytes, offset + ESP_SPI, spi);
  writeInt32(bytes, offset + ESP_SEQUENCE, sequence);
  writeInt32(bytes, offset + ESP_IV, ivHigh);
  writeInt32(bytes, offset + ESP_IV + 4, ivLow);
}

/** Pad bytes that a payload of this length needs so that payload, padding and trailer are a multiple of 4. */
export function espPadLength(payloadLength: number): number {
  return -(payloadLength + ESP_TRAILER_LENGTH) & (ESP_ALIGNMENT - 1);
}

/** The longest payload that an ESP packet of at most `length` bytes can carry. */
export function espRoom(length: number): number {
  return ((length - ESP_HEADER_LENGTH - ESP_ICV_LENGTH) & -ESP_ALIGNMENT) - ESP_TRAILER_LENGTH;
}

/** Writes padding 1, 2, 3 … and the trailer at the end of a payload. Returns the bytes written. */
export function writeEspTrailer(bytes: Uint8Array, offset: number, padLength: number, nextHeader: number): number {
  for (let i = 0; i < padLength; i++) bytes[offset + i] = i + 1;
  bytes[offset + padLength] = padLength;
  bytes[offset + padLength + 1] = nextHeader;
  return padLength + ESP_TRAILER_LENGTH;
}

/** Whether `padLength` bytes at `offset` are 1, 2, 3 … (RFC 4303 §2.4). */
export function isEspPadding(bytes: Uint8Array, offset: number, padLength: number): boolean {
  for (let i = 0; i < padLength; i++) if (bytes[offset + i] !== i + 1) return false;
  return true;
}
