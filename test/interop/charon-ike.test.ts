// ovs-espd and strongSwan's charon as OVS configures it, both roles, PSK. charon's kernel has no ESP, so its SAs go to a
// null SAD (test/rig/null-sad.c), from which tshark and scapy get the keys: they judge the ESP of ours, out and in.
import { afterEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { type Charon, type CharonConnection, startCharon } from '../rig/charon.ts';
import { type Espd, espdIsBuilt, fileConfig, startEspd } from '../rig/espd.ts';
import { type EspKey, scapyIsThere, scapySeal, sendDatagram, tshark } from '../rig/judge.ts';
import { createLan, ip, type Lan } from '../rig/namespace.ts';
import { start } from '../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';

const BRIDGE = 'br-ipsec';
const missing = [
  ...(canMakeNamespaces() ? [] : ['root']),
  ...(espdIsBuilt() ? [] : ['npm run build']),
  ...missingPrograms('swanctl', 'charon-systemd', 'cc', 'tcpdump', 'tshark'),
  ...((await scapyIsThere()) ? [] : ['python3-scapy', 'python3-cryptography']),
];
const title = `ovs-espd and charon${missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`}`;

type Pair = { rig: Rig; lan: Lan; capture: Capture; espd: Espd; charon: Charon };
let rig: Rig;
afterEach(() => rig?.close());

/** ovs-espd on a, charon on b, one tunnel of the given type between them. */
async function pair(
  type: CharonConnection['type'],
  { psk = 'swordfish', connection = {} }: { psk?: string; connection?: Record<string, string> } = {},
): Promise<Pair> {
  rig = createRig();
  const lan = await createLan(rig);
  const capture = await startCapture(rig, lan.a);
  const spec = { name: 'tun', type, remote: lan.a.address, psk, connection };
  const charon = await startCharon(rig, lan.b, [spec], { kernel: 'null-sad', verbose: true });
  const options = { local_ip: lan.a.address, remote_ip: lan.b.address, psk: 'swordfish' };
  const espd = await startEspd(rig, lan.a, { config: fileConfig(BRIDGE, [{ name: 'tun', type, options }]) });
  // Without an address of its own, IPv6 says nothing: what is in the tunnel is the test's.
  await ip(lan.a.namespace, 'link', 'set', BRIDGE, 'addrgenmode', 'none');
  await ip(lan.a.namespace, 'address', 'add', '192.0.2.1/24', 'dev', BRIDGE);
  await ip(lan.a.namespace, 'link', 'set', BRIDGE, 'up');
  return { rig, lan, capture, espd, charon };
}

/** Keeps packets coming: pings an inner address that nobody has, so that each ping is an ARP broadcast. */
function chatter({ lan }: Pair) {
  return start(rig, { command: 'ping', args: ['-n', '-i', '0.2', '192.0.2.2'], namespace: lan.a.namespace });
}

const keysOf = (charon: Charon): EspKey[] =>
  charon.installedSas().map(({ spi, encryptionKey }) => ({ spi, key: encryptionKey }));

describe.skipIf(missing.length > 0)(title, { timeout: 120_000 }, () => {
  it.each(['gre', 'geneve', 'vxlan'] as const)(
    'agree on the SAs of a %s tunnel, and its ESP opens in tshark',
    async (type) => {
      const made = await pair(type);
      const { lan, capture, espd, charon } = made;
      const out = type === 'gre' ? 'tun-1' : 'tun-in-1';
      chatter(made);
      const child = await charon.waitForChild(out);
      expect(child).toMatchObject({ mode: 'TRANSPORT', encryption: 'AES_GCM_16-256', udpEncapsulated: false });
      await espd.waitForTunnel('tun');
      await capture.waitFor(({ kind, source }) => kind === 'esp' && source === lan.a.address, 3);
      await capture.stop();
      const fields = ['esp.spi', 'esp.icv_good', 'frame.protocols', 'arp.dst.proto_ipv4'] as const;
      const filter = `esp && !icmp && ip.src == ${lan.a.address}`;
      const rows = await tshark(rig, capture.path, { fields, filter, esp: keysOf(charon) });
      const arp = rows.filter((row) => row['arp.dst.proto_ipv4'] === '192.0.2.2');
      expect(arp.length).toBeGreaterThanOrEqual(1);
      for (const row of arp) {
        expect(row['esp.icv_good']).toBe('1');
        expect(Number(row['esp.spi'])).toBe(child.spiIn);
        expect(row['frame.protocols']).toMatch(new RegExp(`:esp:(udp:)?${type}:eth:ethertype:arp`));
      }
    },
  );

  it('follow when charon initiates, and when it rekeys the child and the IKE SA', async () => {
    const made = await pair('gre');
    const { lan, capture, espd, charon } = made;
    chatter(made);
    await charon.waitForChild('tun-1');
    await espd.waitForTunnel('tun');
    // ipsec_skb_mark is unset: what left before the first SA was allowed to; nothing may follow.
    await capture.settle();
    const before = capture.counts().gre ?? 0;
    await charon.terminate('tun');
    await charon.initiate('tun-1');
    expect(charon.log()).toMatch(/initiating IKE_SA tun\[\d+\] to 10\.1\.0\.1/);
    await charon.waitForChild('tun-1');
    for (const what of ['child', 'ike', 'child'] as const) {
      await charon.rekey(what, what === 'ike' ? 'tun' : 'tun-1');
      const spis = (await charon.listSas())
        .flatMap(({ children }) => children)
        .filter(({ state }) => state === 'INSTALLED')
        .map(({ spiIn }) => spiIn);
      const since = capture.packets().length;
      const fresh = () =>
        capture
          .packets()
          .slice(since)
          .some(({ source, spi }) => source === lan.a.address && spis.includes(spi));
      await espd.running.waitUntil(`ESP of ours with an SPI of charon's after its rekey of the ${what}`, fresh);
    }
    await capture.settle();
    expect(capture.counts().gre ?? 0).toBe(before);
  });

  it('carry what charon would seal into the bridge: an ARP request by scapy is answered in ESP', async () => {
    const made = await pair('gre');
    const { lan, capture, espd, charon } = made;
    const child = await charon.waitForChild('tun-1');
    await espd.waitForTunnel('tun');
    const sa = charon.installedSas().find(({ spi }) => spi === child.spiOut);
    // GRE with a TEB payload: who has 192.0.2.1, tell 192.0.2.2.
    const ethernet = 'ffffffffffff0200000000020806';
    const arp = `${ethernet}0001080006040001020000000002c0000202000000000000c0000201`;
    const gre = Buffer.from(`00006558${arp}`, 'hex');
    const header = Buffer.from('4500000000000000402f00000a0100020a010001', 'hex');
    header.writeUInt16BE(header.length + gre.length, 2);
    const packet = Buffer.concat([header, gre]);
    const sealed = await scapySeal({ spi: child.spiOut, sequence: 1, key: sa!.encryptionKey, packet });
    await sendDatagram(lan.b.namespace, sealed);
    await capture.waitFor(({ kind, source, spi }) => kind === 'esp' && source === lan.a.address && spi === child.spiIn);
    await espd.running.waitUntil('an ARP reply in ESP', async () => {
      const filter = `esp && ip.src == ${lan.a.address} && arp.opcode == 2`;
      const fields = ['arp.src.proto_ipv4', 'esp.icv_good'] as const;
      const rows = await tshark(rig, capture.path, { fields, filter, esp: keysOf(charon) });
      return rows.some((row) => row['arp.src.proto_ipv4'] === '192.0.2.1' && row['esp.icv_good'] === '1');
    });
  });

  it('do not get together with different PSKs: no SA, the reason in tunnels/show, the PSK nowhere', async () => {
    const made = await pair('gre', { psk: 'sailfish' });
    const { espd, charon } = made;
    chatter(made);
    await espd.waitForTunnel('tun', /AUTHENTICATION_FAILED/);
    expect(charon.installedSas()).toEqual([]);
    expect((await espd.tunnelsShow()) + espd.log()).not.toContain('swordfish');
  });

  it('delete together: when ovs-espd ends, charon has no SA left', async () => {
    const made = await pair('gre');
    const { espd, charon } = made;
    chatter(made);
    await charon.waitForChild('tun-1');
    await espd.appctl('exit');
    await charon.running.waitUntil('the end of all SAs', async () => (await charon.listSas()).length === 0);
  });
});
