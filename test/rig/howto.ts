/**
 * Pages of docs/howto as scripts: their blocks of commands, and machines to run them on word by word, by root, under the paths that
 * the pages name. A machine is a network namespace with /etc and OVS's directories of its own, and an `ovs-espd` in its PATH.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LAUNCHER } from './espd.ts';
import type { Host } from './namespace.ts';
import { run, start } from './process.ts';
import type { Rig } from './rig.ts';
import { ROOT } from './root.ts';

/** The blocks of commands of a page, in its order. */
export function commandsOf(page: string): string[] {
  const text = readFileSync(join(ROOT, 'docs/howto', page), 'utf8');
  return [...text.matchAll(/^( *)```sh\n(.*?)^ *```$/gms)].map(([, indent, block]) =>
    block!.replace(new RegExp(`^${indent}`, 'gm'), ''),
  );
}

/** A page's commands for host 1, as they are on its peer: addresses and names with 2 for 1, and 1 for 2. */
export function onThePeer(commands: string): string {
  const other = (digit: string): string => (digit === '1' ? '2' : '1');
  return commands.replace(
    /\b(10\.1\.0\.|192\.0\.0\.|ch)([12])\b/g,
    (_, stem: string, digit: string) => stem + other(digit),
  );
}

export interface Machine {
  readonly host: Host;
  /** Runs commands with `bash -e`; gives what they printed. @throws if one fails. */
  sh(commands: string, ms?: number): Promise<string>;
}

const PRIVATE = `set -e
mount -t tmpfs tmpfs /mnt
cp -a /etc /mnt/etc && rm -rf /mnt/etc/openvswitch && mount --bind /mnt/etc /etc
for directory in /run/openvswitch /run/ovn /var/log/openvswitch /var/lib/openvswitch /usr/local/sbin; do
  mkdir -p $directory; mount -t tmpfs tmpfs $directory
done
ln -s ${LAUNCHER} /usr/local/sbin/ovs-espd
echo ready
exec sleep infinity`;

/** Daemons that are started on it end with its namespace. */
export async function startMachine(rig: Rig, host: Host): Promise<Machine> {
  const { namespace } = host;
  const args = ['--mount', '--propagation', 'private', 'bash', '-c', PRIVATE];
  const holder = start(rig, { name: `machine ${namespace}`, command: 'unshare', args, namespace });
  await holder.waitForOutput(/^ready$/m);
  return {
    host,
    async sh(commands, ms = 30_000) {
      const inside = ['--mount', '--net', '--target', String(holder.pid), 'bash', '-ec', commands];
      const { stdout } = await run({ command: 'nsenter', args: inside, name: commands }, { ms });
      return stdout;
    },
  };
}

/** An ovsdb-server and an ovs-vswitchd under OVS's own paths, as a system's start scripts leave them. */
export const START_OVS = `mkdir -p /etc/openvswitch
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server --remote=punix:/var/run/openvswitch/db.sock --pidfile --detach --log-file
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach --log-file`;
