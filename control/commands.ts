/**
 * The unixctl commands of the daemon: one row each. Adding a command is adding a row.
 *
 * vlog/* and the commands every OVS daemon has (list-commands, version) come from unixctl/. Texts that
 * scripts read keep ovs-monitor-ipsec's form.
 */
import { type CounterReader, DROP_REASONS } from '../dataplane/index.ts';
import type { DesiredState } from './config/desired-state.ts';
import type { IkeRunner } from './ike-runner.ts';
import { connectionsOf, ikeLog, ikeShow } from './ike-show.ts';
import type { StatusModel } from './model/model.ts';
import type { PacketCapture } from './pcap/packet-capture.ts';
import { PCAP_MOST_ARGUMENTS, PCAP_USAGE, readCaptureRequest } from './pcap/pcap-command.ts';
import { readSeconds, STAGES_USAGE, type StageMeasurement } from './stages/stage-measurement.ts';
import { childViews, indexStatus, policyLines, type StatusSources, tunnelViews } from './status.ts';
import { traceCommand } from './trace/trace-command.ts';
import { childLines, ikeLine, tunnelsShow } from './tunnels-show.ts';
import { type Command, CommandError } from './unixctl/command.ts';

/** What the commands may ask of the daemon. */
export interface CommandTarget {
  status(): StatusSources;
  /** The state as one object, also before the database has been read. */
  model(): StatusModel;
  /** These two also before the database has been read. */
  packetCounters(): CounterReader;
  ike(): Pick<IkeRunner, 'status' | 'load' | 'counters' | 'journalOf' | 'now'>;
  observers(): { readonly pcap: PacketCapture; readonly stages: StageMeasurement };
  /** Reconciles everything again and starts what is down. */
  refresh(): void;
  stop(options: { cleanup: boolean; handOver: boolean; why: string }): Promise<void>;
}

/** A command as a row: what it is called, takes and is for, and how the daemon answers it. */
export interface DaemonCommand extends Omit<Command, 'run'> {
  /** One line for docs/reference.md. */
  readonly help: string;
  run(target: CommandTarget, args: readonly string[]): string | Promise<string>;
}

