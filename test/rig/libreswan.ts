/**
 * Libreswan's pluto on a host of the rig, configured as ovs-monitor-ipsec configures it (libreswan-conf.ts).
 *
 * Debian's libreswan conflicts with strongSwan's packages, so bin/setup.mjs unpacks it into the cache and does not install
 * it. pluto runs in a mount namespace of its own, where /usr/libexec/ipsec is that folder: it looks there for its addconn.
 * The kernel may have no ESP: SAs go to null-sad.c, as charon's do.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheDirectory } from './cache.ts';
import { ipsecConf, ipsecSecrets, type LibreswanConnection, makeNssDatabase } from './libreswan-conf.ts';
import type { Host } from './namespace.ts';
import { nullSad } from './null-sad.ts';
import { type Outcome, type Running, run, start } from './process.ts';
import type { Rig } from './rig.ts';
import { type InstalledSa, readInstalledSas } from './sad.ts';

export type { LibreswanConnection } from './libreswan-conf.ts';

const FOLDERS = ['/usr/libexec/ipsec', join(cacheDirectory(), 'libreswan/usr/libexec/ipsec')];

/** Where pluto and its helpers are, or undefined. */
export function libreswanFolder(): string | undefined {
  return FOLDERS.find((folder) => existsSync(join(folder, 'pluto')));
}

/** A child SA as pluto lists it. */
export type PlutoChild = { readonly name: string; readonly spiIn: number; readonly spiOut: number };

/** A pluto that runs. */
export type Pluto = {
  readonly running: Running;
  readonly directory: string;
  log(): string;
  /** Runs whack with these words; what it says ends on a line of its own log too. */
  whack(...words: string[]): Promise<Outcome>;
  /** Serial numbers (#7) of its established IKE SAs. */
  ikeSas(): Promise<number[]>;
  children(): Promise<PlutoChild[]>;
  installedSas(): InstalledSa[];
};

/** Starts pluto on `host` with the given connections, all of which share the certificates of the first. */
export async function startPluto(rig: Rig, host: Host, connections: readonly LibreswanConnection[]): Promise<Pluto> {
  const folder = libreswanFolder();
  if (folder === undefined) throw new Error(`no pluto in ${FOLDERS.join(' or ')}: run \`npm test\` once, as root`);
  const directory = join(rig.directory, `pluto-${host.namespace}`);
  const nss = join(directory, 'nss');
  rmSync(nss, { recursive: true, force: true });
  mkdirSync(nss, { recursive: true });
  await makeNssDatabase(nss, connections.find(({ certificates }) => certificates)?.certificates);
  const file = (name: string) => join(directory, name);
  writeFileSync(file('ipsec.conf'), ipsecConf(host.address, connections));
  writeFileSync(file('ipsec.secrets'), ipsecSecrets(host.address, connections), { mode: 0o600 });
  const words = `--nofork --config ${file('ipsec.conf')} --rundir ${directory} --ipsecdir ${directory} --nssdir ${nss} \
--secretsfile ${file('ipsec.secrets')} --logfile ${file('pluto.log')} --no-dnssec --nhelpers 1`;
  const script = `mount -t tmpfs tmpfs /run && mkdir /run/pluto &&
mount --bind ${folder} /mnt && mount -t tmpfs tmpfs /usr/libexec && mkdir /usr/libexec/ipsec &&
mount --bind /mnt /usr/libexec/ipsec && exec env LD_PRELOAD=${await nullSad(rig)} /usr/libexec/ipsec/pluto ${words}`;
  const running = start(rig, {
    name: `pluto (${host.namespace})`,
    command: 'unshare',
    args: ['--mount', 'sh', '-c', script],
    namespace: host.namespace,
    env: { NULL_SAD_LOG: file('sad.log') },
  });
  const whack = (...args: string[]) =>
    run({ command: join(folder, 'whack'), args: ['--ctlsocket', file('pluto.ctl'), ...args] }, { expect: 'any' });
  const status = async () => (await whack('--status')).stdout.split('\n');
  const log = () => (existsSync(file('pluto.log')) ? readFileSync(file('pluto.log'), 'utf8') : '');
  // It listens once its addconn has told it to, and addconn has then loaded the connections.
  const loaded = `loaded ${connections.flatMap(({ type }) => (type === 'gre' ? [1] : [1, 2])).length},`;
  await running.waitUntil(
    'pluto with its connections',
    async () => (await status()).some((line) => line.includes(`Total IPsec connections: ${loaded}`)),
    15_000,
  );
  return {
    running,
    directory,
    log,
    whack,
    async ikeSas() {
      return (await status()).flatMap((line) => {
        const match = /^000 #(\d+): .* STATE_V2_ESTABLISHED_IKE_SA /.exec(line);
        return match === null ? [] : [Number(match[1])];
      });
    },
    async children() {
      return (await status()).flatMap((line) => {
        const match = /^000 #\d+: "([^"]+)"\S* esp\.([0-9a-f]+)@\S+ esp\.([0-9a-f]+)@/.exec(line);
        if (match === null) return [];
        return [{ name: match[1]!, spiOut: Number.parseInt(match[2]!, 16), spiIn: Number.parseInt(match[3]!, 16) }];
      });
    },
    installedSas: () => readInstalledSas(file('sad.log')),
  };
}
