/**
 * IP addresses as text and as bytes, for traffic selectors and identities.
 *
 * The text of a parsed address is canonical (IPv6 as RFC 5952 writes it), so two texts are equal exactly if the
 * addresses are. Writing accepts any spelling that node:net takes for an address.
 */

import { isIP } from 'node:net';
import { readU16, writeU16 } from './bytes.ts';

export const IPV4_BYTES = 4;
export const IPV6_BYTES = 16;
const IPV6_GROUPS = 8;

/** Text of the 4 or 16 bytes at `offset`. */
export function readAddress(bytes: Uint8Array, offset: number, size: 4 | 16): string {
  if (size === IPV4_BYTES) return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
  const groups = Array.from({ length: IPV6_GROUPS }, (_, i) => readU16(bytes, offset + 2 * i));
  const { at, length } = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  // RFC 5952 §4.2.2: one group of zeros is not shortened.
  if (length < 2) return hex.join(':');
  return `${hex.slice(0, at).join(':')}::${hex.slice(at + length).join(':')}`;
}

/** The first of the longest runs (RFC 5952 §4.2.3). */
function longestZeroRun(groups: readonly number[]): { readonly at: number; readonly length: number } {
  let best = { at: 0, length: 0 };
  for (let at = 0; at < groups.length; at++) {
    let length = 0;
    while (groups[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  return best;
}

/** 4 or 16 bytes of an address. Throws RangeError if the text is none. */
export function addressBytes(text: string): Uint8Array {
  switch (isIP(text)) {
    case 4:
      return Uint8Array.from(text.split('.'), Number);
    case 6:
      return ipv6Bytes(text);
    default:
      throw new RangeError(`expected an IPv4 or IPv6 address, got "${text}"`);
  }
}

/** `text` is an IPv6 address as node:net accepts them, perhaps with `::`, an IPv4 tail or a zone. */
function ipv6Bytes(text: string): Uint8Array {
  const [head, tail] = text.split('%', 1)[0].split('::');
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  const zeros = new Array<number>(IPV6_GROUPS - front.length - back.length).fill(0);
  const out = new Uint8Array(IPV6_BYTES);
  [...front, ...zeros, ...back].forEach((group, i) => {
    writeU16(group, out, 2 * i);
  });
  return out;
}

function groupsOf(part: string): number[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (!group.includes('.')) return Number.parseInt(group, 16);
    const [a, b, c, d] = group.split('.').map(Number);
    return [(a << 8) | b, (c << 8) | d];
  });
}
