/** A peer behind a NAT: found by NAT detection (RFC 7296 §2.23), ESP in UDP (RFC 3948), keepalives, and a NAT that forgets. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TunnelType } from '../../dataplane/index.ts';
import { startCapture } from '../rig/capture.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { type Host, ip } from '../rig/namespace.ts';
import { createNatted, type Natted } from '../rig/nat.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('tcpdump', 'ping', 'ovs-appctl', 'ethtool');
const INNER = { a: '192.168.5.1', b: '192.168.5.2' } as const;
const BRIDGE = 'br-ipsec';

describe.skipIf(reason !== '')(`a peer behind a NAT${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  async function begin(type: TunnelType): Promise<Natted> {
    const ends = await createNatted(rig);
    const { inside: a, outside: b, natAddress } = ends;
    const side = (host: Host, remote: string, id: Readonly<Record<string, string>>): Promise<Espd> =>
      startEspd(rig, host, {
        config: fileConfig(BRIDGE, [
          { name: 'tun', type, options: { local_ip: host.address, remote_ip: remote, psk: PSK, ...id } },
        ]),
      });
    const espds = {
      b: await side(b, natAddress, { ipsec_rightid: '@a.example' }),
      a: await side(a, b.address, { ipsec_leftid: '@a.example' }),
    };
    for (const [host, address] of [
      [a, INNER.a],
      [b, INNER.b],
    ] as const) {
      await until('the bridge', async () => (await ip(host.namespace, 'link', 'show', BRIDGE)) !== undefined);
      await ip(host.namespace, 'addr', 'add', `${address}/24`, 'dev', BRIDGE);
      await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
    }
    await espds.a.waitForTunnel('tun');
    return ends;
  }

  it.each(['gre', 'vxlan'] as const)('has a %s tunnel in ESP in UDP, which outlives a new mapping', async (type) => {
    const { inside: a, outside: b, natAddress, nat } = await begin(type);
    await waitForPing(a.namespace, INNER.b);
    const capture = await startCapture(rig, { namespace: b.namespace, device: b.device });
    for (const [host, target] of [
      [a, INNER.b],
      [b, INNER.a],
    ] as const) {
      await pingAll(host.namespace, target, { count: 5, size: 700 });
    }
    const ends = { from: b.namespace, to: { namespace: a.namespace, address: INNER.a } };
    const { sent, received } = await transfer(rig, ends, 2_000_000, 'nat');
    expect(received).toBe(sent);
    const before = (await capture.waitFor('esp-in-udp', 20)).filter((packet) => packet.source === natAddress);
    const ports = new Set(before.map((packet) => packet.sourcePort));
    expect(ports.size).toBe(1);
    expect(ports.has(4500)).toBe(false);

    process.kill(nat.pid, 'SIGHUP');
    await nat.waitForOutput(/^rebound$/m);
    // A packet from a shows b the new port; before that b has nowhere to send to.
    await waitForPing(a.namespace, INNER.b);
    await pingAll(b.namespace, INNER.a, { count: 5 });
    const packets = await capture.stop();
    const towards = packets.filter((packet) => packet.kind === 'esp-in-udp' && packet.destination === natAddress);
    const last = towards.at(-1)!.destinationPort;
    expect(ports.has(last)).toBe(false);
    const kinds = new Set(packets.map((packet) => packet.kind));
    for (const own of ['arp', 'icmpv6', 'icmp', 'igmp', 'ike', 'nat-keepalive'] as const) kinds.delete(own);
    expect([...kinds]).toEqual(['esp-in-udp']);
  });
});
