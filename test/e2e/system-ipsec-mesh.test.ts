/**
 * The eighteenth scenario of OVS's system tests of IPsec: a full mesh of N hosts with real ovs-vswitchds, a daemon that loses what it
 * has, and pings between all. N is 6; `MESH=20 npx vitest run test/e2e/system-ipsec-mesh.test.ts` is the size of theirs, and prints times.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../rig/capture.ts';
import { createWire } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping } from '../rig/traffic.ts';
import { addTunnels, innerOf, startEspdAgain, startUserspaceHost, type UserspaceHost } from '../rig/userspace-host.ts';
import { obstacle, PSK } from './two-hosts.ts';

const N = Number(process.env.MESH ?? 6);
const LIMIT_MS = 60_000 + N * N * 2000;
const reason = obstacle('ovs-vswitchd', 'ovs-vsctl', 'tcpdump', 'ping');

describe.skipIf(reason !== '')(`a full mesh of ${N} hosts${reason}`, { timeout: LIMIT_MS }, () => {
  let rig: Rig;
  let capture: Capture;
  const hosts: UserspaceHost[] = [];
  const others = (host: UserspaceHost): number[] =>
    hosts.map(({ index }) => index).filter((index) => index !== host.index);

  beforeAll(async () => {
    rig = createRig();
    const wire = await createWire(rig);
    capture = await startCapture(rig, wire, '', { snapLength: 96 });
    for (let index = 1; index <= N; index++) hosts.push(await startUserspaceHost(rig, wire, index, ['--workers=0']));
  }, LIMIT_MS);
  afterAll(() => rig?.close(), 60_000);

  async function allUp(host: UserspaceHost): Promise<void> {
    const up = async (): Promise<boolean> =>
      ((await host.espd.tunnelsShow()).match(/SA state: +up/g) ?? []).length === N - 1;
    await until(`all tunnels of host ${host.index}`, up, LIMIT_MS);
  }

  /** Every host pings every other; each pair gets an answer, and 3 of 3 after the first. */
  async function expectAllPings(): Promise<void> {
    for (const host of hosts) {
      await Promise.all(
        others(host).map((index) =>
          until(
            `3 of 3 answers of host ${index} to host ${host.index}`,
            async () => (await ping(host.host.namespace, innerOf(index), { count: 3, interval: 0.05 })).received === 3,
            30_000,
          ),
        ),
      );
    }
  }

  const clock = (label: string, from: number): void => {
    if (process.env.MESH !== undefined)
      process.stdout.write(`mesh of ${N}: ${label} ${((performance.now() - from) / 1000).toFixed(1)} s\n`);
  };

  it('comes up whole, both ends starting at once, and carries pings between all, in ESP alone', async () => {
    const from = performance.now();
    await Promise.all(hosts.map((host) => addTunnels(host, 'geneve', 4, others(host), { psk: PSK })));
    clock('configured after', from);
    await Promise.all(hosts.map(allUp));
    clock(`${N * (N - 1)} tunnels up after`, from);
    await expectAllPings();
    clock('all pings answered after', from);
    await capture.waitFor('esp', N * (N - 1) * 6 + 1);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });

  it('is whole again after one daemon was killed and started again', async () => {
    await hosts[0]!.espd.kill();
    const from = performance.now();
    await startEspdAgain(rig, hosts[0]!, ['--workers=0']);
    await allUp(hosts[0]!);
    clock('whole again after', from);
    await expectAllPings();
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
  });
});
