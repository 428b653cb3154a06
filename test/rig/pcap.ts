/**
 * Reads capture files (pcap, classic format, LINKTYPE_ETHERNET) and says what each frame is: Ethernet, IPv4 or IPv6,
 * then ESP, GRE, UDP by the ports of IKE and of the tunnels, ICMP. A judge of its own, on purpose without the
 * decoders of the product under test. Incomplete records at the end of a growing file are left for the next look.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const LINKTYPE_ETHERNET = 1;
/** Each packet begins with its IP header. */
export const LINKTYPE_RAW = 101;

/** What a frame on an underlay can be; `ike` also covers port 4500 with the non-ESP marker (RFC 3948 §2.2). */
export type Kind =
  | 'esp'
  | 'esp-in-udp'
  | 'nat-keepalive'
  | 'ike'
  | 'gre'
  | 'vxlan'
  | 'geneve'
  | 'stt'
  | 'icmp'
  | 'icmpv6'
  | 'igmp'
  | 'arp'
  | 'tcp'
  | 'udp'
  | 'fragment'
  | 'other';

/** One frame. Numbers that its kind does not have are 0, addresses then ''. */
export type Packet = {
  readonly kind: Kind;
  /** Seconds since the epoch. */
  readonly time: number;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of ESP, also in UDP. */
  readonly spi: number;
  readonly sequence: number;
  /** From the Ethernet header on, as far as it was captured. */
  readonly frame: Buffer;
  /** Length of the frame on the wire, even if the capture kept less of it. */
  readonly wireLength: number;
};

const IP_PROTOCOL_KINDS: Readonly<Record<number, Kind>> = { 1: 'icmp', 2: 'igmp', 47: 'gre', 50: 'esp', 58: 'icmpv6' };
const TCP = 6;
const UDP = 17;
const TUNNEL_PORTS: Readonly<Record<number, Kind>> = { 4789: 'vxlan', 6081: 'geneve' };

type Layer = Omit<Packet, 'time' | 'frame' | 'wireLength'>;
const NOTHING: Layer = {
  kind: 'other',
  source: '',
  destination: '',
  sourcePort: 0,
  destinationPort: 0,
  spi: 0,
  sequence: 0,
};

function esp(base: Layer, kind: 'esp' | 'esp-in-udp', data: Buffer): Layer {
  if (data.length < 8) return { ...base, kind: 'other' };
  return { ...base, kind, spi: data.readUInt32BE(0), sequence: data.readUInt32BE(4) };
}

function udp(base: Layer, data: Buffer): Layer {
  if (data.length < 8) return { ...base, kind: 'other' };
  const ports = { sourcePort: data.readUInt16BE(0), destinationPort: data.readUInt16BE(2) };
  const layer: Layer = { ...base, ...ports, kind: 'udp' };
  const either = [ports.sourcePort, ports.destinationPort];
  const payload = data.subarray(8);
  if (either.includes(4500)) {
    if (payload.length === 1 && payload[0] === 0xff) return { ...layer, kind: 'nat-keepalive' };
    if (payload.length >= 4 && payload.readUInt32BE(0) === 0) return { ...layer, kind: 'ike' };
    return esp(layer, 'esp-in-udp', payload);
  }
  if (either.includes(500)) return { ...layer, kind: 'ike' };
  return { ...layer, kind: TUNNEL_PORTS[ports.destinationPort] ?? 'udp' };
}

function transport(base: Layer, protocol: number, data: Buffer): Layer {
  if (protocol === 50) return esp(base, 'esp', data);
  if (protocol === UDP) return udp(base, data);
  if (protocol === TCP && data.length >= 4) {
    const ports = { sourcePort: data.readUInt16BE(0), destinationPort: data.readUInt16BE(2) };
    return { ...base, ...ports, kind: ports.destinationPort === 7471 ? 'stt' : 'tcp' };
  }
  return { ...base, kind: IP_PROTOCOL_KINDS[protocol] ?? 'other' };
}

function ipv4(data: Buffer): Layer {
  if (data.length < 20) return NOTHING;
  const headerLength = (data[0]! & 0x0f) * 4;
  const base = { ...NOTHING, source: data.subarray(12, 16).join('.'), destination: data.subarray(16, 20).join('.') };
  // A later fragment of ESP is still ESP; of another protocol its ports are unknown.
  const later = (data.readUInt16BE(6) & 0x1fff) !== 0;
  if (later) return { ...base, kind: data[9] === 50 ? 'esp' : data[9] === 47 ? 'gre' : 'fragment' };
  return transport(base, data[9]!, data.subarray(headerLength, Math.max(headerLength, data.readUInt16BE(2))));
}

function ipv6Address(data: Buffer): string {
  return Array.from({ length: 8 }, (_, index) => data.readUInt16BE(index * 2).toString(16)).join(':');
}

