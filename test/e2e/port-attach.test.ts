/**
 * Beside a real ovs-vswitchd that keeps its NIC (external_ids:espd=port): flows in the physical bridge lead tunnel packets of
 * peers with IPsec through a TAP of ovs-espd and back. Every packet on the wire is judged by a capture.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { type CompanionHost, startCompanion } from '../rig/companion.ts';
import { createLan, ip, type Lan } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl', 'tcpdump', 'ping');
const COOKIE = 'cookie=0x6573706400000001/-1';

describe.skipIf(reason !== '')(`ovs-espd behind a port of ovs-vswitchd's bridge${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;

  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  const startA = () => startCompanion(rig, lan.a, { attach: 'port', number: 1 });

  /** Two hosts, b with the other attach, so that the two are each other's peers. */
  async function startBoth(type: string): Promise<{ a: CompanionHost; b: CompanionHost }> {
    const a = await startA();
    const b = await startCompanion(rig, lan.b, { attach: 'uplink', number: 2 });
    await a.addTunnel('tun', type, { local_ip: a.physical, remote_ip: b.physical, psk: PSK });
    await b.addTunnel('tun', type, { local_ip: b.physical, remote_ip: a.physical, psk: PSK });
    await a.espd.waitForTunnel('tun');
    await b.espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, b.inner);
    return { a, b };
  }

  it.each(['geneve', 'vxlan', 'gre'] as const)(
    'leads the %s packets of OVS through ESP and back, and nothing else is on the wire',
    async (type) => {
      const capture = await startCapture(rig, lan.a);
      const { a, b } = await startBoth(type);
      await capture.settle();
      const before = capture.counts();
      expect((await ping(a.host.namespace, b.inner, { count: 5, size: 1300 })).received).toBe(5);
      await capture.settle();
      const after = capture.counts();
      expect((after.esp ?? 0) - (before.esp ?? 0)).toBeGreaterThanOrEqual(10);
      expect(after[type] ?? 0).toBe(before[type] ?? 0);
      // No ESP came twice to the TAP, as it would if the bridge flooded it beside leading it there.
      expect(await a.espd.appctl('coverage/show')).not.toMatch(/replay-duplicate +[1-9]/);
      // The bridge goes on learning where its peers are, and pings between the hosts themselves cross as ever.
      expect(await a.ovsdb.appctl('ovs-vswitchd', 'fdb/show', 'br-phy')).toMatch(/\S/);
      expect((await ping(a.host.namespace, b.physical, { count: 2 })).received).toBe(2);
    },
  );

  it('lets nothing leave when it is killed, puts lost flows back, outlives ovs-vswitchd, and takes its flows away by exit', async () => {
    const { a, b } = await startBoth('geneve');
    const capture = await startCapture(rig, lan.a);
    const ours = () => a.ofctl('dump-flows', COOKIE);
    const pingFails = async () => expect((await ping(a.host.namespace, b.inner, { count: 3 })).received).toBe(0);

    await a.espd.kill();
    await pingFails();
    await a.restartEspd();
    await waitForPing(a.host.namespace, b.inner);

    await a.ofctl('add-flow', 'cookie=0x77,priority=7,udp,tp_dst=9999,actions=drop');
    await a.ofctl('del-flows', COOKIE);
    await waitForPing(a.host.namespace, b.inner);
    expect(await ours()).toContain('priority=61446');
    expect(a.espd.log()).toContain('put back');
    expect(await a.ofctl('dump-flows', 'cookie=0x77/-1')).toContain('tp_dst=9999');

    await a.restartVswitchd();
    await waitForPing(a.host.namespace, b.inner);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);

    await a.espd.appctl('exit');
    expect(await a.espd.running.ended).toBeDefined();
    expect(await ours()).not.toContain('priority=61446');
  });

  it.each([
    ['external_ids:espd-nic=eth0', /external_ids:espd-nic.* is "eth0", expected none with espd=port/],
    ['external_ids:espd=prot', /external_ids:espd is "prot", expected/],
  ])('stays as it was while its row is wrong (%s), and nothing leaves in the clear', async (wrong, line) => {
    const { a, b } = await startBoth('geneve');
    const capture = await startCapture(rig, lan.a);
    await a.ovsdb.vsctl(`set interface ipsec0 ${wrong}`);
    await until('the line that says so', () => line.test(a.espd.log()));
    await waitForPing(a.host.namespace, b.inner);
    expect(await a.ofctl('dump-flows', COOKIE)).toContain('priority=61446');
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
    // What changes meanwhile is carried out there too.
    await a.ovsdb.vsctl('set interface tun options:psk=other');
    await ping(a.host.namespace, b.inner, { count: 3, wait: 0.3 });
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
    await a.ovsdb.vsctl('remove interface ipsec0 external_ids espd-nic -- set interface ipsec0 external_ids:espd=port');
    await a.ovsdb.vsctl(`set interface tun options:psk=${PSK}`);
    await a.espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, b.inner);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });

  it('keeps back by its real pkt_mark what would leave in the clear, with ovs-espd and without', async () => {
    const a = await startA();
    await a.ovsdb.vsctl('set Open_vSwitch . other_config:ipsec_skb_mark=1/1');
    await a.espd.running.waitUntil('the flows of the rule', async () =>
      (await a.ofctl('dump-flows', COOKIE)).includes('pkt_mark=0x1/0x1'),
    );
    const capture = await startCapture(rig, lan.a);
    const neighbour = /ether (\S+)/.exec((await ip(lan.b.namespace, 'link', 'show', lan.b.device)).stdout)?.[1] ?? '';
    await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-phy', '10.1.0.2', neighbour);
    // ovs-vswitchd looks for the way of a marked packet among the routes of that mark, of which none has a local address.
    for (const mark of ['1', '2', '3'])
      await a.ovsdb.appctl('ovs-vswitchd', 'ovs/route/add', '10.1.0.2/32', 'br-phy', `pkt_mark=${mark}`);
    await ip(a.host.namespace, 'neighbour', 'replace', '192.0.0.2', 'lladdr', '02:00:00:00:00:99', 'dev', 'br-int');
    // One tunnel that asks for IPsec and whose peer does not answer; one that does not ask.
    await a.addTunnel('tun', 'geneve', { remote_ip: '10.1.0.2', psk: PSK, egress_pkt_mark: '1' });
    await a.addTunnel('open', 'vxlan', { remote_ip: '10.1.0.2', egress_pkt_mark: '3' });
    await a.espd.waitForTunnel('tun', /SKB mark: +1\/1/);
    await a.espd.running.waitUntil('the drop of a marked packet', async () => {
      await ping(a.host.namespace, '192.0.0.2', { count: 1 });
      return /policy-mark +[1-9]/.test(await a.espd.appctl('coverage/show'));
    });
    await ping(a.host.namespace, '192.0.0.2', { count: 2 });
    expect(capture.counts()).not.toMatchObject({ geneve: expect.anything() });
    expect(capture.counts()).not.toMatchObject({ vxlan: expect.anything() });

    await a.ovsdb.vsctl('set interface tun options:egress_pkt_mark=2');
    await a.espd.running.waitUntil('plaintext of another mark, before there is an SA', async () => {
      await ping(a.host.namespace, '192.0.0.2', { count: 1 });
      return (capture.counts().geneve ?? 0) > 0;
    });
    await capture.settle();
    expect(capture.counts().vxlan ?? 0).toBe(0);

    await a.espd.kill();
    await capture.settle();
    const before = capture.counts();
    await ping(a.host.namespace, '192.0.0.2', { count: 2 });
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(before.geneve);
    expect(capture.counts().vxlan ?? 0).toBe(0);
  });
});
