/**
 * Our own daemon on a host of the rig, started as an operator would start it: `bin/ovs-espd --pidfile --log-file=… DB`
 * with a directory of its own, from an OVSDB (`unix:…`) or a config file (`file:…`).
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { callUnixctl } from '../../control/unixctl/client.ts';
import { type Host, ip } from './namespace.ts';
import { appctl, ovsEnvironment } from './ovsdb.ts';
import { type Running, start } from './process.ts';
import type { Rig } from './rig.ts';
import { ROOT } from './root.ts';

/** Thousands of tunnels, on a machine that does other things too. */
const CONFIGURED_MS = 60_000;

export const LAUNCHER = join(ROOT, 'bin/ovs-espd');

/** One tunnel of `fileConfig`: an Interface row's type and options. */
export type TunnelSpec = {
  readonly name: string;
  readonly type: 'gre' | 'geneve' | 'vxlan' | 'stt';
  readonly options: Readonly<Record<string, string>>;
};

/** A daemon that runs. */
export type Espd = {
  readonly running: Running;
  readonly directory: string;
  /** The log file so far. */
  log(): string;
  /** Runs `ovs-appctl -t ovs-espd WORDS…`. */
  appctl(...words: string[]): Promise<string>;
  /** `tunnels/show`, of one interface if named. */
  tunnelsShow(name?: string): Promise<string>;
  /** Resolves when `tunnels/show NAME` matches; default: what says that its SAs are up. */
  waitForTunnel(name: string, pattern?: RegExp, ms?: number): Promise<void>;
  /** Resolves when ike/show has these in its connections: what both ends set up at once has been settled, one of two has gone. */
  waitForSettled(counts: { readonly ikeSas: number; readonly children: number }): Promise<void>;
  /** TERM, as a service manager stops it; a set `status` is checked. */
  stop(): Promise<void>;
  /** KILL, as the worst that can happen. */
  kill(): Promise<void>;
};

/**
 * The content of a `file:` database: one bridge of `name` with the given tunnels, tables and columns as in OVSDB;
 * rows that follow from others are left out (control/ovsdb/README.md).
 */
export function fileConfig(
  bridge: string,
  tunnels: readonly TunnelSpec[],
  otherConfig: Readonly<Record<string, string>> = {},
): string {
  const database = {
    Open_vSwitch: { other_config: otherConfig },
    Bridge: [{ name: bridge, ports: tunnels.map(({ name }) => name) }],
    Interface: tunnels.map(({ name, type, options }) => ({ name, type, options })),
  };
  return `${JSON.stringify(database, null, 2)}\n`;
}

/** What `ovs-appctl -t ovs-espd` would say, without a program for it: for what is asked many times until it is so. */
async function askAgain(directory: string, command: string, words: readonly string[]): Promise<string> {
  const pid = readFileSync(join(directory, 'ovs-espd.pid'), 'utf8').trim();
  const { ok, text } = await callUnixctl(join(directory, `ovs-espd.${pid}.ctl`), command, words);
  if (!ok) throw new Error(text);
  return text;
}

/** True if the daemon can be started: built, with its launcher. */
export function espdIsBuilt(): boolean {
  return existsSync(LAUNCHER) && existsSync(join(ROOT, 'dist/daemon/main.js'));
}

/**
 * Starts ovs-espd on `host` and resolves when it answers on its control socket.
 *
 * @param database a remote (`unix:…`), or `config`: the text of a `file:` database, written to the directory.
 * @param directory the host's directory (of `startOvsdb`, so that ovs-appctl finds both); default: one of its own.
 * @throws with the end of its output if it ends or does not answer within 15 s.
 */
export async function startEspd(
  rig: Rig,
  host: Host,
  {
    database,
    config,
    directory = join(rig.directory, `ovs-${host.namespace}`),
    args = [],
    env = {},
  }: {
    database?: string;
    config?: string;
    directory?: string;
    args?: readonly string[];
    env?: Readonly<Record<string, string>>;
  },
): Promise<Espd> {
  mkdirSync(directory, { recursive: true });
  const logFile = join(directory, 'ovs-espd.log');
  let remote = database;
  if (config !== undefined) {
    const path = join(directory, 'espd-config.json');
    writeFileSync(path, config, { mode: 0o600 });
    remote = `file:${path}`;
  }
  const running = start(rig, {
    name: `ovs-espd (${host.namespace})`,
    command: process.execPath,
    args: [LAUNCHER, '--pidfile', `--log-file=${logFile}`, ...args, ...(remote === undefined ? [] : [remote])],
    namespace: host.namespace,
    env: { ...ovsEnvironment(directory), ...env },
  });
  const ask = (command: string, ...words: string[]) => askAgain(directory, command, words);
  const log = () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : '');
  const tunnelsShow = (name?: string) => ask('tunnels/show', ...(name === undefined ? [] : [name]));
  await running.waitUntil('an answer on its control socket', () => ask('version'), 15_000);
  const { Bridge: bridges = [] } = JSON.parse(config ?? '{}') as { Bridge?: { name: string }[] };
  for (const { name } of bridges)
    await running.waitUntil(`device ${name}`, () => ip(host.namespace, 'link', 'show', name), CONFIGURED_MS);
  return {
    running,
    directory,
    log,
    appctl: (...words) => appctl(directory, 'ovs-espd', words),
    tunnelsShow,
    async waitForTunnel(name, pattern = /SA state:\s+up/i, ms = 15_000) {
      await running.waitUntil(
        `tunnels/show ${name} matching ${pattern}`,
        async () => {
          const text = await tunnelsShow(name);
          if (!pattern.test(text)) throw new Error(`it says\n${text}`);
          return true;
        },
        ms,
      );
    },
    async waitForSettled({ ikeSas, children }) {
      await running.waitUntil(`ike/show with ${ikeSas} IKE SAs and ${children} child SAs`, async () => {
        const text = await ask('ike/show');
        const lines = (pattern: RegExp) => (text.match(pattern) ?? []).length;
        if (lines(/^ {2}IKE SA /gm) !== ikeSas || lines(/^ {2}child .*: installed/gm) !== children)
          throw new Error(`it says\n${text}`);
        return true;
      });
    },
    stop: () => running.stop(15_000),
    kill: () => running.kill(),
  };
}