export const DAEMON_COMMANDS: readonly DaemonCommand[] = [
  {
    name: 'tunnels/show',
    usage: '[interface]',
    min: 0,
    max: 1,
    help: 'every tunnel that wants IPsec: configuration as ovs-monitor-ipsec shows it, SA state, last failure, SAs, traffic, drops',
    run: (target, [name]) => showTunnels(target.status(), name),
  },
  {
    name: 'ipsec/status',
    usage: '',
    min: 0,
    max: 0,
    help: 'the IKE SAs, a line each',
    run: (target) => ipsecStatus(target.status()),
  },
  {
    name: 'ike/show',
    usage: '',
    min: 0,
    max: 0,
    help: 'every IKE SA and child SA with SPIs, endpoints, suite, NAT, times and last failure, and how much IKE holds in all',
    run: (target) => ikeShow(target.ike().status(), target.ike().load(), target.ike().now()),
  },
  {
    name: 'ike/log',
    usage: 'peer',
    min: 1,
    max: 1,
    help: 'the last messages with a peer (its address, a tunnel or a connection), every proposal and selector offered and chosen, and why something was refused',
    run: (target, [peer]) => showLog(target, peer!),
  },
  {
    name: 'sas/show',
    usage: '',
    min: 0,
    max: 0,
    help: 'the ESP SAs of every protection, with packets and bytes',
    run: (target) => securityAssociations(target.status()),
  },
  {
    name: 'xfrm/state',
    usage: '',
    min: 0,
    max: 0,
    help: 'the same, under the name that ovs-monitor-ipsec has for it',
    run: (target) => securityAssociations(target.status()),
  },
  {
    name: 'policies/show',
    usage: '',
    min: 0,
    max: 0,
    help: 'the SPD: selectors and state of every protection, and the skb-mark rule',
    run: (target) => policies(target.status()),
  },
  {
    name: 'xfrm/policies',
    usage: '',
    min: 0,
    max: 0,
    help: 'the same, under the name that ovs-monitor-ipsec has for it',
    run: (target) => policies(target.status()),
  },
  {
    name: 'fdb/show',
    usage: 'bridge',
    min: 1,
    max: 1,
    help: 'what a bridge has learned: port, VLAN, MAC, age in seconds',
    run: (target, [name]) => fdb(target.status(), name!),
  },
  {
    name: 'coverage/show',
    usage: '',
    min: 0,
    max: 0,
    help: 'every counter above zero: drops by reason, events of IKE, work of the packet workers',
    run: (target) => coverage(target),
  },
  {
    name: 'status/json',
    usage: '',
    min: 0,
    max: 0,
    help: 'the state as one JSON object, as the live page and `ovs-espd top` show it',
    run: (target) => JSON.stringify(target.model()),
  },
  {
    name: 'trace',
    usage: 'bridge flow [packet] | -in packet',
    min: 2,
    max: 3,
    help: 'what would become of a packet, stage by stage, with sizes and the drop reason; nothing is changed. `flow` as in ofproto/trace, with `in_port` a name, number or LOCAL; `packet` in hexadecimal, with `-in` from its outer IP header on',
    run: (target, args) => traceCommand(target.status(), args),
  },
  {
    name: 'pcap/start',
    usage: PCAP_USAGE,
    min: 1,
    max: PCAP_MOST_ARGUMENTS,
    help: 'writes packets with the reason of their drop as comment to a new pcapng file (mode 0600): `inside` what the switch gets, `outside` what is sent and received, default both; `--drops` only what is dropped; ends at `--size` (100 MB); leaves out what is more than `--rate` a second and worker (10000). Never a key, but `--keylog` writes those of the ESP SAs to a file in the form of Wireshark’s esp_sa',
    run: (target, args) => target.observers().pcap.start(readCaptureRequest(args)),
  },
  {
    name: 'pcap/stop',
    usage: '',
    min: 0,
    max: 0,
    help: 'ends the capture and says what is in the file',
    run: (target) => target.observers().pcap.stop(),
  },
  {
    name: 'stages/show',
    usage: STAGES_USAGE,
    min: 0,
    max: 1,
    help: 'measures for so many seconds (1 to 10, default 1) what each stage of each packet worker costs: packets, nanoseconds and TSC cycles a packet, share of the time; nothing is measured otherwise. Packets that cross a bump (`espd=uplink`, `espd=port`) go through no stages',
    run: (target, [seconds]) => target.observers().stages.run(readSeconds(seconds)),
  },
  {
    name: 'refresh',
    usage: '',
    min: 0,
    max: 0,
    help: 'reconciles with the database again and tries at once what is down',
    run: (target) => {
      target.refresh();
      return '';
    },
  },
  {
    name: 'exit',
    usage: '[--no-cleanup]',
    min: 0,
    max: 1,
    help: 'deletes the SAs at their peers, removes TAPs, flows and rules, replies and ends; with --no-cleanup the TAPs stay, and a daemon started within two minutes goes on with the SAs',
    run: (target, [option]) => exit(target, option),
  },
];

/** The rows as the control socket takes them. */
export function daemonCommands(target: CommandTarget): Command[] {
  return DAEMON_COMMANDS.map((row) => ({ ...row, run: (args) => row.run(target, args) }));
}

function showTunnels(sources: StatusSources, name: string | undefined): string {
  const views = tunnelViews(sources);
  if (name === undefined) return tunnelsShow(views);
  const chosen = views.filter((view) => view.name === name);
  if (chosen.length === 0) throw new CommandError(`no tunnel named ${name} wants IPsec`);
  return tunnelsShow(chosen);
}

/** The reply goes out when devices, rules, flows and sockets are released: what comes next may need them. */
async function exit(target: CommandTarget, option: string | undefined): Promise<string> {
  if (option !== undefined && option !== '--no-cleanup') throw new CommandError(`unrecognized parameter: ${option}`);
  await target.stop({ cleanup: option === undefined, handOver: option !== undefined, why: 'exit' });
  return '';
}

function ipsecStatus(sources: StatusSources): string {
  const lines = tunnelViews(sources).flatMap((view) => view.ike.map((ike) => `${view.name}: ${ikeLine(ike)}`));
  return lines.length === 0 ? 'No IPsec connections are active\n' : `${lines.join('\n')}\n`;
}

