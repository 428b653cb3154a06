/**
 * Ways past ovs-espd in a real ovs-vswitchd with external_ids:espd=uplink: a NIC or a guest beside the uplink in its bridge, a NIC of
 * another bridge, a guest of the integration bridge. What the bridges flood, or somebody has them learn, must not leave
 * there in the clear, and what comes in there in the clear must not be taken.
 *
 *     b ── eth0 ─ ovs-espd ─ br-phy of a ─ eth2       br-other of a ─ eth3       br-int of a ─ guest
 */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { startCompanion, startFarEnd } from '../rig/companion.ts';
import { createLan, createNamespace, createVeth, ip, type Lan } from '../rig/namespace.ts';
import { run } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'ovs-ofctl', 'tcpdump', 'ping', 'ethtool', 'python3');
const MARKER = 7777;

/** Sends a Geneve packet of b's to a in the clear, three times, with a UDP packet to port MARKER in it. argv: device, MAC of br-phy, of br-int. */
const INJECT = `
import socket, struct, sys
device, phy, inner = sys.argv[1], *(bytes.fromhex(mac.replace(':', '')) for mac in sys.argv[2:4])
def ipv4(source, target, body):
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton(target))
    total = sum(struct.unpack('!10H', head))
    total = (total & 0xffff) + (total >> 16)
    return head[:10] + struct.pack('!H', ~((total & 0xffff) + (total >> 16)) & 0xffff) + head[12:] + body
def udp(source, target, body):
    return struct.pack('!HHHH', source, target, 8 + len(body), 0) + body
def ethernet(target, source, body):
    return target + bytes.fromhex(source) + b'\\x08\\x00' + body
frame = ethernet(inner, '020000000078', ipv4('192.0.0.2', '192.0.0.1', udp(1000, ${MARKER}, bytes(32))))
geneve = bytes.fromhex('0000655800000000') + frame
packet = ethernet(phy, '020000000077', ipv4('10.1.0.2', '10.1.0.1', udp(5555, 6081, geneve)))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((device, 0))
for _ in range(3): wire.send(packet)
`;

