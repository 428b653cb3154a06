/**
 * IKEv2 with a real charon (strongSwan), both roles. The kernel here has no ESP, so charon's SAs go where
 * null-sad.c records them: charon believes them installed. test/interop judges the packets made with their keys.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Charon, startCharon } from '../rig/charon.ts';
import { childNames } from '../rig/charon-conf.ts';
import { type Espd, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, ip, type Lan } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('swanctl', 'cc', 'ovs-appctl');
type Type = 'gre' | 'geneve' | 'vxlan';

describe.skipIf(reason !== '')(`IKEv2 with strongSwan's charon${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  const ourConfig = (type: Type, options: Readonly<Record<string, string>> = {}) =>
    fileConfig('br-ipsec', [
      { name: 'tun', type, options: { local_ip: lan.a.address, remote_ip: lan.b.address, psk: PSK, ...options } },
    ]);
  const theirs = (type: Type, psk = PSK) => [{ name: 'tun', type, remote: lan.a.address, psk }];

  const startOurs = (type: Type, options?: Readonly<Record<string, string>>) =>
    startEspd(rig, lan.a, { config: ourConfig(type, options) });

  /** Our SPIs, as sas/show has them, are those that charon would have installed, crossed. */
  async function expectSameSas(espd: Espd, charon: Charon): Promise<void> {
    await until('the same SAs on both sides', async () => {
      const ours = await espd.appctl('sas/show');
      const children = (await charon.listSas())
        .flatMap((sa) => sa.children)
        .filter((child) => child.state === 'INSTALLED');
      const spi = (value: number) => `0x${value.toString(16).padStart(8, '0')}`;
      return (
        children.length > 0 &&
        children.every(
          (child) => ours.includes(`in  SPI ${spi(child.spiOut)}`) && ours.includes(`out SPI ${spi(child.spiIn)}`),
        )
      );
    });
  }

  for (const type of ['gre', 'geneve', 'vxlan'] as const) {
    it(`negotiates every child of a ${type} tunnel as initiator`, async () => {
      const charon = await startCharon(rig, lan.b, theirs(type));
      const espd = await startOurs(type);
      await espd.waitForTunnel('tun');
      for (const name of childNames({ name: 'tun', type })) {
        const child = await charon.waitForChild(name);
        expect(child.mode).toBe('TRANSPORT');
        expect(child.encryption).toBe('AES_GCM_16-256');
      }
      await expectSameSas(espd, charon);
      expect((await charon.listSas())[0]?.initiator).toBe(false);
    });

    it(`answers charon's negotiation of a ${type} tunnel`, async () => {
      // Ours cannot reach anybody until charon is there, and backs off; charon then begins.
      const espd = await startOurs(type);
      await until('a first attempt', () => /IKE/.test(espd.log()));
      const charon = await startCharon(rig, lan.b, theirs(type));
      for (const name of childNames({ name: 'tun', type })) await charon.initiate(name);
      await espd.waitForTunnel('tun');
      await expectSameSas(espd, charon);
    });
  }

  it.each([
    ['over IPv6', 6, {}, {}, 'TRANSPORT'],
    ['over IPv6 in UDP', 6, { ipsec_encapsulation: 'yes' }, {}, 'TRANSPORT'],
    ['in tunnel mode', 4, { ipsec_type: 'tunnel' }, { child: { mode: 'tunnel' } }, 'TUNNEL'],
    ['over IPv6 in tunnel mode', 6, { ipsec_type: 'tunnel' }, { child: { mode: 'tunnel' } }, 'TUNNEL'],
  ] as const)('negotiates a vxlan tunnel %s', async (_, family, options, theirOptions, mode) => {
    for (const [index, host] of [lan.a, lan.b].entries())
      await ip(host.namespace, 'address', 'add', `fd00:1::${index + 1}/64`, 'dev', host.device, 'nodad');
    const [ours, charons] = family === 6 ? ['fd00:1::1', 'fd00:1::2'] : [lan.a.address, lan.b.address];
    const charon = await startCharon(rig, { ...lan.b, address: charons }, [
      { name: 'tun', type: 'vxlan', remote: ours, psk: PSK, ...theirOptions },
    ]);
    const espd = await startOurs('vxlan', { local_ip: ours, remote_ip: charons, ...options });
    await espd.waitForTunnel('tun');
    for (const name of childNames({ name: 'tun', type: 'vxlan' }))
      expect((await charon.waitForChild(name)).mode).toBe(mode);
    await expectSameSas(espd, charon);
    const [sa] = await charon.listSas();
    expect(sa?.children.map((child) => child.state)).toEqual(['INSTALLED', 'INSTALLED']);
  });

  it('has one child SA for all workers with a charon that takes a further one for any other (RFC 9611), which is asked once', async () => {
    const charon = await startCharon(rig, lan.b, theirs('gre'));
    const config = ourConfig('gre', { ipsec_per_worker_sas: 'yes' });
    const espd = await startEspd(rig, lan.a, { config, args: ['--workers=2'] });
    await espd.waitForTunnel('tun');
    await until('a further child SA that was taken back', async () =>
      /declined: child SAs for further resources +1$/m.test(await espd.appctl('coverage/show')),
    );
    await until('one child SA at charon', async () => {
      const children = (await charon.listSas()).flatMap((sa) => sa.children);
      return children.filter(({ state }) => state === 'INSTALLED').length === 1;
    });
    await expectSameSas(espd, charon);
    await espd.appctl('refresh');
    expect(await espd.appctl('coverage/show')).toMatch(/declined: child SAs for further resources +1$/m);
  });

  it('follows a rekey of the child and of the IKE SA that charon starts', async () => {
    const charon = await startCharon(rig, lan.b, theirs('gre'));
    const espd = await startOurs('gre');
    await espd.waitForTunnel('tun');
    const [child] = childNames({ name: 'tun', type: 'gre' });
    await charon.waitForChild(child!);
    await charon.rekey('child', child!);
    await expectSameSas(espd, charon);
    const [ike] = await charon.listSas();
    await charon.rekey('ike', ike!.name);
    await expectSameSas(espd, charon);
    await espd.waitForTunnel('tun');
  });

  it('rekeys the child and the IKE SA by itself, and charon follows', async () => {
    const charon = await startCharon(rig, lan.b, theirs('gre'));
    const espd = await startOurs('gre', {
      ipsec_salifetime: '10s',
      ipsec_ikelifetime: '16s',
      ipsec_rekeymargin: '7s',
      ipsec_rekeyfuzz: '0%',
    });
    await espd.waitForTunnel('tun');
    const spiOf = async () => /in {2}SPI (0x[0-9a-f]+)/.exec(await espd.appctl('sas/show'))?.[1];
    const first = await spiOf();
    await until('a rekeyed child', async () => ((await spiOf()) ?? first) !== first, 12_000);
    await expectSameSas(espd, charon);
    const before = (await charon.listSas())[0]!.initiatorSpi;
    await until(
      'a rekeyed IKE SA',
      async () => (await charon.listSas()).some((sa) => sa.state === 'ESTABLISHED' && sa.initiatorSpi !== before),
      15_000,
    );
    await expectSameSas(espd, charon);
  });
});
