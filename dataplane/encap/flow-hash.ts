/**
 * A hash of the inner flow, and the UDP source port made of it (RFC 7348 §4.2, RFC 8926 §3.3).
 *
 * Routers spread tunnel traffic over equal paths by the outer ports, so all frames of one flow must get one
 * port, and different flows different ones. The hash covers addresses, protocol and ports of IPv4 and IPv6,
 * looked for behind at most two VLAN tags; the MAC addresses and the type of everything else, ARP included. It is
 * symmetric: both directions of a flow give one value. Not for hash tables: it has no secret.
 */

import {
  ETHERNET_DESTINATION,
  ETHERNET_HEADER_LENGTH,
  ETHERNET_SOURCE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  macHigh,
  macLow,
  payloadTypeAt,
} from '../wire/ethernet.ts';
import {
  IPV4_FRAGMENT,
  IPV4_HEADER_LENGTH,
  ipv4Destination,
  ipv4Protocol,
  ipv4Source,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from '../wire/ipv4.ts';
import { IPV6_DESTINATION, IPV6_HEADER_LENGTH, IPV6_NEXT_HEADER, IPV6_SOURCE } from '../wire/ipv6.ts';
import { readInt32, readUint16 } from '../wire/octets.ts';

/** Source ports that OVS uses by default (32768 to 60999). */
export const SOURCE_PORT_FIRST = 32768;
export const SOURCE_PORT_COUNT = 28232;

const PROTOCOL_SCTP = 132;
const IPV4_NOT_FIRST_OR_LAST = 0x3fff;

/** Mixes one 32-bit word into the hash: the round of MurmurHash3 (public domain, A. Appleby). */
function mix(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  const h = hash ^ Math.imul(k, 0x1b873593);
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  h = Math.imul(h, 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** Both ports in one word, the same for either order; 0 where the protocol has none or they are cut off. */
function portWord(bytes: Uint8Array, offset: number, length: number, protocol: number): number {
  if (protocol !== PROTOCOL_TCP && protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_SCTP) return 0;
  if (length < 4) return 0;
  const source = readUint16(bytes, offset);
  const destination = readUint16(bytes, offset + 2);
  return source < destination ? (source << 16) | destination : (destination << 16) | source;
}

/** Hash of the frame at `offset` as int32. Any `length` will do; below 14 the hash is 0. */
export function flowHash(bytes: Uint8Array, offset: number, length: number): number {
  if (length < ETHERNET_HEADER_LENGTH) return 0;
  const typeAt = payloadTypeAt(bytes, offset, length);
  const type = typeAt < 0 ? 0 : readUint16(bytes, offset + typeAt);
  const at = offset + typeAt + 2;
  const rest = length - typeAt - 2;

  if (type === ETHERTYPE_IPV4 && rest >= IPV4_HEADER_LENGTH) {
    const header = (bytes[at] & 0xf) << 2;
    const protocol = ipv4Protocol(bytes, at);
    // Later fragments have no ports, so no fragment may be hashed by its ports.
    const whole = (readUint16(bytes, at + IPV4_FRAGMENT) & IPV4_NOT_FIRST_OR_LAST) === 0;
    const source = ipv4Source(bytes, at);
    const destination = ipv4Destination(bytes, at);
    let hash = mix(protocol, source ^ destination);
    hash = mix(hash, (source + destination) | 0);
    if (whole && header >= IPV4_HEADER_LENGTH) {
      hash = mix(hash, portWord(bytes, at + header, rest - header, protocol));
    }
    return finish(hash);
  }

  if (type === ETHERTYPE_IPV6 && rest >= IPV6_HEADER_LENGTH) {
    const protocol = bytes[at + IPV6_NEXT_HEADER];
    let hash = protocol;
    for (let i = 0; i < 16; i += 4) {
      const source = readInt32(bytes, at + IPV6_SOURCE + i);
      const destination = readInt32(bytes, at + IPV6_DESTINATION + i);
      hash = mix(hash, source ^ destination);
      hash = mix(hash, (source + destination) | 0);
    }
    return finish(mix(hash, portWord(bytes, at + IPV6_HEADER_LENGTH, rest - IPV6_HEADER_LENGTH, protocol)));
  }

  const source = macLow(bytes, offset + ETHERNET_SOURCE);
  const destination = macLow(bytes, offset + ETHERNET_DESTINATION);
  let hash = mix(type, source ^ destination);
  hash = mix(hash, (source + destination) | 0);
  hash = mix(hash, macHigh(bytes, offset + ETHERNET_SOURCE) ^ macHigh(bytes, offset + ETHERNET_DESTINATION));
  return finish(hash);
}

/** UDP source port of a tunnel packet, 32768 to 60999, evenly spread over the hash's 32 bits. */
export function sourcePort(hash: number): number {
  // Multiply and shift in two halves: the product of 32 and 15 bits does not fit into an int32.
  const high = (hash >>> 16) * SOURCE_PORT_COUNT;
  const low = ((hash & 0xffff) * SOURCE_PORT_COUNT) >>> 16;
  return SOURCE_PORT_FIRST + ((high + low) >>> 16);
}
