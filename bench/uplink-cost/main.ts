/**
 * What a packet costs in uplink attach, by who spends it: one TCP stream over a wire-honest veth through Geneve of Open vSwitch's
 * userspace datapath, in the clear and encrypted by ovs-espd, in turn.
 *
 *     node dist/bench/uplink-cost/main.js [--rounds=3] [--seconds=6] [--out=FOLDER]
 *
 * CPU time is the kernel's account of each process at both ends, so what a system call does in the kernel is its caller's. Packets are
 * those on the wire in both directions; each passes either end once.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { processOf, runningAs } from '../../control/doctor/processes.ts';
import { createLan, type Host } from '../../test/rig/namespace.ts';
import { run } from '../../test/rig/process.ts';
import { createRig } from '../../test/rig/rig.ts';
import { wholeNumber } from '../options.ts';
import { ovsUserspace } from '../peers/ovs-userspace.ts';
import { ovsUserspaceEspd } from '../peers/ovs-userspace-espd.ts';
import type { Peer } from '../peers/peer.ts';
import { readEnvironment } from '../report/environment.ts';
import { median } from '../report/statistics.ts';
import { RESULTS, saveJson } from '../report/write.ts';
import { processesIn, processSeconds } from '../traffic/cpu.ts';
import { iperf, parseTcp, tcpWords } from '../traffic/iperf.ts';

const WARM_UP_SECONDS = 1;

interface Sample {
  readonly gigabitsPerSecond: number;
  readonly packets: number;
  /** Microseconds of CPU a packet, both ends together. */
  readonly vswitchd: number;
  readonly espd: number;
  readonly iperf: number;
}

async function packetsOf({ namespace, device }: Host): Promise<number> {
  const { stdout } = await run({ command: 'ip', args: ['-json', '-stats', 'link', 'show', device], namespace });
  const [{ stats64 }] = JSON.parse(stdout) as [{ stats64: Record<'rx' | 'tx', { packets: number }> }];
  return stats64.rx.packets + stats64.tx.packets;
}

async function measure(peer: Peer, seconds: number): Promise<Sample> {
  const rig = createRig();
  try {
    const lan = await createLan(rig, { offloads: false });
    const ends = await peer.start(rig, lan);
    const processes = processesIn([lan.a.namespace, lan.b.namespace]).flatMap((pid) => processOf(pid) ?? []);
    const pidsOf = (program: string) => runningAs(processes, program).map(({ pid }) => pid);
    const [vswitchd, espd] = [pidsOf('ovs-vswitchd'), pidsOf('ovs-espd')];
    const read = async () => ({
      ...{ vswitchd: processSeconds(vswitchd), espd: processSeconds(espd), packets: await packetsOf(lan.a) },
    });
    const before = await read();
    const tcp = parseTcp(await iperf(rig, ends, tcpWords(1, seconds, WARM_UP_SECONDS)));
    const after = await read();
    const packets = after.packets - before.packets;
    const each = (used: number): number => (used / packets) * 1e6;
    return {
      ...{ gigabitsPerSecond: tcp.gigabitsPerSecond, packets, iperf: each(tcp.cpuSeconds) },
      ...{ vswitchd: each(after.vswitchd - before.vswitchd), espd: each(after.espd - before.espd) },
    };
  } finally {
    await rig.close();
  }
}

async function uplinkCostMain(argv: readonly string[]): Promise<void> {
  const options = {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '6' },
    out: { type: 'string', default: RESULTS },
  } as const;
  const { values } = parseArgs({ args: [...argv], options });
  const rounds = wholeNumber('rounds', values.rounds);
  const seconds = wholeNumber('seconds', values.seconds);
  const samples: Record<'plaintext' | 'encrypted', Sample[]> = { plaintext: [], encrypted: [] };
  for (let round = 0; round < rounds; round += 1) {
    samples.plaintext.push(await measure(ovsUserspace, seconds));
    samples.encrypted.push(await measure(ovsUserspaceEspd, seconds));
  }
  process.stdout.write(
    '| | Gbit/s | ovs-vswitchd, µs a packet | ovs-espd | iperf3 |\n| --- | --- | --- | --- | --- |\n',
  );
  for (const [name, own] of Object.entries(samples)) {
    const middle = (key: keyof Sample): string => median(own.map((sample) => sample[key])).toPrecision(3);
    const row = (['gigabitsPerSecond', 'vswitchd', 'espd', 'iperf'] as const).map(middle);
    process.stdout.write(`| ${name} | ${row.join(' | ')} |\n`);
  }
  saveJson(resolve(values.out), 'uplink-cost', { environment: readEnvironment(), seconds, samples });
}

await uplinkCostMain(process.argv.slice(2));
