/**
 * Traffic selectors in transport mode through a NAT (RFC 7296 §2.23.1): each end names itself by the address that it has,
 * which the other end knows by another one. The addresses of hosts are replaced by those that the tunnel is configured with,
 * which stay the same when the peer's NAT gives it another one; an answer gets the peer's own words back. Pure functions.
 */

import type { NatView } from './nat-detection.ts';
import { sameAddress } from './traffic-selectors.ts';
import type { TrafficSelector } from './types.ts';

/** The address, if all selectors are of one host. */
function hostOf(selectors: readonly TrafficSelector[]): string | undefined {
  const address = selectors[0]?.startAddress;
  const all = (one: TrafficSelector): boolean =>
    address !== undefined && sameAddress(one.startAddress, address) && sameAddress(one.endAddress, address);
  return selectors.every(all) ? address : undefined;
}

const withHost = (selectors: readonly TrafficSelector[], address: string): TrafficSelector[] =>
  selectors.map((selector) => ({ ...selector, startAddress: address, endAddress: address }));

export interface Translation {
  /** The peer's selectors as we would write them. */
  readonly remote: readonly TrafficSelector[];
  readonly local: readonly TrafficSelector[];
  /** Ours as the peer would. */
  readonly remoteForPeer: (selectors: readonly TrafficSelector[]) => readonly TrafficSelector[];
  readonly localForPeer: (selectors: readonly TrafficSelector[]) => readonly TrafficSelector[];
}

const same = (selectors: readonly TrafficSelector[]): readonly TrafficSelector[] => selectors;

/** `remote` and `local` as the peer wrote them. Without a NAT, in tunnel mode, or with other than one host: as they are. */
export function translate(
  at: { readonly nat: NatView; readonly local: string; readonly remote: string },
  transport: boolean,
  remote: readonly TrafficSelector[],
  local: readonly TrafficSelector[],
): Translation {
  const [theirs, ours] = [hostOf(remote), hostOf(local)];
  const peerMoved = transport && at.nat.peer && theirs !== undefined;
  const weMoved = transport && at.nat.us && ours !== undefined;
  return {
    remote: peerMoved ? withHost(remote, at.remote) : remote,
    local: weMoved ? withHost(local, at.local) : local,
    remoteForPeer: peerMoved ? (selectors) => withHost(selectors, theirs) : same,
    localForPeer: weMoved ? (selectors) => withHost(selectors, ours) : same,
  };
}
