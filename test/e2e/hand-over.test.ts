/** `exit --no-cleanup` and a successor: the SAs go on, the peer notices nothing, and no packet is in the clear in between. */
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { handOverPath } from '../../control/hand-over/hand-over-file.ts';
import { startCapture } from '../rig/capture.ts';
import { startCharon } from '../rig/charon.ts';
import { startCompanion } from '../rig/companion.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan } from '../rig/namespace.ts';
import { start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { BRIDGE, INNER, obstacle, PSK, runTutorial, startTutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'tcpdump', 'ping');
const noCompanion = obstacle('ovs-vswitchd', 'ovs-ofctl');
const noCharon = obstacle('swanctl', 'cc');

describe.skipIf(reason !== '')(`a daemon and its successor${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  const spisOf = async ({ espd }: { espd: Espd }): Promise<string[]> =>
    [...(await espd.appctl('sas/show')).matchAll(/SPI (0x[0-9a-f]{8})/g)].map(([, spi]) => spi!).sort();
  const ikeSpisOf = async ({ espd }: { espd: Espd }): Promise<string[]> => [
    ...new Set([...(await espd.appctl('ike/show')).matchAll(/\b[0-9a-f]{16}_[ir]/g)].map(([spi]) => spi)),
  ];
  const externalIds = async ({ ovsdb }: TutorialHost): Promise<string> =>
    (await ovsdb.vsctl('get interface tun external_ids')).trim();

  async function handOver(a: { espd: Espd }): Promise<void> {
    await a.espd.appctl('exit', '--no-cleanup');
    expect((await a.espd.running.ended).status).toBe(0);
  }

  it('have the same SAs, under a flood of packets, without one in the clear or a sequence number twice', async () => {
    const { a, b } = await startTutorial(rig);
    await runTutorial({ a, b }, 'geneve');
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    await until('up', async () => (await externalIds(a)).includes('ipsec-state=up'));
    for (const { espd } of [a, b, a]) await espd.waitForSettled({ ikeSas: 1, children: 2 });
    const before = { spis: await spisOf(b), ike: await ikeSpisOf(b), ids: await externalIds(a) };
    expect(before.spis.length).toBeGreaterThanOrEqual(4);
    expect(before.ike.length).toBeGreaterThanOrEqual(2);

    const capture = await startCapture(rig, { namespace: b.host.namespace, device: b.host.device });
    const flood = start(rig, {
      ...{ name: 'ping', command: 'ping', args: ['-n', '-O', '-i', '0.02', INNER.b], namespace: a.host.namespace },
    });
    await flood.waitForOutput(/icmp_seq=20 ttl/);
    await handOver(a);
    const path = handOverPath(a.ovsdb.directory)!;
    expect(existsSync(path)).toBe(true);
    a.espd = await startEspd(rig, a.host, { database: a.ovsdb.remote, directory: a.ovsdb.directory });
    await a.espd.waitForTunnel('tun');
    expect(existsSync(path)).toBe(false);
    const resumed = Number(/icmp_seq=(\d+)(?![\s\S]*icmp_seq)/.exec(flood.output())?.[1]);
    await flood.waitForOutput(new RegExp(`icmp_seq=${resumed + 50} ttl`));
    await flood.stop();

    expect(await spisOf(b)).toEqual(before.spis);
    expect(await spisOf(a)).toEqual(before.spis);
    expect(await ikeSpisOf(b)).toEqual(before.ike);
    expect(await externalIds(a)).toBe(before.ids);
    await capture.settle();
    expect(capture.counts().geneve ?? 0).toBe(0);
    expect(capture.counts().ike ?? 0).toBe(0);
    const sent = capture.packets().flatMap(({ kind, sequence, spi }) => (kind === 'esp' ? [`${spi} ${sequence}`] : []));
    expect(sent.length).toBeGreaterThan(100);
    expect(new Set(sent).size).toBe(sent.length);
    await capture.stop();

    // The IKE SA works too: what it says is believed by the peer.
    await a.ovsdb.vsctl(`--timeout=5 del-port ${BRIDGE} tun`);
    await until('the SAs to be gone at the peer', async () =>
      (await spisOf(b)).every((spi) => !before.spis.includes(spi)),
    );
  });

  it('negotiate anew when the configuration has changed meanwhile, and what a file of others says is not believed', async () => {
    const { a, b } = await startTutorial(rig);
    await runTutorial({ a, b }, 'gre');
    for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
    await waitForPing(a.host.namespace, INNER.b);
    const before = await spisOf(a);
    await handOver(a);
    await b.ovsdb.vsctl('set interface tun options:psk=another');
    await a.ovsdb.vsctl('--no-wait set interface tun options:psk=another');
    a.espd = await startEspd(rig, a.host, { database: a.ovsdb.remote, directory: a.ovsdb.directory });
    await waitForPing(a.host.namespace, INNER.b, 30_000);
    expect(a.espd.log()).toMatch(/not taken over, as its configuration has changed/);
    expect((await spisOf(a)).some((spi) => before.includes(spi))).toBe(false);
    expect(a.espd.log()).not.toContain(PSK);
  });

  it.skipIf(noCompanion !== '')(
    `have the same SAs beside a real ovs-vswitchd, between its bridge and the NIC and behind a port of it${noCompanion}`,
    async () => {
      const lan = await createLan(rig);
      const a = await startCompanion(rig, lan.a, { attach: 'port', number: 1 });
      const b = await startCompanion(rig, lan.b, { attach: 'uplink', number: 2 });
      await a.addTunnel('tun', 'geneve', { local_ip: a.physical, remote_ip: b.physical, psk: PSK });
      await b.addTunnel('tun', 'geneve', { local_ip: b.physical, remote_ip: a.physical, psk: PSK });
      for (const { espd } of [a, b]) await espd.waitForTunnel('tun');
      await waitForPing(a.host.namespace, b.inner);
      for (const { espd } of [a, b, a]) await espd.waitForSettled({ ikeSas: 1, children: 2 });
      const before = { spis: await spisOf(b), ike: await ikeSpisOf(b) };
      const capture = await startCapture(rig, lan.b);
      const flood = start(rig, {
        ...{ name: 'ping', command: 'ping', args: ['-n', '-O', '-i', '0.02', b.inner], namespace: a.host.namespace },
      });
      for (const each of [a, b]) {
        await flood.waitForOutput(/icmp_seq=5 ttl/);
        await handOver(each);
        await each.restartEspd();
        await each.espd.waitForTunnel('tun');
        const resumed = Number(/icmp_seq=(\d+)(?![\s\S]*icmp_seq)/.exec(flood.output())?.[1]);
        await flood.waitForOutput(new RegExp(`icmp_seq=${resumed + 50} ttl`));
      }
      await flood.stop();
      for (const each of [a, b]) {
        expect(await spisOf(each)).toEqual(before.spis);
        expect(await ikeSpisOf(each)).toEqual(before.ike);
      }
      const packets = await capture.stop();
      expect(packets.filter(({ kind }) => kind === 'geneve' || kind === 'ike')).toEqual([]);
      const sent = packets.flatMap(({ kind, sequence, spi }) => (kind === 'esp' ? [`${spi} ${sequence}`] : []));
      expect(sent.length).toBeGreaterThan(100);
      expect(new Set(sent).size).toBe(sent.length);
    },
  );

  it.skipIf(noCharon !== '')(
    `have the same SAs with strongSwan's charon, which rekeys both with the successor${noCharon}`,
    async () => {
      const lan = await createLan(rig);
      const charon = await startCharon(rig, lan.b, [{ name: 'tun', type: 'gre', remote: lan.a.address, psk: PSK }]);
      const options = { local_ip: lan.a.address, remote_ip: lan.b.address, psk: PSK };
      const config = fileConfig('br-ipsec', [{ name: 'tun', type: 'gre', options }]);
      const a = { espd: await startEspd(rig, lan.a, { config }) };
      await a.espd.waitForTunnel('tun');
      await a.espd.waitForSettled({ ikeSas: 1, children: 1 });
      const listed = async () =>
        (await charon.listSas()).map(({ initiatorSpi, children }) => ({ initiatorSpi, children }));
      const before = { ours: await spisOf(a), theirs: await listed() };
      await handOver(a);
      a.espd = await startEspd(rig, lan.a, { config });
      await a.espd.waitForTunnel('tun');
      expect(await spisOf(a)).toEqual(before.ours);
      expect(await listed()).toEqual(before.theirs);

      const [ike] = await charon.listSas();
      await charon.rekey('child', ike!.children[0]!.name);
      await charon.rekey('ike', ike!.name);
      await until('other SAs here', async () => {
        const now = await spisOf(a);
        return now.length === before.ours.length && now.every((spi) => !before.ours.includes(spi));
      });
      expect(a.espd.log()).not.toMatch(/not taken over/);
    },
  );
});
