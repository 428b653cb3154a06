/**
 * A packet described as ovs-fields(7) writes flows, for instance `in_port=LOCAL,dl_dst=02:00:00:00:00:02,udp,nw_dst=10.0.0.2`:
 * one row for each field, keywords for protocols, and the Ethernet frame that has these fields.
 *
 * What is not given is 0, as in ofproto/trace; a field that the protocol of the packet has no place for is an error
 * rather than passed over, because its sender would believe an answer to another question.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { addressBytes } from '../../ike/wire/address.ts';
import { CommandError } from '../unixctl/command.ts';

export interface Flow {
  /** As given: a name, an OpenFlow port number, or LOCAL. */
  readonly inPort: string;
  readonly frame: Uint8Array;
}

type Layer = 'ethernet' | 'arp' | 'ipv4' | 'ipv6' | 'tcp' | 'udp' | 'icmp';
/** Bytes of each field; a number field has its big-endian bytes. */
type Fields = Map<string, Uint8Array>;

interface FieldRow {
  readonly names: readonly string[];
  /** Layers of which the packet must have one. */
  readonly in: readonly Layer[];
  readonly expected: string;
  /** Undefined for what it does not take. */
  read(text: string): Uint8Array | undefined;
}

const number = (bytes: 1 | 2, last = 2 ** (8 * bytes) - 1) => ({
  expected: `0 to ${last}, decimal or 0x`,
  read: (text: string): Uint8Array | undefined => {
    const value = /^(0x[0-9a-f]{1,4}|\d{1,5})$/i.test(text) ? Number(text) : -1;
    if (value < 0 || value > last) return undefined;
    return bytes === 1 ? Uint8Array.of(value) : Uint8Array.of(value >> 8, value & 255);
  },
});
const mac = {
  expected: 'a MAC address, as 02:00:00:00:00:01',
  read: (text: string) =>
    /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)
      ? Uint8Array.from(text.split(':'), (octet) => Number(`0x${octet}`))
      : undefined,
};
const ipv4 = { expected: 'an IPv4 address', read: (text: string) => (isIPv4(text) ? addressBytes(text) : undefined) };
const ipv6 = { expected: 'an IPv6 address', read: (text: string) => (isIPv6(text) ? addressBytes(text) : undefined) };

/** The first name is the one that messages use. */
const FIELDS: readonly FieldRow[] = [
  { names: ['dl_src', 'eth_src'], in: ['ethernet'], ...mac },
  { names: ['dl_dst', 'eth_dst'], in: ['ethernet'], ...mac },
  { names: ['dl_vlan', 'vlan_vid'], in: ['ethernet'], ...number(2, 4095) },
  { names: ['dl_vlan_pcp', 'vlan_pcp'], in: ['ethernet'], ...number(1, 7) },
  { names: ['dl_type', 'eth_type'], in: ['ethernet'], ...number(2) },
  { names: ['arp_op'], in: ['arp'], ...number(2) },
  { names: ['arp_spa'], in: ['arp'], ...ipv4 },
  { names: ['arp_tpa'], in: ['arp'], ...ipv4 },
  { names: ['arp_sha'], in: ['arp'], ...mac },
  { names: ['arp_tha'], in: ['arp'], ...mac },
  { names: ['nw_src', 'ip_src'], in: ['ipv4'], ...ipv4 },
  { names: ['nw_dst', 'ip_dst'], in: ['ipv4'], ...ipv4 },
  { names: ['ipv6_src'], in: ['ipv6'], ...ipv6 },
  { names: ['ipv6_dst'], in: ['ipv6'], ...ipv6 },
  { names: ['nw_proto', 'ip_proto'], in: ['ipv4', 'ipv6'], ...number(1) },
  { names: ['nw_tos'], in: ['ipv4', 'ipv6'], ...number(1) },
  { names: ['nw_ttl'], in: ['ipv4', 'ipv6'], ...number(1) },
  { names: ['tp_src', 'tcp_src', 'udp_src'], in: ['tcp', 'udp'], ...number(2) },
  { names: ['tp_dst', 'tcp_dst', 'udp_dst'], in: ['tcp', 'udp'], ...number(2) },
  { names: ['icmp_type'], in: ['icmp'], ...number(1) },
  { names: ['icmp_code'], in: ['icmp'], ...number(1) },
];

