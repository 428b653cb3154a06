/**
 * A peer with ESP of its own in userspace: strongSwan's kernel-libipsec, which knows tunnel mode in UDP only, and a VXLAN
 * device of its kernel above it. Its packets go through real keys, and ours through its window.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startCharon } from '../rig/charon.ts';
import { childNames } from '../rig/charon-conf.ts';
import { fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, ip } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('swanctl', 'cc', 'ovs-appctl', 'tcpdump');
const BRIDGE = 'br-ipsec';
const INNER = { a: '192.168.9.1', b: '192.168.9.2' } as const;

describe.skipIf(reason !== '')(`a VXLAN tunnel to kernel-libipsec${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('carries pings and TCP both ways in ESP tunnel mode in UDP', async () => {
    const { a, b } = await createLan(rig);
    const charon = await startCharon(
      rig,
      b,
      [
        {
          name: 'tun',
          type: 'vxlan',
          remote: a.address,
          psk: PSK,
          connection: { encap: 'yes' },
          child: { mode: 'tunnel' },
        },
      ],
      { kernel: 'libipsec' },
    );
    const vxlan = ['type', 'vxlan', 'id', '7', 'dstport', '4789', 'local', b.address, 'remote', a.address];
    await ip(b.namespace, 'link', 'add', 'vx0', 'mtu', '1300', ...vxlan);
    await ip(b.namespace, 'addr', 'add', `${INNER.b}/24`, 'dev', 'vx0');
    await ip(b.namespace, 'link', 'set', 'vx0', 'up');
    const options = {
      local_ip: a.address,
      remote_ip: b.address,
      key: '7',
      psk: PSK,
      ipsec_type: 'tunnel',
      ipsec_encapsulation: 'yes',
    };
    const espd = await startEspd(rig, a, { config: fileConfig(BRIDGE, [{ name: 'tun', type: 'vxlan', options }]) });
    await until('the bridge', async () => (await ip(a.namespace, 'link', 'show', BRIDGE)) !== undefined);
    await ip(a.namespace, 'addr', 'add', `${INNER.a}/24`, 'dev', BRIDGE);
    await ip(a.namespace, 'link', 'set', BRIDGE, 'mtu', '1300', 'up');
    await espd.waitForTunnel('tun');
    for (const name of childNames({ name: 'tun', type: 'vxlan' })) await charon.waitForChild(name);

    const capture = await startCapture(rig, { namespace: a.namespace, device: a.device });
    await waitForPing(a.namespace, INNER.b);
    for (const size of [0, 57, 1200]) await pingAll(a.namespace, INNER.b, { size });
    await pingAll(b.namespace, INNER.a);
    for (const [from, namespace, address] of [
      [a.namespace, b.namespace, INNER.b],
      [b.namespace, a.namespace, INNER.a],
    ] as const) {
      const { sent, received } = await transfer(rig, { from, to: { namespace, address } }, 5_000_000, from);
      expect(received).toBe(sent);
    }
    const kinds = new Set((await capture.stop()).map((packet) => packet.kind));
    for (const own of ['arp', 'icmpv6', 'igmp', 'ike', 'nat-keepalive'] as const) kinds.delete(own);
    expect([...kinds]).toEqual(['esp-in-udp']);
  });
});
