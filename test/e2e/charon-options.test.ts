/**
 * What a peer may ask of IKE beyond the tutorial, with a real charon: UDP encapsulation forced by either end, tunnel mode,
 * fragments announced or not, reauthentication by the peer. The kernel here has no ESP: as in charon.test.ts, charon's SAs go
 * where null-sad.c records them.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCharon } from '../rig/charon.ts';
import type { CharonConnection } from '../rig/charon-conf.ts';
import { fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Lan } from '../rig/namespace.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { obstacle, PSK } from './two-hosts.ts';

const reason = obstacle('swanctl', 'cc', 'ovs-appctl');

describe.skipIf(reason !== '')(`a charon that asks for more${reason}`, { timeout: 120_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
  });
  afterEach(() => rig.close());

  const theirs = (more: Partial<CharonConnection>): CharonConnection[] => [
    { name: 'tun', type: 'gre', remote: lan.a.address, psk: PSK, ...more },
  ];
  const startOurs = (options: Readonly<Record<string, string>>) =>
    startEspd(rig, lan.a, {
      config: fileConfig('br-ipsec', [
        {
          name: 'tun',
          type: 'gre',
          options: { local_ip: lan.a.address, remote_ip: lan.b.address, psk: PSK, ...options },
        },
      ]),
    });

  it.each([
    ['by us', { ipsec_encapsulation: 'yes' }, {}],
    ['by charon', {}, { connection: { encap: 'yes' } }],
  ])('puts ESP in UDP when that is forced %s', async (_, ours, more) => {
    const charon = await startCharon(rig, lan.b, theirs(more));
    const espd = await startOurs(ours);
    await espd.waitForTunnel('tun');
    expect(await charon.waitForChild('tun-1')).toMatchObject({ mode: 'TRANSPORT', udpEncapsulated: true });
    const show = await espd.appctl('ike/show');
    expect(show).toMatch(/local 10\.1\.0\.1 at 10\.1\.0\.1\[4500\], remote 10\.1\.0\.2 at 10\.1\.0\.2\[4500\]/);
    expect(show).toMatch(/UDP encapsulation forced|the peer is behind a NAT/);
  });

  it('has no UDP with charon when this end refuses it', async () => {
    const charon = await startCharon(rig, lan.b, theirs({ connection: { encap: 'yes' } }));
    const espd = await startOurs({ ipsec_encapsulation: 'no' });
    await espd.waitForTunnel('tun');
    expect(await charon.waitForChild('tun-1')).toMatchObject({ udpEncapsulated: false });
    expect(await espd.appctl('ike/show')).toMatch(/at 10\.1\.0\.1\[500\]/);
  });

  it('is in tunnel mode where both ends are configured so', async () => {
    const charon = await startCharon(rig, lan.b, theirs({ child: { mode: 'tunnel' } }));
    const espd = await startOurs({ ipsec_type: 'tunnel' });
    await espd.waitForTunnel('tun');
    expect(await charon.waitForChild('tun-1')).toMatchObject({ mode: 'TUNNEL' });
  });

  it.each([
    ['yes', true],
    ['no', false],
  ])('comes up with ipsec_fragmentation=%s, and fragments are announced: %s', async (fragmentation, announced) => {
    // With a PSK no message is large enough to be cut: that is test/interop's with certificates, and test/ike's.
    const charon = await startCharon(rig, lan.b, theirs({ connection: { fragmentation: 'force' } }));
    const espd = await startOurs({ ipsec_fragmentation: fragmentation });
    await espd.waitForTunnel('tun');
    await charon.waitForChild('tun-1');
    const log = await espd.appctl('ike/log', 'tun');
    const ours = /sent IKE_SA_INIT \w+ 0 .*N\(IKEV2_FRAGMENTATION_SUPPORTED\)/.test(log);
    expect(ours).toBe(announced);
  });

  it('stays up when charon reauthenticates its IKE SA', async () => {
    const charon = await startCharon(
      rig,
      lan.b,
      theirs({ connection: { reauth_time: '8s', rekey_time: '0', over_time: '4s' } }),
    );
    const espd = await startOurs({});
    await espd.waitForTunnel('tun');
    const before = (await charon.listSas())[0]!.initiatorSpi;
    await until(
      'another IKE SA',
      async () => (await charon.listSas()).some((sa) => sa.state === 'ESTABLISHED' && sa.initiatorSpi !== before),
      20_000,
    );
    await espd.waitForTunnel('tun');
    await charon.waitForChild('tun-1');
  });
});