const TYPE_ARP = Uint8Array.of(0x08, 0x06);
const TYPE_IPV4 = Uint8Array.of(0x08, 0x00);
const TYPE_IPV6 = Uint8Array.of(0x86, 0xdd);
/** Words without a value, and the fields they stand for. */
const KEYWORDS: Readonly<Record<string, readonly (readonly [string, Uint8Array])[]>> = {
  arp: [['dl_type', TYPE_ARP]],
  ip: [['dl_type', TYPE_IPV4]],
  icmp: [
    ['dl_type', TYPE_IPV4],
    ['nw_proto', Uint8Array.of(1)],
  ],
  tcp: [
    ['dl_type', TYPE_IPV4],
    ['nw_proto', Uint8Array.of(6)],
  ],
  udp: [
    ['dl_type', TYPE_IPV4],
    ['nw_proto', Uint8Array.of(17)],
  ],
  ipv6: [['dl_type', TYPE_IPV6]],
  tcp6: [
    ['dl_type', TYPE_IPV6],
    ['nw_proto', Uint8Array.of(6)],
  ],
  udp6: [
    ['dl_type', TYPE_IPV6],
    ['nw_proto', Uint8Array.of(17)],
  ],
  icmp6: [
    ['dl_type', TYPE_IPV6],
    ['nw_proto', Uint8Array.of(58)],
  ],
};

/** Bytes behind the headers, as ofproto/trace has them. */
const PAYLOAD_BYTES = 64;
const MOST_PACKET_BYTES = 9000;

/** @throws CommandError with one line for anything it cannot make a frame of. */
export function parseFlow(text: string): Flow {
  const fields: Fields = new Map();
  let inPort: string | undefined;
  for (const word of text.split(/[\s,]+/).filter((part) => part !== '')) {
    const [name = '', value] = splitOnce(word);
    if (name === 'in_port') inPort = value;
    else if (value === undefined) keyword(name, fields);
    else setField(name, value, fields);
  }
  if (inPort === undefined || inPort === '')
    throw new CommandError(
      'in_port is not set, expected a port of the bridge; set it with in_port=NAME, a number or LOCAL',
    );
  impliedTypes(fields);
  checkPlaces(fields);
  return { inPort, frame: frameOf(fields) };
}

