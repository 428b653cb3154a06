/**
 * How this host reaches the peers: routes and devices, read once for each reconciliation.
 *
 * One run of `ip -batch` for all peers, so that ten thousand tunnels cost one process and not ten thousand.
 */
import { unicastAddress } from './config/value-formats.ts';
import { allLinkFacts, type LinkFacts } from './links.ts';
import { mapOf, type Row } from './ovsdb/database.ts';
import { runProgram } from './program.ts';
import { inSlices } from './slices.ts';

/** Where the kernel routes what is addressed to this host itself. */
export const LOOPBACK = 'lo';

export interface Route {
  /** The address this host would send from. */
  readonly source: string;
  readonly device: string;
}

/** A picture of one moment. */
export interface Underlay {
  /** Undefined: there is no route to this address. */
  routeTo(address: string): Route | undefined;
  /** Undefined: there is no device of this name. */
  link(name: string): LinkFacts | undefined;
}

interface IpRoute {
  readonly dst: string;
  readonly prefsrc?: string;
  readonly dev?: string;
}

/** Addresses of all peers that tunnels name. */
export function remotesOf(interfaces: Iterable<Row>): string[] {
  return [...interfaces].flatMap((row) => unicastAddress(mapOf(row, 'options').get('remote_ip') ?? '')?.text ?? []);
}

/** @param addresses of peers, IPv4 or IPv6 text that config has checked */
export async function readUnderlay(addresses: Iterable<string>): Promise<Underlay> {
  const [routes, links] = await Promise.all([readRoutes(new Set(addresses)), allLinkFacts()]);
  return { routeTo: (address) => routes.get(canonical(address)), link: (name) => links.get(name) };
}

async function readRoutes(addresses: ReadonlySet<string>): Promise<ReadonlyMap<string, Route>> {
  if (addresses.size === 0) return new Map();
  const input = [...addresses].map((address) => `route get ${address}\n`).join('');
  // It says on stderr and by its status which addresses have no route, and that is no failure.
  const { stdout } = await runProgram('ip', ['-json', '-force', '-batch', '-'], { input });
  return inSlices(routeSteps(stdout));
}

/** A line for each address. */
function* routeSteps(stdout: string): Generator<undefined, ReadonlyMap<string, Route>> {
  const routes = new Map<string, Route>();
  for (const line of stdout.split('\n').filter(Boolean)) {
    for (const { dst, prefsrc, dev } of JSON.parse(line) as IpRoute[]) {
      if (prefsrc !== undefined && dev !== undefined) routes.set(canonical(dst), { source: prefsrc, device: dev });
    }
    yield;
  }
  return routes;
}

/** One spelling for each IPv6 address. */
function canonical(address: string): string {
  return address.includes(':') ? new URL(`http://[${address}]`).hostname : address;
}
