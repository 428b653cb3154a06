/**
 * STT, draft-davie-stt-08: a header in the shape of TCP before each segment (§3.1), and a frame header behind the first one (§3.2).
 *
 *     |          Source Port          |       Destination Port        |
 *     |         Frame Length          |        Fragment Offset        |  TCP: sequence number
 *     |                          Frame ID                             |  TCP: acknowledgement number
 *     | Data  |       |A|P|           |            Window             |
 *     |           Checksum            |        Urgent Pointer         |
 *
 *     |  Version = 0  |     Flags     |   L4 Offset   |   Reserved    |
 *     |    Max. Segment Size          | PCP |V|     VLAN ID           |
 *     |                      Context ID (64 bits)                     |
 *     |           Padding             |  then the Ethernet frame
 *
 * The frame length counts frame header and frame, all segments together; the offset is where the segment's bytes belong. There is no
 * connection: only ports, length, offset, id and checksum have a meaning. What becomes of segments is the business of
 * stt/, what of the frame header's fields that of encap/stt.ts.
 */

import { DROP } from '../drops.ts';
import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';
import {
  TCP_ACKNOWLEDGEMENT,
  TCP_FIN,
  TCP_FLAGS,
  TCP_HEADER_LENGTH,
  TCP_RST,
  TCP_SEQUENCE,
  TCP_SYN,
  tcpHeaderLength,
} from './tcp.ts';

/** Segment header without options: what is sent. */
export const STT_SEGMENT_HEADER_LENGTH = TCP_HEADER_LENGTH;
export const STT_HEADER_LENGTH = 18;
/** The most that the frame length can say. */
export const STT_MAX_LENGTH = 0xffff;

const STT_VERSION = 0;
const STT_FLAGS = 1;
const STT_L4_OFFSET = 2;
const STT_MSS = 4;
const STT_VLAN = 6;
const STT_CONTEXT = 8;

/** The sender has verified the inner checksums. */
export const STT_FLAG_VERIFIED = 0x01;
/** The inner TCP or UDP checksum holds the pseudo-header's sum only: the receiver has to finish it. */
export const STT_FLAG_PARTIAL = 0x02;
/** The inner packet is IPv4 (else IPv6), and TCP (else UDP): said of partial checksums. */
export const STT_FLAG_IPV4 = 0x04;
export const STT_FLAG_TCP = 0x08;
const VLAN_PRESENT = 0x1000;

const TOO_SHORT = -DROP['stt-too-short'];
const WRONG_FLAGS = -DROP['stt-flags'];
const WRONG_LENGTH = -DROP['stt-length'];
const WRONG_VERSION = -DROP['stt-version'];
const WRONG_CONTEXT = -DROP['stt-context'];

/**
 * Length of the segment header at `offset`, options included, or minus a drop reason. `length` is what the IP packet holds.
 * Afterwards the segment's bytes are known to lie within its frame.
 */
export function checkSttSegment(bytes: Uint8Array, offset: number, length: number): number {
  const header = tcpHeaderLength(bytes, offset, length);
  if (header === 0) return TOO_SHORT;
  // Somebody who takes the port for that of a TCP server.
  if ((bytes[offset + TCP_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST)) !== 0) return WRONG_FLAGS;
  const carried = length - header;
  const total = sttFrameLength(bytes, offset);
  if (carried === 0 || total < STT_HEADER_LENGTH || sttFragmentOffset(bytes, offset) + carried > total)
    return WRONG_LENGTH;
  return header;
}

/** Bytes of frame header and frame, of the segment header at `offset`. */
export function sttFrameLength(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + TCP_SEQUENCE);
}

export function sttFragmentOffset(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + TCP_SEQUENCE + 2);
}

/** int32. */
export function sttFrameId(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + TCP_ACKNOWLEDGEMENT);
}

/** Length of the frame header at `offset`, or minus a drop reason. `length` from there to the end of the frame. */
export function checkSttHeader(bytes: Uint8Array, offset: number, length: number): number {
  if (length < STT_HEADER_LENGTH) return TOO_SHORT;
  if (bytes[offset + STT_VERSION] !== 0) return WRONG_VERSION;
  if (readInt32(bytes, offset + STT_CONTEXT) !== 0) return WRONG_CONTEXT;
  return STT_HEADER_LENGTH;
}

export function sttFlags(bytes: Uint8Array, offset: number): number {
  return bytes[offset + STT_FLAGS];
}

/** Where the inner TCP or UDP header begins, counted from the Ethernet header. */
export function sttL4Offset(bytes: Uint8Array, offset: number): number {
  return bytes[offset + STT_L4_OFFSET];
}

/** TCP payload bytes of the packets that the frame is to be cut into; 0: it stays as it is. */
export function sttSegmentSize(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset + STT_MSS);
}

/** The 802.1Q tag control information (PCP, VLAN id) that belongs into the frame, or -1: it has no tag. */
export function sttVlan(bytes: Uint8Array, offset: number): number {
  const field = readUint16(bytes, offset + STT_VLAN);
  return (field & VLAN_PRESENT) === 0 ? -1 : field & ~VLAN_PRESENT;
}

/** The low half of the context id, as int32; the high half of a header that was taken is 0. */
export function sttKey(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + STT_CONTEXT + 4);
}

/** Writes a frame header without flags, segment size or tag: the frame is as it should be. */
export function writeSttHeader(bytes: Uint8Array, offset: number, key: number): void {
  writeInt32(bytes, offset + STT_VERSION, 0);
  writeInt32(bytes, offset + STT_MSS, 0);
  writeInt32(bytes, offset + STT_CONTEXT, 0);
  writeInt32(bytes, offset + STT_CONTEXT + 4, key);
  writeUint16(bytes, offset + STT_CONTEXT + 8, 0);
}