/** Bytes of a packet given as hexadecimal digits; spaces and colons between them are passed over. */
export function parseHexPacket(text: string): Uint8Array {
  const digits = text.replace(/[\s:]/g, '');
  if (!/^([0-9a-f]{2})+$/i.test(digits) || digits.length > 2 * MOST_PACKET_BYTES)
    throw new CommandError(
      `packet ${JSON.stringify(text.slice(0, 40))}, expected 1 to ${MOST_PACKET_BYTES} bytes in hexadecimal; for instance from tcpdump -xx`,
    );
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

function splitOnce(word: string): [string, string | undefined] {
  const at = word.indexOf('=');
  return at < 0 ? [word, undefined] : [word.slice(0, at), word.slice(at + 1)];
}

function keyword(name: string, fields: Fields): void {
  const implied = Object.hasOwn(KEYWORDS, name) ? KEYWORDS[name] : undefined;
  if (implied === undefined)
    throw new CommandError(`${name} is no protocol, expected one of ${Object.keys(KEYWORDS).join(', ')}`);
  for (const [field, bytes] of implied) fields.set(field, bytes);
}

function setField(name: string, value: string, fields: Fields): void {
  const row = FIELDS.find((candidate) => candidate.names.includes(name));
  if (row === undefined)
    throw new CommandError(
      `${name} is no field here, expected in_port or one of ${FIELDS.map((field) => field.names[0]).join(', ')}`,
    );
  const bytes = row.read(value);
  if (bytes === undefined) throw new CommandError(`${name} is ${JSON.stringify(value)}, expected ${row.expected}`);
  fields.set(row.names[0]!, bytes);
}

/** An address says which protocol it is of, so that `nw_dst=…` alone is enough. */
function impliedTypes(fields: Fields): void {
  if (fields.has('dl_type')) return;
  if (fields.has('ipv6_src') || fields.has('ipv6_dst')) fields.set('dl_type', TYPE_IPV6);
  else if (fields.has('nw_src') || fields.has('nw_dst')) fields.set('dl_type', TYPE_IPV4);
  else if ([...fields.keys()].some((name) => name.startsWith('arp_'))) fields.set('dl_type', TYPE_ARP);
}

function layersOf(fields: Fields): ReadonlySet<Layer> {
  const layers = new Set<Layer>(['ethernet']);
  const type = fields.get('dl_type') ?? Uint8Array.of(0, 0);
  const is = (other: Uint8Array): boolean => type[0] === other[0] && type[1] === other[1];
  if (is(TYPE_ARP)) layers.add('arp');
  if (is(TYPE_IPV4)) layers.add('ipv4');
  if (is(TYPE_IPV6)) layers.add('ipv6');
  if (!layers.has('ipv4') && !layers.has('ipv6')) return layers;
  const protocol = fields.get('nw_proto')?.[0];
  if (protocol === 6) layers.add('tcp');
  if (protocol === 17) layers.add('udp');
  if (protocol === (layers.has('ipv4') ? 1 : 58)) layers.add('icmp');
  return layers;
}

function checkPlaces(fields: Fields): void {
  const layers = layersOf(fields);
  for (const name of fields.keys()) {
    const row = FIELDS.find((candidate) => candidate.names[0] === name)!;
    if (!row.in.some((layer) => layers.has(layer)))
      throw new CommandError(
        `${name} has no place in this packet, expected with ${row.in.join(' or ')}; add the protocol`,
      );
  }
}

function frameOf(fields: Fields): Uint8Array {
  const layers = layersOf(fields);
  const get = (name: string, length: number): Uint8Array => fields.get(name) ?? new Uint8Array(length);
  const tag =
    fields.has('dl_vlan') || fields.has('dl_vlan_pcp')
      ? [0x81, 0, (get('dl_vlan_pcp', 1)[0]! << 5) | get('dl_vlan', 2)[0]!, get('dl_vlan', 2)[1]!]
      : [];
  const ethernet = [...get('dl_dst', 6), ...get('dl_src', 6), ...tag, ...get('dl_type', 2)];
  if (layers.has('arp')) return Uint8Array.of(...ethernet, ...arp(get));
  const transport = [...transportHeader(layers, get), ...new Uint8Array(PAYLOAD_BYTES)];
  if (layers.has('ipv4')) return Uint8Array.of(...ethernet, ...ipv4Header(transport.length, get), ...transport);
  if (layers.has('ipv6')) return Uint8Array.of(...ethernet, ...ipv6Header(transport.length, get), ...transport);
  return Uint8Array.of(...ethernet, ...new Uint8Array(PAYLOAD_BYTES));
}

type Get = (name: string, length: number) => Uint8Array;
const word = (value: number): number[] => [value >> 8, value & 255];

function arp(get: Get): number[] {
  return [
    ...[0, 1, 8, 0, 6, 4],
    ...get('arp_op', 2),
    ...get('arp_sha', 6),
    ...get('arp_spa', 4),
    ...get('arp_tha', 6),
    ...get('arp_tpa', 4),
  ];
}

/** Checksums are 0: no stage looks at those of the inner packet. */
function ipv4Header(payload: number, get: Get): number[] {
  const ttl = get('nw_ttl', 1)[0] || 64;
  const fixed = [0x45, ...get('nw_tos', 1), ...word(20 + payload), 0, 0, 0, 0, ttl, ...get('nw_proto', 1), 0, 0];
  return [...fixed, ...get('nw_src', 4), ...get('nw_dst', 4)];
}

function ipv6Header(payload: number, get: Get): number[] {
  const tos = get('nw_tos', 1)[0]!;
  const hops = get('nw_ttl', 1)[0] || 64;
  const fixed = [0x60 | (tos >> 4), (tos & 15) << 4, 0, 0, ...word(payload), ...get('nw_proto', 1), hops];
  return [...fixed, ...get('ipv6_src', 16), ...get('ipv6_dst', 16)];
}

function transportHeader(layers: ReadonlySet<Layer>, get: Get): number[] {
  const ports = [...get('tp_src', 2), ...get('tp_dst', 2)];
  if (layers.has('udp')) return [...ports, ...word(8 + PAYLOAD_BYTES), 0, 0];
  if (layers.has('tcp')) return [...ports, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0];
  if (layers.has('icmp')) return [...get('icmp_type', 1), ...get('icmp_code', 1), 0, 0, 0, 0, 0, 0];
  return [];
}
