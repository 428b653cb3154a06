/**
 * Builds every contender once, each in two namespaces and on a veth of its own, and then measures the blocks of the plan
 * on what stands: contenders that are not their turn are idle. Before anything is measured a capture proves that on the
 * underlay of each is what it claims to be.
 */
import { startCapture } from '../../test/rig/capture.ts';
import { createLan, type Lan, setOffloads } from '../../test/rig/namespace.ts';
import { createRig, missingPrograms, type Rig } from '../../test/rig/rig.ts';
import { ping } from '../../test/rig/traffic.ts';
import type { Peer, TunnelEnds } from '../peers/peer.ts';
import type { Progress } from '../progress.ts';
import { backgroundLoad, processesIn, withCpuUse } from '../traffic/cpu.ts';
import type { Block, Cell } from './lineup.ts';
import type { Column, Results } from './results.ts';

/** A sample that lost more of its time to the hypervisor than this is thrown away. */
const MOST_STEAL = 0.01;
const BACKGROUND_MS = 300;
/** Contenders that are built at the same time; what they wait for is mostly each other's answers. */
const BUILDERS = 3;
/** A contender that failed this often is not asked again. */
const MOST_FAILURES = 2;

type Standing = {
  readonly peer: Peer;
  readonly rig: Rig;
  readonly lan: Lan;
  readonly ends: TunnelEnds;
  readonly pids: readonly number[];
  column: Column;
  failures: number;
};

/** The first line of an error: what the report says. */
const firstLine = (error: unknown) => (error as Error).message.split('\n')[0] ?? '';

/** Pings through the tunnel and looks at the wire meanwhile. @throws if something else is there than the peer says. */
async function proveWire({ wire }: Peer, rig: Rig, lan: Lan, { client, server }: TunnelEnds): Promise<void> {
  const capture = await startCapture(rig, lan.a);
  const { received } = await ping(client.namespace, server.address, { from: client.address });
  await capture.stop();
  const counts = capture.counts();
  if (received === 0) throw new Error('no ping came back');
  if (counts[wire] === undefined)
    throw new Error(`the wire shows ${JSON.stringify(counts)} where ${wire} was expected`);
  if (wire === 'esp' || wire === 'esp-in-udp') capture.assertOnlyEsp();
}

async function stand(peer: Peer): Promise<Standing> {
  const missing = missingPrograms(...peer.programs);
  if (missing.length > 0) throw new Error(`needs ${missing.join(', ')}`);
  const rig = createRig();
  try {
    const lan = await createLan(rig, { mtu: 1500 });
    const ends = await peer.start(rig, lan);
    await proveWire(peer, rig, lan, ends);
    const pids = processesIn([lan.a.namespace, lan.b.namespace]);
    return { peer, rig, lan, ends, pids, column: 'offload', failures: 0 };
  } catch (error) {
    await rig.close();
    throw error;
  }
}

async function setColumn(standing: Standing, column: Column): Promise<void> {
  if (standing.column === column) return;
  for (const host of [standing.lan.a, standing.lan.b]) await setOffloads(host, column === 'offload');
  standing.column = column;
}

/** The measured runs of a plan. */
export type SessionOptions = {
  /** Told apart from other sessions in the same results. */
  readonly session: string;
  readonly seconds: number;
  /** Called after every block. */
  readonly save: () => void;
  readonly progress: Progress;
};

/** Measures all blocks into `results`. What fails is listed there, and the others go on. */
export async function runSession(
  blocks: readonly Block[],
  results: Results,
  { session, seconds, save, progress }: SessionOptions,
): Promise<void> {
  const wanted = [...new Set(blocks.flatMap(({ cells }) => cells.map(({ peer }) => peer)))];
  const standing = new Map<string, Standing>();
  const skip = (contender: string, measurement: string | undefined, reason: string) => {
    if (!results.skipped.some((one) => one.contender === contender && one.measurement === measurement))
      results.skipped.push({ contender, measurement, reason });
    progress.note(`skipped: ${contender}${measurement === undefined ? '' : `, ${measurement}`}: ${reason}`);
  };
  const measure = async (one: Standing, { measurement, column }: Cell, block: string): Promise<string> => {
    await setColumn(one, column);
    const { value: reading, cpu } = await withCpuUse(one.pids, () => measurement.run(one.rig, one.ends, seconds));
    if (cpu.steal > MOST_STEAL) {
      results.discarded += 1;
      return `thrown away: the hypervisor took ${(cpu.steal * 100).toFixed(1)} %`;
    }
    const { value, values, bits, generatorCpu } = reading;
    // Of the processes, not of the machine: what else ran meanwhile is not the tunnel's cost.
    const spent = cpu.endpoints + generatorCpu;
    const efficiency = bits > 0 && spent > 0 ? { gigabitsPerCpuSecond: bits / 1e9 / spent } : {};
    results.samples.push({
      contender: one.peer.name,
      measurement: measurement.id,
      column,
      block: `${session}/${block}`,
      value,
      values: { ...values, ...efficiency, generatorCpu },
      cpu,
      at: Date.now(),
    });
    return `${value.toPrecision(3)} ${measurement.unit}`;
  };
  try {
    const waiting = [...wanted];
    const standNext = async () => {
      for (let peer = waiting.shift(); peer !== undefined; peer = waiting.shift()) {
        try {
          standing.set(peer.name, await stand(peer));
          progress.step(`${peer.name} stands`);
        } catch (error) {
          skip(peer.name, undefined, firstLine(error));
          progress.step(`${peer.name} left out`);
        }
      }
    };
    await Promise.all(Array.from({ length: BUILDERS }, standNext));
    for (const { name, cells } of blocks) {
      results.background.push(await backgroundLoad(BACKGROUND_MS));
      for (const cell of cells) {
        const one = standing.get(cell.peer.name);
        const label = `${cell.column}, ${cell.measurement.id}, ${cell.peer.name}`;
        if (one === undefined || one.failures >= MOST_FAILURES) {
          progress.step(`${label}: left out`);
          continue;
        }
        try {
          progress.step(`${label}: ${await measure(one, cell, name)}`);
        } catch (error) {
          one.failures += 1;
          skip(cell.peer.name, cell.measurement.id, firstLine(error));
          progress.step(`${label}: failed`);
        }
      }
      save();
    }
  } finally {
    for (const { rig } of standing.values()) await rig.close();
  }
}
