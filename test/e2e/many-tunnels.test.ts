/**
 * A daemon that finds thousands of tunnels in its configuration at once: all are added, the one whose peer answers carries
 * packets in ESP while IKE calls on all the others, and the daemon goes on answering.
 */
import { describe, expect, it } from 'vitest';
import { startEspd, type TunnelSpec } from '../rig/espd.ts';
import { createLan, ip } from '../rig/namespace.ts';
import { residentBytes } from '../rig/resident.ts';
import { createRig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { obstacle } from './two-hosts.ts';

const SILENT = 5000;
const SILENT_NET = '10.64.0.0/10';
const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;
/**
 * Half open IKE SAs included. What is held to is 16 KB with 10,000, and not reached with half open ones: 27 to 30 as measured
 * (docs/performance.md).
 */
const KILOBYTES_EACH = 40;
const missing = obstacle();

const tunnel = (name: string, local: string, remote: string): TunnelSpec => ({
  name,
  type: 'geneve',
  options: { local_ip: local, remote_ip: remote, psk: 'swordfish' },
});

describe.skipIf(missing !== '')(`thousands of tunnels${missing}`, () => {
  it('are configured at once, and the one whose peer answers comes up among them', { timeout: 180_000 }, async () => {
    const rig = createRig();
    try {
      const lan = await createLan(rig);
      await ip(lan.a.namespace, 'route', 'add', SILENT_NET, 'via', lan.b.address);
      await ip(lan.b.namespace, 'route', 'add', 'blackhole', SILENT_NET);
      const one = { Bridge: [{ name: 'br-ipsec', ports: ['tun'] }] };
      const silent = Array.from({ length: SILENT }, (_, index) =>
        tunnel(`t${index}`, lan.a.address, `10.64.${index >> 8}.${index & 255}`),
      );
      const few = JSON.stringify({ ...one, Interface: [tunnel('tun', lan.b.address, lan.a.address)] });
      const many = JSON.stringify({
        Bridge: [...one.Bridge, { name: 'br-many', ports: silent.map(({ name }) => name) }],
        Interface: [tunnel('tun', lan.a.address, lan.b.address), ...silent],
      });
      const b = await startEspd(rig, lan.b, { config: few });
      const a = await startEspd(rig, lan.a, { config: many });
      const added = (): number => a.log().match(/added interface t\d+ on port/g)?.length ?? 0;
      await a.running.waitUntil('all tunnels', () => added() === SILENT, 60_000);
      await a.waitForTunnel('tun', undefined, 60_000);
      for (const [label, { namespace }] of [
        ['a', lan.a],
        ['b', lan.b],
      ] as const) {
        await ip(namespace, 'address', 'add', `${INNER[label]}/24`, 'dev', 'br-ipsec');
        await ip(namespace, 'link', 'set', 'br-ipsec', 'up');
      }
      await waitForPing(lan.a.namespace, INNER.b, 15_000);
      const each = (residentBytes(a.running.pid) - residentBytes(b.running.pid)) / 1024 / SILENT;
      expect(each).toBeLessThan(KILOBYTES_EACH);
      expect(a.log()).not.toMatch(/\|(ERR|EMER)\|/);
    } finally {
      await rig.close();
    }
  });
});
