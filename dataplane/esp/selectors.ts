/**
 * Traffic selectors as numbers, and the question whether a packet matches them (RFC 4301 §4.4.1.1, §5.2).
 *
 * An SA has two lists, one for each end; a packet matches if its source is in the one and its destination in the
 * other. IPv4 only, as the underlay is. An empty list matches nothing.
 */

import type { Selector } from '../commands.ts';
import { ipv4FromText, PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { readUint16 } from '../wire/octets.ts';

/** A port that is not known: the protocol has none, or the packet ends before it. */
export const NO_PORT = -1;

const PROTOCOL = 0;
const START_ADDRESS = 1;
const END_ADDRESS = 2;
const START_PORT = 3;
const END_PORT = 4;
const WORDS = 5;

/** One list, WORDS numbers for each selector. Throws RangeError for an address that is not IPv4. */
export function compileSelectors(selectors: readonly Selector[]): Int32Array {
  const words = new Int32Array(selectors.length * WORDS);
  selectors.forEach((selector, index) => {
    const at = index * WORDS;
    words[at + PROTOCOL] = selector.protocol;
    words[at + START_ADDRESS] = ipv4FromText(selector.startAddress);
    words[at + END_ADDRESS] = ipv4FromText(selector.endAddress);
    words[at + START_PORT] = selector.startPort;
    words[at + END_PORT] = selector.endPort;
  });
  return words;
}

/** Whether one of the selectors holds this end of a packet. `address` as int32; `port` 0 to 65535 or NO_PORT. */
export function matchesSelectors(words: Int32Array, protocol: number, address: number, port: number): boolean {
  for (let at = 0; at < words.length; at += WORDS) {
    if (words[at + PROTOCOL] !== 0 && words[at + PROTOCOL] !== protocol) continue;
    if (address >>> 0 < words[at + START_ADDRESS] >>> 0 || address >>> 0 > words[at + END_ADDRESS] >>> 0) continue;
    if (port >= words[at + START_PORT] && port <= words[at + END_PORT]) return true;
    // Without a port only a selector that asks for none matches.
    if (port === NO_PORT && words[at + START_PORT] === 0 && words[at + END_PORT] === 65535) return true;
  }
  return false;
}

function portAt(bytes: Uint8Array, offset: number, length: number, protocol: number, at: number): number {
  if (protocol !== PROTOCOL_UDP && protocol !== PROTOCOL_TCP) return NO_PORT;
  return length < at + 2 ? NO_PORT : readUint16(bytes, offset + at);
}

/** Source port of the UDP or TCP packet of `length` bytes at `offset`, or NO_PORT. */
export function selectorSourcePort(bytes: Uint8Array, offset: number, length: number, protocol: number): number {
  return portAt(bytes, offset, length, protocol, 0);
}

/** Destination port of the UDP or TCP packet of `length` bytes at `offset`, or NO_PORT. */
export function selectorDestinationPort(bytes: Uint8Array, offset: number, length: number, protocol: number): number {
  return portAt(bytes, offset, length, protocol, 2);
}
