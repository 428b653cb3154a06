/**
 * strongSwan's charon on a host of the rig, configured as ovs-monitor-ipsec configures it (charon-conf.ts), but
 * through swanctl, since Debian's charon-systemd has no starter.
 *
 * What becomes of a negotiated SA is the `kernel`:
 * - `null-sad`  preloads null-sad.c: every SA is "installed", IKE goes to its end, `installedSas` gives SPIs and keys;
 * - `netlink`   the kernel's XFRM, which on a kernel without ESP refuses SAs (see README.md for what charon does then);
 * - `libipsec`  charon's own ESP in userspace: in UDP and in tunnel mode only (libipsec.ts).
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CharonConnection, type CharonKernel, strongswanConf, swanctlConf } from './charon-conf.ts';
import { installCredentials } from './charon-credentials.ts';
import { type IkeSecrets, parseIkeSecrets } from './charon-secrets.ts';
import type { Host } from './namespace.ts';
import { nullSad } from './null-sad.ts';
import { type Outcome, type Running, run, start } from './process.ts';
import type { Rig } from './rig.ts';
import { type InstalledSa, readInstalledSas } from './sad.ts';
import { parseRawEvents, type RawSection, section, text } from './swanctl-raw.ts';

const PROGRAMS = ['/usr/lib/ipsec/charon', '/usr/sbin/charon-systemd'];

export type { CharonConnection } from './charon-conf.ts';

/** A child SA as charon lists it. */
export type CharonChild = {
  readonly name: string;
  readonly state: string;
  readonly mode: string;
  readonly spiIn: number;
  readonly spiOut: number;
  readonly encryption: string;
  /** Empty if the child's keys come without a DH exchange of its own. */
  readonly dhGroup: string;
  readonly esn: boolean;
  readonly udpEncapsulated: boolean;
  readonly localSelectors: readonly string[];
  readonly remoteSelectors: readonly string[];
};

/** An IKE SA as charon lists it. */
export type CharonIke = {
  readonly name: string;
  readonly state: string;
  readonly initiator: boolean;
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly encryption: string;
  readonly prf: string;
  readonly dhGroup: string;
  readonly children: readonly CharonChild[];
};

/** A charon that runs. */
export type Charon = {
  readonly running: Running;
  readonly directory: string;
  log(): string;
  /** Runs swanctl with these words; failure is a result here, with its text. */
  swanctl(...words: string[]): Promise<Outcome>;
  /** Replaces all connections and secrets. */
  configure(connections: readonly CharonConnection[]): Promise<void>;
  /** Negotiates a child (and its IKE SA, if there is none); rejects if it fails, with charon's words. */
  initiate(child: string): Promise<string>;
  /** Rekeys a child, or with `ike` the IKE SA; resolves when a new one is in place. */
  rekey(what: 'child' | 'ike', name: string): Promise<void>;
  /** Deletes an IKE SA and its children. */
  terminate(ike: string): Promise<void>;
  listSas(): Promise<CharonIke[]>;
  /** Resolves with an INSTALLED child of that name. */
  waitForChild(name: string, ms?: number): Promise<CharonChild>;
  /** With `null-sad`: every SA that the kernel would have got, oldest first. */
  installedSas(): InstalledSa[];
  /** With `verbose`: the keys of every IKE SA, in the order in which they were derived. */
  ikeSecrets(): IkeSecrets[];
  stop(): Promise<void>;
};

function toChild(raw: RawSection): CharonChild {
  const selectors = (name: string) => (Array.isArray(raw[name]) ? (raw[name] as string[]) : []);
  return {
    name: text(raw, 'name'),
    state: text(raw, 'state'),
    mode: text(raw, 'mode'),
    spiIn: Number.parseInt(text(raw, 'spi-in') || '0', 16),
    spiOut: Number.parseInt(text(raw, 'spi-out') || '0', 16),
    encryption: [text(raw, 'encr-alg'), text(raw, 'encr-keysize')].filter(Boolean).join('-'),
    dhGroup: text(raw, 'dh-group'),
    esn: text(raw, 'esn') === '1',
    udpEncapsulated: text(raw, 'encap') === 'yes',
    localSelectors: selectors('local-ts'),
    remoteSelectors: selectors('remote-ts'),
  };
}

