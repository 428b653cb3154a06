/** Defects of the real ovs-monitor-ipsec that no other test shows to be absent here; docs/defects.md has the whole list. */
import { readdirSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, INNER, obstacle, PSK, runTutorial, startTutorial } from './two-hosts.ts';

/** A tunnel packet on another port than its type's own is plain UDP to the capture. */
async function inTheClear(capture: Capture): Promise<number> {
  await capture.settle();
  const { geneve = 0, udp = 0 } = capture.counts();
  return geneve + udp;
}

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');

describe.skipIf(reason !== '')(`defects of ovs-monitor-ipsec${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it.each(['geneve', 'vxlan'] as const)(
    'the plaintext guard guards %s on its way out, whose source port is any',
    async (type) => {
      const { a, b } = await startTutorial(rig, {
        configure: (ovsdb) => ovsdb.vsctl('--no-wait set open_vswitch . other_config:ipsec_skb_mark=0/1'),
      });
      await b.espd.kill();
      const capture = await startCapture(rig, { namespace: b.host.namespace, device: b.host.device });
      await addBridge(a, INNER.a);
      await addTunnel(a, type, b.host.address);
      await ping(a.host.namespace, INNER.b, { count: 5, wait: 0.3 });
      await until('drops by mark', async () => /policy-mark +[1-9]/.test(await a.espd.appctl('coverage/show')));
      await capture.waitFor('ike', 1);
      await capture.settle();
      expect(capture.counts()[type] ?? 0).toBe(0);
    },
  );

  it('a tunnel on another port is protected on that port, and a PSK may have any characters and is never shown', async () => {
    const tutorial = await startTutorial(rig);
    const secret = "# quotes ' and { $(braces)";
    const capture = await startCapture(rig, { namespace: tutorial.a.host.namespace, device: tutorial.a.host.device });
    await runTutorial(tutorial, 'geneve', { psk: `"${secret}"`, dst_port: '7000' });
    await tutorial.a.espd.waitForTunnel('tun');
    await waitForPing(tutorial.a.host.namespace, INNER.b);
    const shown = await tutorial.a.espd.tunnelsShow();
    expect(shown).toMatch(/dport 7000/);
    expect(shown + tutorial.a.espd.log()).not.toContain('braces');
    const clear = await inTheClear(capture);
    expect((await ping(tutorial.a.host.namespace, INNER.b, { count: 3 })).received).toBe(3);
    await capture.waitFor('esp', 6);
    expect(await inTheClear(capture)).toBe(clear);
  });

  it('no configuration of an IKE daemon is written, so none can be read half-written', async () => {
    const tutorial = await startTutorial(rig);
    await runTutorial(tutorial, 'gre', { psk: PSK });
    await tutorial.a.espd.waitForTunnel('tun');
    const files = readdirSync(tutorial.a.ovsdb.directory).filter((name) =>
      /ipsec|swanctl|secrets|strongswan/.test(name),
    );
    expect(files).toEqual([]);
  });
});
