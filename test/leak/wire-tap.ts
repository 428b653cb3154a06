/**
 * The wire tap: sees every packet on the underlay from before the first command, says what it is, and finds known
 * payloads and secrets in it. A judge of its own, without the decoders of the product.
 */
import type { ClearPacket } from './policy-model.ts';
import { PAIRS, PORTS, type TunnelSpec } from './spec.ts';

/** Begins every payload; a number of four octets follows. */
export const MARKER = Buffer.from('LEAKTEST');

export interface Seen {
  /** Which of the two hosts sent it. */
  readonly host: 0 | 1;
  readonly pair: number;
  readonly what:
    | { readonly kind: 'clear'; readonly packet: ClearPacket }
    | { readonly kind: 'esp'; readonly spi: number; readonly sequence: number }
    | { readonly kind: 'other' };
  /** The numbers of the payloads that can be read in it. */
  readonly payloads: readonly number[];
}

const UDP_TYPES = new Map<number, TunnelSpec['type']>(
  (['geneve', 'vxlan'] as const).flatMap((type) => PORTS[type].map((port) => [port, type] as const)),
);

/** An IPv4 packet. @throws Error if it is between addresses that are not ours. */
export function look(packet: Uint8Array): Seen {
  const data = Buffer.from(packet.buffer, packet.byteOffset, packet.length);
  const source = data.subarray(12, 16).join('.');
  const pair = PAIRS.findIndex((addresses) => addresses.includes(source as never));
  if (pair < 0) throw new Error(`packet from ${source}, which is nobody's address`);
  const host = PAIRS[pair]![0] === source ? 0 : 1;
  const destination = data.subarray(16, 20).join('.');
  if (destination !== PAIRS[pair]![1 - host]) throw new Error(`packet from ${source} to ${destination}`);
  const body = data.subarray((data[0]! & 15) * 4);
  return { host, pair, what: whatIs(data[9]!, body, pair), payloads: payloadsIn(data) };
}

function whatIs(protocol: number, body: Buffer, pair: number): Seen['what'] {
  if (protocol === 50) return { kind: 'esp', spi: body.readUInt32BE(0), sequence: body.readUInt32BE(4) };
  if (protocol === 47) {
    // RFC 2890: the key follows the checksum, if there is one.
    const at = (body[0]! & 0x80) !== 0 ? 8 : 4;
    const key = (body[0]! & 0x20) !== 0 ? body.readUInt32BE(at) : 0;
    return { kind: 'clear', packet: { type: 'gre', pair, port: 0, key } };
  }
  const port = protocol === 17 ? body.readUInt16BE(2) : 0;
  const type = UDP_TYPES.get(port);
  if (type === undefined) return { kind: 'other' };
  // The VNI of both is the first three of four octets, 4 into the header (RFC 8926 §3.4, RFC 7348 §5).
  return { kind: 'clear', packet: { type, pair, port, key: body.readUInt32BE(8 + 4) >>> 8 } };
}

export function payloadsIn(data: Buffer): number[] {
  const found: number[] = [];
  for (let at = data.indexOf(MARKER); at >= 0; at = data.indexOf(MARKER, at + 1)) {
    const end = at + MARKER.length;
    found.push(end + 4 <= data.length ? data.readUInt32BE(end) : -1);
  }
  return found;
}

/** An Ethernet broadcast frame that carries the payload of this number. */
export function frameWith(payload: number, from: number): Buffer {
  const frame = Buffer.alloc(14 + 20 + MARKER.length + 4 + 30);
  frame.fill(0xff, 0, 6);
  frame.set([2, 0, 0, 0, 0, from, 8, 0], 6);
  frame.set([0x45, 0, 0, frame.length - 14, 0, 0, 0, 0, 64, 253, 0, 0, 192, 168, 0, from, 192, 168, 0, 255], 14);
  MARKER.copy(frame, 34);
  frame.writeUInt32BE(payload, 34 + MARKER.length);
  return frame;
}

/** A tunnel packet in the clear, as a stranger on the underlay would forge it. */
export function forge(packet: ClearPacket, to: 0 | 1, frame: Buffer): Buffer {
  const tunnel = packet.type === 'gre' ? greHeader(packet) : udpHeaders(packet, frame.length);
  const outer = Buffer.alloc(20);
  outer.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, packet.type === 'gre' ? 47 : 17]);
  outer.writeUInt16BE(20 + tunnel.length + frame.length, 2);
  const addresses = PAIRS[packet.pair]!;
  outer.set(addresses[1 - to]!.split('.').map(Number), 12);
  outer.set(addresses[to].split('.').map(Number), 16);
  return Buffer.concat([outer, tunnel, frame]);
}

function greHeader({ key }: ClearPacket): Buffer {
  const header = Buffer.from([0x20, 0, 0x65, 0x58, 0, 0, 0, 0]);
  header.writeUInt32BE(key, 4);
  return header;
}

function udpHeaders({ type, port, key }: ClearPacket, frameLength: number): Buffer {
  const headers = Buffer.alloc(16);
  headers.writeUInt16BE(50_000, 0);
  headers.writeUInt16BE(port, 2);
  headers.writeUInt16BE(16 + frameLength, 4);
  headers.set(type === 'geneve' ? [0, 0, 0x65, 0x58] : [8, 0, 0, 0], 8);
  headers.writeUInt32BE((key << 8) >>> 0, 12);
  return headers;
}