function toIke([name, raw]: readonly [string, RawSection]): CharonIke {
  const children = Object.values(section(raw, 'child-sas')).map((child) => toChild(child as RawSection));
  return {
    name,
    state: text(raw, 'state'),
    initiator: text(raw, 'initiator') === 'yes',
    initiatorSpi: text(raw, 'initiator-spi'),
    responderSpi: text(raw, 'responder-spi'),
    encryption: [text(raw, 'encr-alg'), text(raw, 'encr-keysize')].filter(Boolean).join('-'),
    prf: text(raw, 'prf-alg'),
    dhGroup: text(raw, 'dh-group'),
    children,
  };
}

/** Starts charon on `host` with the given connections. `verbose` logs the keys, too (test keys only). */
export async function startCharon(
  rig: Rig,
  host: Host,
  connections: readonly CharonConnection[],
  { kernel = 'null-sad', verbose = false }: { kernel?: CharonKernel; verbose?: boolean } = {},
): Promise<Charon> {
  const program = PROGRAMS.find(existsSync);
  if (program === undefined) throw new Error(`no charon here (${PROGRAMS.join(', ')}): install charon-systemd`);
  const directory = join(rig.directory, `charon-${host.namespace}`);
  mkdirSync(directory, { recursive: true });
  const conf = join(directory, 'strongswan.conf');
  const swanctlFile = join(directory, 'swanctl.conf');
  const sadLog = join(directory, 'sad.log');
  writeFileSync(conf, strongswanConf(directory, kernel, verbose));
  const preload = kernel === 'null-sad' ? `LD_PRELOAD=${await nullSad(rig)} ` : '';
  const env = { STRONGSWAN_CONF: conf, NULL_SAD_LOG: sadLog };
  const running = start(rig, {
    name: `charon (${host.namespace})`,
    // A /run of its own, for the pidfile that charon insists on.
    command: 'unshare',
    args: ['--mount', 'sh', '-c', `mount -t tmpfs tmpfs /run && exec env ${preload}${program}`],
    namespace: host.namespace,
    env,
  });
  const swanctl = (...words: string[]) => {
    const [verb = '--stats', ...rest] = words;
    const args = [verb, ...rest, '--uri', `unix://${join(directory, 'vici.sock')}`];
    return run({ name: `swanctl ${words.join(' ')}`, command: 'swanctl', args, env }, { expect: 'any' });
  };
  const listSas = async () => {
    const { stdout } = await swanctl('--list-sas', '--raw');
    return parseRawEvents(stdout, 'list-sa event').flatMap((event) =>
      Object.entries(event).map(([name, raw]) => toIke([name, raw as RawSection])),
    );
  };
  const demand = async (...words: string[]) => {
    const { status, stdout, stderr } = await swanctl(...words);
    if (status !== 0) throw new Error(`swanctl ${words.join(' ')} failed with ${status}\n${stdout}${stderr}`);
    return stdout;
  };
  const charon: Charon = {
    running,
    directory,
    log: () => {
      const path = join(directory, 'charon.log');
      return existsSync(path) ? readFileSync(path, 'utf8') : '';
    },
    swanctl,
    async configure(next) {
      for (const { certificates } of next) if (certificates) installCredentials(directory, certificates);
      writeFileSync(swanctlFile, swanctlConf(host.address, next), { mode: 0o600 });
      await demand('--load-all', '--clear', '--file', swanctlFile);
    },
    initiate: (child) => demand('--initiate', '--child', child, '--timeout', '15'),
    async rekey(what, name) {
      const identity = (sas: readonly CharonIke[]) =>
        what === 'ike'
          ? sas.filter((sa) => sa.name === name && sa.state === 'ESTABLISHED').map((sa) => sa.initiatorSpi)
          : sas
              .flatMap((sa) => sa.children)
              .filter((child) => child.name === name && child.state === 'INSTALLED')
              .map((child) => child.spiIn);
      const before = identity(await listSas());
      await demand('--rekey', `--${what}`, name);
      await running.waitUntil(`a new SA in place of ${name}`, async () =>
        (identity(await listSas()) as unknown[]).some((spi) => !(before as unknown[]).includes(spi)),
      );
    },
    async terminate(ike) {
      await demand('--terminate', '--ike', ike, '--timeout', '10');
    },
    listSas,
    waitForChild: (name, ms) =>
      running.waitUntil(
        `child SA ${name} installed`,
        async () =>
          (await listSas())
            .flatMap((sa) => sa.children)
            .find((child) => child.name === name && child.state === 'INSTALLED'),
        ms,
      ),
    installedSas: () => readInstalledSas(sadLog),
    ikeSecrets: () => parseIkeSecrets(charon.log()),
    stop: () => running.stop(),
  };
  await running.waitUntil('an answer on its vici socket', async () => (await swanctl('--stats')).status === 0);
  await charon.configure(connections);
  return charon;
}
