/** Engines on real TAPs in two namespaces, over a veth, with keys put in by hand (endpoint.mjs). */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadRawSocket } from '../../../dataplane/io/raw-socket.ts';
import { startCapture } from '../../rig/capture.ts';
import { createLan, createVeth, type Host, ip, type Lan } from '../../rig/namespace.ts';
import type { Kind } from '../../rig/pcap.ts';
import { type Running, start, until } from '../../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../../rig/rig.ts';
import { ROOT } from '../../rig/root.ts';
import { measureThroughput, pingAll, waitForPing } from '../../rig/traffic.ts';
import { transfer } from '../../rig/transfer.ts';

const ENDPOINT = join(ROOT, 'test/dataplane/engine/endpoint.mjs');
const isBuilt = existsSync(join(ROOT, 'dist/daemon/worker.js'));
const missing = missingPrograms('ip', 'ping', 'tcpdump', 'iperf3');
const hasRawSocket = await loadRawSocket().then(
  () => true,
  () => false,
);
const reason = !canMakeNamespaces()
  ? 'cannot make namespaces'
  : !isBuilt
    ? 'dist is not built'
    : missing.length > 0
      ? `missing: ${missing.join(', ')}`
      : '';

interface Settings {
  readonly type?: string;
  readonly workers?: number;
  readonly esp?: boolean;
  readonly uplinkIo?: string;
  readonly aead?: string;
  readonly device?: string;
}

