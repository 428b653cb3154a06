/**
 * The command line: one table of options, from which the parser, `--help` and completion are made.
 *
 * Spelled as the other OVS daemons spell theirs, and taking everything that ovs-monitor-ipsec takes, so
 * that ovs-espd can stand in its place: what only concerns strongSwan or Libreswan is taken and
 * reported as ignored.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { allOffloads, OFFLOADS, type Offloads } from '../dataplane/index.ts';
import { ConfigurationError } from './config/issue.ts';
import { type Directories, defaultDatabase, directoriesOf, inDirectory } from './directories.ts';
import { helpText } from './help.ts';
import { type ListenAddress, parseListenAddress } from './http/listen-address.ts';
import { IGNORED, OPTIONS, type OptionRow } from './options.ts';
import { PROGRAM, VERSION } from './version.ts';

export type AeadBackend = 'native' | 'node' | 'noble';
export type UplinkBackend = 'mmsg' | 'packet' | 'raw-socket';

export interface CommandLine {
  readonly kind: 'run';
  readonly directories: Directories;
  /** `unix:…`, `tcp:…`, `ssl:…` or `file:…`, as spelled; parseRemote checks it. */
  readonly database: string;
  /** Full path, or undefined: no pidfile. */
  readonly pidfile: string | undefined;
  readonly overwritePidfile: boolean;
  readonly detach: boolean;
  readonly monitor: boolean;
  readonly noChdir: boolean;
  /** Full path, or undefined: no log file. */
  readonly logFile: string | undefined;
  /** Directory for keys; undefined: they are written nowhere. */
  readonly keylog: string | undefined;
  /** For Vlog.set, in order; '' is the maximum. */
  readonly verbose: readonly string[];
  /** Full path of the control socket. */
  readonly unixctl: string;
  /** 0: the engine runs on the main thread. Default: one for each processor but one, 1 to 4. */
  readonly workers: number;
  readonly aead: AeadBackend;
  readonly uplinkIo: UplinkBackend;
  readonly offloads: Offloads;
  readonly noCleanup: boolean;
  /** Where Prometheus may ask; undefined: nowhere. */
  readonly metrics: ListenAddress | undefined;
  /** Where the live page is shown; undefined: nowhere. */
  readonly http: ListenAddress | undefined;
  readonly tls: { readonly privateKey?: string; readonly certificate?: string; readonly caCert?: string };
  /** One line for each option that was given and has no effect. */
  readonly ignored: readonly string[];
}

export type ParsedCommandLine =
  /** --help and --version: print it and exit 0. */
  { readonly kind: 'text'; readonly text: string } | CommandLine;

const MOST_WORKERS = 64;

/** @throws ConfigurationError with one line for anything that is not in the table. */
export function parseCommandLine(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): ParsedCommandLine {
  const directories = directoriesOf(environment);
  const { given, positionals } = readOptions(args);
  if (given.has('help')) return { kind: 'text', text: helpText(directories) };
  if (given.has('version')) return { kind: 'text', text: `${PROGRAM} (Open vSwitch) ${VERSION}\n` };
  if (positionals.length > 1) {
    throw fault('DATABASE', positionals.slice(0, 3).join(' '), 'at most one', `see ${PROGRAM} --help`);
  }
  const last = (name: string): string | undefined => given.get(name)?.at(-1);
  const file = (name: string, directory: string, byDefault: string): string | undefined => {
    const value = last(name);
    return value === undefined ? undefined : inDirectory(directory, value === '' ? byDefault : value);
  };
  const tlsFile = (name: string, key: 'privateKey' | 'certificate' | 'caCert') =>
    last(name) === undefined ? {} : { [key]: last(name) };
  return {
    kind: 'run',
    directories,
    database: positionals[0] ?? defaultDatabase(directories),
    pidfile: file('pidfile', directories.run, `${PROGRAM}.pid`),
    overwritePidfile: given.has('overwrite-pidfile'),
    detach: given.has('detach'),
    monitor: given.has('monitor'),
    noChdir: given.has('no-chdir'),
    logFile: file('log-file', directories.log, `${PROGRAM}.log`),
    keylog: file('keylog', directories.log, 'keys'),
    verbose: given.get('verbose') ?? [],
    unixctl: file('unixctl', directories.run, '') ?? `${directories.run}/${PROGRAM}.${process.pid}.ctl`,
    workers: workersOf(last('workers')),
    aead: (last('aead') ?? 'native') as AeadBackend,
    uplinkIo: (last('uplink-io') ?? 'mmsg') as UplinkBackend,
    offloads: offloadsOf(last('offload') ?? 'all'),
    noCleanup: given.has('no-cleanup'),
    metrics: listenOf('--metrics', last('metrics')),
    http: listenOf('--http', last('http')),
    tls: {
      ...tlsFile('private-key', 'privateKey'),
      ...tlsFile('certificate', 'certificate'),
      ...tlsFile('ca-cert', 'caCert'),
    },
    ignored: OPTIONS.filter((row) => row.group === IGNORED && given.has(row.name)).map(
      (row) => `option --${row.name} is ignored: there is no other IKE daemon to control`,
    ),
  };
}

