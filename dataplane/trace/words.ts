/** Numbers of packets as people write them: addresses, protocols, an IP header in one line. */

import {
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_TTL,
  ipv4Destination,
  ipv4Protocol,
  ipv4Source,
  ipv4Tos,
  ipv4ToText,
  PROTOCOL_ESP,
  PROTOCOL_GRE,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4.ts';
import {
  IPV6_DESTINATION,
  IPV6_HOP_LIMIT,
  IPV6_SOURCE,
  ipv6NextHeader,
  ipv6ToText,
  ipv6TrafficClass,
} from '../wire/ipv6.ts';
import { readUint16 } from '../wire/octets.ts';

const PROTOCOL_NAMES: Readonly<Record<number, string>> = {
  [PROTOCOL_ESP]: 'ESP',
  [PROTOCOL_GRE]: 'GRE',
  [PROTOCOL_TCP]: 'TCP',
  [PROTOCOL_UDP]: 'UDP',
};

export function protocolName(protocol: number): string {
  return PROTOCOL_NAMES[protocol] ?? `protocol ${protocol}`;
}

/** As 0x…, with at least `digits` digits. */
export function hex32(value: number, digits = 8): string {
  return `0x${(value >>> 0).toString(16).padStart(digits, '0')}`;
}

/** From the two words of wire/ethernet.ts. */
export function macText(high: number, low: number): string {
  const digits = (high & 0xffff).toString(16).padStart(4, '0') + (low >>> 0).toString(16).padStart(8, '0');
  return (digits.match(/../g) ?? []).join(':');
}

/** The outer header at an offset; it has been checked or written by us. */
export function ipHeaderText(bytes: Uint8Array, at: number): string {
  if (bytes[at] >>> 4 === 6) {
    const ends = `IPv6 ${ipv6ToText(bytes, at + IPV6_SOURCE)} to ${ipv6ToText(bytes, at + IPV6_DESTINATION)}`;
    const trafficClass = hex32(ipv6TrafficClass(bytes, at), 2);
    return `${ends}, ${protocolName(ipv6NextHeader(bytes, at))}, hop limit ${bytes[at + IPV6_HOP_LIMIT]}, traffic class ${trafficClass}`;
  }
  const fragment = (readUint16(bytes, at + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) === 0 ? '' : ', DF';
  const from = ipv4ToText(ipv4Source(bytes, at));
  const to = ipv4ToText(ipv4Destination(bytes, at));
  const tos = hex32(ipv4Tos(bytes, at), 2);
  return `IPv4 ${from} to ${to}, ${protocolName(ipv4Protocol(bytes, at))}, TTL ${bytes[at + IPV4_TTL]}, TOS ${tos}${fragment}`;
}