function showLog(target: CommandTarget, peer: string): string {
  const ike = target.ike();
  const { plans, desired } = target.status();
  const keyOf = (tunnel: string): string | undefined =>
    desired.tunnels.find(({ name }) => name === tunnel)?.ipsec?.connection;
  const connectionOf = (tunnel: string): string | undefined => {
    const key = keyOf(tunnel);
    return key === undefined
      ? undefined
      : plans.find(({ children }) => children.some((child) => child.key === key))?.connection.name;
  };
  const names = connectionsOf(ike.status(), peer, connectionOf);
  if (names.length === 0)
    throw new CommandError(`no IKE connection of "${peer}": give a peer's address or a tunnel's name`);
  const epochMs = Date.now() - ike.now();
  return names.map((name) => `${name}:\n${ikeLog(ike.journalOf(name), epochMs)}`).join('');
}

function securityAssociations(sources: StatusSources): string {
  const lines: string[] = [];
  const index = indexStatus(sources);
  for (const protection of sources.protections.all()) {
    lines.push(
      `src ${protection.local} dst ${protection.remote} ${protection.type}${protection.port === 0 ? '' : ` port ${protection.port}`}`,
    );
    lines.push(...childViews(protection.id, index).flatMap(childLines));
  }
  return lines.length === 0 ? 'No security associations\n' : `${lines.join('\n')}\n`;
}

function policies(sources: StatusSources): string {
  const { connections, markPolicy } = sources.desired;
  const index = indexStatus(sources);
  const lines = connections.flatMap((connection) => {
    const state = sources.protections.get(connection.key)?.state ?? 'unknown';
    return [`${connection.tunnels.join(', ')}: ${state}`, ...policyLines(connection, index).map((line) => `  ${line}`)];
  });
  const mark =
    markPolicy.drop === undefined
      ? 'unset, no plaintext is dropped for its mark'
      : `plaintext tunnel packets with mark & 0x${markPolicy.drop.mask.toString(16)} == 0x${(markPolicy.drop.value & markPolicy.drop.mask).toString(16)} are dropped`;
  return `${[...lines, `ipsec_skb_mark: ${mark}`].join('\n')}\n`;
}

function fdb(sources: StatusSources, name: string): string {
  const bridge = bridgeId(sources.desired, sources, name);
  const ofports = new Map([...sources.ports.values()].map((port) => [port.id, port.ofport]));
  const rows = sources.engine.fdb().filter((entry) => entry.bridge === bridge);
  const lines = rows.map((entry) => {
    const ofport = ofports.get(entry.port);
    const shown = ofport === 65534 ? 'LOCAL' : String(ofport ?? '?');
    const vlan = String(entry.vlan).padStart(4);
    return `${shown.padStart(5)}  ${vlan}  ${entry.mac}  ${String(Math.round(entry.ageMs / 1000)).padStart(3)}`;
  });
  return `${[' port  VLAN  MAC                Age', ...lines].join('\n')}\n`;
}

function bridgeId(desired: DesiredState, sources: StatusSources, name: string): number {
  const bridge = desired.bridges.find((candidate) => candidate.name === name);
  const id = bridge === undefined ? undefined : sources.bridges.get(bridge.uuid)?.id;
  if (id === undefined) throw new CommandError('no such bridge');
  return id;
}

/** Every counter that is not zero: drops of packets by reason, then events of IKE. */
function coverage(target: CommandTarget): string {
  const counters = target.packetCounters();
  const drops = counters.drops();
  const lines: string[] = ['Packets dropped, by reason:'];
  for (const reason of DROP_REASONS) {
    const count = (drops.get(reason.name) ?? []).reduce((sum, part) => sum + part, 0);
    if (count > 0) lines.push(`  ${reason.name.padEnd(36)} ${String(count).padStart(12)}  ${reason.sentence}`);
  }
  lines.push('IKE:');
  const events = Object.entries(target.ike().counters()).filter(([, count]) => count > 0);
  for (const [name, count] of events.sort(([a], [b]) => (a < b ? -1 : 1))) {
    lines.push(`  ${name.padEnd(36)} ${String(count).padStart(12)}`);
  }
  lines.push('Workers:');
  for (const [index, worker] of counters.workers().entries()) {
    lines.push(
      `  ${index}: ${Object.entries(worker)
        .map(([name, count]) => `${name} ${count}`)
        .join(', ')}`,
    );
  }
  return `${lines.join('\n')}\n`;
}
