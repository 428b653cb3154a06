/** The skb-mark rule on the wire: what leaves, and what does not, while there is no SA. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startEspd } from '../rig/espd.ts';
import { createNamespace, ip } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, pingAll, waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, INNER, obstacle, runTutorial, startTutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const MARK = 'set open_vswitch . other_config:ipsec_skb_mark=';

describe.skipIf(reason !== '')(`the skb-mark rule${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  /** Host a with a GRE tunnel to b, where no daemon answers; pings and gives how many GRE packets left. */
  async function plaintextSent(mark: string | undefined, options: Readonly<Record<string, string>>): Promise<number> {
    const { a, b } = await startTutorial(rig, {
      configure: (ovsdb) => (mark === undefined ? Promise.resolve() : ovsdb.vsctl(`--no-wait ${MARK}${mark}`)),
    });
    await b.espd.kill();
    const capture = await startCapture(rig, { namespace: b.host.namespace, device: b.host.device });
    await addBridge(a, INNER.a);
    await addTunnel(a, 'gre', b.host.address, { psk: 'swordfish', ...options });
    await ping(a.host.namespace, INNER.b, { count: 5, wait: 0.3 });
    await until('the packets to have been handled', async () => policyVerdicts(a));
    await capture.waitFor((packet) => packet.kind === 'ike', 1);
    await capture.settle();
    const count = capture.counts().gre ?? 0;
    await capture.stop();
    return count;
  }

  /** Frames for the tunnel were dropped by policy, or sent. */
  async function policyVerdicts(host: TutorialHost): Promise<boolean> {
    return /policy-|tx [1-9]/.test(`${await host.espd.appctl('coverage/show')}${await host.espd.tunnelsShow()}`);
  }

  it('with 0/1 and a peer that never answers, not one plaintext tunnel packet leaves', async () => {
    expect(await plaintextSent('0/1', {})).toBe(0);
  });

  it('with 0/1, a tunnel whose egress_pkt_mark is 1 sends in the clear until its first SA', async () => {
    expect(await plaintextSent('0/1', { egress_pkt_mark: '1' })).toBeGreaterThan(0);
  });

  it('with 1/1, unmarked plaintext leaves', async () => {
    expect(await plaintextSent('1/1', {})).toBeGreaterThan(0);
  });

  it('with 1/1, marked plaintext does not leave', async () => {
    expect(await plaintextSent('1/1', { egress_pkt_mark: '1' })).toBe(0);
  });

  it('unset, plaintext leaves before the first SA', async () => {
    expect(await plaintextSent(undefined, {})).toBeGreaterThan(0);
  });

  it('stops plaintext for good once an SA has been up, also over a restart of the daemon', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await runTutorial(tutorial, 'gre');
    // A ping may be answered in the clear before.
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    await b.espd.kill();
    const capture = await startCapture(rig, { namespace: b.host.namespace, device: b.host.device });
    await a.espd.kill();
    a.espd = await startEspd(rig, a.host, { database: a.ovsdb.remote, directory: a.ovsdb.directory });
    await a.espd.waitForTunnel('tun', /SA state: +down/);
    await ping(a.host.namespace, INNER.b, { count: 5, wait: 0.3 });
    await until('drops for want of an SA', async () => (await a.espd.appctl('coverage/show')).includes('policy-no-sa'));
    await capture.settle();
    expect(capture.counts().gre ?? 0).toBe(0);
    await capture.stop();
  });

  it('with a wrong PSK there is no SA, and the reason stands in tunnels/show and in the log', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await addTunnel(a, 'gre', b.host.address, { psk: 'swordfish' });
    await addTunnel(b, 'gre', a.host.address, { psk: 'not-swordfish' });
    await a.espd.waitForTunnel('tun', /Last failure: +.*options:psk/);
    expect(await a.espd.tunnelsShow()).not.toMatch(/SA state: +up/);
    expect(a.espd.log()).toMatch(/\|WARN\|.*options:psk/);
    expect(await a.espd.appctl('sas/show')).not.toMatch(/SPI/);
  });

  it('makes a malformed tunnel INVALID with one clear line, and leaves the others alone', async () => {
    const tutorial = await startTutorial(rig);
    const { a } = tutorial;
    await runTutorial(tutorial, 'gre');
    await waitForPing(a.host.namespace, INNER.b);
    await a.ovsdb.vsctl(
      '--no-wait add-port br-ipsec bad -- set interface bad type=geneve options:remote_ip=10.1.0.300 options:psk=x',
    );
    const show = await until('the bad tunnel', async () => {
      const text = await a.espd.tunnelsShow();
      return text.includes('Interface name: bad') && text;
    });
    expect(show).toMatch(/Interface name: bad v1 \(INVALID: .*remote_ip.*10\.1\.0\.300/);
    await pingAll(a.host.namespace, INNER.b);
  });
});

describe.skipIf(reason !== '')(`an unreachable database${reason}`, { timeout: 120_000 }, () => {
  it('is one clear line, and the daemon goes on trying', async () => {
    const rig = createRig();
    try {
      const namespace = await createNamespace(rig, 'solo');
      await ip(namespace, 'link', 'set', 'lo', 'up');
      const host = { namespace, device: 'lo', address: '127.0.0.1' };
      const espd = await startEspd(rig, host as never, { database: 'unix:/nonexistent/db.sock' });
      await until('the line', () => /\|WARN\|unix:\/nonexistent\/db\.sock: .*/.test(espd.log()));
      expect(espd.running.isRunning()).toBe(true);
    } finally {
      await rig.close();
    }
  });
});
