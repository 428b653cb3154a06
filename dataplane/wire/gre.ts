/**
 * The GRE header, RFC 2784 with the key and sequence number of RFC 2890.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     |C| |K|S| Reserved0       | Ver |         Protocol Type         |
 *     |      Checksum (optional)      |       Reserved1 (Optional)    |
 *     |                         Key (optional)                        |
 *     |                    Sequence Number (optional)                 |
 *
 * As OVS does, a header with any other flag, reserved bit or version is malformed: those of RFC 1701 would
 * move the fields. Sequence numbers are passed over, never checked or written. Only Ethernet (protocol
 * 0x6558) is carried. The checksum covers header and payload; encap/checksums.ts fills and verifies it.
 */

import { DROP } from '../drops.ts';
import { ETHERTYPE_TEB } from './ethernet.ts';
import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';

export const GRE_FLAGS = 0;
export const GRE_PROTOCOL = 2;
export const GRE_BASE_LENGTH = 4;
/** Where the checksum stands when the C bit is set; the same 4 bytes hold Reserved1. */
export const GRE_CHECKSUM = 4;
const OPTIONAL_FIELD = 4;

export const GRE_FLAG_CHECKSUM = 0x8000;
export const GRE_FLAG_KEY = 0x2000;
export const GRE_FLAG_SEQUENCE = 0x1000;
const KNOWN_FLAGS = GRE_FLAG_CHECKSUM | GRE_FLAG_KEY | GRE_FLAG_SEQUENCE;

const TOO_SHORT = -DROP['gre-too-short'];
const WRONG_FLAGS = -DROP['gre-flags'];
const WRONG_PROTOCOL = -DROP['gre-protocol'];

/** Length of a header with these flags. */
export function greHeaderLength(flags: number): number {
  let length = GRE_BASE_LENGTH;
  if ((flags & GRE_FLAG_CHECKSUM) !== 0) length += OPTIONAL_FIELD;
  if ((flags & GRE_FLAG_KEY) !== 0) length += OPTIONAL_FIELD;
  if ((flags & GRE_FLAG_SEQUENCE) !== 0) length += OPTIONAL_FIELD;
  return length;
}

/** Length of the header at `offset`, or minus a drop reason. `length` is what the IP packet holds. */
export function checkGre(bytes: Uint8Array, offset: number, length: number): number {
  if (length < GRE_BASE_LENGTH) return TOO_SHORT;
  const flags = readUint16(bytes, offset + GRE_FLAGS);
  if ((flags & ~KNOWN_FLAGS) !== 0) return WRONG_FLAGS;
  const header = greHeaderLength(flags);
  if (header > length) return TOO_SHORT;
  if (readUint16(bytes, offset + GRE_PROTOCOL) !== ETHERTYPE_TEB) return WRONG_PROTOCOL;
  return header;
}

export function greFlags(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + GRE_FLAGS);
}

/** The key, as int32; 0 where the header has none. */
export function greKey(bytes: Uint8Array, offset: number): number {
  const flags = readUint16(bytes, offset + GRE_FLAGS);
  if ((flags & GRE_FLAG_KEY) === 0) return 0;
  return readInt32(bytes, offset + GRE_BASE_LENGTH + ((flags & GRE_FLAG_CHECKSUM) !== 0 ? OPTIONAL_FIELD : 0));
}

/** Writes a header for Ethernet with GRE_FLAG_CHECKSUM and GRE_FLAG_KEY as wanted; the checksum field is 0. */
export function writeGre(bytes: Uint8Array, offset: number, flags: number, key: number): void {
  writeUint16(bytes, offset + GRE_FLAGS, flags);
  writeUint16(bytes, offset + GRE_PROTOCOL, ETHERTYPE_TEB);
  let at = offset + GRE_BASE_LENGTH;
  if ((flags & GRE_FLAG_CHECKSUM) !== 0) {
    writeInt32(bytes, at, 0);
    at += OPTIONAL_FIELD;
  }
  if ((flags & GRE_FLAG_KEY) !== 0) writeInt32(bytes, at, key);
}
