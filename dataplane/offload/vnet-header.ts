/**
 * The header in front of each frame of a TAP or packet socket with offloads: struct virtio_net_hdr, virtio 1.2 §5.1.6,
 * 10 bytes, in the byte order of the host.
 *
 * It says that a checksum is still to be computed, and that the frame is to be cut into segments. The checksum field then
 * holds the sum of the pseudo-header, folded and not complemented.
 */

export const VNET_HEADER_LENGTH = 10;

const FLAGS = 0;
const GSO_TYPE = 1;
const HEADER_LENGTH = 2;
const GSO_SIZE = 4;
const CHECKSUM_START = 6;
const CHECKSUM_OFFSET = 8;

/** In `flags`: from checksum start to the end there is a checksum to compute, its place is at start + offset. */
export const VNET_NEEDS_CHECKSUM = 1;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
export const GSO_UDP_L4 = 5;
/** Beside a TCP type: the first segment only has CWR. */
const GSO_ECN = 0x80;

/** TUN_F_* of TUNSETOFFLOAD: what the kernel may leave to us. */
export const TUN_CHECKSUM = 0x01;
export const TUN_TSO = 0x02 | 0x04 | 0x08;
/** UDP segmentation, Linux 6.2. */
export const TUN_USO = 0x20 | 0x40;

const IS_LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
const LOW = IS_LITTLE_ENDIAN ? 0 : 1;
const HIGH = 1 - LOW;

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at + LOW] | (bytes[at + HIGH] << 8);
}

function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at + LOW] = value;
  bytes[at + HIGH] = value >>> 8;
}

export function vnetNeedsChecksum(bytes: Uint8Array, at: number): boolean {
  return (bytes[at + FLAGS] & VNET_NEEDS_CHECKSUM) !== 0;
}

/** One of GSO_*, or a number that no frame of ours has. */
export function vnetGsoType(bytes: Uint8Array, at: number): number {
  return bytes[at + GSO_TYPE] & ~GSO_ECN;
}

/** Payload bytes of each segment. */
export function vnetGsoSize(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + GSO_SIZE);
}

/** Where the checksum begins, counted from the start of the frame. */
export function vnetChecksumStart(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + CHECKSUM_START);
}

/** Where its field is, counted from there. */
export function vnetChecksumOffset(bytes: Uint8Array, at: number): number {
  return read16(bytes, at + CHECKSUM_OFFSET);
}

/** The header of a frame that is as it should be. */
export function clearVnetHeader(bytes: Uint8Array, at: number): void {
  for (let i = 0; i < VNET_HEADER_LENGTH; i++) bytes[at + i] = 0;
}

/** Moves the header in front of a frame whose headers have become `more` bytes longer, and so begins as many bytes earlier. */
export function moveVnetHeader(bytes: Uint8Array, at: number, more: number): void {
  const to = at - more;
  bytes.copyWithin(to, at, at + VNET_HEADER_LENGTH);
  write16(bytes, to + HEADER_LENGTH, read16(bytes, to + HEADER_LENGTH) + more);
  write16(bytes, to + CHECKSUM_START, read16(bytes, to + CHECKSUM_START) + more);
}

/** The header of a frame that is to be cut behind `headerLength` bytes, with a checksum to complete. */
export function writeVnetHeader(
  bytes: Uint8Array,
  at: number,
  gsoType: number,
  headerLength: number,
  gsoSize: number,
  checksumStart: number,
  checksumOffset: number,
): void {
  bytes[at + FLAGS] = VNET_NEEDS_CHECKSUM;
  bytes[at + GSO_TYPE] = gsoType;
  write16(bytes, at + HEADER_LENGTH, headerLength);
  write16(bytes, at + GSO_SIZE, gsoSize);
  write16(bytes, at + CHECKSUM_START, checksumStart);
  write16(bytes, at + CHECKSUM_OFFSET, checksumOffset);
}
