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

/** One name for a host that others know by the address of its NAT. */
export type Rename = (text: string) => string;
const unchanged: Rename = (text) => text;

/** Every child SA of `host` to `peer` has its other end there, with the same keys, crossed, and the same selectors, crossed. */
export function uncrossed(host: Host, peer: Host, rename = unchanged): string[] {
  const faults: string[] = [];
  for (const child of host.installed.values()) {
    if (!rename(child.sa.connection).endsWith(peer.address)) continue;
    const partner = partnerOf(child, peer);
    if (partner === undefined) faults.push(`${host.address}: ${describe(child)} has no other end`);
    else if (partner.inboundKey !== child.outboundKey || partner.outboundKey !== child.inboundKey) {
      faults.push(`${host.address}: ${describe(child)} has other keys than its other end`);
    } else if (
      partner.sa.esn !== child.sa.esn ||
      partner.sa.algorithm !== child.sa.algorithm ||
      partner.sa.mode !== child.sa.mode ||
      (partner.sa.udpEncapsulation === undefined) !== (child.sa.udpEncapsulation === undefined) ||
      rename(JSON.stringify(partner.sa.tsLocal)) !== rename(JSON.stringify(child.sa.tsRemote)) ||
      rename(JSON.stringify(partner.sa.tsRemote)) !== rename(JSON.stringify(child.sa.tsLocal))
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

/** Beside each child as many further ones as both ends want, of whatever number, each once. */
export function furtherChildren(host: Host, names: readonly string[], count: number): string[] {
  const faults: string[] = [];
  for (const name of names.filter((child) => !child.includes('#'))) {
    const beside = [...host.installed.values()]
      .map(({ sa }) => sa.child)
      .filter((child) => child.startsWith(`${name}#`));
    if (beside.length !== count || new Set(beside).size !== count)
      faults.push(`${host.address}: beside ${name} are ${beside.join(', ') || 'none'}, expected ${count}`);
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
  /** Further ones beside each of them; undefined: not looked at. */
  readonly further?: number;
}

/** What may not be at any time, on whatever network: SAs beyond their end of life, or state for strangers without bound. */
export function excesses(host: Host, halfOpenLimit: number): string[] {
  const { nowMs } = host.world;
  const faults: string[] = [];
  const late = (what: string, expiresAtMs: number | undefined): void => {
    if (expiresAtMs !== undefined && expiresAtMs < nowMs) faults.push(`${host.address}: ${what} outlives its lifetime`);
  };
  for (const { ikeSas, children } of host.engine.status()) {
    for (const { initiatorSpi, expiresAtMs } of ikeSas) late(`IKE SA ${initiatorSpi}`, expiresAtMs);
    for (const { child, id, expiresAtMs } of children) late(`${child}{${id}}`, expiresAtMs);
  }
  const { halfOpen, ikeSas, children } = host.engine.load();
  if (halfOpen > halfOpenLimit) faults.push(`${host.address}: ${halfOpen} IKE SAs are half open`);
  if (ikeSas > halfOpenLimit + 32) faults.push(`${host.address}: ${ikeSas} IKE SAs in all`);
  if (children !== host.installed.size)
    faults.push(`${host.address}: ${children} children, ${host.installed.size} installed`);
  return faults;
}

/** What may not be once the network has been good for long: exchanges that still wait, strangers that are still kept. */
export function unfinished(host: Host): string[] {
  const { halfOpen, ikeSas, computations } = host.engine.load();
  const faults: string[] = [];
  if (computations > 0) faults.push(`${host.address}: ${computations} computations are still waited for`);
  if (halfOpen > 0) faults.push(`${host.address}: ${halfOpen} IKE SAs are still half open`);
  if (ikeSas > 1) faults.push(`${host.address}: ${ikeSas} IKE SAs are kept where one is up`);
  return faults;
}

/** All of the above, for both ends, once they had time to settle. */
export function faults(ends: readonly Wanted[], rename = unchanged): string[] {
  return ends.flatMap(({ host, peer, children, further }) => [
    ...uncrossed(host, peer, rename),
    ...missingChildren(host, children),
    ...(further === undefined ? [] : furtherChildren(host, children, further)),
    ...leftovers(host),
  ]);
}
