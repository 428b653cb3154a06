/** What a result depends on and a reader must know: machine, kernel settings, versions. No names, addresses or paths. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { ROOT } from '../../test/rig/root.ts';

/** The machine and the software of a run. */
export type Environment = {
  /** Start of the run, ISO 8601. */
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly hypervisor: string;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
  /** Git revision, with "+" if files were changed. */
  readonly commit: string;
  /** Load average of one minute at the start. */
  readonly load: number;
  /** Versions of the other programs, by name. */
  readonly programs: Readonly<Record<string, string>>;
  /** Kernel settings that matter to throughput, by name. */
  readonly settings: Readonly<Record<string, string>>;
};

/** How to ask the programs of the contenders and of the traffic for their version. */
const VERSIONS: readonly (readonly [name: string, command: string, args: readonly string[], pattern: RegExp])[] = [
  ['strongSwan', 'swanctl', ['--version'], /strongSwan ([\d.]+)/],
  ['wireguard-go', 'wireguard-go', ['--version'], /v?([\d.]{4,})/],
  ['Open vSwitch', 'ovs-vswitchd', ['--version'], /\) ([\d.]+)/],
  ['iperf3', 'iperf3', ['--version'], /iperf ([\d.]+)/],
  ['iputils ping', 'ping', ['-V'], /(\d{8}|[\d.]{3,})/],
];

const SETTINGS = [
  'net/core/netdev_max_backlog',
  'net/core/rmem_max',
  'net/core/wmem_max',
  'net/ipv4/tcp_rmem',
  'net/ipv4/tcp_wmem',
] as const;

function text(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, 'utf8').trim().replaceAll(/\s+/g, ' ') : undefined;
}

function versionOf(command: string, args: readonly string[], pattern: RegExp): string | undefined {
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  const { stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', env });
  return pattern.exec(`${stdout ?? ''}${stderr ?? ''}`)?.[1];
}

function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: 'pipe' }).trim();
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') ? '+' : '');
  } catch {
    return 'unknown';
  }
}

function hypervisor(): string {
  const flags = text('/proc/cpuinfo') ?? '';
  return / hypervisor /.test(flags) ? 'virtual machine' : 'none';
}

/** Reads it all; takes a few hundred milliseconds. */
export function readEnvironment(): Environment {
  const programs = VERSIONS.flatMap(([name, command, args, pattern]) => {
    const version = versionOf(command, args, pattern);
    return version === undefined ? [] : [[name, version] as const];
  });
  const settings = SETTINGS.flatMap((name) => {
    const value = text(`/proc/sys/${name}`);
    return value === undefined ? [] : [[name.replaceAll('/', '.'), value] as const];
  });
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    hypervisor: hypervisor(),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl ?? 'unknown',
    commit: commit(),
    load: loadavg()[0] ?? 0,
    programs: Object.fromEntries(programs),
    settings: Object.fromEntries(settings),
  };
}

/** One sentence for the head of a page. */
export function environmentLine(environment: Environment): string {
  const { cpu, cores, memoryGiB, hypervisor: guest, kernel, node, openssl, commit: revision } = environment;
  const programs = Object.entries(environment.programs).map(([name, version]) => `${name} ${version}`);
  const machine = `${cores} cores of ${cpu}, ${memoryGiB} GiB${guest === 'none' ? '' : `, ${guest}`}`;
  return [machine, `Linux ${kernel}`, `Node ${node} (OpenSSL ${openssl})`, ...programs, `commit ${revision}`].join(
    '; ',
  );
}
