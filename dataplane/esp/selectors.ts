/**
 * Traffic selectors as numbers, and the question whether a packet matches them (RFC 4301 §4.4.1.1, §5.2).
 *
 * An SA has two lists, one for each end; a packet matches if its source is in the one and its destination in the
 * other. An SA carries the tunnel packets between two addresses only, in tunnel mode too, and every packet is
 * compared with that pair. So selectors that do not hold the address of their end fall away when the SA
 * is installed, and protocol and ports remain. An empty list matches nothing.
 */

import { addressWords } from '../address-pairs.ts';
import type { Selector } from '../commands.ts';
import { PROTOCOL_TCP, PROTOCOL_UDP } from '../wire/ipv4.ts';
import { readUint16 } from '../wire/octets.ts';

/** A port that is not known: the protocol has none, or the packet ends before it. */
export const NO_PORT = -1;

const PROTOCOL = 0;
const START_PORT = 1;
const END_PORT = 2;
const WORDS = 3;

/** One list, WORDS numbers for each selector that holds `address`. Throws RangeError for text that is no address. */
export function compileSelectors(selectors: readonly Selector[], address: string): Int32Array {
  const own = addressWords(address);
  const rows = selectors.filter((selector) => {
    const start = addressWords(selector.startAddress);
    const end = addressWords(selector.endAddress);
    return start.length === own.length && isAtMost(start, own) && isAtMost(own, end);
  });
  return Int32Array.from(rows.flatMap((selector) => [selector.protocol, selector.startPort, selector.endPort]));
}

/** Whether address `a` is `b` or below it; both of one family. */
function isAtMost(a: Int32Array, b: Int32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] >>> 0 < b[i] >>> 0;
  return true;
}

/** Whether one of the selectors holds this end of a packet; `port` 0 to 65535 or NO_PORT. */
export function matchesSelectors(words: Int32Array, protocol: number, port: number): boolean {
  for (let at = 0; at < words.length; at += WORDS) {
    if (words[at + PROTOCOL] !== 0 && words[at + PROTOCOL] !== protocol) continue;
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
