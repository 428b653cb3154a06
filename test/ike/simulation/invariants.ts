/** What must hold between two hosts, once the network has been good for a while: each function gives what does not. */

import type { Host, InstalledChild } from './world.ts';

function describe(child: InstalledChild): string {
  return `${child.sa.child}{${child.sa.id}} ${child.sa.inboundSpi}/${child.sa.outboundSpi}`;
}

/** The other end of a child SA: the one whose SPIs are crossed. */
export function partnerOf(child: InstalledChild, peer: Host): InstalledChild | undefined {
  return [...peer.installed.values()].find(
    ({ sa }) => sa.inboundSpi === child.sa.outboundSpi && sa.outboundSpi === child.sa.inboundSpi,
  );
}

/** Every child SA of `host` to `peer` has its other end there, with the same keys, crossed, and the same selectors, crossed. */
export function uncrossed(host: Host, peer: Host): string[] {
  const faults: string[] = [];
  for (const child of host.installed.values()) {
    if (!child.sa.connection.endsWith(peer.address)) continue;
    const partner = partnerOf(child, peer);
    if (partner === undefined) faults.push(`${host.address}: ${describe(child)} has no other end`);
    else if (partner.inboundKey !== child.outboundKey || partner.outboundKey !== child.inboundKey) {
      faults.push(`${host.address}: ${describe(child)} has other keys than its other end`);
    } else if (
      partner.sa.esn !== child.sa.esn ||
      partner.sa.algorithm !== child.sa.algorithm ||
      JSON.stringify(partner.sa.tsLocal) !== JSON.stringify(child.sa.tsRemote) ||
      JSON.stringify(partner.sa.tsRemote) !== JSON.stringify(child.sa.tsLocal)
    ) {
      faults.push(`${host.address}: ${describe(child)} differs from its other end`);
    }
  }
  return faults;
}

/** Each of these children is up exactly once and sends. */
export function missingChildren(host: Host, names: readonly string[]): string[] {
  const faults: string[] = [];
  for (const name of names) {
    const children = host.childrenOf(name);
    if (children.length !== 1) faults.push(`${host.address}: ${name} is up ${children.length} times`);
    for (const { sa } of children) {
      if (host.sending.get(`${sa.connection}/${name}`) !== sa.id) faults.push(`${host.address}: ${name} does not send`);
    }
  }
  return faults;
}

/** One IKE SA, and no SPI that is neither installed nor given back. */
export function leftovers(host: Host): string[] {
  const faults: string[] = [];
  const ikeSas = host.upIkeSas();
  if (ikeSas !== 1) faults.push(`${host.address}: ${ikeSas} IKE SAs`);
  const used = new Set([...host.installed.values()].map(({ sa }) => sa.inboundSpi));
  const leaked = [...host.allocated].filter((spi) => !used.has(spi));
  if (leaked.length > 0) faults.push(`${host.address}: SPIs ${leaked.join(', ')} are taken but not installed`);
  return faults;
}

export interface Wanted {
  readonly host: Host;
  readonly peer: Host;
  readonly children: readonly string[];
}

/** All of the above, for both ends. */
export function faults(ends: readonly Wanted[]): string[] {
  return ends.flatMap(({ host, peer, children }) => [
    ...uncrossed(host, peer),
    ...missingChildren(host, children),
    ...leftovers(host),
  ]);
}
