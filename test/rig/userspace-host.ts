/**
 * A host of OVS's IPsec system tests, with ovs-espd in place of ovs-monitor-ipsec and its IKE daemon: a real ovsdb-server and
 * ovs-vswitchd with a userspace datapath, and ovs-espd between its physical bridge and the NIC.
 *
 *      br-int 192.0.0.i ── tunnels ══ br-phy 10.1.0.i, fd00:1::i ── up0 ─ ovs-espd ─ eth0 ── the wire
 */
import { type Espd, startEspd } from './espd.ts';
import { type Host, ip, type Wire } from './namespace.ts';
import { forgetFlows, type Ovsdb, startOvsdb, startVswitchd } from './ovsdb.ts';
import type { Running } from './process.ts';
import type { Rig } from './rig.ts';

export type UserspaceHost = {
  readonly index: number;
  readonly host: Host;
  readonly ovsdb: Ovsdb;
  vswitchd: Running;
  /** Replaced when the daemon is started again. */
  espd: Espd;
};

export const underlayOf = (index: number, family: 4 | 6): string =>
  family === 4 ? `10.1.0.${index}` : `fd00:1::${index}`;
export const innerOf = (index: number): string => `192.0.0.${index}`;

/** Nothing leaves in the clear, not even before the first SA: `ipsec_skb_mark` is 0/1 before any daemon runs. */
export async function startUserspaceHost(
  rig: Rig,
  wire: Wire,
  index: number,
  args: readonly string[] = [],
): Promise<UserspaceHost> {
  const host = await wire.addHost(`h${index}`, `${underlayOf(index, 4)}/24`);
  const { namespace } = host;
  await ip(namespace, 'address', 'flush', 'dev', host.device);
  const ovsdb = await startOvsdb(rig, host);
  await ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
  const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory, args });
  const vswitchd = await startVswitchd(rig, host, ovsdb);
  const uplink = `external_ids:espd=uplink external_ids:espd-nic=${host.device}`;
  await ovsdb.vsctl('--timeout=20 add-br br-phy -- set bridge br-phy datapath_type=netdev');
  await ovsdb.vsctl(`--timeout=20 add-port br-phy up0 -- set interface up0 ${uplink}`);
  await ip(namespace, 'address', 'add', `${underlayOf(index, 4)}/24`, 'dev', 'br-phy');
  await ip(namespace, 'address', 'add', `${underlayOf(index, 6)}/64`, 'dev', 'br-phy', 'nodad');
  await ip(namespace, 'link', 'set', 'br-phy', 'up');
  await ovsdb.vsctl('--timeout=20 add-br br-int -- set bridge br-int datapath_type=netdev');
  await ip(namespace, 'address', 'add', `${innerOf(index)}/24`, 'dev', 'br-int');
  await ip(namespace, 'link', 'set', 'br-int', 'mtu', '1300', 'up');
  return { index, host, ovsdb, vswitchd, espd };
}

/** Tunnels to `remotes` in one transaction, named `tun` and the remote's index; none of them forwards to another (`protected`). */
export async function addTunnels(
  { ovsdb }: UserspaceHost,
  type: string,
  family: 4 | 6,
  remotes: readonly number[],
  options: Readonly<Record<string, string>> | ((remote: number) => Readonly<Record<string, string>>),
): Promise<void> {
  const words = remotes.flatMap((remote) => {
    const own = typeof options === 'function' ? options(remote) : options;
    const all = Object.entries({ remote_ip: underlayOf(remote, family), ...own });
    const name = `tun${remote}`;
    return [
      ...['--', 'add-port', 'br-int', name, '--', 'set', 'port', name, 'protected=true'],
      ...['--', 'set', 'interface', name, `type=${type}`, ...all.map(([key, value]) => `options:${key}="${value}"`)],
    ];
  });
  await ovsdb.vsctl(['--timeout=30', ...words.slice(1)]);
  await forgetFlows(ovsdb);
}

export async function removeTunnels({ ovsdb }: UserspaceHost, remotes: readonly number[]): Promise<void> {
  await ovsdb.vsctl([
    '--timeout=30',
    ...remotes.flatMap((remote) => ['--', '--if-exists', 'del-port', 'br-int', `tun${remote}`]).slice(1),
  ]);
}

/** As after a crash: KILL, then a start on the same database and directory. */
export async function startEspdAgain(rig: Rig, host: UserspaceHost, args: readonly string[] = []): Promise<void> {
  host.espd = await startEspd(rig, host.host, { database: host.ovsdb.remote, directory: host.ovsdb.directory, args });
}

/** What both daemons of the host know of its tunnels, for the message of a test that failed. */
export async function stateOf({ index, espd, ovsdb }: UserspaceHost): Promise<string> {
  const asked = [
    ...['tunnels/show', 'sas/show', 'ike/show', 'coverage/show'].map((command) => ['ovs-espd', command]),
    ...['tnl/neigh/show', 'tnl/ports/show', 'ovs/route/show', 'dpctl/dump-flows'].map((command) => [
      'ovs-vswitchd',
      command,
    ]),
  ] as const;
  const said = await Promise.all(
    asked.map(async ([daemon, command]) => {
      const answer = await ovsdb.appctl(daemon!, command!).catch((error: unknown) => String(error));
      return `--- ${daemon} ${command}\n${answer}`;
    }),
  );
  return [`=== host ${index}`, ...said, '--- log', ...espd.log().split('\n').slice(-40)].join('\n');
}
