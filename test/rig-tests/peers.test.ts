// The real peers against each other, before they judge us: charon with a null SAD, libipsec, tshark, scapy, OVSDB.
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { type CharonConnection, startCharon } from '../rig/charon.ts';
import { scapyIsThere, scapyOpen, scapySeal, sendDatagram, tshark } from '../rig/judge.ts';
import { startLibipsecPair } from '../rig/libipsec.ts';
import { createLan } from '../rig/namespace.ts';
import { startOvsdb, startVswitchd } from '../rig/ovsdb.ts';
import { writePcap } from '../rig/pcap.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';
import { measureThroughput, ping } from '../rig/traffic.ts';

const root = canMakeNamespaces() ? [] : ['root'];
const lacking = (...programs: string[]) => [...root, ...missingPrograms(...programs)];
const named = (title: string, missing: string[]) =>
  missing.length === 0 ? title : `${title} (skipped: needs ${missing.join(', ')})`;

let rig: Rig;
afterEach(() => rig?.close());

const GRE: Omit<CharonConnection, 'remote'> = { name: 'tun', type: 'gre', psk: 'swordfish' };
const GENEVE: Omit<CharonConnection, 'remote'> = { name: 'gnv', type: 'geneve', psk: 'swordfish' };

async function twoCharons(connections: readonly Omit<CharonConnection, 'remote'>[]) {
  rig = createRig();
  const lan = await createLan(rig);
  const capture = await startCapture(rig, lan.a);
  const [a, b] = await Promise.all(
    (
      [
        ['a', 'b'],
        ['b', 'a'],
      ] as const
    ).map(([mine, theirs]) => {
      const toPeer = connections.map((connection) => ({ ...connection, remote: lan[theirs].address }));
      return startCharon(rig, lan[mine], toPeer, { kernel: 'null-sad', verbose: true });
    }),
  );
  return { lan, capture, a: a!, b: b! };
}

const forCharon = lacking('swanctl', 'charon-systemd', 'cc', 'tcpdump');
describe.skipIf(forCharon.length > 0)(named('charon with a null SAD', forCharon), () => {
  it('negotiates GRE in transport mode, rekeys child and IKE SA, and tells the same keys on both sides', async () => {
    const { a, b } = await twoCharons([GRE]);
    await a.initiate('tun-1');
    const child = await b.waitForChild('tun-1');
    expect(child).toMatchObject({ mode: 'TRANSPORT', encryption: 'AES_GCM_16-256', esn: false, dhGroup: '' });
    expect(child.localSelectors).toEqual(['10.1.0.2/32[gre]']);
    await a.rekey('child', 'tun-1');
    await b.rekey('ike', 'tun');
    await b.rekey('child', 'tun-1');
    const bySpi = (sas: ReturnType<typeof a.installedSas>) => new Map(sas.map((sa) => [sa.spi, sa]));
    const [atA, atB] = [bySpi(a.installedSas()), bySpi(b.installedSas())];
    expect(atA.size).toBe(6);
    expect([...atA.keys()].sort()).toEqual([...atB.keys()].sort());
    for (const [spi, sa] of atA) {
      expect(sa.encryption).toBe('rfc4106(gcm(aes))');
      expect(sa.encryptionKey).toHaveLength(36);
      expect(sa.encryptionKey).toEqual(atB.get(spi)?.encryptionKey);
      expect(sa).toMatchObject({ mode: 'transport', udpEncapsulated: false, selector: { protocol: 47 } });
    }
  });

  it('negotiates the two children of a UDP tunnel within one IKE SA', async () => {
    const { a, b } = await twoCharons([GRE, GENEVE]);
    for (const child of ['tun-1', 'gnv-out-1', 'gnv-in-1']) await a.initiate(child);
    await b.waitForChild('gnv-in-1');
    const [ike, ...others] = await b.listSas();
    expect(others).toEqual([]);
    const selectors = ike!.children.map(({ localSelectors, remoteSelectors }) => [
      ...localSelectors,
      ...remoteSelectors,
    ]);
    expect(selectors).toContainEqual(['10.1.0.2/32[udp]', '10.1.0.1/32[udp/6081]']);
    expect(selectors).toContainEqual(['10.1.0.2/32[udp/6081]', '10.1.0.1/32[udp]']);
  });

  it('takes the IKE SA down at both ends, and says why a wrong PSK is refused', async () => {
    const { lan, a, b } = await twoCharons([GRE]);
    await a.initiate('tun-1');
    await a.terminate('tun');
    await b.running.waitUntil('the end of its IKE SA', async () => (await b.listSas()).length === 0);
    await a.configure([{ ...GRE, remote: lan.b.address, psk: 'sailfish' }]);
    await expect(a.initiate('tun-1')).rejects.toThrow(/AUTHENTICATION_FAILED/);
  });

  it.skipIf(missingPrograms('tshark').length > 0)('gives tshark the keys that open its IKE messages', async () => {
    const { capture, a } = await twoCharons([GRE]);
    await a.initiate('tun-1');
    await capture.waitFor('ike', 4);
    await capture.stop();
    const [sa] = await a.listSas();
    const [secrets] = a.ikeSecrets();
    const keys = { initiatorSpi: sa!.initiatorSpi, responderSpi: sa!.responderSpi, ...secrets! };
    const options = { fields: ['isakmp.exchangetype', 'isakmp.id.data.ipv4_addr'], filter: 'isakmp' } as const;
    const rows = await tshark(rig, capture.path, { ...options, ike: [keys] });
    expect(rows.map((row) => row['isakmp.exchangetype'])).toEqual(['34', '34', '35', '35']);
    // The request carries IDi and IDr, the answer IDr.
    expect(rows.map((row) => row['isakmp.id.data.ipv4_addr'])).toEqual(['', '', '10.1.0.1,10.1.0.2', '10.1.0.2']);
  });
});

