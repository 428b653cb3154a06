/**
 * Two hosts as in the OVS IPsec tutorial: a namespace, an ovsdb-server and an ovs-espd each, no ovs-vswitchd.
 *
 *      host a                                            host b
 *      br-ipsec 192.0.0.1 ── tun ══ eth0 10.1.0.1 ──veth── eth0 10.1.0.2 ══ tun ── br-ipsec 192.0.0.2
 */
import { type Espd, espdIsBuilt, startEspd } from '../rig/espd.ts';
import { createLan, type Host, ip } from '../rig/namespace.ts';
import { type Ovsdb, startOvsdb } from '../rig/ovsdb.ts';
import { canMakeNamespaces, missingPrograms, type Rig } from '../rig/rig.ts';

export const BRIDGE = 'br-ipsec';
export const PSK = 'swordfish';
export const INNER = { a: '192.0.0.1', b: '192.0.0.2' } as const;

export interface TutorialHost {
  readonly host: Host;
  readonly ovsdb: Ovsdb;
  /** Replaced when the daemon is started again. */
  espd: Espd;
}

export interface Tutorial {
  readonly a: TutorialHost;
  readonly b: TutorialHost;
}

/** Why these tests cannot run here, for their names; '' if they can. */
export function obstacle(...programs: string[]): string {
  if (!canMakeNamespaces()) return ' (skipped: needs root and iproute2)';
  const missing = missingPrograms(...programs);
  if (missing.length > 0) return ` (skipped: ${missing.join(', ')} not installed)`;
  return espdIsBuilt() ? '' : ' (skipped: ovs-espd is not built, run npm run build)';
}

/** `configure` runs on each host's database before its daemon starts. */
export async function startTutorial(
  rig: Rig,
  {
    args = [],
    configure,
  }: { args?: readonly string[]; configure?: (ovsdb: Ovsdb, label: 'a' | 'b') => Promise<unknown> } = {},
): Promise<Tutorial> {
  const lan = await createLan(rig);
  const begin = async (label: 'a' | 'b'): Promise<TutorialHost> => {
    const host = lan[label];
    const ovsdb = await startOvsdb(rig, host);
    await configure?.(ovsdb, label);
    const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory, args });
    return { host, ovsdb, espd };
  };
  return { a: await begin('a'), b: await begin('b') };
}

/** The tutorial's `ovs-vsctl add-br` and `ip` commands; ovs-vsctl waits for the daemon as it waits for ovs-vswitchd. */
export async function addBridge({ ovsdb, host }: TutorialHost, address: string): Promise<void> {
  await ovsdb.vsctl(`--timeout=5 add-br ${BRIDGE}`);
  await ip(host.namespace, 'addr', 'add', `${address}/24`, 'dev', BRIDGE);
  await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
}

export async function addTunnel(
  { ovsdb, host }: TutorialHost,
  type: string,
  remote: string,
  options: Readonly<Record<string, string>> = { psk: PSK },
): Promise<void> {
  const words = Object.entries({ local_ip: host.address, remote_ip: remote, ...options }).map(
    ([key, value]) => `options:${key}=${value}`,
  );
  await ovsdb.vsctl([
    '--timeout=5',
    'add-port',
    BRIDGE,
    'tun',
    '--',
    'set',
    'interface',
    'tun',
    `type=${type}`,
    ...words,
  ]);
}

/** Bridges and tunnels on both hosts. */
export async function runTutorial(
  { a, b }: Tutorial,
  type: string,
  options?: Readonly<Record<string, string>>,
): Promise<void> {
  await addBridge(a, INNER.a);
  await addBridge(b, INNER.b);
  await addTunnel(a, type, b.host.address, options);
  await addTunnel(b, type, a.host.address, options);
}
