/**
 * Random bytes to UDP 500 and to protocol 50 while a tunnel works: no crash, no growth, a counter for each
 * reason, and the tunnel goes on. A few seconds here; HOSTILE_SECONDS=60 for the long run.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fileConfig, startEspd } from '../rig/espd.ts';
import { createLan } from '../rig/namespace.ts';
import { run } from '../rig/process.ts';
import { residentBytes } from '../rig/resident.ts';
import { createRig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-appctl');
const SECONDS = Number(process.env.HOSTILE_SECONDS ?? '4');

/** The number behind each name in coverage/show. */
function counters(text: string): Map<string, number> {
  return new Map([...text.matchAll(/^ {2}(\S.*?) {2,}(\d+)/gm)].map(([, name, count]) => [name!, Number(count)]));
}

describe.skipIf(reason !== '')(`a flood of random bytes${reason}`, { timeout: SECONDS * 4000 + 60_000 }, () => {
  it('crashes nothing, grows nothing, and is counted by reason', async () => {
    const rig = createRig();
    try {
      const lan = await createLan(rig);
      const config = (local: string, remote: string) =>
        fileConfig('br-ipsec', [
          { name: 'tun', type: 'gre', options: { local_ip: local, remote_ip: remote, psk: PSK } },
        ]);
      const a = await startEspd(rig, lan.a, { config: config(lan.a.address, lan.b.address) });
      const b = await startEspd(rig, lan.b, { config: config(lan.b.address, lan.a.address) });
      await a.waitForTunnel('tun');
      await b.waitForTunnel('tun');
      const flood = (seconds: number, seed: number) =>
        run(
          {
            command: process.execPath,
            args: [join(ROOT, 'test/e2e/flood.mjs'), lan.a.address, String(seconds), String(seed)],
            namespace: lan.b.namespace,
          },
          { ms: seconds * 1000 + 20_000 },
        );
      // The first round makes what is made once: compiled code, tables, logs.
      await flood(SECONDS, 1);
      const before = residentBytes(a.running.pid);
      const { stdout } = await flood(SECONDS, 2);
      expect(Number(stdout)).toBeGreaterThan(1000);
      expect(a.running.isRunning()).toBe(true);
      expect(residentBytes(a.running.pid) - before).toBeLessThan(40_000 * 1024);
      const counted = counters(await a.appctl('coverage/show'));
      expect(counted.get('unknown-spi') ?? 0).toBeGreaterThan(500);
      const ike = [...counted].filter(([name]) => name.startsWith('dropped'));
      expect(ike.length).toBeGreaterThanOrEqual(3);
      expect(ike.reduce((sum, [, count]) => sum + count, 0)).toBeGreaterThan(500);
      await a.waitForTunnel('tun');
    } finally {
      await rig.close();
    }
  });
});
