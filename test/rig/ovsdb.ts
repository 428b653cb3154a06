/**
 * The real OVS control plane of one host: an ovsdb-server with a directory of its own, and `ovs-vsctl` and
 * `ovs-appctl` that talk to it. No ovs-vswitchd unless `startVswitchd` is called: ovs-espd may stand in its place.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from './namespace.ts';
import { type Running, run, start } from './process.ts';
import type { Rig } from './rig.ts';

const SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema';

/** The database of a host and the tools that go with it. */
export type Ovsdb = {
  /** Holds conf.db, db.sock, pidfiles, control sockets and logs of this host. */
  readonly directory: string;
  /** OVS_RUNDIR and its kin, for everything that runs on this host. */
  readonly env: Readonly<Record<string, string>>;
  /** `unix:…/db.sock`. */
  readonly remote: string;
  /** The server as it was started first. */
  readonly server: Running;
  /** Runs ovs-vsctl with these words inside the host's namespace; gives its standard output. */
  vsctl(words: string | readonly string[], options?: { ms?: number; expect?: number | 'any' }): Promise<string>;
  /** Runs `ovs-appctl -t TARGET WORDS…`; gives its standard output. */
  appctl(target: string, ...words: string[]): Promise<string>;
};

/** The environment that gives each OVS program of a host the host's own directory. */
export function ovsEnvironment(directory: string): Record<string, string> {
  return { OVS_RUNDIR: directory, OVS_LOGDIR: directory, OVS_DBDIR: directory, OVS_SYSCONFDIR: directory };
}

/** Runs `ovs-appctl -t target` with the host's directory. */
export async function appctl(
  directory: string,
  target: string,
  words: readonly string[],
  ms = 10_000,
): Promise<string> {
  const args = ['-t', target, ...words];
  const { stdout } = await run({ command: 'ovs-appctl', args, env: ovsEnvironment(directory) }, { ms });
  return stdout;
}

/** Starts an ovsdb-server with an empty, initialised Open_vSwitch database for `host`; another one of a host needs a `label`. */
export async function startOvsdb(rig: Rig, host: Host, { label = '' }: { label?: string } = {}): Promise<Ovsdb> {
  const directory = join(rig.directory, `ovs-${host.namespace}${label}`);
  mkdirSync(directory, { recursive: true });
  const env = ovsEnvironment(directory);
  const database = join(directory, 'conf.db');
  const remote = `unix:${join(directory, 'db.sock')}`;
  await run({ command: 'ovsdb-tool', args: ['create', database, SCHEMA] });
  const server = startServer(rig, host, { directory, env, remote });
  const vsctl: Ovsdb['vsctl'] = async (words, options) => {
    const list = typeof words === 'string' ? words.split(/\s+/).filter(Boolean) : words;
    const args = [`--db=${remote}`, ...list];
    return (await run({ command: 'ovs-vsctl', args, namespace: host.namespace, env }, options)).stdout;
  };
  await server.waitUntil('a database that answers', async () => {
    await vsctl('--no-wait --timeout=1 init');
    return true;
  });
  return { directory, env, remote, server, vsctl, appctl: (target, ...words) => appctl(directory, target, words) };
}

type Place = Pick<Ovsdb, 'directory' | 'env' | 'remote'>;

function startServer(rig: Rig, { namespace }: Host, { directory, env, remote }: Place): Running {
  const pidfile = `--pidfile=${join(directory, 'ovsdb-server.pid')}`;
  return start(rig, {
    ...{ name: `ovsdb-server (${namespace})`, command: 'ovsdb-server', namespace, env },
    args: [join(directory, 'conf.db'), `--remote=p${remote}`, pidfile, '-vconsole:info'],
  });
}

/** Starts an ovsdb-server on the database of one that has ended, and resolves when it answers. */
export async function startOvsdbAgain(rig: Rig, host: Host, ovsdb: Ovsdb): Promise<Running> {
  rmSync(ovsdb.remote.slice('unix:'.length), { force: true });
  const server = startServer(rig, host, ovsdb);
  await server.waitUntil('a database that answers', () => ovsdb.vsctl('--timeout=1 get Open_vSwitch . _uuid'));
  return server;
}

/** Starts the real ovs-vswitchd (userspace datapath: the kernel module may be missing) on a host's database. */
export async function startVswitchd(rig: Rig, host: Host, ovsdb: Ovsdb): Promise<Running> {
  const running = start(rig, {
    name: `ovs-vswitchd (${host.namespace})`,
    command: 'ovs-vswitchd',
    args: [ovsdb.remote, `--pidfile=${join(ovsdb.directory, 'ovs-vswitchd.pid')}`, '-vconsole:warn'],
    namespace: host.namespace,
    env: ovsdb.env,
  });
  await running.waitUntil('an answer of ovs-vswitchd', () => ovsdb.appctl('ovs-vswitchd', 'version'));
  return running;
}

/**
 * ovs-vswitchd 3.1 can keep a datapath flow from a moment without a tunnel's port, after its start or before the port was added again:
 * what the peer sent then goes to the bridge itself for as long as the peer goes on sending, and never to the tunnel.
 */
export async function forgetFlows({ appctl: ask }: Ovsdb): Promise<void> {
  await ask('ovs-vswitchd', 'revalidator/purge');
}
