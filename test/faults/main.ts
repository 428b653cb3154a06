/**
 * `npm run faults -- [--minutes=60] [--seed=1]`: transfers through a tunnel over a wire whose faults change all the time, with lifetimes
 * of seconds, so that an hour has the rekeyings of weeks. Exit 1 if a transfer did not arrive whole, something else than IKE and ESP was sent,
 * or memory or descriptors grew.
 */
import { parseArgs } from 'node:util';
import { Random } from '../fuzz/random.ts';
import { createRig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { descriptorsOf, type FaultyPair, residentOf, startFaultyPair } from './hosts.ts';
import { PROFILES, type Profile } from './profiles.ts';

const BYTES = 2_000_000;
const TYPES = ['gre', 'geneve', 'vxlan', 'stt'] as const;
const LIFETIMES = { ipsec_salifetime: '10s', ipsec_margintime: '3s', ipsec_ikelifetime: '30s' } as const;
/** Growth of the median of the second half over that of the first that is called growth. */
const MOST_GROWTH = 1.1;

interface Sample {
  readonly resident: number;
  readonly descriptors: number;
}

const PASSABLE: readonly Profile[] = Object.values(PROFILES).filter(({ name }) => name !== 'storm');

function median(values: readonly number[]): number {
  return [...values].sort((x, y) => x - y)[Math.floor(values.length / 2)] ?? 0;
}

/** What grew between the halves of a run, in words. */
function growth(samples: readonly Sample[]): string[] {
  const half = Math.floor(samples.length / 2);
  return (['resident', 'descriptors'] as const).flatMap((what) => {
    const [first, second] = [samples.slice(0, half), samples.slice(half)].map((part) =>
      median(part.map((sample) => sample[what])),
    );
    return second! > first! * MOST_GROWTH ? [`${what} grew from ${first} to ${second}`] : [];
  });
}

async function round(
  rig: Parameters<typeof transfer>[0],
  pair: FaultyPair,
  random: Random,
  label: string,
): Promise<string> {
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
  try {
    const pair = await startFaultyPair(rig, { seed, type, options: LIFETIMES });
    await waitForPing(pair.a.host.namespace, pair.b.inner, 30_000);
    const ends = performance.now() + minutes * 60_000;
    const samples: Sample[] = [];
    const rounds = new Map<string, number>();
    for (let serial = 1; performance.now() < ends; serial++) {
      const name = await round(rig, pair, random, `${type} transfer ${serial}`);
      rounds.set(name, (rounds.get(name) ?? 0) + 1);
      const pids = [pair.a, pair.b].map(({ espd }) => espd.running.pid);
      samples.push({
        resident: Math.max(...pids.map(residentOf)),
        descriptors: Math.max(...pids.map(descriptorsOf)),
      });
    }
    await pair.wire.become(PROFILES.sound);
    await waitForPing(pair.a.host.namespace, pair.b.inner);
    for (const { sent } of [pair.a, pair.b]) sent.assertOnlyEsp();
    const spis = new Set(pair.a.sent.packets().map(({ spi }) => spi));
    const grown = growth(samples);
    process.stdout.write(
      `${type}, seed ${seed}: ${samples.length} transfers of ${BYTES} bytes whole (${[...rounds].map(([name, count]) => `${name} ${count}`).join(', ')}); ` +
        `${spis.size} outbound SAs; wire ${JSON.stringify(await pair.wire.counts())}\n`,
    );
    for (const line of grown) process.stdout.write(`${line}\n`);
    return grown.length === 0 ? 0 : 1;
  } finally {
    await rig.close();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`faults: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
