/**
 * From `ovs-vsctl add-port` to the first encrypted packet, beside a real ovs-vswitchd on both hosts (uplink attach), with a
 * pre-shared key and the default (post-quantum) proposals.
 *
 *     node dist/bench/first-packet/main.js [--rounds=20] [--out=FOLDER]
 *
 * The clock starts before the two commands, one on each host at once, and stops at the time that the kernel gives the first ESP packet
 * on the wire. A ping waits in the bridge, so that there is something to encrypt.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startCapture } from '../../test/rig/capture.ts';
import { type CompanionHost, startCompanion } from '../../test/rig/companion.ts';
import { createLan } from '../../test/rig/namespace.ts';
import { start } from '../../test/rig/process.ts';
import { createRig, type Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import { wholeNumber } from '../options.ts';
import { readEnvironment } from '../report/environment.ts';
import { median, percentile } from '../report/statistics.ts';
import { RESULTS } from '../report/write.ts';

const PSK = 'swordfish';

const isGone = async ({ espd }: CompanionHost) => !(await espd.tunnelsShow()).includes('Interface name: tun');

/** Milliseconds of one round; afterwards there is no tunnel. */
async function measure(rig: Rig, a: CompanionHost, b: CompanionHost): Promise<number> {
  const capture = await startCapture(rig, a.host);
  const pings = start(rig, {
    ...{ name: 'ping', command: 'ping', args: ['-i', '0.02', b.inner], namespace: a.host.namespace },
  });
  const begin = Date.now();
  await Promise.all([
    a.addTunnel('tun', 'geneve', { local_ip: a.physical, remote_ip: b.physical, psk: PSK }),
    b.addTunnel('tun', 'geneve', { local_ip: b.physical, remote_ip: a.physical, psk: PSK }),
  ]);
  const [first] = await capture.waitFor('esp');
  await pings.stop();
  await capture.stop();
  for (const host of [a, b]) await host.ovsdb.vsctl('--timeout=10 del-port br-int tun');
  for (const host of [a, b]) await host.espd.running.waitUntil('no tunnel', () => isGone(host));
  return first!.time * 1000 - begin;
}

async function firstPacketMain(argv: readonly string[]): Promise<void> {
  const options = { rounds: { type: 'string', default: '20' }, out: { type: 'string', default: RESULTS } } as const;
  const { values } = parseArgs({ args: [...argv], options });
  const rounds = wholeNumber('rounds', values.rounds);
  const rig = createRig();
  const samples: number[] = [];
  try {
    const lan = await createLan(rig);
    const a = await startCompanion(rig, lan.a, { attach: 'uplink', number: 1 });
    const b = await startCompanion(rig, lan.b, { attach: 'uplink', number: 2 });
    await waitForPing(a.host.namespace, b.physical);
    for (let round = 1; round <= rounds; round += 1) {
      samples.push(await measure(rig, a, b));
      process.stdout.write(`round ${round}: ${samples.at(-1)!.toFixed(0)} ms\n`);
    }
  } finally {
    await rig.close();
  }
  const [middle, most] = [median(samples), percentile(samples, 0.9)];
  process.stdout.write(`median ${middle.toFixed(0)} ms, 90 % within ${most.toFixed(0)} ms, of ${rounds}\n`);
  const folder = resolve(values.out);
  mkdirSync(folder, { recursive: true });
  const result = { environment: readEnvironment(), milliseconds: samples, median: middle, percentile90: most };
  writeFileSync(join(folder, 'first-packet.json'), `${JSON.stringify(result, undefined, 2)}\n`);
}

await firstPacketMain(process.argv.slice(2));
