/**
 * Traffic selectors (RFC 7296 §2.9): narrowing of what a peer proposes to what is configured, and the choice of
 * the configured child that a proposal is meant for.
 *
 * charon puts the 5-tuple of the packet that triggered the exchange before the wide selector; narrowing gives
 * both, and the first is dropped because the second contains it. Libreswan (narrowing=no) wants exactly the set
 * that it proposed, which is what an exact match gives. The wire form is in wire/; policy is in the engine.
 */

import { isIP } from 'node:net';
import type { ChildConfig, TrafficSelector } from './types.ts';
import { addressBytes, readAddress } from './wire/address.ts';

/** Selectors of one payload that are looked at; a peer that sends more gets an answer to these. */
const SELECTORS_CONSIDERED = 32;

/** The address as a number with its family in front, so that addresses of two families never compare as one range. */
function addressNumber(address: string): bigint | undefined {
  const family = isIP(address);
  if (family === 0) return undefined;
  return BigInt(`0x${family}${Buffer.from(addressBytes(address)).toString('hex').padStart(32, '0')}`);
}

/** One spelling for each address; what is no address stays as it is. */
export function canonicalAddress(address: string): string {
  switch (isIP(address)) {
    case 4:
      return address;
    case 6:
      return readAddress(addressBytes(address), 0, 16);
    default:
      return address;
  }
}

/** Whether two texts name the same address (`::1` and `0:0:0:0:0:0:0:1` do). */
export function sameAddress(a: string, b: string): boolean {
  if (a === b) return true;
  const left = addressNumber(a);
  return left !== undefined && left === addressNumber(b);
}

/** What both selectors allow, or undefined: nothing. */
export function intersect(a: TrafficSelector, b: TrafficSelector): TrafficSelector | undefined {
  if (a.protocol !== 0 && b.protocol !== 0 && a.protocol !== b.protocol) return undefined;
  const startPort = Math.max(a.startPort, b.startPort);
  const endPort = Math.min(a.endPort, b.endPort);
  if (startPort > endPort) return undefined;
  const [startA, endA, startB, endB] = [a.startAddress, a.endAddress, b.startAddress, b.endAddress].map(addressNumber);
  if (startA === undefined || endA === undefined || startB === undefined || endB === undefined) return undefined;
  if (startA > endA || startB > endB || startA > endB || startB > endA) return undefined;
  return {
    protocol: a.protocol === 0 ? b.protocol : a.protocol,
    startPort,
    endPort,
    startAddress: startA >= startB ? a.startAddress : b.startAddress,
    endAddress: endA <= endB ? a.endAddress : b.endAddress,
  };
}

/** Whether all that `inner` allows is allowed by `outer`. */
export function contains(outer: TrafficSelector, inner: TrafficSelector): boolean {
  const common = intersect(outer, inner);
  return common !== undefined && equal(common, inner);
}

/** Whether two selectors allow the same. */
export function equal(a: TrafficSelector, b: TrafficSelector): boolean {
  return (
    a.protocol === b.protocol &&
    a.startPort === b.startPort &&
    a.endPort === b.endPort &&
    sameAddress(a.startAddress, b.startAddress) &&
    sameAddress(a.endAddress, b.endAddress)
  );
}

/** Whether each selector of `inner` lies within one of `outer`. */
export function covers(outer: readonly TrafficSelector[], inner: readonly TrafficSelector[]): boolean {
  return inner.every((one) => outer.some((wide) => contains(wide, one)));
}

/** Leaves out each selector that another one contains. */
function withoutContained(selectors: readonly TrafficSelector[]): TrafficSelector[] {
  return selectors.filter(
    (one, index) =>
      !selectors.some((other, at) => at !== index && contains(other, one) && (!contains(one, other) || at < index)),
  );
}

/** The part of `proposed` that `configured` allows; empty if none is. */
export function narrow(
  proposed: readonly TrafficSelector[],
  configured: readonly TrafficSelector[],
): TrafficSelector[] {
  const common: TrafficSelector[] = [];
  for (const theirs of proposed.slice(0, SELECTORS_CONSIDERED)) {
    for (const ours of configured) {
      const both = intersect(theirs, ours);
      if (both !== undefined) common.push(both);
    }
  }
  return withoutContained(common);
}

/** How a proposal fits a configured child, best first. */
export type Fit = 'exact' | 'ours-within-theirs' | 'theirs-within-ours';

const FIT_RANK: Readonly<Record<Fit, number>> = {
  exact: 2,
  'ours-within-theirs': 1,
  'theirs-within-ours': 0,
};

export interface Narrowed<C extends Pick<ChildConfig, 'tsLocal' | 'tsRemote'>> {
  readonly child: C;
  readonly fit: Fit;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
}

/**
 * The configured child that the peer's selectors fit best, and the selectors to answer with; undefined if none
 * fits (TS_UNACCEPTABLE). Selectors that only overlap fit neither end: two UDP tunnels of different ports do, each in one
 * direction, and an SA for what they have in common would serve nobody. `theirs` are the selectors of the peer's end (TSi of its request), `ours` of this end.
 * The first of equally good children is taken.
 */
export function chooseChild<C extends Pick<ChildConfig, 'tsLocal' | 'tsRemote'>>(
  children: readonly C[],
  theirs: readonly TrafficSelector[],
  ours: readonly TrafficSelector[],
): Narrowed<C> | undefined {
  let best: Narrowed<C> | undefined;
  for (const child of children) {
    const tsRemote = narrow(theirs, child.tsRemote);
    const tsLocal = narrow(ours, child.tsLocal);
    if (tsRemote.length === 0 || tsLocal.length === 0) continue;
    const allOfOurs = covers(tsRemote, child.tsRemote) && covers(tsLocal, child.tsLocal);
    const allOfTheirs = covers(tsRemote, theirs) && covers(tsLocal, ours);
    if (!allOfOurs && !allOfTheirs) continue;
    const fit: Fit = !allOfOurs ? 'theirs-within-ours' : allOfTheirs ? 'exact' : 'ours-within-theirs';
    if (best === undefined || FIT_RANK[fit] > FIT_RANK[best.fit]) best = { child, fit, tsLocal, tsRemote };
  }
  return best;
}

const portText = (selector: TrafficSelector): string =>
  selector.startPort === 0 && selector.endPort === 65535
    ? ''
    : selector.startPort === selector.endPort
      ? `/${selector.startPort}`
      : `/${selector.startPort}-${selector.endPort}`;

const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 0: 'any', 6: 'tcp', 17: 'udp', 47: 'gre' };

/** For logs: `10.0.0.1[udp/6081]`, `10.0.0.0-10.0.0.9[gre]`. */
export function selectorText(selector: TrafficSelector): string {
  const addresses = sameAddress(selector.startAddress, selector.endAddress)
    ? selector.startAddress
    : `${selector.startAddress}-${selector.endAddress}`;
  return `${addresses}[${PROTOCOL_NAMES[selector.protocol] ?? selector.protocol}${portText(selector)}]`;
}

/** For logs: `10.0.0.1[udp/6081] === 10.0.0.2[udp]`. */
export function selectorPairText(local: readonly TrafficSelector[], remote: readonly TrafficSelector[]): string {
  return `${local.map(selectorText).join(' ')} === ${remote.map(selectorText).join(' ')}`;
}