describe.skipIf(reason !== '')(
  `two engines on TAPs in namespaces${reason === '' ? '' : ` (skipped: ${reason})`}`,
  () => {
    let rig: Rig;
    let lan: Lan;

    beforeEach(async () => {
      rig = createRig();
      lan = await createLan(rig);
    });
    afterEach(() => rig.close());

    async function endpoint(host: Host, remote: Host, settings: Settings): Promise<Running> {
      const json = JSON.stringify({ ...settings, local: host.address, remote: remote.address });
      const running = start(rig, { command: process.execPath, args: [ENDPOINT, json], namespace: host.namespace });
      await running.waitForOutput(/^ready$/m);
      return running;
    }

    async function raise(host: Host, overlay: string): Promise<void> {
      await ip(host.namespace, 'address', 'add', `${overlay}/24`, 'dev', 'tap0');
      await ip(host.namespace, 'link', 'set', 'tap0', 'mtu', '1400', 'up');
    }

    /** Both are ready before the first frame: the kernel answers ESP that nobody takes with ICMP. */
    async function endpoints(settings: Settings): Promise<{ a: Running; b: Running }> {
      const a = await endpoint(lan.a, lan.b, settings);
      const b = await endpoint(lan.b, lan.a, settings);
      await raise(lan.a, '192.168.7.1');
      await raise(lan.b, '192.168.7.2');
      await waitForPing(lan.a.namespace, '192.168.7.2');
      return { a, b };
    }

    async function counters(running: Running): Promise<Record<string, never>> {
      const before = running.stdout().length;
      process.kill(running.pid, 'SIGUSR2');
      return running.waitUntil('its counters', () => {
        const line = /^counters (.*)$/m.exec(running.stdout().slice(before));
        return line === null ? undefined : JSON.parse(line[1]);
      });
    }

    /** Ping with small, odd and full packets, while the wire is watched. */
    async function pingAndLook(settings: Settings, kind: Kind): Promise<void> {
      const capture = await startCapture(rig, lan.a);
      const { a, b } = await endpoints(settings);
      for (const size of [0, 57, 1372]) {
        await pingAll(lan.a.namespace, '192.168.7.2', { count: 5, size, dontFragment: true });
      }
      await capture.waitFor(kind, 30);
      // ARP and IPv6 neighbour discovery are the underlay's own.
      const kinds = new Set(capture.packets().map((packet) => packet.kind));
      for (const own of ['arp', 'icmpv6', 'igmp'] as const) kinds.delete(own);
      expect([...kinds]).toEqual([kind]);
      for (const running of [a, b]) expect(await counters(running)).toMatchObject({ drops: {} });
      await a.stop();
      await b.stop();
    }

    it('carry pings in ESP with one worker each', () => pingAndLook({ type: 'gre', workers: 1 }, 'esp'));
    it('carry pings in ESP with two workers each', () => pingAndLook({ type: 'geneve', workers: 2 }, 'esp'));
    it('carry pings in ESP on the main thread', () => pingAndLook({ type: 'vxlan', workers: 0 }, 'esp'));
    it('carry pings in the clear with two workers each', () =>
      pingAndLook({ type: 'gre', workers: 2, esp: false }, 'gre'));
    it('carry pings in UDP in the clear with two workers each', () =>
      pingAndLook({ type: 'vxlan', workers: 2, esp: false }, 'vxlan'));

    it.skipIf(!hasRawSocket)(
      `carry pings in ESP through the raw-socket package${hasRawSocket ? '' : ' (skipped: raw-socket is not built)'}`,
      () => pingAndLook({ type: 'gre', workers: 0, uplinkIo: 'raw-socket', aead: 'node' }, 'esp'),
    );

    it('carry pings from an existing device, one of two workers reading it', async () => {
      await createVeth(
        { namespace: lan.a.namespace, device: 'host0' },
        { namespace: lan.a.namespace, device: 'port0' },
      );
      await ip(lan.a.namespace, 'address', 'add', '192.168.7.1/24', 'dev', 'host0');
      await ip(lan.a.namespace, 'link', 'set', 'host0', 'mtu', '1400');
      const a = await endpoint(lan.a, lan.b, { type: 'gre', workers: 2, device: 'port0' });
      const b = await endpoint(lan.b, lan.a, { type: 'gre', workers: 2 });
      await raise(lan.b, '192.168.7.2');
      await waitForPing(lan.a.namespace, '192.168.7.2');
      await pingAll(lan.a.namespace, '192.168.7.2', { count: 5, size: 1372 });
      await a.stop();
      await b.stop();
    });

    it.each([0, 2])('go on with %i workers when a TAP is deleted, and say so', async (workers) => {
      const { a, b } = await endpoints({ type: 'gre', workers });
      await ip(lan.a.namespace, 'link', 'delete', 'tap0');
      await a.waitForOutput(/event .*port-failed.*"port":0,"reason":".*fd/);
      expect(await counters(a)).toMatchObject({ drops: {} });
      await a.stop();
      await b.stop();
    });

    it('carry TCP with two workers each, and each worker takes part', async () => {
      const { a, b } = await endpoints({ type: 'vxlan', workers: 2 });
      const server = { namespace: lan.b.namespace, address: '192.168.7.2' };
      const result = await measureThroughput(rig, {
        server,
        client: { namespace: lan.a.namespace },
        seconds: 1,
        omit: 0,
        streams: 8,
      });
      expect(result.gigabitsPerSecond).toBeGreaterThan(0.001);
      const report = (await counters(a)) as { workers: { packetsSent: number }[] } & Record<string, never>;
      for (const worker of report.workers) expect(worker.packetsSent).toBeGreaterThan(0);
      await a.stop();
      await b.stop();
    });

    it('lose nothing but packets of a moment when worker threads are killed under traffic, and never use a number twice', async () => {
      const capture = await startCapture(rig, lan.a, 'ip proto 50', { snapLength: 64 });
      const { a, b } = await endpoints({ type: 'gre', workers: 2 });
      const to = { namespace: lan.b.namespace, address: '192.168.7.2' };
      let killing = true;
      const transfers = async (): Promise<void> => {
        for (let number = 1; killing || number === 1; number++) {
          const { sent, received } = await transfer(rig, { from: lan.a.namespace, to }, 5_000_000, `${number}`);
          expect(received).toBe(sent);
          expect(received).toMatch(/^5000000 /);
        }
      };
      const moved = transfers();
      const deaths = (): number => [a, b].flatMap(({ stdout }) => stdout().match(/event .*worker-died/g) ?? []).length;
      for (let round = 1; round <= 4; round++) {
        const before = Number((await counters(a)).sent);
        await until('traffic', async () => Number((await counters(a)).sent) > before + 100);
        // Each host in turn; all its threads at once.
        process.kill(round % 2 === 0 ? b.pid : a.pid, 'SIGQUIT');
        await until('both threads are dead', () => deaths() >= 2 * round);
      }
      killing = false;
      await moved;
      await waitForPing(lan.a.namespace, '192.168.7.2');
      for (const [running, host] of [
        [a, lan.a],
        [b, lan.b],
      ] as const) {
        const last = Number((await counters(running)).sent);
        const pairs = (): string[] =>
          capture
            .packets()
            .filter((packet) => packet.source === host.address)
            .map(({ spi, sequence }) => `${spi} ${sequence}`);
        // The last packet of each side is answered or an answer, so tcpdump has it soon.
        await until('the last packet is captured', () => pairs().some((pair) => pair.endsWith(` ${last}`)));
        expect(pairs().length).toBeGreaterThan(100);
        expect(new Set(pairs()).size).toBe(pairs().length);
      }
      await a.stop();
      await b.stop();
    }, 180_000);

    it('go on after their workers have died, with sequence numbers that were never used', async () => {
      const capture = await startCapture(rig, lan.a, 'ip proto 50');
      const { a, b } = await endpoints({ type: 'gre', workers: 2 });
      process.kill(a.pid, 'SIGHUP');
      await a.waitForOutput(/event .*worker-died.*"worker":0/);
      await a.waitForOutput(/event .*worker-died.*"worker":1/);
      await waitForPing(lan.a.namespace, '192.168.7.2');
      await pingAll(lan.a.namespace, '192.168.7.2', { count: 5 });
      const report = (await counters(a)) as { sent: number } & Record<string, never>;
      const sequences = (): number[] =>
        capture
          .packets()
          .filter((packet) => packet.source === lan.a.address)
          .map((packet) => packet.sequence);
      await until('every packet that a counted is captured', () => sequences().length >= report.sent);
      expect(new Set(sequences()).size).toBe(sequences().length);
      await a.stop();
      await b.stop();
    });
  },
);
