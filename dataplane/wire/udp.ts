/**
 * The UDP header, RFC 768.
 *
 * The checksum covers a pseudo-header and the payload, so it is filled in when the whole packet stands
 * (encap/checksums.ts). Zero in the field means that the sender computed none, which IPv4 allows.
 */

import { DROP } from '../drops.ts';
import { readUint16, writeUint16 } from './octets.ts';

export const UDP_SOURCE_PORT = 0;
export const UDP_DESTINATION_PORT = 2;
export const UDP_LENGTH = 4;
export const UDP_CHECKSUM = 6;
export const UDP_HEADER_LENGTH = 8;

const TOO_SHORT = -DROP['udp-too-short'];
const WRONG_LENGTH = -DROP['udp-length'];

/**
 * The length that the header states, header included, or minus a drop reason. `length` is what the IP
 * packet holds; bytes beyond the UDP length are not part of the datagram.
 */
export function checkUdp(bytes: Uint8Array, offset: number, length: number): number {
  if (length < UDP_HEADER_LENGTH) return TOO_SHORT;
  const stated = readUint16(bytes, offset + UDP_LENGTH);
  if (stated < UDP_HEADER_LENGTH || stated > length) return WRONG_LENGTH;
  return stated;
}

export function udpSourcePort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + UDP_SOURCE_PORT);
}

export function udpDestinationPort(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + UDP_DESTINATION_PORT);
}

export function udpChecksum(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + UDP_CHECKSUM);
}

/** Writes a header without a checksum. `length` is the whole datagram's. */
export function writeUdp(
  bytes: Uint8Array,
  offset: number,
  sourcePort: number,
  destinationPort: number,
  length: number,
): void {
  writeUint16(bytes, offset + UDP_SOURCE_PORT, sourcePort);
  writeUint16(bytes, offset + UDP_DESTINATION_PORT, destinationPort);
  writeUint16(bytes, offset + UDP_LENGTH, length);
  writeUint16(bytes, offset + UDP_CHECKSUM, 0);
}
