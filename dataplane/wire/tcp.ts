/**
 * The TCP header, RFC 9293 §3.1: its field offsets and flags, and the length check.
 *
 * The dataplane reads ports for hashing and selectors. Segmenting and coalescing of TCP work on these
 * offsets as well; STT borrows the layout. No connection state lives here.
 */

import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';

export const TCP_SOURCE_PORT = 0;
export const TCP_DESTINATION_PORT = 2;
export const TCP_SEQUENCE = 4;
export const TCP_ACKNOWLEDGEMENT = 8;
export const TCP_DATA_OFFSET = 12;
export const TCP_FLAGS = 13;
export const TCP_WINDOW = 14;
export const TCP_CHECKSUM = 16;
export const TCP_URGENT = 18;
/** Header without options. */
export const TCP_HEADER_LENGTH = 20;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_ECE = 0x40;
export const TCP_CWR = 0x80;

/** Length of the header at `offset` in bytes, options included; 0 if it is malformed or beyond `length`. */
export function tcpHeaderLength(bytes: Uint8Array, offset: number, length: number): number {
  if (length < TCP_HEADER_LENGTH) return 0;
  const header = (bytes[offset + TCP_DATA_OFFSET] >>> 4) << 2;
  return header < TCP_HEADER_LENGTH || header > length ? 0 : header;
}

export function tcpSourcePort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + TCP_SOURCE_PORT);
}

export function tcpDestinationPort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + TCP_DESTINATION_PORT);
}

export function tcpSequence(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + TCP_SEQUENCE);
}

/** Writes a header of 20 bytes without a checksum, urgent pointer 0. */
export function writeTcp(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  sequence: number,
  acknowledgement: number,
  flags: number,
  window: number,
): void {
  writeUint16(bytes, offset + TCP_SOURCE_PORT, sourcePort);
  writeUint16(bytes, offset + TCP_DESTINATION_PORT, destinationPort);
  writeInt32(bytes, offset + TCP_SEQUENCE, sequence);
  writeInt32(bytes, offset + TCP_ACKNOWLEDGEMENT, acknowledgement);
  bytes[offset + TCP_DATA_OFFSET] = (TCP_HEADER_LENGTH >> 2) << 4;
  bytes[offset + TCP_FLAGS] = flags;
  writeUint16(bytes, offset + TCP_WINDOW, window);
  writeUint16(bytes, offset + TCP_CHECKSUM, 0);
  writeUint16(bytes, offset + TCP_URGENT, 0);
}
