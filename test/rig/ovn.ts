/**
 * OVN as Debian packages it: one central (northbound and southbound database, ovn-northd) and chassis of a real
 * ovs-vswitchd with a userspace datapath, ovn-controller, and ovs-espd between its physical bridge and the NIC.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Espd, startEspd } from './espd.ts';
import { type Host, ip, type Wire } from './namespace.ts';
import type { HostKeys } from './ovs-pki.ts';
import { type Ovsdb, ovsEnvironment, startOvsdb, startVswitchd } from './ovsdb.ts';
import { type Running, run, start } from './process.ts';
import type { Rig } from './rig.ts';

const SCHEMAS = '/usr/share/ovn';
const SOUTHBOUND_PORT = 6642;

/** The central of a deployment, in the wire's namespace. */
export type OvnCentral = {
  /** What chassis connect to. */
  readonly remote: string;
  /** Runs `ovn-nbctl WORDS…`; gives its standard output. */
  nbctl(...words: string[]): Promise<string>;
  /** Runs `ovn-sbctl WORDS…`. */
  sbctl(...words: string[]): Promise<string>;
};

/** A hypervisor. */
export type Chassis = {
  readonly name: string;
  readonly host: Host;
  readonly ovsdb: Ovsdb;
  readonly espd: Espd;
  readonly controller: Running;
  readonly keys: HostKeys;
};

/** @param address with prefix length, of the central on the wire */
export async function startOvnCentral(rig: Rig, wire: Wire, address: string): Promise<OvnCentral> {
  const directory = join(rig.directory, 'ovn-central');
  mkdirSync(directory, { recursive: true });
  const env = { ...ovsEnvironment(directory), OVN_RUNDIR: directory, OVN_LOGDIR: directory, OVN_DBDIR: directory };
  const { namespace } = wire;
  await ip(namespace, 'address', 'add', address, 'dev', wire.device);
  const listen = `${address.split('/')[0]}`;
  const socket = (name: string): string => `unix:${join(directory, `${name}.sock`)}`;
  const server = async (name: 'nb' | 'sb', extra: readonly string[]): Promise<void> => {
    const database = join(directory, `${name}.db`);
    await run({ command: 'ovsdb-tool', args: ['create', database, `${SCHEMAS}/ovn-${name}.ovsschema`] });
    const files = [`--pidfile=${join(directory, `${name}.pid`)}`, `--unixctl=${join(directory, `${name}.ctl`)}`];
    const args = [database, `--remote=p${socket(name)}`, ...extra, ...files];
    const running = start(rig, { name: `ovsdb-server (${name})`, command: 'ovsdb-server', args, namespace, env });
    await running.waitUntil('a database that answers', async () => {
      await run({ command: `ovn-${name}ctl`, args: [`--db=${socket(name)}`, '--timeout=1', 'show'], env });
      return true;
    });
  };
  await server('nb', []);
  await server('sb', [`--remote=ptcp:${SOUTHBOUND_PORT}:${listen}`]);
  start(rig, {
    name: 'ovn-northd',
    command: 'ovn-northd',
    args: [`--ovnnb-db=${socket('nb')}`, `--ovnsb-db=${socket('sb')}`, `--pidfile=${join(directory, 'northd.pid')}`],
    namespace,
    env,
  });
  const control =
    (name: 'nb' | 'sb') =>
    async (...words: string[]): Promise<string> =>
      (await run({ command: `ovn-${name}ctl`, args: [`--db=${socket(name)}`, '--timeout=10', ...words], env })).stdout;
  return { remote: `tcp:${listen}:${SOUTHBOUND_PORT}`, nbctl: control('nb'), sbctl: control('sb') };
}

/**
 * Starts a chassis: ovs-espd first, so that no packet leaves before its policy.
 * @param otherConfig of Open_vSwitch, beside certificate, private_key and ca_cert
 */
export async function startChassis(
  rig: Rig,
  wire: Wire,
  central: OvnCentral,
  {
    name,
    address,
    keys,
    otherConfig = {},
  }: { name: string; address: string; keys: HostKeys; otherConfig?: Readonly<Record<string, string>> },
): Promise<Chassis> {
  const host = await wire.addHost(name, address);
  await ip(host.namespace, 'address', 'flush', 'dev', host.device);
  const ovsdb = await startOvsdb(rig, host);
  const settings = {
    certificate: keys.path(`${name}-cert.pem`),
    private_key: keys.path(`${name}-privkey.pem`),
    ca_cert: keys.fetchAuthority(),
    ...otherConfig,
  };
  const words = Object.entries(settings).map(([key, value]) => `other_config:${key}=${value}`);
  await ovsdb.vsctl(['--no-wait', 'set', 'Open_vSwitch', '.', ...words]);
  const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
  await startVswitchd(rig, host, ovsdb);
  await ovsdb.vsctl('--timeout=10 add-br br-phy -- set bridge br-phy datapath_type=netdev');
  const uplink = `external_ids:espd=uplink external_ids:espd-nic=${host.device}`;
  await ovsdb.vsctl(`--timeout=10 add-port br-phy up0 -- set interface up0 ${uplink}`);
  await ip(host.namespace, 'address', 'add', address, 'dev', 'br-phy');
  await ip(host.namespace, 'link', 'set', 'br-phy', 'up');
  const ids = [
    `system-id=${name}`,
    `ovn-remote=${central.remote}`,
    'ovn-encap-type=geneve',
    `ovn-encap-ip=${host.address}`,
    'ovn-bridge-datapath-type=netdev',
  ];
  await ovsdb.vsctl(['set', 'Open_vSwitch', '.', ...ids.map((id) => `external_ids:${id}`)]);
  const controller = start(rig, {
    name: `ovn-controller (${name})`,
    command: 'ovn-controller',
    args: [ovsdb.remote, `--pidfile=${join(ovsdb.directory, 'ovn-controller.pid')}`, '-vconsole:warn'],
    namespace: host.namespace,
    env: { ...ovsdb.env, OVN_RUNDIR: ovsdb.directory, OVN_LOGDIR: ovsdb.directory },
  });
  await controller.waitUntil('the integration bridge', () => ip(host.namespace, 'link', 'show', 'br-int'));
  return { name, host, ovsdb, espd, controller, keys };
}

/** A workload of a chassis: an internal port bound to a logical one, with its address and an MTU that leaves room for ESP. */
export async function plug(chassis: Chassis, port: string, mac: string, address: string): Promise<void> {
  const { ovsdb, host } = chassis;
  const row = ['type=internal', `external_ids:iface-id=${port}`, `mac="${mac}"`, 'mtu_request=1380'];
  await ovsdb.vsctl(['--timeout=10', 'add-port', 'br-int', port, '--', 'set', 'interface', port, ...row]);
  await ip(host.namespace, 'address', 'add', address, 'dev', port);
  await ip(host.namespace, 'link', 'set', port, 'up');
}
