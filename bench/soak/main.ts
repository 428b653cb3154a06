/**
 * Steady load for a while: does the memory of the daemons stay flat, and is every packet that did not arrive explained by
 * a counter?
 *
 *     node dist/bench/soak/main.js [--minutes=10] [--megabits=200] [--type=geneve] [--workers=1] [--out=FOLDER]
 *
 * Exit status 1 if memory grew by more than 5 % in the second half, or a packet vanished without a counter.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Espd, fileConfig, startEspd, type TunnelSpec } from '../../test/rig/espd.ts';
import { createLan, type Host, ip } from '../../test/rig/namespace.ts';
import { residentBytes } from '../../test/rig/resident.ts';
import { canMakeNamespaces, createRig, type Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import { positive, wholeNumber } from '../options.ts';
import { startProgress } from '../progress.ts';
import { readEnvironment } from '../report/environment.ts';
import { markdownTable } from '../report/markdown.ts';
import { RESULTS, writeReport } from '../report/write.ts';
import { iperf, parseUdp, udpWords } from '../traffic/iperf.ts';
import { balances, type HostBooks, parseCoverage, parseLink, parseRawDrops, parseUdpDrops, since } from './books.ts';
import { type MemorySample, memoryGrew, soakPage, vanished } from './report.ts';

const TYPES = ['gre', 'geneve', 'vxlan', 'stt'] as const;
const BRIDGE = 'br-ipsec';
const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;
const SIZE = 1350;
const SAMPLE_SECONDS = 2;
/** After the load, until what is under way has arrived. */
const REST_MS = 1500;

const OPTIONS = {
  minutes: { type: 'string', default: '10' },
  megabits: { type: 'string', default: '200' },
  type: { type: 'string', default: 'geneve' },
  workers: { type: 'string', default: '1' },
  out: { type: 'string', default: RESULTS },
} as const;

type Side = { readonly host: Host; readonly daemon: Espd };

async function startSide(
  rig: Rig,
  label: 'a' | 'b',
  host: Host,
  peer: Host,
  type: TunnelSpec['type'],
  workers: number,
) {
  const options = { local_ip: host.address, remote_ip: peer.address, psk: 'swordfish' };
  const config = fileConfig(BRIDGE, [{ name: 'tun', type, options }]);
  const daemon = await startEspd(rig, host, { config, args: [`--workers=${workers}`] });
  await ip(host.namespace, 'address', 'add', `${INNER[label]}/24`, 'dev', BRIDGE);
  await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
  return { host, daemon };
}

async function booksOf({ host, daemon }: Side): Promise<HostBooks> {
  const coverage = parseCoverage(await daemon.appctl('coverage/show'));
  const link = await ip(host.namespace, '-s', '-j', 'link', 'show', BRIDGE);
  const raw = await host.exec('cat', ['/proc/net/raw', '/proc/net/raw6']);
  const snmp = await host.exec('cat', ['/proc/net/snmp']);
  const sockets = { socketDropped: parseRawDrops(raw.stdout), udpDropped: parseUdpDrops(snmp.stdout) };
  return { daemon: coverage, kernel: { ...parseLink(link.stdout), ...sockets } };
}

const rest = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function soakMain(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...argv], options: OPTIONS });
  const seconds = Math.round(60 * positive('minutes', values.minutes));
  const megabits = positive('megabits', values.megabits);
  const workers = wholeNumber('workers', values.workers);
  const type = TYPES.find((known) => known === values.type);
  if (type === undefined) throw new Error(`--type=${values.type}: expected ${TYPES.join(', ')}`);
  if (!canMakeNamespaces()) throw new Error('network namespaces need root: run this benchmark as root');
  const environment = readEnvironment();
  const rig = createRig();
  try {
    const lan = await createLan(rig, { offloads: false });
    const sides = await Promise.all([
      startSide(rig, 'a', lan.a, lan.b, type, workers),
      startSide(rig, 'b', lan.b, lan.a, type, workers),
    ]);
    for (const { daemon } of sides) await daemon.waitForTunnel('tun');
    await waitForPing(lan.a.namespace, INNER.b);
    await rest(REST_MS);
    const before = await Promise.all(sides.map(booksOf));
    const progress = startProgress(Math.ceil(seconds / SAMPLE_SECONDS) + 1);
    const client = { namespace: lan.a.namespace, address: INNER.a };
    const ends = { client, server: { namespace: lan.b.namespace, address: INNER.b } };
    let over = false;
    const load = iperf(rig, ends, udpWords(SIZE, seconds, megabits * 1e6)).finally(() => {
      over = true;
    });
    // Its failure is met below, where it is awaited.
    load.catch(() => undefined);
    const memory: MemorySample[] = [];
    const began = performance.now();
    while (!over) {
      await rest(SAMPLE_SECONDS * 1000);
      const [a, b] = sides.map(({ daemon: { running } }) => residentBytes(running.pid));
      const sample = { seconds: (performance.now() - began) / 1000, a: a!, b: b! };
      memory.push(sample);
      progress.step(`resident: ${Math.round(sample.a / 2 ** 20)} and ${Math.round(sample.b / 2 ** 20)} MB`);
    }
    progress.end();
    const traffic = parseUdp(await load);
    await rest(REST_MS);
    const after = await Promise.all(sides.map(booksOf));
    const [a, b] = after.map((books, side) => since(before[side]!, books)) as [HostBooks, HostBooks];
    const command = ['npm run bench -- soak', ...argv.filter((word) => !word.startsWith('--out'))].join(' ');
    const what = `${type} in raw ESP, ${workers} packet worker${workers === 1 ? '' : 's'}`;
    const carried = { seconds, megabits, size: SIZE, loss: traffic.loss, kilopackets: traffic.kilopacketsPerSecond };
    const data = { environment, command, what, load: carried, memory, a, b, balances: balances(a, b) };
    const page = soakPage(data);
    for (const { table } of page.sections) if (table !== undefined) process.stdout.write(`\n${markdownTable(table)}\n`);
    process.stdout.write(`\nWritten: ${writeReport(resolve(values.out), 'soak', data, page).join(', ')}\n`);
    if (memoryGrew(data) || vanished(data)) process.exitCode = 1;
  } finally {
    await rig.close();
  }
}

try {
  await soakMain(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`soak: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
