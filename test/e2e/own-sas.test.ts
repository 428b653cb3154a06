/** Two hosts with two packet workers each and a child SA of its own for each of them (RFC 9611), and a peer that wants none. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { measureThroughput, ping, waitForPing } from '../rig/traffic.ts';
import { INNER, obstacle, PSK, runTutorial, startTutorial, type Tutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovs-appctl', 'tcpdump', 'iperf3', 'ping');

interface ShownChild {
  readonly name: string;
  /** The only worker that sends on it. */
  readonly worker: string | undefined;
  readonly sends: boolean;
  /** Which worker opens what comes in on it: the high bits of our SPI. */
  readonly opener: number;
  readonly packetsIn: number;
  readonly packetsOut: number;
}

async function shown({ espd }: TutorialHost): Promise<ShownChild[]> {
  const text = await espd.appctl('sas/show');
  const child = /^ {2}(\S+): ESP (.*)\n {4}in {2}SPI 0x(\w+), (\d+) packets.*\n {4}out SPI \S+, (\d+) packets/gm;
  return [...text.matchAll(child)].map(([, name, about, spi, packetsIn, packetsOut]) => ({
    ...{ name: name!, worker: /worker (\d+)/.exec(about!)?.[1], sends: /, sending/.test(about!) },
    ...{ opener: Number.parseInt(spi!, 16) >>> 26, packetsIn: Number(packetsIn), packetsOut: Number(packetsOut) },
  }));
}

describe.skipIf(reason !== '')(`a tunnel with SAs for each packet worker${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let tutorial: Tutorial;
  const ends = (): TutorialHost[] => [tutorial.a, tutorial.b];
  const names = async (host: TutorialHost): Promise<string> =>
    (await shown(host))
      .map(({ name }) => name)
      .sort()
      .join(' ');

  beforeAll(async () => {
    rig = createRig();
    tutorial = await startTutorial(rig, { args: ['--workers=2'] });
    await runTutorial(tutorial, 'geneve', { psk: PSK, ipsec_per_worker_sas: 'yes' });
    for (const { espd } of ends()) await espd.waitForTunnel('tun');
  }, 180_000);
  afterAll(() => rig.close());

  it('has a pair for each worker at both ends, and both carry traffic both ways, all of it in ESP', async () => {
    const { a, b } = tutorial;
    const capture = await startCapture(rig, { namespace: a.host.namespace, device: a.host.device }, '', {
      snapLength: 128,
    });
    for (const end of ends()) {
      await until('four child SAs', async () => (await names(end)) === 'tun-in tun-in#1 tun-out tun-out#1');
    }
    await waitForPing(a.host.namespace, INNER.b);
    await measureThroughput(rig, {
      ...{ server: { namespace: b.host.namespace, address: INNER.b }, client: { namespace: a.host.namespace } },
      ...{ seconds: 2, omit: 0, streams: 16 },
    });
    for (const end of ends()) {
      const all = await shown(end);
      const out = all.filter(({ sends }) => sends);
      expect(out.map(({ name }) => name).sort()).toEqual(['tun-out', 'tun-out#1']);
      for (const { packetsOut } of out) expect(packetsOut).toBeGreaterThan(10);
      // What the peer sends on its two comes in on our two, which different workers open.
      const received = all.filter(({ packetsIn }) => packetsIn > 10);
      expect(received.map(({ name }) => name).sort()).toEqual(['tun-in', 'tun-in#1']);
      expect(new Set(received.map(({ opener }) => opener))).toEqual(new Set([0, 1]));
      const [own] = out.filter(({ name }) => name === 'tun-out#1');
      expect(own!.worker).toBe(String(own!.opener));
    }
    const kinds = new Set((await capture.stop()).map(({ kind }) => kind));
    expect(kinds).toContain('esp');
    for (const kind of kinds) expect(['esp', 'ike', 'arp', 'icmpv6', 'igmp']).toContain(kind);
  });

  it('goes on with one when the peer wants no more, and asks it once', async () => {
    const { a, b } = tutorial;
    const pinging = ping(a.host.namespace, INNER.b, { count: 30, interval: 0.1, wait: 2 });
    await b.ovsdb.vsctl('--timeout=5 remove interface tun options ipsec_per_worker_sas');
    for (const end of ends()) await until('two child SAs', async () => (await names(end)) === 'tun-in tun-out');
    const { received } = await pinging;
    expect(received).toBe(30);
    // Asked again at once instead of half a minute later, for `in` and for `out`.
    await a.espd.appctl('refresh');
    const declined = /declined: child SAs for further resources +2$/m;
    await until('TS_MAX_QUEUE for both', async () => declined.test(await a.espd.appctl('coverage/show')));
    expect(await b.espd.appctl('coverage/show')).toMatch(/refused: child SAs for further resources +2$/m);
    expect(await names(a)).toBe('tun-in tun-out');
  });
});
