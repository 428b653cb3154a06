/**
 * `npm start`: the OVS IPsec tutorial on two hosts, live, on one machine.
 *
 * Two network namespaces joined by a veth are the hosts; each runs its own ovs-espd from a config file. Shows the
 * negotiation as it is logged, tunnels/show, a ping through the tunnel, what a wiretap on the veth saw, and a short
 * throughput run; then removes everything, also on Ctrl-C. Exit status 0 only if the ping came through and the
 * wiretap saw nothing but IKE, ESP and ARP.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { callUnixctl } from '../../control/unixctl/client.ts';
import { fileConfig } from '../../test/rig/espd.ts';
import { createLan, type Host } from '../../test/rig/namespace.ts';
import { ovsEnvironment } from '../../test/rig/ovsdb.ts';
import { type Running, run, start, until } from '../../test/rig/process.ts';
import { createRig, missingPrograms, type Rig } from '../../test/rig/rig.ts';
import { ROOT } from '../../test/rig/root.ts';
import { measureThroughput } from '../../test/rig/traffic.ts';
import { bad, command, good, heading, print, withProgress } from './terminal.ts';
import type { TappedFrame } from './wiretap.ts';

const TYPES = ['gre', 'geneve', 'vxlan'] as const;
type TunnelType = (typeof TYPES)[number];

const BRIDGE = 'br-ipsec';
/** The tutorial's own secret. */
const PSK = 'swordfish';
const INNER = { a: '192.0.0.1', b: '192.0.0.2' } as const;
/** What may be on the wire beside ESP: negotiation, and what hosts say of themselves (a port not open yet, neighbours). */
const INNOCENT = ['esp', 'ike', 'arp', 'icmp', 'icmpv6'];
const FRAMES_SHOWN = 14;

interface DemoHost {
  readonly label: 'a' | 'b';
  readonly host: Host;
  readonly directory: string;
  readonly daemon: Running;
  readonly tap: Running;
}

async function startHost(rig: Rig, label: 'a' | 'b', host: Host, peer: Host, type: TunnelType): Promise<DemoHost> {
  const directory = join(rig.directory, label);
  mkdirSync(directory, { recursive: true });
  const options = { local_ip: host.address, remote_ip: peer.address, psk: PSK };
  const config = join(directory, 'config.json');
  writeFileSync(config, fileConfig(BRIDGE, [{ name: 'tun', type, options }]), { mode: 0o600 });
  const script = fileURLToPath(new URL('wiretap.js', import.meta.url));
  const tap = start(rig, {
    name: `wiretap ${label}`,
    command: process.execPath,
    args: [script, host.device],
    namespace: host.namespace,
  });
  await tap.waitForOutput(/^listening$/m);
  command(`host ${label}: ovs-espd --pidfile file:config.json`);
  const daemon = start(rig, {
    name: `ovs-espd ${label}`,
    command: process.execPath,
    args: [join(ROOT, 'bin/ovs-espd'), '--pidfile', '--workers=1', `file:${config}`],
    namespace: host.namespace,
    env: ovsEnvironment(directory),
  });
  return { label, host, directory, daemon, tap };
}

/** Asks a daemon as `ovs-appctl -t ovs-espd` would. `ip netns exec` became the daemon, so the pid is the started one's. */
async function ask({ directory, daemon }: DemoHost, name: string, ...words: string[]): Promise<string> {
  const reply = await callUnixctl(join(directory, `ovs-espd.${daemon.pid}.ctl`), name, words);
  if (!reply.ok) throw new Error(`${name}: ${reply.text}`);
  return reply.text;
}

function frames(tap: Running): TappedFrame[] {
  const lines = tap.stdout().split('\n').slice(1, -1);
  return lines.map((line) => JSON.parse(line) as TappedFrame);
}

function describeFrame({ kind, source, destination, spi, sequence, length, payload }: TappedFrame): string {
  const name = { esp: 'ESP', ike: 'ISAKMP', arp: 'ARP' }[kind as string] ?? kind.toUpperCase();
  const detail = kind === 'esp' ? `spi 0x${spi.toString(16).padStart(8, '0')} seq ${sequence}` : '';
  return `${source.padEnd(10)} > ${destination.padEnd(10)} ${name.padEnd(7)} ${String(length).padStart(4)} bytes  ${detail.padEnd(28)} ${payload}`;
}

/** The log lines of both daemons that tell of the negotiation, in the order they were written. */
function negotiation(hosts: readonly DemoHost[]): string {
  return hosts
    .flatMap(({ label, daemon }) =>
      daemon
        .output()
        .split('\n')
        .map((line) => ({ label, line })),
    )
    .filter(({ line }) => /\|(ike|sa|reconcile|bridge)\|/.test(line))
    .sort((x, y) => (x.line.slice(0, 20) < y.line.slice(0, 20) ? -1 : 1))
    .map(({ label, line }) => `${label}| ${line}`)
    .join('\n');
}

