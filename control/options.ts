/**
 * The options of the command line: one row each, from which the parser, `--help`, the manual page and the completion
 * are made. What they mean is command-line.ts's.
 */
import { OFFLOADS } from '../dataplane/index.ts';
import { PROGRAM } from './version.ts';

export interface OptionRow {
  readonly name: string;
  readonly short?: string;
  /** `none`: a flag. `optional`: only as --name=VALUE. `required`: --name=VALUE or --name VALUE. */
  readonly argument: 'none' | 'optional' | 'required';
  /** What the argument is called in --help. */
  readonly argumentName?: string;
  /** The only values it takes. */
  readonly values?: readonly string[];
  readonly group:
    | 'Daemon'
    | 'Engine'
    | 'Observing'
    | 'Logging'
    | 'PKI (for ssl:)'
    | 'Other'
    | 'Ignored, for ovs-monitor-ipsec';
  readonly help: string;
  /** In --help, where the sentence is too long for a line; '' leaves the row to the manual page. */
  readonly brief?: string;
}

export const IGNORED = 'Ignored, for ovs-monitor-ipsec';

export const OPTIONS: readonly OptionRow[] = [
  {
    name: 'detach',
    argument: 'none',
    group: 'Daemon',
    help: 'run in background once configuration is in force',
  },
  {
    name: 'monitor',
    argument: 'none',
    group: 'Daemon',
    help: 'accepted; leave restarting to the service manager',
    brief: '',
  },
  { name: 'no-chdir', argument: 'none', group: 'Daemon', help: "do not chdir to '/'", brief: '' },
  {
    name: 'pidfile',
    argument: 'optional',
    argumentName: 'FILE',
    group: 'Daemon',
    help: `create pidfile (default: RUNDIR/${PROGRAM}.pid)`,
  },
  {
    name: 'overwrite-pidfile',
    argument: 'none',
    group: 'Daemon',
    help: 'with --pidfile, start even if already running',
  },
  {
    name: 'unixctl',
    argument: 'required',
    argumentName: 'SOCKET',
    group: 'Daemon',
    help: 'override default control socket name',
  },
  { name: 'no-cleanup', argument: 'none', group: 'Daemon', help: 'leave TAP devices and SAs of peers when stopping' },
  {
    name: 'workers',
    argument: 'required',
    argumentName: 'N',
    group: 'Engine',
    help: 'packet workers; 0 runs the engine on the main thread',
    brief: 'packet worker threads; 0: none but the main one',
  },
  {
    name: 'aead',
    argument: 'required',
    argumentName: 'BACKEND',
    values: ['native', 'node', 'noble'],
    group: 'Engine',
    help: 'who encrypts (default: native)',
    brief: 'AEAD (default: native)',
  },
  {
    name: 'uplink-io',
    argument: 'required',
    argumentName: 'BACKEND',
    values: ['mmsg', 'packet', 'raw-socket'],
    group: 'Engine',
    help: 'how packets leave and come (default: mmsg)',
    brief: 'I/O (default: mmsg)',
  },
  {
    name: 'offload',
    argument: 'required',
    argumentName: 'NAME,...',
    group: 'Engine',
    help: `offloads: all (default), none, some of ${OFFLOADS.map((row) => row.name).join(', ')}`,
    brief: 'which offloads to use: all, none, or a list',
  },
  {
    name: 'metrics',
    argument: 'required',
    argumentName: '[ADDR:]PORT',
    group: 'Observing',
    help: 'metrics for Prometheus (ADDR default: 127.0.0.1)',
  },
  {
    name: 'http',
    argument: 'required',
    argumentName: '[ADDR:]PORT',
    group: 'Observing',
    help: 'live page, read only (ADDR default: 127.0.0.1)',
  },
  {
    name: 'keylog',
    argument: 'required',
    argumentName: 'DIR',
    group: 'Logging',
    help: 'write all keys to DIR for Wireshark: they open all traffic',
    brief: 'write ALL KEYS to DIR for Wireshark',
  },
  {
    name: 'log-file',
    argument: 'optional',
    argumentName: 'FILE',
    group: 'Logging',
    help: `enable logging to FILE (default: LOGDIR/${PROGRAM}.log)`,
    brief: `log to FILE (default: LOGDIR/${PROGRAM}.log)`,
  },
  {
    name: 'verbose',
    short: 'v',
    argument: 'optional',
    argumentName: 'SPEC',
    group: 'Logging',
    help: 'set logging levels; without SPEC the maximum',
  },
  {
    name: 'private-key',
    short: 'p',
    argument: 'required',
    argumentName: 'FILE',
    group: 'PKI (for ssl:)',
    help: 'file with private key',
  },
  {
    name: 'certificate',
    short: 'c',
    argument: 'required',
    argumentName: 'FILE',
    group: 'PKI (for ssl:)',
    help: 'file with certificate for private key',
  },
  {
    name: 'ca-cert',
    short: 'C',
    argument: 'required',
    argumentName: 'FILE',
    group: 'PKI (for ssl:)',
    help: 'file with peer CA certificate',
  },
  { name: 'help', short: 'h', argument: 'none', group: 'Other', help: 'display this help message' },
  { name: 'version', short: 'V', argument: 'none', group: 'Other', help: 'display version information' },
  {
    name: 'root-prefix',
    argument: 'required',
    argumentName: 'DIR',
    group: IGNORED,
    help: 'prefix of the files of the IKE daemon',
  },
  { name: 'ike-daemon', argument: 'required', argumentName: 'NAME', group: IGNORED, help: 'strongswan or libreswan' },
  { name: 'no-restart-ike-daemon', argument: 'none', group: IGNORED, help: 'do not restart the IKE daemon' },
  {
    name: 'ipsec-conf',
    argument: 'required',
    argumentName: 'FILE',
    group: IGNORED,
    help: 'configuration of Libreswan',
  },
  {
    name: 'root-ipsec-conf',
    argument: 'required',
    argumentName: 'FILE',
    group: IGNORED,
    help: 'main configuration of Libreswan',
  },
  { name: 'ipsec-d', argument: 'required', argumentName: 'DIR', group: IGNORED, help: 'NSS database of Libreswan' },
  { name: 'ipsec-secrets', argument: 'required', argumentName: 'FILE', group: IGNORED, help: 'secrets of Libreswan' },
  {
    name: 'ipsec-ctl',
    argument: 'required',
    argumentName: 'FILE',
    group: IGNORED,
    help: 'control socket of Libreswan',
  },
  {
    name: 'command-timeout',
    argument: 'required',
    argumentName: 'SECONDS',
    group: IGNORED,
    help: 'time for commands of the IKE daemon',
  },
  { name: 'use-default-crypto', argument: 'none', group: IGNORED, help: 'proposals of the IKE daemon' },
];