function ipv6(data: Buffer): Layer {
  if (data.length < 40) return NOTHING;
  const addresses = { source: ipv6Address(data.subarray(8, 24)), destination: ipv6Address(data.subarray(24, 40)) };
  const base = { ...NOTHING, ...addresses };
  let next = data[6]!;
  let at = 40;
  // Hop-by-hop, routing and destination options (RFC 8200 §4): length in units of 8 octets beyond the first.
  while ((next === 0 || next === 43 || next === 60) && at + 8 <= data.length) {
    next = data[at]!;
    at += (data[at + 1]! + 1) * 8;
  }
  if (next === 44) return { ...base, kind: data[at] === 50 ? 'esp' : 'fragment' };
  return transport(base, next, data.subarray(at));
}

/** Says what one Ethernet frame is. */
export function classify(frame: Buffer): Layer {
  if (frame.length < 14) return NOTHING;
  const type = frame.readUInt16BE(12);
  if (type === 0x0800) return ipv4(frame.subarray(14));
  if (type === 0x86dd) return ipv6(frame.subarray(14));
  return type === 0x0806 ? { ...NOTHING, kind: 'arp' } : NOTHING;
}

/** Reads all complete packets of a capture. @throws if the file is no Ethernet pcap file. */
export function parsePcap(bytes: Buffer): Packet[] {
  if (bytes.length < FILE_HEADER) return [];
  const little = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS].includes(bytes.readUInt32LE(0));
  const word = (at: number) => (little ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const fraction = word(0) === MAGIC_NANOSECONDS ? 1e9 : 1e6;
  if (![MAGIC_MICROSECONDS, MAGIC_NANOSECONDS].includes(word(0))) throw new Error('no pcap file: wrong magic number');
  if (word(20) !== LINKTYPE_ETHERNET) throw new Error(`pcap file of link type ${word(20)}, expected 1 (Ethernet)`);
  const packets: Packet[] = [];
  for (let at = FILE_HEADER; at + RECORD_HEADER <= bytes.length; ) {
    const length = word(at + 8);
    const end = at + RECORD_HEADER + length;
    if (end > bytes.length) break;
    const frame = bytes.subarray(at + RECORD_HEADER, end);
    packets.push({ ...classify(frame), time: word(at) + word(at + 4) / fraction, frame, wireLength: word(at + 12) });
    at = end;
  }
  return packets;
}

/** Reads a capture file from disk. */
export function readPcap(path: string): Packet[] {
  return parsePcap(readFileSync(path));
}

/**
 * Writes frames to a capture file, for tshark.
 * @param timeOf gives seconds since the epoch, default the index
 * @param linkType of the frames, default Ethernet
 */
export function writePcap(
  path: string,
  frames: readonly Uint8Array[],
  timeOf = (index: number) => index,
  linkType = LINKTYPE_ETHERNET,
): void {
  const header = Buffer.alloc(FILE_HEADER);
  header.writeUInt32LE(MAGIC_MICROSECONDS, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(0x40000, 16);
  header.writeUInt32LE(linkType, 20);
  const records = frames.flatMap((frame, index) => {
    const record = Buffer.alloc(RECORD_HEADER);
    const time = timeOf(index);
    record.writeUInt32LE(Math.floor(time), 0);
    record.writeUInt32LE(Math.floor((time % 1) * 1e6), 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, frame];
  });
  writeFileSync(path, Buffer.concat([header, ...records]));
}

/** How many packets there are of each kind. */
export function countKinds(packets: readonly Packet[]): Partial<Record<Kind, number>> {
  const counts: Partial<Record<Kind, number>> = {};
  for (const { kind } of packets) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/** What may be on an underlay beside ESP: negotiation, address resolution, and what kernels say of multicast groups. */
const INNOCENT: readonly Kind[] = ['esp', 'esp-in-udp', 'nat-keepalive', 'ike', 'arp', 'icmpv6', 'igmp'];

/**
 * Holds if there is ESP, raw or in UDP, and nothing else but IKE, ARP, IGMP and ICMPv6 (neighbour discovery).
 * @throws naming the first offender and the counts.
 */
export function assertOnlyEsp(packets: readonly Packet[]): void {
  const counts = JSON.stringify(countKinds(packets));
  if (!packets.some(({ kind }) => kind === 'esp' || kind === 'esp-in-udp'))
    throw new Error(`no ESP packet in ${counts}`);
  const offender = packets.find(({ kind }) => !INNOCENT.includes(kind));
  if (offender !== undefined) {
    const { kind, source, destination, frame } = offender;
    const head = frame.subarray(0, 64).toString('hex');
    throw new Error(`expected only ESP and IKE, but ${kind} from ${source} to ${destination} (${head}…) in ${counts}`);
  }
}
