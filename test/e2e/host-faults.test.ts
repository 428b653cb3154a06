/** Faults of the host under a tunnel with traffic: a full disk, a wall clock that jumps, an underlay whose queue is always full. */
import { mkdtempSync, readFileSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Host, ip, type Lan } from '../rig/namespace.ts';
import { run, start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { pingAll, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { BRIDGE, INNER, obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('tcpdump', 'ping', 'ovs-appctl', 'tc', 'mount');
const DISK_BYTES = 256 * 1024;
const YEAR_MS = 365 * 24 * 3600_000;

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
    // Not in the rig's directory: a mount there would be in the way of those who sweep up after a killed test.
    const directory = mkdtempSync('/run/espd-small-disk-');
    rig.defer(`remove ${directory}`, () => rmdirSync(directory));
    await run({ command: 'mount', args: ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory] });
    rig.defer(`unmount ${directory}`, async () => {
      await run({ command: 'umount', args: [directory] });
    });
    // Each rekeying is a few lines.
    const a = await begin(
      'a',
      { directory },
      { ipsec_salifetime: '10s', ipsec_margintime: '8s', ipsec_rekeyfuzz: '0%' },
    );
    await begin('b');
    await waitForPing(lan.a.namespace, INNER.b);
    await a.appctl('vlog/set', 'file:dbg');
    const filler = join(directory, 'filler');
    const { bavail, bsize } = statfsSync(directory);
    writeFileSync(filler, Buffer.alloc(bavail * bsize));
    await until(
      'a log line that has no room',
      async () => (await a.appctl('vlog/list')).includes('(file: writing failed (ENOSPC))'),
      60_000,
    );
    await pingAll(lan.a.namespace, INNER.b);
    await a.waitForTunnel('tun');
    rmSync(filler);
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
