/**
 * Beside a real ovs-vswitchd: OVS encapsulates in its userspace datapath, ovs-espd sits between its physical bridge and
 * the NIC (external_ids:espd=uplink). The peer is another such host, or an ovs-espd that is the datapath itself.
 *
 *      br-int 192.0.0.1 ── tun ══ br-phy 10.1.0.1 ── up0 ─ ovs-espd ─ eth0 ──veth── eth0 …
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Host, ip, type Lan } from '../rig/namespace.ts';
import { type Ovsdb, startOvsdb, startVswitchd } from '../rig/ovsdb.ts';
import { type Running, run } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'tcpdump', 'ping');
const PHYSICAL = { a: '10.1.0.1', b: '10.1.0.2' } as const;
const INNER = { a: '192.0.0.1', b: '192.0.0.2' } as const;
type Label = 'a' | 'b';
const other = (label: Label): Label => (label === 'a' ? 'b' : 'a');

interface CompanionHost {
  readonly host: Host;
  readonly ovsdb: Ovsdb;
  vswitchd: Running;
  espd: Espd;
}

describe.skipIf(reason !== '')(
  `ovs-espd as the companion of a real ovs-vswitchd${reason}`,
  { timeout: 180_000 },
  () => {
    let rig: Rig;
    let lan: Lan;

    beforeEach(async () => {
      rig = createRig();
      lan = await createLan(rig);
    });
    afterEach(() => rig.close());

    /** The NIC has no address: that is the physical bridge's. */
    async function startHost(label: Label, type: string, options: Record<string, string>): Promise<CompanionHost> {
      const host = lan[label];
      await ip(host.namespace, 'address', 'flush', 'dev', host.device);
      const ovsdb = await startOvsdb(rig, host);
      const vswitchd = await startVswitchd(rig, host, ovsdb);
      const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
      await ovsdb.vsctl('--timeout=10 add-br br-phy -- set bridge br-phy datapath_type=netdev');
      await ovsdb.vsctl([
        '--timeout=10',
        'add-port',
        'br-phy',
        'up0',
        '--',
        'set',
        'interface',
        'up0',
        'external_ids:espd=uplink',
        `external_ids:espd-nic=${host.device}`,
      ]);
      await ip(host.namespace, 'address', 'add', `${PHYSICAL[label]}/24`, 'dev', 'br-phy');
      await ip(host.namespace, 'link', 'set', 'br-phy', 'up');
      await ovsdb.vsctl('--timeout=10 add-br br-int -- set bridge br-int datapath_type=netdev');
      const words = Object.entries({ local_ip: PHYSICAL[label], remote_ip: PHYSICAL[other(label)], ...options });
      await ovsdb.vsctl([
        '--timeout=10',
        'add-port',
        'br-int',
        'tun',
        '--',
        'set',
        'interface',
        'tun',
        `type=${type}`,
        ...words.map(([key, value]) => `options:${key}=${value}`),
      ]);
      await ip(host.namespace, 'address', 'add', `${INNER[label]}/24`, 'dev', 'br-int');
      await ip(host.namespace, 'link', 'set', 'br-int', 'mtu', '1400', 'up');
      return { host, ovsdb, vswitchd, espd };
    }

    it.each(['geneve', 'vxlan', 'gre'] as const)(
      'puts the %s packets of OVS into ESP, and nothing else on the wire',
      async (type) => {
        const capture = await startCapture(rig, lan.a);
        const a = await startHost('a', type, { psk: PSK });
        const b = await startHost('b', type, { psk: PSK });
        await a.espd.waitForTunnel('tun');
        await b.espd.waitForTunnel('tun');
        await waitForPing(a.host.namespace, INNER.b);
        await capture.settle();
        const before = capture.counts();
        const { received } = await ping(a.host.namespace, INNER.b, { count: 5, size: 1300 });
        expect(received).toBe(5);
        await capture.settle();
        const after = capture.counts();
        expect((after.esp ?? 0) - (before.esp ?? 0)).toBeGreaterThanOrEqual(10);
        expect(after[type] ?? 0).toBe(before[type] ?? 0);
      },
    );

    it('lets nothing leave when it is killed, and goes on when it is back; a restart of ovs-vswitchd does no harm', async () => {
      const a = await startHost('a', 'geneve', { psk: PSK });
      const b = await startHost('b', 'geneve', { psk: PSK });
      await a.espd.waitForTunnel('tun');
      await b.espd.waitForTunnel('tun');
      await waitForPing(a.host.namespace, INNER.b);
      const capture = await startCapture(rig, lan.a);

      await a.espd.kill();
      expect((await ping(a.host.namespace, INNER.b, { count: 3 })).received).toBe(0);
      a.espd = await startEspd(rig, a.host, { database: a.ovsdb.remote, directory: a.ovsdb.directory });
      await waitForPing(a.host.namespace, INNER.b);

      await a.vswitchd.stop();
      a.vswitchd = await startVswitchd(rig, a.host, a.ovsdb);
      await ip(a.host.namespace, 'address', 'replace', `${PHYSICAL.a}/24`, 'dev', 'br-phy');
      await ip(a.host.namespace, 'link', 'set', 'br-phy', 'up');
      await ip(a.host.namespace, 'address', 'replace', `${INNER.a}/24`, 'dev', 'br-int');
      await ip(a.host.namespace, 'link', 'set', 'br-int', 'mtu', '1400', 'up');
      await waitForPing(a.host.namespace, INNER.b);
      await capture.waitFor('esp');
      await capture.settle();
      expect(capture.counts().geneve ?? 0).toBe(0);
    });

    it('keeps tunnel packets back by the mark of the uplink while the peer does not answer', async () => {
      const a = await startHost('a', 'geneve', { psk: PSK });
      await a.ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=1/1');
      await a.ovsdb.vsctl('set interface up0 external_ids:espd-mark=1');
      const neighbour = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', lan.b.device)).stdout)?.[1] ?? '';
      await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', PHYSICAL.b, neighbour);
      await ip(a.host.namespace, 'neighbour', 'replace', INNER.b, 'lladdr', '02:00:00:00:00:99', 'dev', 'br-int');
      // Of both settings: until then the packets of this tunnel may leave in the clear.
      await a.espd.running.waitUntil('the mark in force', async () => {
        await ping(a.host.namespace, INNER.b, { count: 1 });
        return /policy-mark +[1-9]/.test(await a.espd.appctl('coverage/show'));
      });
      expect(await a.espd.tunnelsShow()).toMatch(/SKB mark: +1\/1/);
      const capture = await startCapture(rig, lan.a);
      await ping(a.host.namespace, INNER.b, { count: 3 });
      await capture.settle();
      expect(capture.counts().geneve ?? 0).toBe(0);

      await a.ovsdb.vsctl('set interface up0 external_ids:espd-mark=2');
      await a.espd.running.waitUntil('plaintext of another mark', async () => {
        await ping(a.host.namespace, INNER.b, { count: 1 });
        return (capture.counts().geneve ?? 0) > 0;
      });
    });

    it('lets no tunnel packet leave in the clear while a tunnel that asks for IPsec cannot be read', async () => {
      const a = await startHost('a', 'geneve', { psk: PSK });
      const neighbour = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', lan.b.device)).stdout)?.[1] ?? '';
      await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', PHYSICAL.b, neighbour);
      await ip(a.host.namespace, 'neighbour', 'replace', INNER.b, 'lladdr', '02:00:00:00:00:99', 'dev', 'br-int');
      // OVS takes a key that is no number for 0; we take the tunnel for INVALID, and know no addresses of it.
      await a.ovsdb.vsctl('set interface tun options:key=nonsense');
      await a.espd.waitForTunnel('tun', /INVALID/);
      const capture = await startCapture(rig, lan.a);
      await ping(a.host.namespace, INNER.b, { count: 3 });
      expect(await a.espd.appctl('coverage/show')).toMatch(/policy-mark +[1-9]/);
      await capture.settle();
      expect(capture.counts().geneve ?? 0).toBe(0);
    });

    it('lets no tunnel packet leave in the clear while the packet engine refuses a tunnel, and opens when it is mended', async () => {
      const a = await startHost('a', 'geneve', {});
      const neighbour = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', lan.b.device)).stdout)?.[1] ?? '';
      await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', PHYSICAL.b, neighbour);
      await ip(a.host.namespace, 'neighbour', 'replace', INNER.b, 'lladdr', '02:00:00:00:00:99', 'dev', 'br-int');
      const options = `options:local_ip=${PHYSICAL.a} options:remote_ip=10.1.0.9 options:dst_port=6081 options:psk=${PSK}`;
      await a.ovsdb.vsctl(`--timeout=10 add-port br-int wrong -- set interface wrong type=vxlan ${options}`);
      await a.espd.running.waitUntil('the refusal', () =>
        a.espd.log().includes('interface wrong: tunnel wrong: UDP port'),
      );
      const capture = await startCapture(rig, lan.a);
      await ping(a.host.namespace, INNER.b, { count: 2 });
      expect(await a.espd.appctl('coverage/show')).toMatch(/policy-mark +[1-9]/);
      await capture.settle();
      expect(capture.counts().geneve ?? 0).toBe(0);
      await a.ovsdb.vsctl('--timeout=10 set interface wrong options:dst_port=4789');
      await a.espd.running.waitUntil('plaintext of the tunnel without IPsec', async () => {
        await ping(a.host.namespace, INNER.b, { count: 1 });
        return (capture.counts().geneve ?? 0) > 0;
      });
    });

    it('has an ovs-espd that is the datapath itself as its peer, and protects a flow-based tunnel to each peer that has one of its own', async () => {
      const a = await startHost('a', 'geneve', { psk: PSK });
      const { namespace } = a.host;
      const b = await startEspd(rig, lan.b, {
        config: fileConfig('br-int', [
          { name: 'tun', type: 'geneve', options: { local_ip: PHYSICAL.b, remote_ip: PHYSICAL.a, psk: PSK } },
        ]),
      });
      await ip(lan.b.namespace, 'address', 'add', `${INNER.b}/24`, 'dev', 'br-int');
      await ip(lan.b.namespace, 'link', 'set', 'br-int', 'up');
      await b.waitForTunnel('tun');
      await waitForPing(namespace, INNER.b);
      const { received } = await ping(lan.b.namespace, INNER.a, { count: 3, size: 1200 });
      expect(received).toBe(3);

      const capture = await startCapture(rig, lan.a);
      const options = `options:remote_ip=flow options:psk=${PSK}`;
      await a.ovsdb.vsctl(`--timeout=10 add-port br-int flowing -- set interface flowing type=geneve ${options}`);
      await a.espd.waitForTunnel('flowing', /SA state: +that of the tunnel to each peer/);
      const sendTo = (peer: string) => {
        const flow = `priority=9,in_port=LOCAL,actions=set_field:${peer}->tun_dst,output:flowing`;
        const args = ['-O', 'OpenFlow14', 'add-flow', `unix:${a.ovsdb.directory}/br-int.mgmt`, flow];
        return run({ command: 'ovs-ofctl', args, namespace, env: a.ovsdb.env });
      };
      await sendTo(PHYSICAL.b);
      await waitForPing(namespace, INNER.b);
      await capture.settle();
      const esp = capture.counts().esp ?? 0;
      expect((await ping(namespace, INNER.b, { count: 3 })).received).toBe(3);
      await capture.waitFor('esp', esp + 6);

      // A peer without a tunnel of its own, who can be reached.
      const [, neighbour = ''] = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', 'eth0')).stdout) ?? [];
      await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', '10.1.0.9', neighbour);
      await sendTo('10.1.0.9');
      await a.espd.running.waitUntil('drops of what flows send to a stranger', async () => {
        await ping(namespace, INNER.b, { count: 1, wait: 0.3 });
        return /policy-invalid +[1-9]/.test(await a.espd.appctl('coverage/show'));
      });
      await capture.settle();
      expect(capture.counts().geneve ?? 0).toBe(0);
    });
  },
);