async function showWire(hosts: readonly DemoHost[]): Promise<boolean> {
  const seen = hosts.flatMap(({ tap }) => frames(tap));
  for (const frame of hosts[0]!.tap === undefined ? [] : frames(hosts[0]!.tap).slice(0, FRAMES_SHOWN))
    print(describeFrame(frame));
  const counts = new Map<string, number>();
  for (const { kind } of seen) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const tally = [...counts].map(([kind, count]) => `${kind} ${count}`).join(', ');
  const leaked = seen.filter(({ kind }) => !INNOCENT.includes(kind));
  if (leaked.length === 0 && (counts.get('esp') ?? 0) > 0)
    good(`on the wire: ${tally}; not one plaintext tunnel packet`);
  else bad(`on the wire: ${tally}; plaintext: ${leaked.map(describeFrame).join('; ') || 'none, but no ESP either'}`);
  return leaked.length === 0 && (counts.get('esp') ?? 0) > 0;
}

async function demonstrate(rig: Rig, type: TunnelType, seconds: number): Promise<boolean> {
  heading(`Two hosts on one veth, a ${type} tunnel between them, no ESP in the kernel`);
  const lan = await createLan(rig);
  print(`host a ${lan.a.address} ── veth, MTU 1500 ── ${lan.b.address} host b`);
  const hosts = [await startHost(rig, 'a', lan.a, lan.b, type), await startHost(rig, 'b', lan.b, lan.a, type)] as const;
  print(
    `the same as: ovs-vsctl add-br ${BRIDGE} -- add-port ${BRIDGE} tun -- set interface tun type=${type} \\\n  options:local_ip=${lan.a.address} options:remote_ip=${lan.b.address} options:psk=${PSK}`,
  );

  heading('IKEv2');
  const up = async (host: DemoHost) => /SA state: +up/.test(await ask(host, 'tunnels/show'));
  await until('both tunnels up', async () => (await up(hosts[0])) && (await up(hosts[1])), 20_000);
  print(negotiation(hosts), '');

  heading('Status');
  command('ovs-appctl -t ovs-espd tunnels/show   (host a)');
  print(await ask(hosts[0], 'tunnels/show'));

  heading('Ping through the tunnel');
  for (const { label, host } of hosts) {
    command(`host ${label}: ip addr add ${INNER[label]}/24 dev ${BRIDGE}; ip link set ${BRIDGE} up`);
    await run({ command: 'ip', args: ['-n', host.namespace, 'addr', 'add', `${INNER[label]}/24`, 'dev', BRIDGE] });
    await run({ command: 'ip', args: ['-n', host.namespace, 'link', 'set', BRIDGE, 'up'] });
  }
  command(`host a: ping -c 5 ${INNER.b}`);
  const ping = await run(
    { command: 'ping', args: ['-n', '-c', '5', '-i', '0.2', '-W', '2', INNER.b], namespace: lan.a.namespace },
    { expect: 'any' },
  );
  print(ping.stdout);

  heading('What a wiretap on the veth saw');
  const clean = await showWire(hosts);
  for (const { tap } of hosts) await tap.stop();

  heading('Throughput, one TCP stream through the tunnel');
  if (missingPrograms('iperf3').length > 0) print('skipped: iperf3 is not installed');
  else {
    const work = measureThroughput(rig, {
      server: { namespace: lan.b.namespace, address: INNER.b },
      client: { namespace: lan.a.namespace },
      seconds,
    });
    const { gigabitsPerSecond } = await withProgress('iperf3', seconds + 1, work);
    good(`${gigabitsPerSecond.toFixed(2)} Gbit/s of TCP payload, AES-256-GCM, both hosts on this one machine`);
  }
  return clean && ping.status === 0;
}

/** One line for each thing without which there is nothing to show. */
function obstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root, to make network namespaces and TAP devices: run it with sudo';
  if (!existsSync('/dev/net/tun')) return '/dev/net/tun is missing: `modprobe tun`, or give the container the device';
  const missing = missingPrograms('ip', 'ping');
  return missing.length === 0
    ? undefined
    : `missing: ${missing.join(', ')} (Debian: apt-get install iproute2 iputils-ping)`;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { type: { type: 'string', default: 'geneve' }, seconds: { type: 'string', default: '5' } },
  });
  const type = TYPES.find((name) => name === values.type);
  const seconds = Number(values.seconds);
  if (type === undefined) throw new Error(`--type=${values.type}: expected one of ${TYPES.join(', ')}`);
  if (!(seconds >= 1 && seconds <= 600)) throw new Error(`--seconds=${values.seconds}: expected 1 to 600`);
  const reason = obstacle();
  if (reason !== undefined) throw new Error(reason);
  const rig = createRig();
  try {
    const worked = await demonstrate(rig, type, seconds);
    heading('Cleaning up');
    return worked ? 0 : 1;
  } finally {
    await rig.close();
    good('namespaces, devices and daemons are gone');
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`npm start: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
