/**
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as much of it as a capture here has: section header, two
 * interfaces, packets with direction and comment, statistics at the end. Little-endian, timestamps in microseconds.
 *
 * No other blocks: least of all decryption secrets, so a file never holds a key. Writing files is control's.
 */

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const INTERFACE_STATISTICS = 5;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

const OPTION_END = 0;
const OPTION_COMMENT = 1;
const SECTION_APPLICATION = 4;
const INTERFACE_NAME = 2;
const INTERFACE_DESCRIPTION_TEXT = 3;
const PACKET_FLAGS = 2;
const STATISTICS_RECEIVED = 4;
const STATISTICS_DROPPED = 5;

/** LINKTYPE_ETHERNET and LINKTYPE_RAW: the latter begins with an IPv4 or IPv6 header. */
const LINK_ETHERNET = 1;
const LINK_RAW = 101;

const SNAPSHOT_LENGTH = 262_144;
const text = new TextEncoder();

/** The interfaces of a section; an interface's id is its place here. */
export const CAPTURE_POINTS = [
  {
    name: 'inside',
    link: LINK_ETHERNET,
    description: 'frames as they enter the switch, from devices and out of tunnels',
  },
  { name: 'outside', link: LINK_RAW, description: 'tunnel packets and ESP as they are sent and received' },
] as const;
export type CapturePoint = (typeof CAPTURE_POINTS)[number]['name'];

export interface CapturedPacket {
  readonly point: CapturePoint;
  /** Microseconds since 1970. */
  readonly micros: number;
  readonly bytes: Uint8Array;
  /** Away from this host. */
  readonly outbound: boolean;
  readonly comment: string | undefined;
}

type Option = readonly [code: number, value: Uint8Array];

/** What a file begins with: the section and its interfaces. */
export function captureHeader(application: string): Uint8Array {
  const body = new Uint8Array(16);
  const view = new DataView(body.buffer);
  view.setUint32(0, BYTE_ORDER_MAGIC, true);
  view.setUint16(4, 1, true);
  view.setUint16(6, 0, true);
  view.setBigInt64(8, -1n, true);
  const section = block(SECTION_HEADER, body, [[SECTION_APPLICATION, text.encode(application)]]);
  return concat([section, ...CAPTURE_POINTS.map(interfaceBlock)]);
}

function interfaceBlock(point: (typeof CAPTURE_POINTS)[number]): Uint8Array {
  const body = new Uint8Array(8);
  const view = new DataView(body.buffer);
  view.setUint16(0, point.link, true);
  view.setUint32(4, SNAPSHOT_LENGTH, true);
  return block(INTERFACE_DESCRIPTION, body, [
    [INTERFACE_NAME, text.encode(point.name)],
    [INTERFACE_DESCRIPTION_TEXT, text.encode(point.description)],
  ]);
}

export function packetBlock(packet: CapturedPacket): Uint8Array {
  const { bytes } = packet;
  const body = new Uint8Array(20 + padded(bytes.length));
  const view = new DataView(body.buffer);
  view.setUint32(0, pointId(packet.point), true);
  putTime(view, 4, packet.micros);
  view.setUint32(12, bytes.length, true);
  view.setUint32(16, bytes.length, true);
  body.set(bytes, 20);
  const options: Option[] = [[PACKET_FLAGS, Uint8Array.of(packet.outbound ? 2 : 1, 0, 0, 0)]];
  if (packet.comment !== undefined) options.unshift([OPTION_COMMENT, text.encode(packet.comment)]);
  return block(ENHANCED_PACKET, body, options);
}

/** At the end: how many packets a point has seen, and how many of them are not in the file. */
export function statisticsBlock(point: CapturePoint, micros: number, seen: number, skipped: number): Uint8Array {
  const body = new Uint8Array(12);
  const view = new DataView(body.buffer);
  view.setUint32(0, pointId(point), true);
  putTime(view, 4, micros);
  return block(INTERFACE_STATISTICS, body, [
    [STATISTICS_RECEIVED, uint64(seen)],
    [STATISTICS_DROPPED, uint64(skipped)],
  ]);
}

function pointId(point: CapturePoint): number {
  return CAPTURE_POINTS.findIndex((candidate) => candidate.name === point);
}

function putTime(view: DataView, at: number, micros: number): void {
  view.setUint32(at, Math.floor(micros / 2 ** 32), true);
  view.setUint32(at + 4, Math.floor(micros) % 2 ** 32, true);
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

const padded = (length: number): number => (length + 3) & ~3;

/** Type and length around a body of whole words and its options. */
function block(type: number, body: Uint8Array, options: readonly Option[]): Uint8Array {
  const optionBytes = options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4);
  const total = 12 + body.length + optionBytes;
  const bytes = new Uint8Array(total);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, total, true);
  bytes.set(body, 8);
  let at = 8 + body.length;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  view.setUint32(at, OPTION_END, true);
  view.setUint32(at + 4, total, true);
  return bytes;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
