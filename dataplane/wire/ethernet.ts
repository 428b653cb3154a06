/**
 * Ethernet II frames (IEEE 802.3 §3) with 802.1Q and 802.1ad tags (IEEE 802.1Q §9).
 *
 * Frames are without preamble and FCS, as TAPs and tunnels carry them. A MAC address is handled as two
 * integers, its high 16 and its low 32 bits. What a bridge does with a frame is the business of switch/.
 */

import { readInt32, readUint16, writeInt32, writeUint16 } from './octets.ts';

export const ETHERNET_DESTINATION = 0;
export const ETHERNET_SOURCE = 6;
export const ETHERNET_TYPE = 12;
/** Header without tags. */
export const ETHERNET_HEADER_LENGTH = 14;
export const ETHERNET_ADDRESS_LENGTH = 6;
/** What each tag adds. */
export const VLAN_TAG_LENGTH = 4;

export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;
/** 802.1Q C-tag and 802.1ad S-tag. */
export const ETHERTYPE_VLAN = 0x8100;
export const ETHERTYPE_SERVICE_VLAN = 0x88a8;
/** Transparent Ethernet bridging: an Ethernet frame follows (RFC 1701 list, used by RFC 8926 §3.4 and NVGRE). */
export const ETHERTYPE_TEB = 0x6558;

/** Tags that are looked behind; a frame with more is handled by its MAC addresses alone. */
const MAX_TAGS = 2;

/** High 16 bits of the MAC address at `offset`. */
export function macHigh(bytes: Uint8Array, offset: number): number {
  return readUint16(bytes, offset);
}

/** Low 32 bits of the MAC address at `offset`, as int32. */
export function macLow(bytes: Uint8Array, offset: number): number {
  return readInt32(bytes, offset + 2);
}

const MAC_TEXT = /^([0-9a-f]{2}):([0-9a-f]{2}):([0-9a-f]{2}):([0-9a-f]{2}):([0-9a-f]{2}):([0-9a-f]{2})$/i;

/** High 16 and low 32 bits of a MAC address as text, the latter as int32. Throws RangeError for text that is none. */
export function macFromText(text: string): readonly [high: number, low: number] {
  const match = MAC_TEXT.exec(text);
  if (match === null) throw new RangeError(`MAC address ${text}, expected six pairs of hexadecimal digits with colons`);
  const digits = match.slice(1).join('');
  return [Number.parseInt(digits.slice(0, 4), 16), Number.parseInt(digits.slice(4), 16) | 0];
}

/** Writes destination, source and type of an untagged frame. */
export function writeEthernet(
  bytes: Uint8Array,
  offset: number,
  destinationHigh: number,
  destinationLow: number,
  sourceHigh: number,
  sourceLow: number,
  etherType: number,
): void {
  writeUint16(bytes, offset + ETHERNET_DESTINATION, destinationHigh);
  writeInt32(bytes, offset + ETHERNET_DESTINATION + 2, destinationLow);
  writeUint16(bytes, offset + ETHERNET_SOURCE, sourceHigh);
  writeInt32(bytes, offset + ETHERNET_SOURCE + 2, sourceLow);
  writeUint16(bytes, offset + ETHERNET_TYPE, etherType);
}

/** Whether the address at `offset` is a group address: multicast or broadcast (I/G bit, IEEE 802 §8.2). */
export function isGroupAddress(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset] & 1) !== 0;
}

/** Whether the address at `offset` is 01:80:c2:00:00:00 to :0f, which a bridge does not forward (IEEE 802.1Q §8.6.3). */
export function isReservedAddress(bytes: Uint8Array, offset: number): boolean {
  return readUint16(bytes, offset) === 0x0180 && (readInt32(bytes, offset + 2) & ~0xf) === (0xc2000000 | 0);
}

/** In place of a tag: the frame has none, or ends within it. */
export const NO_TAG = -1;
export const TAG_TRUNCATED = -2;

/** Tag control information (PCP, DEI, VLAN id) of the outermost tag, or one of the above. `length` of the frame, at least 14. */
export function outerTag(bytes: Uint8Array, offset: number, length: number): number {
  const type = readUint16(bytes, offset + ETHERNET_TYPE);
  if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_SERVICE_VLAN) return NO_TAG;
  if (length < ETHERNET_HEADER_LENGTH + VLAN_TAG_LENGTH) return TAG_TRUNCATED;
  return readUint16(bytes, offset + ETHERNET_HEADER_LENGTH);
}

/** Gives the frame at `offset` an 802.1Q tag: its addresses move to the front, so that it begins at `offset` - 4. */
export function pushTag(bytes: Uint8Array, offset: number, tag: number): void {
  const start = offset - VLAN_TAG_LENGTH;
  bytes.copyWithin(start, offset, offset + ETHERNET_TYPE);
  writeUint16(bytes, start + ETHERNET_TYPE, ETHERTYPE_VLAN);
  writeTag(bytes, start, tag);
}

/** Takes the outermost tag off: the addresses move to the back, so that the frame begins at `offset` + 4. */
export function popTag(bytes: Uint8Array, offset: number): void {
  bytes.copyWithin(offset + VLAN_TAG_LENGTH, offset, offset + ETHERNET_TYPE);
}

/** Other control information for the outermost tag, which keeps its type. */
export function writeTag(bytes: Uint8Array, offset: number, tag: number): void {
  writeUint16(bytes, offset + ETHERNET_HEADER_LENGTH, tag);
}

/**
 * Offset, counted from the start of the frame, of the type field that names the payload, behind at most two
 * tags; the payload begins 2 bytes further. -1 if the frame ends within its tags. `length` at least 14.
 */
export function payloadTypeAt(bytes: Uint8Array, offset: number, length: number): number {
  let at = ETHERNET_TYPE;
  for (let tags = 0; tags < MAX_TAGS; tags++) {
    const type = readUint16(bytes, offset + at);
    if (type !== ETHERTYPE_VLAN && type !== ETHERTYPE_SERVICE_VLAN) return at;
    at += VLAN_TAG_LENGTH;
    if (at + 2 > length) return -1;
  }
  return at;
}