const forLibipsec = lacking('swanctl', 'charon-systemd', 'tcpdump', 'iperf3');
describe.skipIf(forLibipsec.length > 0)(named('The performance peer', forLibipsec), () => {
  it('carries ping and TCP, and only ESP in UDP is on the wire', async () => {
    rig = createRig();
    const lan = await createLan(rig);
    const capture = await startCapture(rig, lan.a, '', { snapLength: 128 });
    const { a, b } = await startLibipsecPair(rig, lan);
    expect(await ping(a.namespace, b.address, { from: a.address })).toMatchObject({ sent: 3, received: 3, loss: 0 });
    const { gigabitsPerSecond } = await measureThroughput(rig, { client: a, server: b, seconds: 1, omit: 0 });
    expect(gigabitsPerSecond).toBeGreaterThan(0.01);
    await capture.stop();
    capture.assertOnlyEsp();
    expect(capture.counts()['esp-in-udp']).toBeGreaterThan(100);
  });
});

const forOvsdb = lacking('ovsdb-server', 'ovs-vsctl');
describe.skipIf(forOvsdb.length > 0)(named('OVSDB', forOvsdb), () => {
  it('gives each host a database of its own', async () => {
    rig = createRig();
    const lan = await createLan(rig);
    const [a, b] = await Promise.all([startOvsdb(rig, lan.a), startOvsdb(rig, lan.b)]);
    await a.vsctl('--no-wait add-br br-ipsec');
    expect((await a.vsctl('list-br')).trim()).toBe('br-ipsec');
    expect(await b.vsctl('list-br')).toBe('');
    expect(await a.appctl('ovsdb-server', 'ovsdb-server/list-dbs')).toContain('Open_vSwitch');
  });
});

const forVswitchd = lacking('ovsdb-server', 'ovs-vsctl', 'ovs-vswitchd');
describe.skipIf(forVswitchd.length > 0)(named('ovs-vswitchd', forVswitchd), () => {
  it('makes a bridge of the userspace datapath on the database of its host', async () => {
    rig = createRig();
    const lan = await createLan(rig);
    const ovsdb = await startOvsdb(rig, lan.a);
    await startVswitchd(rig, lan.a, ovsdb);
    await ovsdb.vsctl('add-br br-phy -- set bridge br-phy datapath_type=netdev');
    expect(await ovsdb.appctl('ovs-vswitchd', 'dpif/show')).toContain('br-phy');
    expect((await lan.a.exec('ip', ['link', 'show', 'br-phy'])).stdout).toContain('br-phy');
  });
});

