/** What the daemon tells others through Interface.external_ids, and what two daemons on one database do. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEspd } from '../rig/espd.ts';
import { createNamespace } from '../rig/namespace.ts';
import { start, until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { waitForPing } from '../rig/traffic.ts';
import { addBridge, addTunnel, BRIDGE, INNER, obstacle, PSK, startTutorial, type TutorialHost } from './two-hosts.ts';

const reason = obstacle('ovsdb-server', 'ovs-vsctl', 'ovsdb-client', 'ping');

/** external_ids of an interface as ovs-vsctl prints them, for instance `{ipsec-state=up}`. */
async function externalIds({ ovsdb }: TutorialHost, name = 'tun'): Promise<string> {
  return (await ovsdb.vsctl(`get interface ${name} external_ids`)).trim();
}

describe.skipIf(reason !== '')(`the state of tunnels in OVSDB${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  beforeEach(() => {
    rig = createRig();
  });
  afterEach(() => rig.close());

  it('goes from never-up with the failure to up since when, to down, and is removed by exit; other keys stay', async () => {
    const { a, b } = await startTutorial(rig);
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await addTunnel(b, 'gre', a.host.address, { psk: 'another' });
    await addTunnel(a, 'gre', b.host.address);
    await a.ovsdb.vsctl('set interface tun external_ids:site=oslo');
    await until('the failure', async () => /AUTHENTICATION_FAILED|authenti/i.test(await externalIds(a)));
    expect(await externalIds(a)).toMatch(/ipsec-state=never-up/);
    expect(await externalIds(a)).not.toContain(PSK);

    const before = Date.now();
    await b.ovsdb.vsctl(`set interface tun options:psk=${PSK}`);
    await waitForPing(a.host.namespace, INNER.b);
    await until('up', async () => (await externalIds(a)).includes('ipsec-state=up'));
    const up = await externalIds(a);
    const since = /ipsec-established-at="([^"]+)"/.exec(up)?.[1] ?? '';
    expect(Math.abs(Date.parse(since) - before)).toBeLessThan(20_000);
    expect(up).not.toContain('ipsec-error');

    await b.ovsdb.vsctl(`--timeout=5 del-port ${BRIDGE} tun`);
    await until('down', async () => (await externalIds(a)).includes('ipsec-state=down'));
    expect(await externalIds(a)).not.toContain('ipsec-established-at');

    await a.espd.appctl('exit');
    expect((await a.espd.running.ended).status).toBe(0);
    expect(await externalIds(a)).toBe('{site=oslo}');
  });

  it('of an INVALID tunnel is the key at fault and how to mend it, and goes when IPsec is no longer asked for', async () => {
    const { a, b } = await startTutorial(rig);
    await addBridge(a, INNER.a);
    await addTunnel(a, 'gre', b.host.address, { psk: PSK, ttl: '900' });
    await until('invalid', async () => (await externalIds(a)).includes('ipsec-state=invalid'));
    expect(await externalIds(a)).toMatch(/ipsec-error=.*options:ttl is .*900.*, expected 1 to 255.*; for instance: /);
    await a.ovsdb.vsctl('remove interface tun options psk');
    await until('no keys', async () => (await externalIds(a)) === '{}');
  });

  it('is written on transitions only: rekeying and traffic write nothing', async () => {
    const { a, b } = await startTutorial(rig);
    const monitor = start(rig, {
      name: 'ovsdb-client',
      command: 'ovsdb-client',
      args: ['monitor', a.ovsdb.remote, 'Open_vSwitch', 'Interface', 'name,external_ids', '--format=json'],
    });
    const writes = (): number =>
      monitor
        .stdout()
        .split('\n')
        .filter((line) => line.includes('ipsec-state')).length;
    const options = { psk: PSK, ipsec_salifetime: '10s', ipsec_margintime: '8s', ipsec_rekeyfuzz: '0%' };
    await addBridge(a, INNER.a);
    await addBridge(b, INNER.b);
    await addTunnel(a, 'geneve', b.host.address, options);
    await addTunnel(b, 'geneve', a.host.address);
    await waitForPing(a.host.namespace, INNER.b);
    await until('up', async () => (await externalIds(a)).includes('ipsec-state=up'));
    const rekeyed = async (): Promise<number> =>
      Number(/rekeyed: child SAs +(\d+)/.exec(await a.espd.appctl('coverage/show'))?.[1] ?? 0);
    const then = { writes: writes(), rekeyed: await rekeyed() };
    expect(then.writes).toBeGreaterThan(0);
    await until('another rekeying', async () => (await rekeyed()) > then.rekeyed, 30_000);
    expect(writes()).toBe(then.writes);
    await monitor.stop();
  });

  it('is the work of one keying daemon: a second says so in one line, makes nothing, and takes over when the first ends', async () => {
    const { a, b } = await startTutorial(rig);
    await addBridge(a, INNER.a);
    await addTunnel(a, 'gre', b.host.address);
    const elsewhere = { ...a.host, namespace: await createNamespace(rig, 'c') };
    const second = await startEspd(rig, elsewhere, { database: a.ovsdb.remote });
    await until('the line', () => second.log().includes('the lock ovs_ipsec is held by another daemon'));
    expect(second.log().match(/\|WARN\|/g)).toHaveLength(1);
    await expect(second.tunnelsShow()).rejects.toThrow(/has not been read yet/);
    await a.espd.appctl('exit');
    await second.waitForTunnel('tun', /Interface name: tun v1/);
  });
});