describe.skipIf(reason !== '')(`ports beside an uplink of ovs-vswitchd${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  it('let no tunnel packet of a peer with IPsec out or in, nor do other bridges; log and doctor name what is open or astray', async () => {
    const a = await startCompanion(rig, lan.a, { attach: 'uplink', number: 1 });
    const { namespace } = a.host;
    const vsctl = (words: string) => a.ovsdb.vsctl(`--timeout=10 ${words}`);
    const macOf = async (where: string, device: string) =>
      /ether (\S+)/.exec((await ip(where, 'link', 'show', device)).stdout)?.[1] ?? '';
    const elsewhere = await createNamespace(rig, 'elsewhere');
    const nics = ['eth2', 'eth3', 'guest'] as const;
    for (const device of nics) await createVeth({ namespace, device }, { namespace: elsewhere, device });
    await vsctl('add-port br-phy eth2 -- add-port br-int guest');
    await vsctl('add-br br-other -- set bridge br-other datapath_type=netdev -- add-port br-other eth3');
    await ip(namespace, 'link', 'set', 'br-other', 'up');
    await startFarEnd(rig, a, lan.b, { inner: '192.0.0.2', psk: PSK });
    const captures = await Promise.all(nics.map((device) => startCapture(rig, { namespace: elsewhere, device })));
    const taken = await startCapture(rig, { namespace, device: 'br-int' }, `udp port ${MARKER}`);
    const inner = await startCapture(rig, { namespace, device: 'br-int' }, 'arp');

    // Out: what the bridge floods, and what it believes to be behind another port.
    const peer = await macOf(lan.b.namespace, 'eth0');
    const forget = () => a.ovsdb.appctl('ovs-vswitchd', 'fdb/flush', 'br-phy');
    await forget();
    for (let i = 0; i < 3; i++) await Promise.all([forget(), ping(namespace, '192.0.0.2', { count: 2, wait: 0.3 })]);
    await a.ovsdb.appctl('ovs-vswitchd', 'fdb/add', 'br-phy', 'eth2', '0', peer);
    await ping(namespace, '192.0.0.2', { count: 2, wait: 0.3 });
    // That a broadcast of the host's has been flooded is how one knows that what came before it has been seen.
    await ping(namespace, '10.1.0.77', { count: 1, wait: 0.3 });
    await captures[0]!.waitFor('arp');
    await captures[0]!.settle();
    expect(captures[0]!.counts().geneve ?? 0).toBe(0);

    // In: by the NIC beside the uplink, by another bridge's, from a guest.
    const [phy, int] = [await macOf(namespace, 'br-phy'), await macOf(namespace, 'br-int')];
    for (const [index, device] of nics.entries()) {
      const command = { command: 'python3', args: ['-c', INJECT, device, phy, int], namespace: elsewhere };
      await run(command, { ms: 20_000 });
      await captures[index]!.waitFor('geneve', 3);
    }
    // Broadcasts of the guest come after what it has injected.
    await ip(elsewhere, 'address', 'add', '192.0.0.9/24', 'dev', 'guest');
    await ping(elsewhere, '192.0.0.77', { count: 1, wait: 0.3 });
    await inner.waitFor('arp');
    expect(taken.packets()).toEqual([]);
    const dropped = await a.ofctl('dump-flows', 'cookie=0x6573706400000001/-1');
    expect(dropped).toMatch(/n_packets=3,.*priority=61456.*actions=drop/);

    // A tunnel whose route leaves by a bridge without an uplink is dropped there.
    await ip(namespace, 'route', 'add', '10.1.0.9/32', 'dev', 'br-other');
    const options = `options:local_ip=${a.physical} options:remote_ip=10.1.0.9 options:psk=${PSK}`;
    await vsctl(`add-port br-int astray -- set interface astray type=gre ${options}`);
    const astray = 'its packets leave by br-other, which is in no bridge with external_ids:espd';
    await a.espd.running.waitUntil('the warning', () => a.espd.log().includes(`interface astray: ${astray}`));
    await a.ovsdb.appctl('ovs-vswitchd', 'tnl/neigh/set', 'br-other', '10.1.0.9', '02:00:00:00:00:09');
    await ping(namespace, '192.0.0.2', { count: 2, wait: 0.3 });
    await ip(namespace, 'address', 'add', '10.3.0.1/24', 'dev', 'br-other');
    await ping(namespace, '10.3.0.77', { count: 1, wait: 0.3 });
    await captures[1]!.waitFor('arp');
    await captures[1]!.settle();
    expect(captures[1]!.counts().gre ?? 0).toBe(0);

    const open = 'it has other ports beside its uplink (eth2), and fail_mode is not secure';
    expect(a.espd.log().split(`bridge br-phy: ${open}`)).toHaveLength(2);
    expect(a.espd.log()).not.toContain('interface tun: its packets leave');
    const args = [join(ROOT, 'bin/ovs-espd'), 'doctor'];
    const doctor = { command: process.execPath, args, namespace, env: a.ovsdb.env };
    const { stdout } = await run(doctor, { expect: 'any', ms: 30_000 });
    expect(stdout).toContain(`bridge br-phy: ${open}`);
    expect(stdout).toContain(`tunnel astray: ${astray}`);
    expect(stdout).not.toContain('tunnel tun: its packets leave');

    // With it nothing passes while ovs-vswitchd has no flows yet, and what is for the others goes on.
    await vsctl('set-fail-mode br-phy secure');
    await waitForPing(lan.b.namespace, a.inner);
    await a.restartVswitchd();
    await waitForPing(lan.b.namespace, a.inner);
    await captures[0]!.settle();
    expect(captures[0]!.counts().geneve ?? 0).toBe(3);
  });
});
