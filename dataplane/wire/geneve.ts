/**
 * The Geneve header, RFC 8926 §3.4, and its options, §3.5.
 *
 *     |Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
 *     |        Virtual Network Identifier (VNI)       |    Reserved   |
 *     ~                    Variable-Length Options                    ~
 *
 *     |          Option Class         |      Type     |R|R|R| Length  |
 *     |                  Variable-Length Option Data                  |
 *
 * Both lengths count 4-byte units: 6 bits of options, so at most 252 bytes, and 5 bits of option data.
 * No option is known here, so options are passed over, and one with the critical bit (the top bit of its
 * type) makes the packet one that must be dropped. Reserved bits are ignored on receipt (§3.4).
 */

import { DROP } from '../drops.ts';
import { ETHERTYPE_TEB } from './ethernet.ts';
import { readUint16, readUint24, writeInt32, writeUint16 } from './octets.ts';

/** Version (2 bits) and option length (6 bits). */
export const GENEVE_VERSION_LENGTH = 0;
export const GENEVE_FLAGS = 1;
export const GENEVE_PROTOCOL = 2;
export const GENEVE_VNI = 4;
export const GENEVE_BASE_LENGTH = 8;
export const GENEVE_FLAG_CONTROL = 0x80;
export const GENEVE_FLAG_CRITICAL = 0x40;

const OPTION_TYPE = 2;
const OPTION_LENGTH = 3;
const OPTION_HEADER_LENGTH = 4;
const OPTION_CRITICAL = 0x80;

const TOO_SHORT = -DROP['geneve-too-short'];
const WRONG_VERSION = -DROP['geneve-version'];
const WRONG_OPTIONS = -DROP['geneve-options'];
const CRITICAL_OPTION = -DROP['geneve-critical-option'];
const CONTROL_PACKET = -DROP['geneve-oam'];
const WRONG_PROTOCOL = -DROP['geneve-protocol'];

/**
 * Length of header and options at `offset`, or minus a drop reason. `length` is what the UDP datagram holds.
 * The options are walked even if the C bit is clear: a sender that lies about it gets no packet past them.
 */
export function checkGeneve(bytes: Uint8Array, offset: number, length: number): number {
  if (length < GENEVE_BASE_LENGTH) return TOO_SHORT;
  const first = bytes[offset + GENEVE_VERSION_LENGTH];
  if (first >>> 6 !== 0) return WRONG_VERSION;
  const header = GENEVE_BASE_LENGTH + ((first & 0x3f) << 2);
  if (header > length) return TOO_SHORT;
  if ((bytes[offset + GENEVE_FLAGS] & GENEVE_FLAG_CONTROL) !== 0) return CONTROL_PACKET;
  if (readUint16(bytes, offset + GENEVE_PROTOCOL) !== ETHERTYPE_TEB) return WRONG_PROTOCOL;

  const end = offset + header;
  let critical = false;
  // Option lengths are multiples of 4 as the whole is, so an option header never straddles the end.
  for (let at = offset + GENEVE_BASE_LENGTH; at < end; ) {
    if ((bytes[at + OPTION_TYPE] & OPTION_CRITICAL) !== 0) critical = true;
    at += OPTION_HEADER_LENGTH + ((bytes[at + OPTION_LENGTH] & 0x1f) << 2);
    if (at > end) return WRONG_OPTIONS;
  }
  return critical ? CRITICAL_OPTION : header;
}

export function geneveVni(bytes: Uint8Array, offset: number): number {
  return readUint24(bytes, offset + GENEVE_VNI);
}

/** Writes a header without options. */
export function writeGeneve(bytes: Uint8Array, offset: number, vni: number): void {
  bytes[offset + GENEVE_VERSION_LENGTH] = 0;
  bytes[offset + GENEVE_FLAGS] = 0;
  writeUint16(bytes, offset + GENEVE_PROTOCOL, ETHERTYPE_TEB);
  writeInt32(bytes, offset + GENEVE_VNI, vni << 8);
}
