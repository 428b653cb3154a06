/**
 * The OVS IPsec tutorial's sections with self-signed and with CA-signed certificates, word by word: keys and certificates by
 * ovs-pki, ovs-vsctl commands on real ovsdb-servers, ovs-espd on both hosts. And what becomes of a tunnel when files change.
 */
import { chmodSync, copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import { Pki } from '../rig/pki.ts';
import { start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, INNER, obstacle, startTutorial, type Tutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovs-pki', 'openssl', 'tcpdump', 'ping');
type Keys = { readonly a: HostKeys; readonly b: HostKeys };

describe.skipIf(reason !== '')(`the tutorial with certificates${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  const setUp = ({ ovsdb }: TutorialHost, keys: HostKeys, name: string, more: readonly string[] = []) =>
    ovsdb.vsctl([
      '--timeout=5',
      'set',
      'Open_vSwitch',
      '.',
      `other_config:certificate=${keys.path(`${name}-cert.pem`)}`,
      `other_config:private_key=${keys.path(`${name}-privkey.pem`)}`,
      ...more,
    ]);

  const keysOf = (): Keys => ({ a: new HostKeys(rig.directory, 'a'), b: new HostKeys(rig.directory, 'b') });

  /** Section b): self-signed certificates, each copied to the other host. */
  async function selfSigned(tutorial: Tutorial, type: string): Promise<Keys> {
    const { a, b } = tutorial;
    const keys = keysOf();
    await keys.a.ovsPki('req', '-u', 'host_1');
    await keys.a.ovsPki('self-sign', 'host_1');
    await keys.b.ovsPki('req', '-u', 'host_2');
    await keys.b.ovsPki('self-sign', 'host_2');
    keys.a.copyTo(keys.b, 'host_1-cert.pem');
    keys.b.copyTo(keys.a, 'host_2-cert.pem');
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await setUp(a, keys.a, 'host_1');
    await addTunnel(a, type, b.host.address, { remote_cert: keys.a.path('host_2-cert.pem') });
    await setUp(b, keys.b, 'host_2');
    await addTunnel(b, type, a.host.address, { remote_cert: keys.b.path('host_1-cert.pem') });
    return keys;
  }

  /** Section c): host a has the authority and signs for both. */
  async function caSigned(tutorial: Tutorial, type: string): Promise<Keys> {
    const { a, b } = tutorial;
    const keys = keysOf();
    await keys.a.ovsPki('init');
    await keys.a.ovsPki('req', '-u', 'host_1');
    await keys.a.ovsPki('sign', 'host_1', 'switch');
    await keys.b.ovsPki('req', '-u', 'host_2');
    keys.b.copyTo(keys.a, 'host_2-req.pem');
    await keys.a.ovsPki('sign', 'host_2', 'switch');
    keys.a.copyTo(keys.b, 'host_2-cert.pem');
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await setUp(a, keys.a, 'host_1', [`other_config:ca_cert=${keys.a.fetchAuthority()}`]);
    await addTunnel(a, type, b.host.address, { remote_name: 'host_2' });
    await setUp(b, keys.b, 'host_2', [`other_config:ca_cert=${keys.b.fetchAuthority()}`]);
    await addTunnel(b, type, a.host.address, { remote_name: 'host_1' });
    return keys;
  }

  for (const type of ['gre', 'geneve', 'vxlan'] as const) {
    it(`brings up a ${type} tunnel with self-signed certificates, and the wire carries ESP only`, async () => {
      const tutorial = await startTutorial(rig);
      const { a, b } = tutorial;
      const keys = await selfSigned(tutorial, type);
      await a.espd.waitForTunnel('tun');
      await b.espd.waitForTunnel('tun');
      const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
      expect((await ping(a.host.namespace, INNER.b, { count: 5 })).received).toBe(5);
      capture.assertOnlyEsp();
      await capture.stop();
      const shown = await a.espd.tunnelsShow('tun');
      expect(shown).toContain(`  Local cert:     ${keys.a.path('host_1-cert.pem')}\n`);
      expect(shown).toContain('  Local name:     host_1\n');
      expect(shown).toContain(`  Local key:      ${keys.a.path('host_1-privkey.pem')}\n`);
      expect(shown).toContain(`  Remote cert:    ${keys.a.path('host_2-cert.pem')}\n`);
      expect(shown).toContain('  Remote name:    host_2\n  CA cert:        None\n  PSK:            None\n');
    });

    it(`brings up a ${type} tunnel with CA-signed certificates, and the wire carries ESP only`, async () => {
      const tutorial = await startTutorial(rig);
      const { a, b } = tutorial;
      const keys = await caSigned(tutorial, type);
      await a.espd.waitForTunnel('tun');
      await b.espd.waitForTunnel('tun');
      const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
      expect((await ping(a.host.namespace, INNER.b, { count: 5 })).received).toBe(5);
      capture.assertOnlyEsp();
      await capture.stop();
      const shown = await b.espd.tunnelsShow('tun');
      expect(shown).toContain('  Remote cert:    None\n  Remote name:    host_1\n');
      expect(shown).toContain(`  CA cert:        ${keys.b.path('cacert.pem')}\n`);
      expect(shown).toMatch(/\[host_2\]\.\.\.10\.1\.0\.1\[host_1\] IKEv2 ESTABLISHED/);
      // The RSA keys of ovs-pki sign beside the main thread.
      for (const { espd } of [a, b]) expect(await espd.appctl('coverage/show')).toMatch(/computed: signatures +[1-9]/);
    });
  }

  it('works with the certificates that ovs-pki makes without -u, whose common name has a UUID behind', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    const keys = keysOf();
    for (const [host, name] of [
      [keys.a, 'host_1'],
      [keys.b, 'host_2'],
    ] as const) {
      await host.ovsPki('req', name);
      await host.ovsPki('self-sign', name);
    }
    keys.a.copyTo(keys.b, 'host_1-cert.pem');
    keys.b.copyTo(keys.a, 'host_2-cert.pem');
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await setUp(a, keys.a, 'host_1');
    await setUp(b, keys.b, 'host_2');
    await addTunnel(a, 'gre', b.host.address, { remote_cert: keys.a.path('host_2-cert.pem') });
    await addTunnel(b, 'gre', a.host.address, { remote_cert: keys.b.path('host_1-cert.pem') });
    await waitForPing(a.host.namespace, INNER.b);
    expect(await a.espd.tunnelsShow('tun')).toMatch(/Remote name: {4}host_2 id:[0-9a-f-]+\n/);
  });

  it('takes a renewed certificate by itself, on new SAs, without losing a packet', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    const keys = await caSigned(tutorial, 'gre');
    await a.espd.waitForTunnel('tun');
    await b.espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    const before = await a.espd.appctl('sas/show');
    const flow = start(rig, { command: 'ping', args: ['-n', '-i', '0.005', INNER.b], namespace: a.host.namespace });
    const answers = () => [...flow.stdout().matchAll(/icmp_seq=(\d+) /g)].map(([, number]) => Number(number));
    const newest = () => Math.max(0, ...answers());
    await until('a steady flow', () => newest() > 10);
    const first = newest();
    await keys.a.ovsPki('req', '-u', 'host_1');
    await keys.a.ovsPki('sign', 'host_1', 'switch');
    const spis = [...before.matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!);
    await until(
      'other SAs',
      async () => {
        const now = await a.espd.appctl('sas/show');
        return /in {2}SPI 0x/.test(now) && spis.every((spi) => !now.includes(spi));
      },
      20_000,
    );
    const then = newest();
    await until('more answers', () => newest() > then + 10);
    await flow.stop();
    const answered = new Set(answers());
    const sent = Array.from({ length: newest() - first }, (_, index) => first + 1 + index);
    const lost = sent.filter((number) => !answered.has(number));
    expect(lost).toEqual([]);
    expect(await b.espd.tunnelsShow('tun')).toMatch(/SA state: {7}up/);
  });

  it('goes on with what is up while the paths of its files change over and over', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    const keys = await caSigned(tutorial, 'gre');
    await a.espd.waitForTunnel('tun');
    await b.espd.waitForTunnel('tun');
    const sasBefore = (await a.espd.appctl('sas/show')).match(/SPI 0x[0-9a-f]{8}/g);
    const paths = ['first.pem', 'second.pem'].map((name) => keys.a.path(name));
    for (const path of paths) copyFileSync(keys.a.path('cacert.pem'), path);
    for (let i = 0; i < 30; i++)
      await a.ovsdb.vsctl(['--no-wait', 'set', 'Open_vSwitch', '.', `other_config:ca_cert=${paths[i % 2]}`]);
    const last = /CA cert: {8}.*second\.pem\n/;
    await until('the last path is in force', async () => last.test(await a.espd.tunnelsShow('tun')));
    expect(a.espd.log()).not.toMatch(/invalid configuration|has not been read/);
    expect((await a.espd.appctl('sas/show')).match(/SPI 0x[0-9a-f]{8}/g)).toEqual(sasBefore);
  });

  it('says in one line which file is at fault, and comes up when it is there', async () => {
    const tutorial = await startTutorial(rig);
    const { a, b } = tutorial;
    const keys = await caSigned(tutorial, 'gre');
    await waitForPing(a.host.namespace, INNER.b);
    await a.ovsdb.vsctl(['--timeout=5', 'set', 'interface', 'tun', `options:remote_cert=${keys.a.path('late.pem')}`]);
    await a.espd.waitForTunnel('tun', /INVALID: options:remote_cert: ".*late\.pem": there is no such file/);
    expect(a.espd.log()).toMatch(
      /contains invalid configuration: options:remote_cert: ".*late\.pem": there is no such file/,
    );
    keys.a.copyTo(keys.b, 'host_1-cert.pem');
    writeFileSync(keys.a.path('late.tmp'), readFileSync(keys.b.path('host_2-cert.pem')));
    renameSync(keys.a.path('late.tmp'), keys.a.path('late.pem'));
    await a.espd.waitForTunnel('tun');
    await waitForPing(b.host.namespace, INNER.a);
  });

  it('tells of a private key that everybody may read, and neither log nor status shows any key', async () => {
    const tutorial = await startTutorial(rig, { args: ['-vfile:dbg'] });
    const { a } = tutorial;
    const keys = await selfSigned(tutorial, 'gre');
    await waitForPing(a.host.namespace, INNER.b);
    chmodSync(keys.a.path('host_1-privkey.pem'), 0o644);
    await until('a warning', () =>
      /host_1-privkey\.pem.*every user of this host may read the private key/.test(a.espd.log()),
    );
    const lines = readFileSync(keys.a.path('host_1-privkey.pem'), 'utf8')
      .split('\n')
      .filter((line) => line.length > 20);
    const shown = a.espd.log() + (await a.espd.tunnelsShow()) + (await a.espd.appctl('sas/show'));
    for (const line of lines.slice(1)) expect(shown).not.toContain(line);
  });

  it.each([
    [
      'a wrong name',
      /peer's certificate is for "host_2", expected remote_name "host_9"|no tunnel has these identities/,
      { remote_name: 'host_9' },
    ],
  ] as const)('refuses %s, with the reason in tunnels/show, and sends nothing', async (_what, words, options) => {
    const tutorial = await startTutorial(rig, {
      configure: (ovsdb) => ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1'),
    });
    const { a, b } = tutorial;
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device });
    await caSigned(tutorial, 'gre');
    await waitForPing(a.host.namespace, INNER.b);
    await a.ovsdb.vsctl([
      '--timeout=5',
      'set',
      'interface',
      'tun',
      ...Object.entries(options).map(([key, value]) => `options:${key}=${value}`),
    ]);
    const reasons = async () => (await a.espd.tunnelsShow('tun')) + (await b.espd.tunnelsShow('tun'));
    await until('the reason', async () => words.test(await reasons()));
    await capture.settle();
    expect(capture.counts().gre ?? 0).toBe(0);
    await capture.stop();
  });

  it('throws out a peer whose certificate is revoked when the list in ca_crl changes', async () => {
    const tutorial = await startTutorial(rig, {
      configure: (ovsdb) => ovsdb.vsctl('--no-wait set Open_vSwitch . other_config:ipsec_skb_mark=0/1'),
    });
    const { a, b } = tutorial;
    const pki = new Pki(rig.directory);
    const root = pki.authority('root');
    const hosts = { a: pki.signed(root, 'host_1'), b: pki.signed(root, 'host_2') };
    const crl = pki.path('live.crl');
    copyFileSync(pki.revocationList(root, []), crl);
    for (const [host, own, address, peer, tunnel] of [
      [a, hosts.a, INNER.a, b, 'host_2'],
      [b, hosts.b, INNER.b, a, 'host_1'],
    ] as const) {
      await addBridge(host, address);
      await host.ovsdb.vsctl([
        '--timeout=5',
        'set',
        'Open_vSwitch',
        '.',
        `other_config:certificate=${own.certificatePath}`,
        `other_config:private_key=${own.keyPath}`,
        `other_config:ca_cert=${root.certificatePath}`,
        `other_config:ca_crl=${crl}`,
      ]);
      await addTunnel(host, 'gre', peer.host.address, { remote_name: tunnel });
    }
    await waitForPing(a.host.namespace, INNER.b);
    copyFileSync(pki.revocationList(root, [hosts.a]), crl);
    await b.espd.waitForTunnel('tun', /Last failure: {3}.*CN=host_1 is revoked/);
  });
});
