/**
 * `npm run faults -- [--minutes=60] [--seed=1]`: transfers through a tunnel over a wire whose faults change all the time, with lifetimes
 * of seconds, so that an hour has the rekeyings of weeks, and the ovsdb-servers of both hosts are killed in turn. Exit 1 if a transfer did not arrive whole, something else than IKE and ESP was sent,
 * or memory or descriptors grew.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { growth } from '../../bench/soak/books.ts';
import { Random } from '../fuzz/random.ts';
import { startOvsdbAgain } from '../rig/ovsdb.ts';
import { residentBytes } from '../rig/resident.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { descriptorsOf, type FaultyPair, startFaultyPair } from './hosts.ts';
import { PROFILES, type Profile } from './profiles.ts';

const BYTES = 2_000_000;
const TYPES = ['gre', 'geneve', 'vxlan', 'stt'] as const;
const LIFETIMES = { ipsec_salifetime: '10s', ipsec_margintime: '3s', ipsec_ikelifetime: '30s' } as const;
/** A peak in the second half that is higher by more than this counts as growth. */
const MOST_GROWTH = 0.05;

interface Sample {
  readonly resident: number;
  readonly descriptors: number;
}

/** As often is one of the two databases killed and started again. */
const DATABASE_MS = 10_000;

const PASSABLE: readonly Profile[] = Object.values(PROFILES).filter(({ name }) => name !== 'storm');

/** What grew between the halves of a run, in words. */
function grownIn(samples: readonly Sample[]): string[] {
  return (['resident', 'descriptors'] as const).flatMap((what) => {
    const share = growth(samples.map((sample) => sample[what]));
    return share > MOST_GROWTH ? [`${what} grew by ${Math.round(100 * share)} % in the second half`] : [];
  });
}

/** Kills databases until it is told to stop; gives how many. */
async function killDatabases(rig: Rig, pair: FaultyPair, over: AbortSignal): Promise<number> {
  const hosts = [pair.a, pair.b].map((host) => ({ ...host, server: host.ovsdb.server }));
  for (let count = 0; ; count++) {
    const pause = await sleep(DATABASE_MS, undefined, { signal: over }).catch(() => 'over');
    if (pause === 'over') return count;
    const host = hosts[count % hosts.length]!;
    await host.server.kill();
    host.server = await startOvsdbAgain(rig, host.host, host.ovsdb);
  }
}

async function round(rig: Rig, pair: FaultyPair, random: Random, label: string): Promise<string> {
  const profile = random.pick(PASSABLE);
  await pair.wire.become(profile);
  const [from, to] = random.once(2) ? [pair.a, pair.b] : [pair.b, pair.a];
  const ends = { from: from.host.namespace, to: { namespace: to.host.namespace, address: to.inner } };
  const { sent, received } = await transfer(rig, ends, BYTES, label);
  if (sent !== received) throw new Error(`${label}, ${profile.name}: sent ${sent}, received ${received}`);
  return profile.name;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { minutes: { type: 'string', default: '60' }, seed: { type: 'string', default: '1' } },
  });
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)];
  if (!(minutes > 0) || !Number.isInteger(seed))
    throw new Error(`--minutes=${values.minutes} --seed=${values.seed}: expected a positive number and a whole number`);
  const random = new Random(seed);
  const type = random.pick(TYPES);
  const rig = createRig();
  const over = new AbortController();
  try {
    const pair = await startFaultyPair(rig, { seed, type, options: LIFETIMES });
    await waitForPing(pair.a.host.namespace, pair.b.inner, 30_000);
    const ends = performance.now() + minutes * 60_000;
    const samples: Sample[] = [];
    const rounds = new Map<string, number>();
    const killed = killDatabases(rig, pair, over.signal);
    // Its error is told where it is awaited.
    killed.catch(() => undefined);
    for (let serial = 1; performance.now() < ends; serial++) {
      const name = await round(rig, pair, random, `${type} transfer ${serial}`);
      rounds.set(name, (rounds.get(name) ?? 0) + 1);
      const pids = [pair.a, pair.b].map(({ espd }) => espd.running.pid);
      samples.push({
        resident: Math.max(...pids.map(residentBytes)),
        descriptors: Math.max(...pids.map(descriptorsOf)),
      });
    }
    over.abort();
    const databases = await killed;
    await pair.wire.become(PROFILES.sound);
    await waitForPing(pair.a.host.namespace, pair.b.inner);
    for (const { sent } of [pair.a, pair.b]) sent.assertOnlyEsp();
    const spis = new Set(pair.a.sent.packets().map(({ spi }) => spi));
    const grown = grownIn(samples);
    process.stdout.write(
      `${type}, seed ${seed}: ${samples.length} transfers of ${BYTES} bytes whole (${[...rounds].map(([name, count]) => `${name} ${count}`).join(', ')}); ` +
        `${spis.size} outbound SAs; ${databases} databases killed; wire ${JSON.stringify(await pair.wire.counts())}\n`,
    );
    for (const line of grown) process.stdout.write(`${line}\n`);
    return grown.length === 0 ? 0 : 1;
  } finally {
    over.abort();
    await rig.close();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`faults: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
