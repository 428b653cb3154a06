/**
 * A narrow link behind the uplink: the router's ICMP is heeded, the sender in the bridge is told, and everything goes on.
 *
 *      host a 10.1.0.1 ── 1500 ── 10.1.0.254 router 10.2.0.254 ── 1300 ── 10.2.0.2 host b
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startEspd } from '../rig/espd.ts';
import { createNamespace, createVeth, type Host, ip } from '../rig/namespace.ts';
import { startOvsdb } from '../rig/ovsdb.ts';
import { run, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, BRIDGE, INNER, obstacle, PSK, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const NARROW = 1300;

describe.skipIf(reason !== '')(`a narrow path${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  async function side(label: string, router: string, net: number, mtu: number): Promise<TutorialHost> {
    const namespace = await createNamespace(rig, label);
    const address = `10.${net}.0.${net}`;
    await createVeth({ namespace, device: 'eth0' }, { namespace: router, device: `eth${net}` }, { mtu });
    await ip(namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
    await ip(router, 'addr', 'add', `10.${net}.0.254/24`, 'dev', `eth${net}`);
    await ip(namespace, 'route', 'add', 'default', 'via', `10.${net}.0.254`);
    const exec: Host['exec'] = (command, args = [], options) => run({ command, args, namespace }, options);
    const host: Host = { namespace, device: 'eth0', address, exec };
    const ovsdb = await startOvsdb(rig, host);
    const espd = await startEspd(rig, host, { database: ovsdb.remote, directory: ovsdb.directory });
    return { host, ovsdb, espd };
  }

  it.each([
    ['in the clear', {}],
    ['in ESP', { psk: PSK }],
  ] as const)('is found out %s, and what goes into the tunnel is told of it', async (_name, options) => {
    const router = await createNamespace(rig, 'router');
    await run({ command: 'sh', args: ['-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'], namespace: router });
    const a = await side('a', router, 1, 1500);
    const b = await side('b', router, 2, NARROW);
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await addTunnel(a, 'geneve', b.host.address, options);
    await addTunnel(b, 'geneve', a.host.address, options);
    await waitForPing(a.host.namespace, INNER.b);

    // a's TAP lets through what its own uplink takes; the first such packet meets the narrow link.
    const large = { count: 1, wait: 1, size: 1350 };
    await until(
      'a ping of 1350 bytes to get through',
      async () => (await ping(a.host.namespace, INNER.b, large)).received > 0,
    );
    expect(a.espd.log()).toContain(`takes packets of ${NARROW} bytes`);
    const told = await ping(a.host.namespace, INNER.b, { ...large, dontFragment: true });
    expect(told.received).toBe(0);
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: BRIDGE });
    await ip(a.host.namespace, 'route', 'flush', 'cache');
    await ping(a.host.namespace, INNER.b, { ...large, dontFragment: true });
    const answers = await capture.waitFor((packet) => packet.kind === 'icmp' && packet.frame[34] === 3);
    expect(answers[0]!.source).toBe(INNER.b);
    await capture.stop();
    expect(await a.espd.appctl('coverage/show')).toContain('too-big');
  });
});
