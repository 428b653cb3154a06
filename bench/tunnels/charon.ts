/**
 * strongSwan's charon with the same connections at both ends, of which one initiates. Its SAs go to a stand-in for the kernel
 * (test/rig/null-sad.c), so what is timed is IKE and nothing else.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Charon, startCharon } from '../../test/rig/charon.ts';
import { processSeconds } from '../traffic/cpu.ts';
import { type Contender, PSK, type Site, waitForAll, watchUp } from './site.ts';

const UP = /CHILD_SA (\S+)\{\d+\} established/g;

function configuration({ pairs }: Site, end: 'a' | 'b'): string {
  const connections = pairs.map((pair) => {
    const [local, remote] = end === 'a' ? [pair.a, pair.b] : [pair.b, pair.a];
    return `${pair.name} {
  version = 2
  local_addrs = ${local}
  remote_addrs = ${remote}
  proposals = aes256gcm16-prfsha256-x25519
  local { auth = psk
    id = ${local} }
  remote { auth = psk
    id = ${remote} }
  children { ${pair.name} {
    mode = transport
    local_ts = dynamic[gre]
    remote_ts = dynamic[gre]
    esp_proposals = aes256gcm16
    start_action = ${end === 'a' ? 'start' : 'none'}
  } }
}`;
  });
  const secrets = pairs.map(({ name, a, b }) => `ike-${name} { id-1 = ${a}\n  id-2 = ${b}\n  secret = ${PSK} }`);
  return `connections {\n${connections.join('\n')}\n}\nsecrets {\n${secrets.join('\n')}\n}\n`;
}

async function load(site: Site, charon: Charon, end: 'a' | 'b'): Promise<void> {
  const file = join(charon.directory, 'many.conf');
  writeFileSync(file, configuration(site, end), { mode: 0o600 });
  const { status, stdout, stderr } = await charon.swanctl('--load-all', '--clear', '--file', file);
  if (status !== 0) throw new Error(`swanctl --load-all failed with ${status}\n${stdout.slice(-500)}${stderr}`);
}

export const charonPair: Contender = {
  name: 'strongSwan charon',
  what: 'IKE only: its SAs go to a stand-in for the kernel',
  async establish(site, patienceSeconds) {
    const began = performance.now();
    const [a, b] = await Promise.all([startCharon(site.rig, site.lan.a, []), startCharon(site.rig, site.lan.b, [])]);
    const charons = [a, b];
    try {
      await load(site, b, 'b');
      await load(site, a, 'a');
      const watches = charons.map(({ directory }) => watchUp(join(directory, 'charon.log'), UP));
      await waitForAll(site, watches, patienceSeconds);
      const seconds = (performance.now() - began) / 1000;
      return { seconds, cpuSeconds: processSeconds(charons.map(({ running }) => running.pid)) };
    } finally {
      for (const charon of charons) await charon.stop();
    }
  },
};
