/**
 * Tunnels of the kernel's own devices (`Open_vSwitch . external_ids:espd=route`): vxlan devices whose packets the kernel's
 * routing leads through a TUN of ovs-espd. The kernel here has no ESP, and no geneve or gre device to try.
 *
 *      vx0 192.0.0.1 ── vxlan ══ rules ── espd-route ── ovs-espd ── eth0 10.1.0.1 ──veth── eth0 …
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { type Espd, LAUNCHER, startEspd } from '../rig/espd.ts';
import { createLan, type Host, ip, type Lan } from '../rig/namespace.ts';
import { appctl, ovsEnvironment } from '../rig/ovsdb.ts';
import { run, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('tcpdump', 'ping');
const INNER = { a: '192.0.0.1', b: '192.0.0.2' } as const;
type Label = 'a' | 'b';
const other = (label: Label): Label => (label === 'a' ? 'b' : 'a');

describe.skipIf(reason !== '')(`the kernel's vxlan devices in ESP${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  let family: 4 | 6 = 4;

  beforeEach(async () => {
    rig = createRig();
    family = 4;
    lan = await createLan(rig, { ipv6: true });
  });
  afterEach(() => rig.close());

  const outer = (label: Label): string => (family === 4 ? lan[label].address : `fd00:1::${label === 'a' ? 1 : 2}`);

  function config(label: Label, otherConfig: Record<string, string>, options: Record<string, string>): string {
    const addresses = { local_ip: outer(label), remote_ip: outer(other(label)) };
    return JSON.stringify({
      Open_vSwitch: { external_ids: { espd: 'route' }, other_config: otherConfig },
      Bridge: [{ name: 'kernel', ports: ['vx0'] }],
      Interface: [{ name: 'vx0', type: 'vxlan', options: { ...addresses, key: '42', ...options } }],
    });
  }

  /** `ip link add vx0`, with the MTU that the device gets by itself. */
  async function addVxlan(label: Label): Promise<void> {
    const { namespace } = lan[label];
    const addresses = ['local', outer(label), 'remote', outer(other(label))];
    await ip(namespace, 'link', 'add', 'vx0', 'type', 'vxlan', 'id', '42', ...addresses, 'dstport', '4789');
    // No IPv6 inside: its own announcements would come between what the tests count.
    await lan[label].exec('sysctl', ['-qw', 'net.ipv6.conf.vx0.disable_ipv6=1']);
    await ip(namespace, 'address', 'add', `${INNER[label]}/24`, 'dev', 'vx0');
    await ip(namespace, 'link', 'set', 'vx0', 'up');
  }

  const directory = (label: Label): string => `${rig.directory}/ovs-${label}`;
  function startDaemon(
    label: Label,
    otherConfig: Record<string, string> = {},
    options: Record<string, string> = { psk: PSK },
  ): Promise<Espd> {
    const path = `${directory(label)}/config.json`;
    mkdirSync(directory(label), { recursive: true });
    writeFileSync(path, config(label, otherConfig, options), { mode: 0o600 });
    return startEspd(rig, lan[label], { database: `file:${path}`, directory: directory(label) });
  }

  it.each([4, 6] as const)(
    'over IPv%i nothing but ESP is on the wire, from the first packet on, and all of it arrives',
    async (version) => {
      family = version;
      const capture = await startCapture(rig, lan.a);
      const mark = { ipsec_skb_mark: '0/1' };
      const [a] = await Promise.all([startDaemon('a', mark), startDaemon('b', mark)]);
      for (const label of ['a', 'b'] as const) {
        await until('the rules', async () =>
          (await rulesOf(lan[label], version)).some((rule) => rule.includes('2423')),
        );
        await addVxlan(label);
      }
      await a.waitForTunnel('vx0');
      await waitForPing(lan.a.namespace, INNER.b);
      for (const size of [0, 57, 1300]) await pingAll(lan.a.namespace, INNER.b, { size });
      const to = { namespace: lan.b.namespace, address: INNER.b };
      const { sent, received } = await transfer(rig, { from: lan.a.namespace, to }, 10_000_000, `vxlan ${version}`);
      expect(received).toBe(sent);
      await capture.waitFor('esp', 101);
      expect(await vxlanIn(capture)).toBe(0);
    },
  );

  it('is in force when a start with --detach comes back: a device set up in the next line sends nothing in the clear', async () => {
    const { namespace, device } = lan.a;
    const capture: Capture = await startCapture(rig, { namespace, device });
    const path = `${rig.directory}/espd.json`;
    writeFileSync(path, config('a', { ipsec_skb_mark: '0/1' }, { psk: PSK }), { mode: 0o600 });
    mkdirSync(directory('a'), { recursive: true });
    const env = ovsEnvironment(directory('a'));
    const args = [LAUNCHER, '--detach', '--pidfile', `--log-file=${directory('a')}/espd.log`, `file:${path}`];
    await run({ command: process.execPath, args, namespace, env }, { ms: 20_000 });
    try {
      await addVxlan('a');
      await ping(namespace, INNER.b, { count: 3, interval: 0.1, wait: 0.3 });
      await capture.waitFor('ike', 1);
      await capture.settle();
      expect(capture.counts().vxlan ?? 0).toBe(0);
    } finally {
      await appctl(directory('a'), 'ovs-espd', ['exit']);
    }
    await capture.stop();
  });

  it('lets nothing leave in the clear when it is killed, and takes its place again; exit takes its rules away', async () => {
    for (const label of ['a', 'b'] as const) await addVxlan(label);
    let a = await startDaemon('a');
    await startDaemon('b');
    await a.waitForTunnel('vx0');
    await waitForPing(lan.a.namespace, INNER.b);
    const capture = await startCapture(rig, lan.a);
    const before = await rulesOf(lan.a);
    await a.kill();
    expect((await ping(lan.a.namespace, INNER.b, { count: 3 })).received).toBe(0);
    a = await startDaemon('a');
    await waitForPing(lan.a.namespace, INNER.b);
    expect(await vxlanIn(capture)).toBe(0);
    expect(await rulesOf(lan.a)).toEqual(before);
    await a.appctl('exit');
    // At once: what is typed next may need them gone.
    expect(await rulesOf(lan.a)).toEqual([
      '0:\tfrom all lookup local',
      '32766:\tfrom all lookup main',
      '32767:\tfrom all lookup default',
    ]);
    expect((await a.running.ended).status).toBe(0);
  });

  it('drops plaintext of a protected peer, takes that of a peer without IPsec', async () => {
    for (const label of ['a', 'b'] as const) await addVxlan(label);
    const a = await startDaemon('a');
    const b = await startDaemon('b');
    await a.waitForTunnel('vx0');
    await waitForPing(lan.a.namespace, INNER.b);
    await b.appctl('exit');
    await b.running.ended;
    const capture = await startCapture(rig, lan.a);
    const taken = await received(lan.a, 'vx0');
    expect((await ping(lan.b.namespace, INNER.a, { count: 5, wait: 0.3 })).received).toBe(0);
    await capture.waitFor('vxlan', 5);
    expect(await received(lan.a, 'vx0')).toBe(taken);
    await a.appctl('exit');
    await a.running.ended;
    await waitForPing(lan.b.namespace, INNER.a);
  });

  it('keeps marked plaintext back by rules on the mark, lets other plaintext leave until the first SA, and none after it', async () => {
    for (const label of ['a', 'b'] as const) await addVxlan(label);
    const capture = await startCapture(rig, lan.a);
    const a = await startDaemon('a', { ipsec_skb_mark: '1/1' });
    await until('the rules', async () => (await rulesOf(lan.a)).some((rule) => rule.includes('fwmark')));
    await ip(lan.a.namespace, 'neighbour', 'replace', INNER.b, 'lladdr', '02:00:00:00:00:99', 'dev', 'vx0');
    await ping(lan.a.namespace, INNER.b, { count: 2, wait: 0.3 });
    await capture.waitFor('vxlan', 2);
    const before = await vxlanIn(capture);
    await ping(lan.a.namespace, INNER.b, { count: 2, wait: 0.3, mark: 1 });
    await ping(lan.a.namespace, INNER.b, { count: 1, wait: 0.3 });
    await capture.waitFor('vxlan', before + 1);
    expect(await vxlanIn(capture)).toBe(before + 1);
    await ip(lan.a.namespace, 'neighbour', 'del', INNER.b, 'dev', 'vx0');
    await startDaemon('b', { ipsec_skb_mark: '1/1' });
    await a.waitForTunnel('vx0');
    await waitForPing(lan.a.namespace, INNER.b);
    const after = await vxlanIn(capture);
    await until('marked packets to be sealed', async () => {
      return (await ping(lan.a.namespace, INNER.b, { count: 3, mark: 1 })).received === 3;
    });
    expect(await vxlanIn(capture)).toBe(after);
  });

  it('drops what it cannot read, where reverse paths are checked strictly takes what is decrypted', async () => {
    for (const host of [lan.a, lan.b]) await host.exec('sysctl', ['-qw', 'net.ipv4.conf.all.rp_filter=1']);
    for (const label of ['a', 'b'] as const) await addVxlan(label);
    const a = await startDaemon('a', {}, { psk: PSK, remote_cert: '/both' });
    const capture = await startCapture(rig, lan.a);
    await until('an INVALID tunnel in force', async () => (await rulesOf(lan.a)).some((rule) => rule.includes('2423')));
    await ping(lan.a.namespace, INNER.b, { count: 2, wait: 0.3 });
    expect(await vxlanIn(capture)).toBe(0);
    expect(await a.appctl('coverage/show')).toMatch(/policy-invalid +[1-9]/);
    await a.stop();
    await startDaemon('a');
    await startDaemon('b');
    await waitForPing(lan.a.namespace, INNER.b);
  });
});

async function vxlanIn(capture: Capture): Promise<number> {
  await capture.settle();
  return capture.counts().vxlan ?? 0;
}

async function rulesOf(host: Host, family: 4 | 6 = 4): Promise<string[]> {
  return (await ip(host.namespace, `-${family}`, 'rule', 'show')).stdout.trim().split('\n');
}

async function received(host: Host, device: string): Promise<number> {
  const { stdout } = await ip(host.namespace, '-json', '-s', 'link', 'show', 'dev', device);
  const [link] = JSON.parse(stdout) as { stats64: { rx: { packets: number } } }[];
  return link!.stats64.rx.packets;
}