const forScapy = (await scapyIsThere()) ? missingPrograms('tshark') : ['python3-scapy', 'python3-cryptography'];
describe.skipIf(forScapy.length > 0)(named('scapy', forScapy), () => {
  const key = Buffer.from('00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff01020304', 'hex');
  // ICMP echo request from 10.1.0.1 to 10.1.0.2.
  const datagram = Buffer.from('4500001c00010000400166c10a0100010a010002080006fa00010000', 'hex');

  it('seals what tshark opens with a good ICV, and opens it again', async () => {
    rig = createRig();
    const sealed = await scapySeal({ spi: 0x1001, sequence: 7, key, packet: datagram });
    expect(sealed[9]).toBe(50);
    const path = join(rig.directory, 'scapy.pcap');
    writePcap(path, [Buffer.concat([Buffer.from('0200000000020200000000010800', 'hex'), sealed])]);
    const fields = ['esp.spi', 'esp.sequence', 'esp.icv_good', 'icmp.type'] as const;
    const rows = await tshark(rig, path, { fields, esp: [{ spi: 0x1001, key }] });
    expect(rows).toEqual([{ 'esp.spi': '0x00001001', 'esp.sequence': '7', 'esp.icv_good': '1', 'icmp.type': '8' }]);
    const opened = await scapyOpen({ spi: 0x1001, key, packet: sealed });
    expect(opened.subarray(20)).toEqual(datagram.subarray(20));
  });

  const forWire = lacking('swanctl', 'charon-systemd', 'cc', 'tcpdump');
  it.skipIf(forWire.length > 0)(
    named("seals with charon's keys, and tshark finds GRE in it on the wire", forWire),
    async () => {
      const { lan, capture, a, b } = await twoCharons([GRE]);
      await a.initiate('tun-1');
      const child = await b.waitForChild('tun-1');
      const sa = b.installedSas().find(({ spi }) => spi === child.spiOut);
      // GRE (TEB), an ARP request within: who has 192.0.2.1, tell 192.0.2.2.
      const arp = 'ffffffffffff02000000000208060001080006040001020000000002c0000202000000000000c0000201';
      const packet = Buffer.from(`4500004200000000402f00000a0100020a01000100006558${arp}`, 'hex');
      const sealed = await scapySeal({ spi: child.spiOut, sequence: 1, key: sa!.encryptionKey, packet });
      await sendDatagram(lan.b.namespace, sealed);
      await capture.waitFor(({ kind, spi }) => kind === 'esp' && spi === child.spiOut);
      await capture.stop();
      const fields = ['esp.icv_good', 'frame.protocols', 'arp.dst.proto_ipv4'] as const;
      const esp = [{ spi: sa!.spi, key: sa!.encryptionKey }];
      // The kernel has no ESP and says so by ICMP, with the packet quoted: that one is not looked at.
      const rows = await tshark(rig, capture.path, { fields, filter: 'esp && !icmp', esp });
      expect(rows).toHaveLength(1);
      expect(rows[0]).toMatchObject({ 'esp.icv_good': '1', 'arp.dst.proto_ipv4': '192.0.2.1' });
      expect(rows[0]!['frame.protocols']).toMatch(/:esp:gre:eth:ethertype:arp$/);
    },
  );

  it('refuses a packet of which one bit was changed', async () => {
    rig = createRig();
    const sealed = await scapySeal({ spi: 0x1001, sequence: 7, key, packet: datagram });
    sealed[sealed.length - 1]! ^= 1;
    await expect(scapyOpen({ spi: 0x1001, key, packet: sealed })).rejects.toThrow(/Integrity/);
  });
});
