/**
 * How the text of an OVSDB key is read. Each reader gives undefined for what it does not take; the key's
 * row in keys.ts says in words what would have been right.
 */
import { isIP } from 'node:net';
import type { MarkMatch, TunnelKey } from '../../dataplane/commands.ts';
import type { Identity } from '../../ike/types.ts';

/** Any text but none. */
export const text = (value: string): string | undefined => (value === '' ? undefined : value);

/** Any text of 1 to so many bytes in UTF-8. */
export function textOf(bytes: number): (value: string) => string | undefined {
  return (value) => (Buffer.byteLength(value) <= bytes ? text(value) : undefined);
}

const NUMBER = /^(?:0[xX][0-9a-fA-F]{1,8}|\d{1,10})$/;

/** Decimal or 0x, first to last inclusive. */
export function integer(first: number, last: number): (text: string) => number | undefined {
  return (text) => {
    if (!NUMBER.test(text)) return undefined;
    const number = Number(text);
    return number >= first && number <= last ? number : undefined;
  };
}

export function oneOf<const T extends string>(...words: readonly T[]): (text: string) => T | undefined {
  return (text) => words.find((word) => word === text.toLowerCase());
}

export function trueOrFalse(text: string): boolean | undefined {
  return { true: true, false: false }[text.toLowerCase()];
}

/** As ipsec.conf spells booleans. */
export function yesOrNo(text: string): boolean | undefined {
  return { yes: true, true: true, no: false, false: false }[text.toLowerCase()];
}

const SECONDS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds of `3600`, `3600s`, `60m`, `1h`, `1d` (ipsec.conf(5)). */
export function duration(first: number, last: number): (text: string) => number | undefined {
  return (text) => {
    const [, digits, unit = ''] = /^(\d{1,9})([smhd]?)$/.exec(text.toLowerCase()) ?? [];
    if (digits === undefined) return undefined;
    const seconds = Number(digits) * SECONDS[unit]!;
    return seconds >= first && seconds <= last ? seconds : undefined;
  };
}

/** `100%` or `100`. */
export function percent(first: number, last: number): (text: string) => number | undefined {
  return (text) => integer(first, last)(text.replace(/%$/, ''));
}

/** `0` to `last` or `flow`. */
export function tunnelKey(last: number): (text: string) => TunnelKey | undefined {
  return (text) => {
    if (text === 'flow') return { kind: 'flow' };
    const key = integer(0, last)(text);
    return key === undefined ? undefined : { kind: 'fixed', key };
  };
}

/** `value/mask`, each decimal or 0x; a bare value means the full mask. */
export function markMatch(text: string): MarkMatch | undefined {
  const [valueText = '', maskText = '0xffffffff', ...rest] = text.split('/');
  const mark = integer(0, 0xffff_ffff);
  const value = mark(valueText);
  const mask = mark(maskText);
  return value === undefined || mask === undefined || rest.length > 0 ? undefined : { value, mask };
}

/** Six octets with colons; lower case. Unicast only. */
export function macAddress(text: string): string | undefined {
  if (!/^[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}$/.test(text)) return undefined;
  const isMulticast = (Number.parseInt(text.slice(0, 2), 16) & 1) === 1;
  return isMulticast || /^[0:]*$/.test(text) ? undefined : text.toLowerCase();
}

/** 16 hex digits, with or without 0x as OVS takes it; lower case. */
export function datapathId(text: string): string | undefined {
  const digits = text.replace(/^0x(?=[0-9a-fA-F]{1,16}$)/, '').padStart(text.startsWith('0x') ? 16 : 0, '0');
  return /^[0-9a-fA-F]{16}$/.test(digits) && !/^0+$/.test(digits) ? digits.toLowerCase() : undefined;
}

export type UnderlayAddress = { readonly family: 4 | 6; readonly text: string };

/** A unicast address, IPv4 or global IPv6 in the text of RFC 5952, that packets can be sent to or from. Not a host name, not `flow`. */
export function unicastAddress(text: string): UnderlayAddress | undefined {
  const family = isIP(text);
  if (family === 4) {
    const [first = 0] = text.split('.').map(Number);
    // 0.0.0.0/8 is "this network", 224.0.0.0/4 multicast, the rest above reserved or broadcast (RFC 6890).
    return first === 0 || first >= 224 ? undefined : { family: 4, text };
  }
  if (family === 6) {
    if (text.includes('%')) return undefined;
    // A URL's host is written as RFC 5952 says, so one address has one text.
    const { hostname } = new URL(`http://[${text}]`);
    const canonical = hostname.slice(1, -1);
    // Unspecified, loopback, multicast, link-local (no zone could be named) and IPv4-mapped (RFC 4291 §2.4).
    return /^(?:::1?$|::ffff:|ff|fe[89ab])/.test(canonical) ? undefined : { family: 6, text: canonical };
  }
  return undefined;
}

/** As `leftid` of an ipsec.conf: an address, `@name` or a host name, `user@host`. */
export function identity(text: string): Identity | undefined {
  const value = text.startsWith('@') ? text.slice(1) : text;
  if (!/^[!-~]{1,255}$/.test(value) || /[=#%"]/.test(value)) return undefined;
  if (text.startsWith('@')) return { type: 'fqdn', value };
  const family = isIP(value);
  if (family !== 0) return { type: family === 4 ? 'ipv4' : 'ipv6', value };
  if (value.includes(':')) return undefined;
  return { type: value.includes('@') ? 'rfc822' : 'fqdn', value };
}

/** A name that Linux takes for a network device (dev_valid_name): 1 to 15 bytes without `/`, `:` and white space. */
export function deviceName(text: string): string | undefined {
  if (text === '.' || text === '..') return undefined;
  return /^[!-.0-9;-~]{1,15}$/.test(text) ? text : undefined;
}
