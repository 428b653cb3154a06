/**
 * The scenarios of OVS's own system tests of IPsec (facts of tests/system-ipsec.at: names and what is asserted; no code of theirs),
 * on the userspace datapath, where the real ovs-monitor-ipsec can protect nothing. The eighteenth, the mesh, is system-ipsec-mesh.test.ts.
 *
 * As there: all connections up, pings both ways without loss, and the wire carries ESP. Beyond that: not one tunnel packet
 * in the clear, from before the first daemon to the end.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { createWire, ip, type Wire } from '../rig/namespace.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, pingAll, waitForPing } from '../rig/traffic.ts';
import {
  addTunnels,
  innerOf,
  removeTunnels,
  startEspdAgain,
  startUserspaceHost,
  stateOf,
  type UserspaceHost,
  underlayOf,
} from '../rig/userspace-host.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'ovs-pki', 'tcpdump', 'ping');
type CapturedPacket = ReturnType<Capture['packets']>[number];
const PLAIN = ['geneve', 'vxlan', 'gre'] as const;

describe.skipIf(reason !== '')(`the scenarios of system-ipsec.at${reason}`, { timeout: 240_000 }, () => {
  let rig: Rig;
  let wire: Wire;
  let capture: Capture;
  let a: UserspaceHost;
  let b: UserspaceHost;
  let c: UserspaceHost;
  const keys: HostKeys[] = [];

  beforeAll(async () => {
    rig = createRig();
    wire = await createWire(rig);
    capture = await startCapture(rig, wire, '', { snapLength: 128 });
    [a, b, c] = [
      await startUserspaceHost(rig, wire, 1),
      await startUserspaceHost(rig, wire, 2, ['--use-default-crypto']),
      await startUserspaceHost(rig, wire, 3),
    ];
    for (const name of ['h1', 'h2']) {
      const own = new HostKeys(rig.directory, name);
      keys.push(own);
      if (name === 'h1') await own.ovsPki('init');
      await own.ovsPki('-u', 'req+sign', name, 'switch');
    }
  }, 240_000);
  afterEach(async () => {
    for (const [host, remotes] of [
      [a, [2, 3, 4, 5, 6, 7]],
      [b, [1]],
      [c, [1]],
    ] as const)
      await removeTunnels(host, remotes);
  });
  afterAll(() => rig?.close());

  async function expectProtected(family: 4 | 6): Promise<void> {
    await a.espd.waitForTunnel('tun2', undefined, 30_000);
    await b.espd.waitForTunnel('tun1', undefined, 30_000);
    await waitForPing(a.host.namespace, innerOf(2), 20_000).catch(async (error: Error) => {
      throw new Error(`${error.message}\n${await stateOf(a)}\n${await stateOf(b)}`);
    });
    const before = capture.packets().filter(isEspOf(family)).length;
    await pingAll(a.host.namespace, innerOf(2), { count: 3 });
    await pingAll(b.host.namespace, innerOf(1), { count: 3 });
    await capture.waitFor(isEspOf(family), before + 12);
    expectNothingInTheClear();
  }

  function isEspOf(family: 4 | 6): (packet: CapturedPacket) => boolean {
    return ({ kind, source }) => kind === 'esp' && source.includes(':') === (family === 6);
  }

  const isIkeTo =
    (address: string): ((packet: CapturedPacket) => boolean) =>
    ({ kind, destination }) =>
      kind === 'ike' && destination === address;

  function expectNothingInTheClear(): void {
    const counts = capture.counts();
    for (const kind of PLAIN) expect(counts[kind] ?? 0, kind).toBe(0);
  }

  async function addBoth(
    type: string,
    family: 4 | 6,
    options: (host: number) => Record<string, string>,
  ): Promise<void> {
    await addTunnels(a, type, family, [2], options(1));
    await addTunnels(b, type, family, [1], options(2));
  }

  it.each([
    ['geneve', 4, 'the default route', false],
    ['geneve', 4, 'local_ip', true],
    ['gre', 4, 'the default route', false],
    ['vxlan', 4, 'the default route', false],
    ['vxlan', 6, 'the default route', false],
    ['vxlan', 6, 'local_ip', true],
    ['geneve', 6, 'the default route', false],
  ] as const)('%s over IPv%i with a pre-shared key and %s', async (type, family, _from, named) => {
    await addBoth(type, family, (host) => ({ psk: PSK, ...(named ? { local_ip: underlayOf(host, family) } : {}) }));
    await expectProtected(family);
  });

  it.each([
    ['default crypto', {}, /AES_GCM_16_256\/PRF_HMAC_SHA2_256/, 'aes256gcm16'],
    [
      'custom configuration',
      { ipsec_ike: 'aes128gcm16-prfsha384-ecp256', ipsec_esp: 'aes128gcm16-ecp256', ipsec_replay_window: '128' },
      /AES_GCM_16_128\/PRF_HMAC_SHA2_384\/ECP_256/,
      'aes128gcm16',
    ],
    ['both: a custom cipher of ESP, IKE by default', { ipsec_esp: 'aes128gcm16' }, /AES_GCM_16_256/, 'aes128gcm16'],
  ] as const)('%s', async (_name, custom, ike, esp) => {
    await addBoth('geneve', 4, () => ({ psk: PSK, ...custom }));
    await expectProtected(4);
    const shown = await a.espd.tunnelsShow('tun2');
    expect(shown).toMatch(ike);
    expect(shown).toContain(`ESP ${esp}`);
  });

  it.each([4, 6] as const)(
    'over IPv%i an absent peer is asked patiently, whatever comes and goes meanwhile, and is there at once when it comes',
    async (family) => {
      await b.espd.kill();
      const before = capture.packets().filter(isIkeTo(underlayOf(2, family))).length;
      await addTunnels(a, 'geneve', family, [2, 4, 5, 6, 7], { psk: PSK });
      await removeTunnels(a, [4, 5, 6, 7]);
      await a.espd.waitForTunnel('tun2', /SA state: +not up yet/);
      // No storm: a request is repeated with a delay that grows (RFC 7296 2.1).
      const asked = capture.packets().filter(isIkeTo(underlayOf(2, family))).length - before;
      expect(asked).toBeLessThan(20);
      await startEspdAgain(rig, b);
      await addTunnels(b, 'geneve', family, [1], { psk: PSK });
      await expectProtected(family);
    },
  );

  it.each([4, 6] as const)('over IPv%i established connections survive additions', async (family) => {
    await addBoth('geneve', family, () => ({ psk: PSK }));
    await expectProtected(family);
    const spis = async (host: UserspaceHost, tunnel: string): Promise<string[]> =>
      [...(await host.espd.tunnelsShow(tunnel)).matchAll(/SPI (0x[0-9a-f]+)/g)].map(([, spi]) => spi!).sort();
    for (const { espd } of [a, b, a]) await espd.waitForSettled({ ikeSas: 1, children: 2 });
    const [before, beforeB] = [await spis(a, 'tun2'), await spis(b, 'tun1')];
    expect(before).toHaveLength(4);
    const running = ping(a.host.namespace, innerOf(2), { count: 40, interval: 0.05 });
    await addTunnels(a, 'geneve', family, [3], { psk: PSK });
    await addTunnels(c, 'geneve', family, [1], { psk: PSK });
    await waitForPing(c.host.namespace, innerOf(1), 20_000);
    const { sent, received } = await running;
    expect(received).toBe(sent);
    expect([await spis(a, 'tun2'), await spis(b, 'tun1')]).toEqual([before, beforeB]);
    expectNothingInTheClear();
  });

  const certificates = (host: number, more: Readonly<Record<string, string>> = {}): string[] => {
    const own = keys[host - 1]!;
    const settings = {
      certificate: own.path(`h${host}-cert.pem`),
      private_key: own.path(`h${host}-privkey.pem`),
      ...more,
    };
    return [
      'set',
      'Open_vSwitch',
      '.',
      ...Object.entries(settings).map(([key, value]) => `other_config:${key}=${value}`),
    ];
  };

  it('geneve over IPv4 with certificates of an authority', async () => {
    for (const host of [a, b])
      await host.ovsdb.vsctl(certificates(host.index, { ca_cert: keys[host.index - 1]!.fetchAuthority() }));
    await addBoth('geneve', 4, (host) => ({ remote_name: host === 1 ? 'h2' : 'h1' }));
    await expectProtected(4);
  });

  it('certificates that are replaced while the daemon is down are those of its next life', async () => {
    await addBoth('geneve', 4, (host) => ({ remote_name: host === 1 ? 'h2' : 'h1' }));
    await expectProtected(4);
    await a.espd.stop();
    await keys[0]!.ovsPki('-u', 'req+sign', 'h1', 'switch');
    await startEspdAgain(rig, a);
    await expectProtected(4);
  });

  it('geneve over IPv4 with self-signed certificates', async () => {
    for (const own of keys) {
      const name = `h${keys.indexOf(own) + 1}`;
      await own.ovsPki('-u', 'req', name);
      await own.ovsPki('self-sign', name);
    }
    keys[0]!.copyTo(keys[1]!, 'h1-cert.pem');
    keys[1]!.copyTo(keys[0]!, 'h2-cert.pem');
    for (const host of [a, b]) {
      await host.ovsdb.vsctl('remove Open_vSwitch . other_config ca_cert');
      await host.ovsdb.vsctl(certificates(host.index));
    }
    await addBoth('geneve', 4, (host) => ({
      remote_cert: keys[host - 1]!.path(host === 1 ? 'h2-cert.pem' : 'h1-cert.pem'),
    }));
    await expectProtected(4);
    expect((await ip(a.host.namespace, 'link', 'show', 'up0')).stdout).toContain('up0');
  });
});
