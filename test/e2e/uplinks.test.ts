/** Uplinks of ovs-vswitchd: what crosses them unchanged, VLAN tags and jumbo frames; and several of them, each with its own mark. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { type CompanionHost, startCompanion } from '../rig/companion.ts';
import { createLan, createNamespace, createVeth, ip } from '../rig/namespace.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, pingAll, waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl', 'tcpdump', 'ping');

describe.skipIf(reason !== '')(`uplinks of ovs-vswitchd${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('have each their own mark: by which uplink OpenFlow sends a packet decides whether it may leave in the clear', async () => {
    const lan = await createLan(rig);
    const a = await startCompanion(rig, lan.a, { attach: 'uplink', number: 1 });
    const { namespace } = a.host;
    const elsewhere = await createNamespace(rig, 'elsewhere');
    await createVeth({ namespace, device: 'eth1' }, { namespace: elsewhere, device: 'eth1' });
    const ids = 'external_ids:espd=uplink external_ids:espd-nic=eth1 external_ids:espd-mark=1';
    await a.ovsdb.vsctl(`--timeout=10 add-port br-phy up1 -- set interface up1 ${ids}`);
    await a.ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=1/1');
    await a.addTunnel('tun', 'geneve', { local_ip: a.physical, remote_ip: '10.1.0.2', psk: PSK });
    await a.espd.waitForTunnel('tun', /SKB mark: +1\/1/);
    const neighbour = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', lan.b.device)).stdout)?.[1] ?? '';
    await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', '10.1.0.2', neighbour);
    await ip(namespace, 'neighbour', 'replace', '192.0.0.2', 'lladdr', '02:00:00:00:00:99', 'dev', 'br-int');
    const captures = await Promise.all(['eth0', 'eth1'].map((device) => startCapture(rig, { namespace, device })));
    const sendBy = (port: string) => a.ofctl('add-flow', `priority=100,udp,tp_dst=6081,actions=output:${port}`);
    const waitFor = (what: string, seen: () => boolean | Promise<boolean>) =>
      a.espd.running.waitUntil(what, async () => {
        await ping(namespace, '192.0.0.2', { count: 1, wait: 0.3 });
        return seen();
      });

    // ovs-vswitchd has the port when it has seen the TAP.
    await a.espd.running.waitUntil('port up1', async () => {
      await sendBy('up1');
      return true;
    });
    await waitFor('a drop at up1', async () => /policy-mark +[1-9]/.test(await a.espd.appctl('coverage/show')));
    await captures[1]!.settle();
    expect(captures[1]!.counts().geneve ?? 0).toBe(0);
    await captures[0]!.settle();
    const before = captures[0]!.counts().geneve ?? 0;
    await sendBy('up0');
    await waitFor('plaintext at up0', () => (captures[0]!.counts().geneve ?? 0) > before);
    await captures[1]!.settle();
    expect(captures[1]!.counts().geneve ?? 0).toBe(0);
  });

  it('let VLAN tags and jumbo frames cross as they are: a VLAN reaches its own and no other, and its underlay is protected', async () => {
    const lan = await createLan(rig, { mtu: 4000 });
    const a = await startCompanion(rig, lan.a, { attach: 'uplink', number: 1 });
    const b = await startCompanion(rig, lan.b, { attach: 'uplink', number: 2 });
    const addVlan = async ({ ovsdb, host }: CompanionHost, name: string, tag: number, address: string) => {
      const port = `add-port br-phy ${name} tag=${tag} -- set interface ${name} type=internal mtu_request=4000`;
      await ovsdb.vsctl(`--timeout=10 ${port}`);
      await ip(host.namespace, 'address', 'add', `${address}/24`, 'dev', name);
      await ip(host.namespace, 'link', 'set', name, 'up');
    };
    await addVlan(a, 'v10', 10, '10.10.0.1');
    await addVlan(b, 'v10', 10, '10.10.0.2');
    await addVlan(b, 'v20', 20, '10.20.0.2');
    await waitForPing(a.host.namespace, '10.10.0.2');
    await pingAll(a.host.namespace, '10.10.0.2', { size: 3900, dontFragment: true });
    const [own, other] = await Promise.all(
      ['v10', 'v20'].map((device) => startCapture(rig, { namespace: lan.b.namespace, device }, 'arp')),
    );
    // Nobody has it, so it is asked for by broadcast.
    await ping(a.host.namespace, '10.10.0.77', { count: 1, wait: 0.3 });
    await own!.waitFor('arp', 1);
    expect(other!.counts().arp ?? 0).toBe(0);

    // What is tagged is of no kind that the capture knows, so the filter tells.
    const [esp, geneve] = await Promise.all(
      ['vlan 10 and proto 50', 'vlan 10 and udp port 6081'].map((filter) => startCapture(rig, lan.a, filter)),
    );
    await a.ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
    await b.ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=0/1');
    await a.addTunnel('tun', 'geneve', { local_ip: '10.10.0.1', remote_ip: '10.10.0.2', psk: PSK });
    await b.addTunnel('tun', 'geneve', { local_ip: '10.10.0.2', remote_ip: '10.10.0.1', psk: PSK });
    await a.espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, b.inner);
    await esp!.waitFor('other', 2);
    expect(geneve!.packets()).toEqual([]);
  });
});
