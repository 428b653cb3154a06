/**
 * VLANs of ports over IPsec, with kernels at both ends of the frames: each host has two access ports, of VLAN 10 and 20, in namespaces
 * of their own, and one tunnel that carries both. The same addresses are used in both VLANs, so a mistake would be an answer of the wrong one.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { createNamespace, ip } from '../rig/namespace.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { addBridge, addTunnel, BRIDGE, obstacle, startTutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ping', 'tcpdump');
const VLANS = [10, 20] as const;

describe.skipIf(reason !== '')(`VLANs of ports${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  /** An internal port that is a device of a namespace of its own, as a guest would have it. */
  async function addGuest(
    { ovsdb, host }: TutorialHost,
    label: string,
    vlan: number,
    address: string,
  ): Promise<string> {
    const device = `vif${vlan}`;
    await ovsdb.vsctl(`--timeout=10 add-port ${BRIDGE} ${device} tag=${vlan} -- set interface ${device} type=internal`);
    const namespace = await createNamespace(rig, label);
    await ip(host.namespace, 'link', 'set', device, 'netns', namespace);
    await ip(namespace, 'addr', 'add', `${address}/24`, 'dev', device);
    await ip(namespace, 'link', 'set', device, 'up');
    return namespace;
  }

  it('keep guests apart that have the same addresses, and carry TCP with a tag in ESP', async () => {
    const { a, b } = await startTutorial(rig);
    for (const side of [a, b]) await addBridge(side, side === a ? '192.0.0.1' : '192.0.0.2');
    await addTunnel(a, 'geneve', b.host.address);
    await addTunnel(b, 'geneve', a.host.address);
    const guests: Record<string, string> = {};
    for (const vlan of VLANS) {
      guests[`a${vlan}`] = await addGuest(a, `a${vlan}`, vlan, '10.9.0.1');
      // In VLAN 20 the other end has another address: whoever asks for it in VLAN 10 gets no answer.
      guests[`b${vlan}`] = await addGuest(b, `b${vlan}`, vlan, vlan === 10 ? '10.9.0.2' : '10.9.0.3');
    }
    await a.espd.waitForTunnel('tun');
    await waitForPing(guests.a10!, '10.9.0.2');
    await waitForPing(guests.a20!, '10.9.0.3');
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    expect((await ping(guests.a10!, '10.9.0.3', { count: 2 })).received).toBe(0);
    expect((await ping(guests.a20!, '10.9.0.2', { count: 2 })).received).toBe(0);
    for (const [vlan, address] of [
      [10, '10.9.0.2'],
      [20, '10.9.0.3'],
    ] as const) {
      const to = { namespace: guests[`b${vlan}`]!, address };
      const { sent, received } = await transfer(rig, { from: guests[`a${vlan}`]!, to }, 5_000_000, `vlan ${vlan}`);
      expect(received).toBe(sent);
      expect(received).toMatch(/^5000000 /);
    }
    await capture.waitFor('esp', 1000);
    capture.assertOnlyEsp();
    const learned = await a.espd.appctl('fdb/show', BRIDGE);
    for (const vlan of VLANS) expect(learned).toMatch(new RegExp(`\\s${vlan}\\s+([0-9a-f]{2}:){5}`));

    // Into the other VLAN, where its address is taken.
    await ip(guests.a20!, 'addr', 'flush', 'dev', 'vif20');
    await ip(guests.a20!, 'addr', 'add', '10.9.0.4/24', 'dev', 'vif20');
    await a.ovsdb.vsctl(`--timeout=10 set port vif20 tag=10`);
    await waitForPing(guests.a20!, '10.9.0.2');
    await a.ovsdb.vsctl(`--timeout=10 set port vif20 vlan_mode=dot1q-tunnel`);
    await a.espd.running.waitUntil('an error of the interface', async () =>
      (await a.ovsdb.vsctl('get interface vif20 error')).includes('dot1q-tunnel is not supported'),
    );
  });
});
