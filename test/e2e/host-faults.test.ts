/** Faults of the host under a tunnel with traffic: a full disk, a wall clock that jumps, an underlay whose queue is always full. */
import { mkdtempSync, readFileSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, createWire, type Host, ip, type Lan } from '../rig/namespace.ts';
import { run, start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { ping, pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { BRIDGE, INNER, obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('tcpdump', 'ping', 'ovs-appctl', 'tc', 'mount');
const DISK_BYTES = 256 * 1024;
const LATE = '192.0.0.3';
const YEAR_MS = 365 * 24 * 3600_000;

/** A directory with little room, and how to take the rest of it. */
async function smallDisk(rig: Rig): Promise<{ readonly directory: string; fill(): () => void }> {
  // Not in the rig's directory: a mount there would be in the way of those who sweep up after a killed test.
  const directory = mkdtempSync('/run/espd-small-disk-');
  rig.defer(`remove ${directory}`, () => rmdirSync(directory));
  await run({ command: 'mount', args: ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory] });
  rig.defer(`unmount ${directory}`, async () => {
    await run({ command: 'umount', args: [directory] });
  });
  return {
    directory,
    /** What it gives makes room again. */
    fill() {
      const filler = join(directory, 'filler');
      const { bavail, bsize } = statfsSync(directory);
      writeFileSync(filler, Buffer.alloc(bavail * bsize));
      return () => rmSync(filler);
    },
  };
}

describe.skipIf(reason !== '')(`a tunnel on a host in trouble${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  let capture: Capture;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
    capture = await startCapture(rig, lan.a, 'not icmp', { snapLength: 96 });
  });
  afterEach(() => rig.close());

  async function begin(
    label: 'a' | 'b',
    more: { readonly directory?: string; readonly env?: Readonly<Record<string, string>> } = {},
    lifetimes: Readonly<Record<string, string>> = {},
  ): Promise<Espd> {
    const host: Host = lan[label];
    const remote = lan[label === 'a' ? 'b' : 'a'].address;
    const options = { local_ip: host.address, remote_ip: remote, psk: PSK, ...lifetimes };
    const config = fileConfig(BRIDGE, [{ name: 'tun', type: 'geneve', options }], { ipsec_skb_mark: '0/1' });
    const espd = await startEspd(rig, host, { config, ...more });
    await ip(host.namespace, 'addr', 'add', `${INNER[label]}/24`, 'dev', BRIDGE);
    await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
    return espd;
  }

  const spisOf = async (espd: Espd): Promise<string[]> =>
    [...(await espd.tunnelsShow('tun')).matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!).sort();

  it('goes on while the disk of its log and its files is full, and the log says how many lines are missing', async () => {
    const { directory, fill } = await smallDisk(rig);
    // Each rekeying is a few lines.
    const a = await begin(
      'a',
      { directory },
      { ipsec_salifetime: '10s', ipsec_margintime: '8s', ipsec_rekeyfuzz: '0%' },
    );
    await begin('b');
    await waitForPing(lan.a.namespace, INNER.b);
    await a.appctl('vlog/set', 'file:dbg');
    const makeRoom = fill();
    await until(
      'a log line that has no room',
      async () => (await a.appctl('vlog/list')).includes('(file: writing failed (ENOSPC))'),
      60_000,
    );
    await pingAll(lan.a.namespace, INNER.b);
    await a.waitForTunnel('tun');
    makeRoom();
    await until('the log to go on', () => {
      return /\n\(\d+ lines are missing here: file: writing failed \(ENOSPC\)\)\n\d{4}-/.test(
        readFileSync(join(directory, 'ovs-espd.log'), 'utf8'),
      );
    });
    expect(await a.appctl('vlog/list')).not.toContain('ENOSPC');
    capture.assertOnlyEsp();
  });

  it.each([
    ['forwards', YEAR_MS],
    ['back', -YEAR_MS],
  ])('keeps its SAs, and rekeys in its time, when the wall clock jumps a year %s', async (_where, jumpMs) => {
    const preload = pathToFileURL(join(ROOT, 'test/e2e/clock.mjs')).href;
    const env = { NODE_OPTIONS: `--import=${preload}`, OVS_ESPD_CLOCK_JUMP: String(jumpMs) };
    const lifetimes = { ipsec_salifetime: '10s', ipsec_margintime: '8s', ipsec_rekeyfuzz: '0%' };
    const a = await begin('a', { env }, lifetimes);
    await begin('b');
    await a.waitForTunnel('tun');
    await waitForPing(lan.a.namespace, INNER.b);
    const yearOf = () => Number(/(\d{4})-\d\d-\d\dT[^\n]*\n$/.exec(a.log())?.[1]);
    const year = yearOf();
    const ping = start(rig, { command: 'ping', args: ['-n', '-i', '0.05', INNER.b], namespace: lan.a.namespace });
    const before = await spisOf(a);
    process.kill(a.running.pid, 'SIGUSR2');
    await until('a log of another year', () => yearOf() === year + Math.sign(jumpMs), 20_000);
    await until(
      'other SAs',
      async () => {
        const now = await spisOf(a);
        return now.length === 4 && before.every((spi) => !now.includes(spi));
      },
      20_000,
    );
    await ping.stop();
    const answered = [...ping.output().matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number));
    expect(answered).toEqual(Array.from({ length: answered.length }, (_, index) => index + 1));
    expect(answered.length).toBeGreaterThan(20);
    capture.assertOnlyEsp();
  });

  it('carries a transfer whole over an underlay whose queue is always full', async () => {
    const a = await begin('a');
    await begin('b');
    await a.waitForTunnel('tun');
    await waitForPing(lan.a.namespace, INNER.b);
    const tc = ['qdisc', 'add', 'dev', lan.a.device, 'root', 'tbf', 'rate', '20mbit', 'burst', '3000', 'limit', '6000'];
    await run({ command: 'tc', args: tc, namespace: lan.a.namespace });
    const ends = { from: lan.a.namespace, to: { namespace: lan.b.namespace, address: INNER.b } };
    const { sent, received } = await transfer(rig, ends, 2_000_000, 'full queue');
    expect(received).toBe(sent);
    const { stdout } = await run({
      ...{ command: 'tc', args: ['-s', 'qdisc', 'show', 'dev', lan.a.device], namespace: lan.a.namespace },
    });
    expect(Number(/dropped (\d+)/.exec(stdout)?.[1])).toBeGreaterThan(0);
    await pingAll(lan.a.namespace, INNER.b);
    capture.assertOnlyEsp();
  });
});

/** Beside the one above: here no log is on the disk that is full. */
describe.skipIf(reason !== '')(`a tunnel that finds no room on disk${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('stays down and closed and says why, beside others that go on, and comes up when there is room, also after a restart', async () => {
    const { directory, fill } = await smallDisk(rig);
    const wire = await createWire(rig);
    const hosts = { a: await wire.addHost('a', '10.1.0.1/24'), b: await wire.addHost('b', '10.1.0.2/24') };
    const late = await wire.addHost('c', '10.1.0.3/24');
    const capture = await startCapture(rig, hosts.a, 'not icmp and not icmp6', { snapLength: 96 });
    const tunnelTo = (name: string, local: Host, remote: Host) => {
      const options = { local_ip: local.address, remote_ip: remote.address, psk: PSK };
      return { name, type: 'geneve', options } as const;
    };
    const config = (...tunnels: ReturnType<typeof tunnelTo>[]) =>
      fileConfig(BRIDGE, tunnels, { ipsec_skb_mark: '0/1' });
    const inner = async (host: Host, address: string): Promise<void> => {
      await ip(host.namespace, 'addr', 'replace', `${address}/24`, 'dev', BRIDGE);
      await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
    };
    const begin = async (): Promise<Espd> => {
      const espd = await startEspd(rig, hosts.a, {
        directory,
        config: config(tunnelTo('tun-b', hosts.a, hosts.b), tunnelTo('tun-c', hosts.a, late)),
      });
      await inner(hosts.a, INNER.a);
      return espd;
    };
    const staysClosed = async (a: Espd, name: string, peer: Host, peerInner: string): Promise<void> => {
      await a.waitForTunnel(
        name,
        /Last failure: .*\/ovs-espd\.protected: cannot be written \(ENOSPC\); make room in \/run\/espd-small-disk-/,
        30_000,
      );
      expect(a.running.output()).toMatch(
        new RegExp(`\\|ike\\|WARN\\|10.1.0.1-${peer.address}: .* cannot be written \\(ENOSPC\\)`),
      );
      const pings = [
        ping(hosts.a.namespace, peerInner, { count: 10, interval: 0.05, wait: 0.5 }),
        ping(peer.namespace, INNER.a, { count: 10, interval: 0.05, wait: 0.5 }),
      ];
      expect((await Promise.all(pings)).map(({ received }) => received)).toEqual([0, 0]);
    };

    // The first protection there is.
    let a = await begin();
    let makeRoom = fill();
    const b = await startEspd(rig, hosts.b, { config: config(tunnelTo('tun', hosts.b, hosts.a)) });
    await inner(hosts.b, INNER.b);
    await staysClosed(a, 'tun-b', hosts.b, INNER.b);
    makeRoom();
    await a.waitForTunnel('tun-b', undefined, 30_000);
    await waitForPing(hosts.a.namespace, INNER.b);

    // One more: what is found on the disk is not appended to but written anew.
    await a.kill();
    a = await begin();
    await a.waitForTunnel('tun-b', undefined, 30_000);
    makeRoom = fill();
    const c = await startEspd(rig, late, { config: config(tunnelTo('tun', late, hosts.a)) });
    await inner(late, LATE);
    await staysClosed(a, 'tun-c', late, LATE);
    await pingAll(hosts.a.namespace, INNER.b);
    await a.waitForTunnel('tun-b', /Last failure:\s+None/);
    makeRoom();
    await a.waitForTunnel('tun-c', undefined, 30_000);
    await c.waitForTunnel('tun');
    await waitForPing(hosts.a.namespace, LATE);
    await a.waitForTunnel('tun-c', /Last failure:\s+None/);
    await b.stop();
    capture.assertOnlyEsp();
  });
});
