/**
 * The daemon with many tunnels configured: what one tunnel carries beside all the others, and resident memory. The others
 * want IPsec with peers that never answer: first in the minutes after the start, when IKE begins with all of them at once, then
 * when each has been given up once and they are asked again from time to time.
 */
import { type Espd, startEspd, type TunnelSpec } from '../../test/rig/espd.ts';
import { createLan, ip, type Lan } from '../../test/rig/namespace.ts';
import { residentBytes } from '../../test/rig/resident.ts';
import { createRig, type Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { TunnelEnds } from '../peers/peer.ts';
import { type Blocked, type Estimate, estimate, ratio } from '../report/statistics.ts';
import { iperf, parseTcp, tcpWords } from '../traffic/iperf.ts';

/** The same stream beside all the others. */
export type Beside = {
  readonly rate: Estimate;
  /** Of alone, in the same rounds. */
  readonly ratio: Estimate | undefined;
};

/** What was found. */
export type DaemonPoint = {
  readonly tunnels: number;
  /** Gbit/s of one TCP stream through one tunnel, wire-honest. */
  readonly alone: Estimate;
  readonly starting: Beside;
  readonly settled: Beside;
  /** Resident memory of the daemon, bytes. */
  readonly residentAlone: number;
  readonly residentAmongAll: number;
  /** From the start of the daemon until the last tunnel was added. */
  readonly setUpSeconds: number;
};

const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;
const SILENT_NET = '10.64.0.0/10';
/** How long the real tunnel has to come up: it waits its turn among the others. */
const ANSWER_MS = 15_000;
/** Until a silent peer is given up (165 s after it was asked first), and then some. */
const GIVEN_UP_MS = 300_000;

const tunnel = (name: string, local: string, remote: string): TunnelSpec => ({
  name,
  type: 'geneve',
  options: { local_ip: local, remote_ip: remote, psk: 'swordfish' },
});

/** A `file:` database with the one real tunnel on br-ipsec and the silent ones on br-many, where no frame ever goes. */
function configuration(local: string, remote: string, silent: number): string {
  const silentOnes = Array.from({ length: silent }, (_, index) => {
    const address = `10.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
    return tunnel(`t${index}`, local, address);
  });
  const bridges = [{ name: 'br-ipsec', ports: ['tun'] }];
  if (silent > 0) bridges.push({ name: 'br-many', ports: silentOnes.map(({ name }) => name) });
  return JSON.stringify({ Bridge: bridges, Interface: [tunnel('tun', local, remote), ...silentOnes] });
}

type Standing = { readonly rig: Rig; readonly ends: TunnelEnds; readonly daemon: Espd; readonly setUpSeconds: number };

async function configureInner(lan: Lan): Promise<void> {
  for (const side of ['a', 'b'] as const) {
    await ip(lan[side].namespace, 'address', 'add', `${INNER[side]}/24`, 'dev', 'br-ipsec');
    await ip(lan[side].namespace, 'link', 'set', 'br-ipsec', 'up');
  }
}

async function stand(silent: number, patienceSeconds: number): Promise<Standing> {
  const rig = createRig();
  try {
    const lan = await createLan(rig, { offloads: false });
    // What goes to the silent peers has a way, and an end.
    await ip(lan.a.namespace, 'route', 'add', SILENT_NET, 'via', lan.b.address);
    await ip(lan.b.namespace, 'route', 'add', 'blackhole', SILENT_NET);
    const began = performance.now();
    const daemon = await startEspd(rig, lan.a, { config: configuration(lan.a.address, lan.b.address, silent) });
    const other = await startEspd(rig, lan.b, { config: configuration(lan.b.address, lan.a.address, 0) });
    const added = () => daemon.log().match(/added interface t\d+ /g)?.length ?? 0;
    const refused = () => /^.*\|(?:ERR|EMER)\|.*$/m.exec(daemon.log())?.[0];
    const ready = () => refused() !== undefined || added() >= silent;
    await daemon.running.waitUntil('all tunnels', ready, patienceSeconds * 1000).catch(() => {
      throw new Error(`${added()} of ${silent} tunnels were added within ${patienceSeconds} s`);
    });
    const refusal = refused();
    if (refusal !== undefined) throw new Error(`the daemon says: ${refusal.split('|').slice(2).join('|')}`);
    const setUpSeconds = (performance.now() - began) / 1000;
    await configureInner(lan);
    for (const one of [daemon, other]) await one.waitForTunnel('tun', undefined, 4 * ANSWER_MS);
    await waitForPing(lan.a.namespace, INNER.b, ANSWER_MS);
    const client = { namespace: lan.a.namespace, address: INNER.a };
    return { rig, ends: { client, server: { namespace: lan.b.namespace, address: INNER.b } }, daemon, setUpSeconds };
  } catch (error) {
    await rig.close();
    throw error;
  }
}

type Turns = { readonly alone: Blocked[]; readonly many: Blocked[] };

/** One TCP stream for `seconds` at each, `rounds` times, by turns who is first. */
async function inTurns(
  alone: Standing,
  many: Standing,
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<Turns> {
  const turns: Turns = { alone: [], many: [] };
  for (let round = 1; round <= rounds; round++) {
    for (const name of round % 2 === 1 ? (['alone', 'many'] as const) : (['many', 'alone'] as const)) {
      const { rig, ends } = name === 'alone' ? alone : many;
      const { gigabitsPerSecond } = parseTcp(await iperf(rig, ends, tcpWords(1, seconds, 1)));
      turns[name].push({ block: String(round), value: gigabitsPerSecond });
    }
  }
  return turns;
}

/** One daemon with one tunnel and one with `tunnels`, measured in turns. @throws if not all tunnels can be configured. */
export async function measureDaemons(
  tunnels: number,
  { rounds, seconds, patience }: { rounds: number; seconds: number; patience: number },
): Promise<DaemonPoint> {
  const alone = await stand(0, patience);
  let many: Standing | undefined;
  try {
    many = await stand(tunnels - 1, patience);
    const first = await inTurns(alone, many, { rounds, seconds });
    const { daemon } = many;
    await daemon.running.waitUntil(
      'the end of all first attempts',
      async () => Number(/lost: no response +(\d+)/.exec(await daemon.appctl('coverage/show'))?.[1]) >= tunnels - 1,
      GIVEN_UP_MS,
    );
    const later = await inTurns(alone, many, { rounds, seconds });
    const rate = (samples: readonly Blocked[]) => estimate(samples.map(({ value }) => value));
    const beside = (run: Turns): Beside => ({ rate: rate(run.many), ratio: ratio(run.many, run.alone) });
    return {
      tunnels,
      alone: rate([...first.alone, ...later.alone]),
      starting: beside(first),
      settled: beside(later),
      residentAlone: residentBytes(alone.daemon.running.pid),
      residentAmongAll: residentBytes(many.daemon.running.pid),
      setUpSeconds: many.setUpSeconds,
    };
  } finally {
    await alone.rig.close();
    await many?.rig.close();
  }
}
