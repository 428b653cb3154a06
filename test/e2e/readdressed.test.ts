/**
 * Whoever is on the wire can change the Ethernet header of an ESP frame, which ESP does not authenticate. The bridge of a real
 * ovs-vswitchd floods what is for nobody it knows, so the tunnel packet that was in it could leave by another NIC in the clear.
 *
 *     b ── eth0 ─ ovs-espd ─ br-phy of a ─ another NIC, behind ovs-espd (up1) or a port of OVS itself (eth2)
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { type CompanionHost, startCompanion, startFarEnd } from '../rig/companion.ts';
import type { Espd } from '../rig/espd.ts';
import { createLan, createNamespace, createVeth, ip, type Lan } from '../rig/namespace.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl', 'tcpdump', 'ping', 'ethtool');

const addressBytes = (text: string): Buffer => Buffer.from(text.split('.').map(Number));

describe.skipIf(reason !== '')(`ESP in frames that somebody has readdressed${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  /** a with two NICs more, and b as its peer, the datapath itself. */
  async function startBoth(attach: 'uplink' | 'port'): Promise<{ a: CompanionHost; b: Espd }> {
    const a = await startCompanion(rig, lan.a, { attach, number: 1 });
    const { namespace } = a.host;
    const elsewhere = await createNamespace(rig, 'elsewhere');
    for (const device of ['eth1', 'eth2']) await createVeth({ namespace, device }, { namespace: elsewhere, device });
    if (attach === 'uplink') {
      const ids = 'external_ids:espd=uplink external_ids:espd-nic=eth1';
      await a.ovsdb.vsctl(`--timeout=10 add-port br-phy up1 -- set interface up1 ${ids}`);
    }
    await a.ovsdb.vsctl('--timeout=10 add-port br-phy eth2');
    const b = await startFarEnd(rig, a, lan.b, { inner: '192.0.0.2', psk: PSK });
    return { a, b };
  }

  const count = (coverage: string, name: string): number =>
    Number(new RegExp(`${name} +(\\d+)`).exec(coverage)?.[1] ?? 0);

  it.each(['uplink', 'port'] as const)('leave by no other NIC in the clear, with espd=%s', async (attach) => {
    const { a } = await startBoth(attach);
    const { namespace } = a.host;
    const b = lan.b.namespace;
    const nics = attach === 'uplink' ? ['eth1', 'eth2'] : ['eth2'];
    const captures = await Promise.all(nics.map((device) => startCapture(rig, { namespace, device })));
    // That the bridge has flooded something is how one knows that what came before it has been seen.
    const nothingLeft = async (unknown: string) => {
      await ping(b, unknown, { count: 1, wait: 0.3 });
      for (const capture of captures) {
        await capture.waitFor((packet) => packet.kind === 'arp' && packet.frame.includes(addressBytes(unknown)));
        await capture.settle();
        expect(capture.counts().geneve ?? 0).toBe(0);
      }
    };
    const send = async () => void (await ping(b, a.inner, { count: 1, wait: 0.3 }));

    for (const mac of ['02:00:00:00:00:99', 'ff:ff:ff:ff:ff:ff', '01:00:5e:00:00:01']) {
      await ip(b, 'neighbour', 'replace', a.physical, 'lladdr', mac, 'nud', 'permanent', 'dev', 'eth0');
      await send();
    }
    const [, mac = ''] = /ether (\S+)/.exec((await ip(namespace, 'link', 'show', 'br-phy')).stdout) ?? [];
    await nothingLeft('10.1.0.77');
    const readdressed = count(await a.espd.appctl('coverage/show'), 'bump-readdressed');
    if (attach === 'uplink') expect(readdressed).toBeGreaterThanOrEqual(3);

    // Somebody in the other network has the bridge believe that the host is there.
    await ip(b, 'neighbour', 'replace', a.physical, 'lladdr', mac, 'nud', 'permanent', 'dev', 'eth0');
    await a.ovsdb.appctl('ovs-vswitchd', 'fdb/add', 'br-phy', attach === 'uplink' ? 'up1' : 'eth2', '0', mac);
    await send();
    await nothingLeft('10.1.0.78');
    if (attach === 'uplink') expect(count(await a.espd.appctl('coverage/show'), 'bump-returned')).toBeGreaterThan(0);
    await a.ovsdb.appctl('ovs-vswitchd', 'fdb/del', 'br-phy', '0', mac);
    await waitForPing(b, a.inner);
  });
});
