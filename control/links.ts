/**
 * Facts and settings of network devices, through `ip -json` (iproute2).
 *
 * Only what the daemon's cold path needs: a few calls a configuration change. Names of devices are checked
 * by config before they come here; nothing goes through a shell.
 */
import { writeFile } from 'node:fs/promises';
import { outputOf, runProgram } from './program.ts';

/** By these `ip` says that there is no such thing. */
const NO_SUCH_THING: readonly number[] = [1, 2];

export interface LinkFacts {
  readonly index: number;
  readonly mac: string;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  readonly carrier: boolean;
  /** Its addresses with prefix length, but for those of its link alone. */
  readonly addresses: readonly string[];
}

/** Settings of a device; what is left out stays as it is. */
export interface LinkSettings {
  readonly mac?: string;
  /** Bytes. */
  readonly mtu?: number;
  readonly up?: true;
  /** It has no IPv6, so the kernel sends nothing through it by itself. */
  readonly silent?: true;
}

/** Network devices as the attach sees them: the real ones (`systemLinks`), or those of a test. */
export interface Links {
  /** The device's facts, or undefined if there is none of that name. */
  linkFacts(name: string): Promise<LinkFacts | undefined>;
  /** Sets what is given and differs. @throws Error with what `ip` said. */
  setLink(name: string, settings: LinkSettings): Promise<void>;
}

interface IpLink {
  ifindex: number;
  ifname: string;
  address?: string;
  mtu: number;
  flags: string[];
  addr_info?: { local: string; prefixlen: number; scope: string }[];
}

/** The device's facts, or undefined if there is none of that name. */
export async function linkFacts(name: string): Promise<LinkFacts | undefined> {
  const links = await ipJson<IpLink[]>(['address', 'show', 'dev', name]);
  const link = links?.[0];
  return link === undefined ? undefined : factsOf(link);
}

/** Every device of this network namespace, by name. */
export async function allLinkFacts(): Promise<ReadonlyMap<string, LinkFacts>> {
  const links = (await ipJson<IpLink[]>(['address', 'show'])) ?? [];
  return new Map(links.map((link) => [link.ifname, factsOf(link)]));
}

function factsOf(link: IpLink): LinkFacts {
  const flags = new Set(link.flags);
  return {
    index: link.ifindex,
    mac: link.address ?? '',
    mtu: link.mtu,
    up: flags.has('UP'),
    carrier: flags.has('LOWER_UP'),
    addresses: (link.addr_info ?? [])
      .filter(({ scope }) => scope !== 'link')
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`),
  };
}

/** Sets what is given and differs. @throws Error with what `ip` said. */
export async function setLink(name: string, settings: LinkSettings): Promise<void> {
  const words = [
    ...(settings.mac === undefined ? [] : ['address', settings.mac]),
    ...(settings.mtu === undefined ? [] : ['mtu', String(settings.mtu)]),
    ...(settings.up === undefined ? [] : ['up']),
  ];
  if (settings.silent === true) await disableIpv6(name);
  if (words.length > 0) await outputOf('ip', ['link', 'set', 'dev', name, ...words]);
}

async function disableIpv6(name: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  } catch (error) {
    // A kernel without IPv6 has nothing to disable.
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}

export const systemLinks: Links = { linkFacts, setLink };

/** Undefined when there is no such thing. */
async function ipJson<T>(words: readonly string[]): Promise<T | undefined> {
  const { status, stdout } = await runProgram('ip', ['-json', ...words]);
  return NO_SUCH_THING.includes(status) ? undefined : (JSON.parse(stdout) as T);
}
