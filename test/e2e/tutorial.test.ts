/** The OVS IPsec tutorial with a pre-shared key, word by word, on real ovsdb-servers with no ovs-vswitchd. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startEspd } from '../rig/espd.ts';
import { run, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { addBridge, BRIDGE, INNER, obstacle, PSK, runTutorial, startTutorial } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const TUNNELS = { gre: 'gre', geneve: 'geneve', vxlan: 'vxlan', stt: 'stt' } as const;

describe.skipIf(reason !== '')(`the tutorial${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  for (const type of Object.values(TUNNELS)) {
    it(`brings up a ${type} tunnel: the commands return, ping works, and the wire carries ESP and no ${type}`, async () => {
      const tutorial = await startTutorial(rig);
      const { a, b } = tutorial;
      await runTutorial(tutorial, type);
      await a.espd.waitForTunnel('tun');
      await b.espd.waitForTunnel('tun');
      const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
      const result = await ping(a.host.namespace, INNER.b, { count: 5 });
      expect(result.received).toBe(5);
      await capture.waitFor((packet) => packet.kind === 'esp', 10);
      capture.assertOnlyEsp();
      await capture.stop();
    });
  }

  it('negotiates over ISAKMP before the first ESP packet, and neither log nor status shows the key', async () => {
    const tutorial = await startTutorial(rig, { args: ['-vfile:dbg'] });
    const { a, b } = tutorial;
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    await runTutorial(tutorial, 'gre');
    // Without ipsec_skb_mark a ping may be answered in the clear before the first SA.
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    await capture.waitFor('esp');
    const kinds = capture.packets().map((packet) => packet.kind);
    expect(kinds.indexOf('ike')).toBeGreaterThanOrEqual(0);
    expect(kinds.indexOf('ike')).toBeLessThan(kinds.indexOf('esp'));
    for (const { espd } of [a, b]) {
      expect(espd.log()).not.toContain(PSK);
      expect(await espd.tunnelsShow()).not.toContain(PSK);
      expect(await espd.tunnelsShow()).toContain('PSK:            (set)');
    }
    await capture.stop();
  });

  it('writes ofport, link state and statistics back, so that ovs-vsctl shows the truth', async () => {
    const tutorial = await startTutorial(rig);
    const { a } = tutorial;
    await runTutorial(tutorial, 'geneve');
    await waitForPing(a.host.namespace, INNER.b);
    expect((await a.ovsdb.vsctl('get interface tun ofport')).trim()).toBe('1');
    expect((await a.ovsdb.vsctl(`get interface ${BRIDGE} ofport`)).trim()).toBe('65534');
    const { stdout } = await run({
      command: 'ip',
      args: ['-json', '-n', a.host.namespace, 'link', 'show', 'dev', BRIDGE],
    });
    const [link] = JSON.parse(stdout) as [{ address: string; mtu: number }];
    expect(link.mtu).toBe(1416);
    await until('mac_in_use', async () =>
      (await a.ovsdb.vsctl(`get interface ${BRIDGE} mac_in_use`)).includes(link.address),
    );
    await until(
      'statistics of the tunnel',
      async () => /tx_packets=[1-9]/.test(await a.ovsdb.vsctl('get interface tun statistics')),
      12_000,
    );
  });

  it('deletes the SAs at the peer too when the port is deleted', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'gre');
    // Without ipsec_skb_mark a ping may be answered in the clear before the first SA.
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    const before = await b.espd.appctl('sas/show');
    expect(before).toMatch(/in {2}SPI 0x/);
    await a.ovsdb.vsctl(`--timeout=5 del-port ${BRIDGE} tun`);
    const spis = [...before.matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!);
    await until('the SAs to be gone at the peer', async () => {
      const now = await b.espd.appctl('sas/show');
      return spis.every((spi) => !now.includes(spi));
    });
    expect(await a.espd.tunnelsShow()).toBe('No tunnels configured with IPsec\n');
  });

  it('comes back within 10 s after SIGKILL and a new start, with its addresses, and without a plaintext packet', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'gre');
    // Without ipsec_skb_mark a ping may be answered in the clear before the first SA.
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    const capture = await startCapture(rig, { namespace: b.host.namespace, device: b.host.device });
    await a.espd.kill();
    a.espd = await startEspd(rig, a.host, { database: a.ovsdb.remote, directory: a.ovsdb.directory });
    await waitForPing(a.host.namespace, INNER.b, 10_000);
    await waitForPing(b.host.namespace, INNER.a, 10_000);
    // Not assertOnlyEsp: while nobody listens for ESP, the kernel answers it with ICMP protocol unreachable.
    await capture.waitFor('esp', 2);
    await capture.settle();
    expect(capture.counts().gre ?? 0).toBe(0);
    await capture.stop();
  });

  it('ends with status 0 and without a complaint when it is told to with a tunnel up', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'geneve');
    await waitForPing(a.host.namespace, INNER.b);
    await a.espd.appctl('exit');
    await b.espd.stop();
    for (const { espd } of [a, b]) {
      const ended = await espd.running.ended;
      expect(espd.log()).not.toMatch(/\|(EMER|ERR)\|/);
      expect(ended).toEqual({ status: 0, signal: null });
    }
  });

  it('carries tunnels without IPsec in the clear', async () => {
    const tutorial = await startTutorial(rig);
    const { a } = tutorial;
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    await runTutorial(tutorial, 'vxlan', { key: '42' });
    await waitForPing(a.host.namespace, INNER.b);
    await capture.waitFor('vxlan', 2);
    await capture.settle();
    expect(capture.counts().esp ?? 0).toBe(0);
    await capture.stop();
  });

  it('removes its TAP with the bridge, and by exit', async () => {
    const { a } = await startTutorial(rig);
    const exists = async () =>
      (await run({ command: 'ip', args: ['-n', a.host.namespace, 'link', 'show', 'dev', BRIDGE] }, { expect: 'any' }))
        .status === 0;
    await addBridge(a, INNER.a);
    expect(await exists()).toBe(true);
    await a.ovsdb.vsctl(`--timeout=5 del-br ${BRIDGE}`);
    expect(await exists()).toBe(false);
    await addBridge(a, INNER.a);
    await a.espd.appctl('exit');
    expect((await a.espd.running.ended).status).toBe(0);
    expect(await exists()).toBe(false);
  });
});