/** Every option given, with its values in order; '' for one without. */
function readOptions(args: readonly string[]): { given: Map<string, string[]>; positionals: string[] } {
  const config = Object.fromEntries(
    OPTIONS.map((row) => [
      row.name,
      {
        type: row.argument === 'required' ? ('string' as const) : ('boolean' as const),
        ...(row.short === undefined ? {} : { short: row.short }),
      },
    ]),
  );
  // parseArgs knows no optional arguments: -vSPEC is spelled out, and tokens are read in place of its values.
  const spelled = args.map((arg) => (/^-v./.test(arg) ? `--verbose=${arg.slice(2)}` : arg));
  const { tokens } = parseArgs({ args: spelled, options: config, strict: false, allowPositionals: true, tokens: true });
  const given = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const row = OPTIONS.find((option) => option.name === token.name);
    if (row === undefined)
      throw fault('option', token.rawName, `one of \`${PROGRAM} --help\``, 'leave it out, or spell it as there');
    given.set(row.name, [...(given.get(row.name) ?? []), argumentOf(row, token.rawName, token.value)]);
  }
  return { given, positionals };
}

function argumentOf(row: OptionRow, rawName: string, value: string | undefined): string {
  const spelling = `spell it ${rawName}${rawName.startsWith('--') ? '=' : ' '}${row.argumentName ?? ''}`;
  if (row.argument === 'none' && value !== undefined) throw fault(rawName, value, 'no argument', `spell it ${rawName}`);
  if (row.argument === 'required' && (value === undefined || value === '')) {
    throw fault(rawName, undefined, 'an argument', spelling);
  }
  if (row.values !== undefined && !row.values.includes(value ?? '')) {
    throw fault(rawName, value, row.values.join(' or '), spelling);
  }
  return value ?? '';
}

function listenOf(option: string, text: string | undefined): ListenAddress | undefined {
  if (text === undefined) return undefined;
  const listen = parseListenAddress(text);
  if (listen === undefined)
    throw fault(
      option,
      text,
      'a port, or an IP address and a port',
      `for instance ${option}=9475 or ${option}=[::1]:9475`,
    );
  return listen;
}

function workersOf(text: string | undefined): number {
  if (text === undefined) return Math.min(4, Math.max(1, availableParallelism() - 1));
  const number = /^\d{1,3}$/.test(text) ? Number(text) : -1;
  if (number < 0 || number > MOST_WORKERS)
    throw fault('--workers', text, `0 to ${MOST_WORKERS}`, 'for instance --workers=2');
  return number;
}

function offloadsOf(text: string): Offloads {
  if (text === 'all' || text === 'none') return allOffloads(text === 'all');
  const words = text.split(',');
  const names: readonly string[] = OFFLOADS.map((row) => row.name);
  const wrong = words.find((word) => !names.includes(word));
  if (wrong !== undefined)
    throw fault('--offload', wrong, `all, none, or some of ${names.join(', ')}`, `for instance --offload=${names[0]}`);
  const chosen = Object.fromEntries(names.map((name) => [name, words.includes(name)]));
  return { ...allOffloads(false), ...chosen };
}

function fault(key: string, value: string | undefined, expected: string, mend: string): ConfigurationError {
  return new ConfigurationError({ subject: PROGRAM, key, value, expected, mend });
}
