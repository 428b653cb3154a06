// ovs-espd and strongSwan's charon, both roles, with certificates as ovs-monitor-ipsec configures strongSwan: self-signed ones
// that each end pins, and those of an authority; every kind of key and signature that both have; what each refuses.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Charon, startCharon } from '../rig/charon.ts';
import type { CharonCertificates } from '../rig/charon-credentials.ts';
import { type Espd, espdIsBuilt, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Lan } from '../rig/namespace.ts';
import { HostKeys } from '../rig/ovs-pki.ts';
import { CA, type Issued, type KeyKind, Pki } from '../rig/pki.ts';
import { until } from '../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';

const missing = [
  ...(canMakeNamespaces() ? [] : ['root']),
  ...(espdIsBuilt() ? [] : ['npm run build']),
  ...missingPrograms('swanctl', 'charon-systemd', 'cc', 'openssl', 'ovs-pki', 'ovs-appctl'),
];
const title = `certificates with charon${missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`}`;
const ROLES = ['initiates', 'responds'] as const;

describe.skipIf(missing.length > 0)(title, { timeout: 120_000 }, () => {
  let rig: Rig;
  let lan: Lan;
  let pki: Pki;
  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig);
    pki = new Pki(rig.directory);
  });
  afterEach(() => rig.close());

  type Side = { readonly certificatePath: string; readonly keyPath: string };
  type Trust = { readonly options: Record<string, string>; readonly global?: Record<string, string> };

  const startOurs = (own: Side, { options, global = {} }: Trust): Promise<Espd> => {
    const addresses = { local_ip: lan.a.address, remote_ip: lan.b.address };
    const tunnel = { name: 'tun', type: 'gre', options: { ...addresses, ...options } } as const;
    const pair = { certificate: own.certificatePath, private_key: own.keyPath };
    return startEspd(rig, lan.a, { config: fileConfig('br-ipsec', [tunnel], { ...pair, ...global }) });
  };
  const startTheirs = (certificates: CharonCertificates, connection: Record<string, string> = {}): Promise<Charon> =>
    startCharon(rig, lan.b, [{ name: 'tun', type: 'gre', remote: lan.a.address, certificates, connection }]);

  /** Both ends up, with charon in the given role. */
  async function comeUp(role: (typeof ROLES)[number], ours: () => Promise<Espd>, theirs: () => Promise<Charon>) {
    if (role === 'responds') {
      const charon = await theirs();
      const espd = await ours();
      await espd.waitForTunnel('tun');
      await charon.waitForChild('tun-1');
      return { espd, charon };
    }
    // Ours cannot reach anybody until charon is there, and backs off; charon then begins.
    const espd = await ours();
    await until('a first attempt', () => /initiating IKE_SA/.test(espd.log()));
    const charon = await theirs();
    await charon.initiate('tun-1');
    await espd.waitForTunnel('tun');
    expect(charon.log()).toMatch(/initiating IKE_SA tun\[\d+\] to 10\.1\.0\.1/);
    return { espd, charon };
  }

  const charonSide = (
    own: Side,
    id: string,
    peerId: string,
    trust: Partial<CharonCertificates>,
  ): CharonCertificates => ({
    id,
    certificate: own.certificatePath,
    privateKey: own.keyPath,
    peerId,
    ...trust,
  });

  it.each(ROLES)('of ovs-pki, self-signed and pinned: charon %s', async (role) => {
    const keys = { a: new HostKeys(rig.directory, 'a'), b: new HostKeys(rig.directory, 'b') };
    const [a, b] = [
      { certificatePath: keys.a.path('host_1-cert.pem'), keyPath: keys.a.path('host_1-privkey.pem') },
      { certificatePath: keys.b.path('host_2-cert.pem'), keyPath: keys.b.path('host_2-privkey.pem') },
    ];
    for (const [host, name] of [
      [keys.a, 'host_1'],
      [keys.b, 'host_2'],
    ] as const) {
      await host.ovsPki('req', '-u', name);
      await host.ovsPki('self-sign', name);
    }
    const { charon } = await comeUp(
      role,
      () => startOurs(a, { options: { remote_cert: b.certificatePath } }),
      () => startTheirs(charonSide(b, 'host_2', 'host_1', { peerCertificate: a.certificatePath })),
    );
    expect(charon.log()).toMatch(/authentication of 'host_1' with RSA_EMSA_PSS_SHA2_256\S* successful/);
  });

  it.each(ROLES)('of ovs-pki, CA-signed: charon %s', async (role) => {
    const keys = new HostKeys(rig.directory, 'a');
    await keys.ovsPki('init');
    for (const name of ['host_1', 'host_2']) await keys.ovsPki('-u', 'req+sign', name, 'switch');
    const authority = keys.fetchAuthority();
    const side = (name: string) => ({
      certificatePath: keys.path(`${name}-cert.pem`),
      keyPath: keys.path(`${name}-privkey.pem`),
    });
    const { espd } = await comeUp(
      role,
      () => startOurs(side('host_1'), { options: { remote_name: 'host_2' }, global: { ca_cert: authority } }),
      () => startTheirs(charonSide(side('host_2'), 'host_2', 'host_1', { authority })),
    );
    expect(await espd.tunnelsShow('tun')).toMatch(/10\.1\.0\.1\[host_1\]\.\.\.10\.1\.0\.2\[host_2\] IKEv2 ESTABLISHED/);
  });

  it.each([
    ['rsa', undefined, /RSA_EMSA_PSS_SHA2_256/],
    ['rsa', 'ike:rsa/pss-sha512', /RSA_EMSA_PSS_SHA2_256/],
    ['rsa4096', 'ike:rsa/pkcs1-sha384', /RSA_EMSA_PSS_SHA2_384/],
    ['p256', undefined, /ECDSA_WITH_SHA256_DER/],
    ['p384', undefined, /ECDSA_WITH_SHA384_DER/],
    ['p521', undefined, /ECDSA_WITH_SHA512_DER/],
    ['ed25519', undefined, /ED25519/],
  ] as const)('of %s keys, charon signing with %s', async (key: KeyKind, auth, ours) => {
    const root = pki.authority('root');
    const [a, b] = [pki.signed(root, 'host_1', { key }), pki.signed(root, 'host_2', { key })];
    const trust = { authority: root.certificatePath, ...(auth === undefined ? {} : { auth }) };
    const { charon } = await comeUp(
      'responds',
      () => startOurs(a, { options: { remote_name: 'host_2' }, global: { ca_cert: root.certificatePath } }),
      () => startTheirs(charonSide(b, 'host_2', 'host_1', trust)),
    );
    expect(charon.log()).toMatch(new RegExp(`authentication of 'host_1' with ${ours.source}`));
  });

  it.each(ROLES)('below an intermediate that travels with them: charon %s', async (role) => {
    const root = pki.authority('root');
    const middle = pki.signed(root, 'middle', { extensions: CA });
    const [a, b] = [pki.signed(middle, 'host_1', { key: 'rsa' }), pki.signed(middle, 'host_2', { key: 'rsa' })];
    const chain = pki.path('chain.pem');
    pki.concatenate(chain, [a, middle]);
    const trust = { authority: root.certificatePath, intermediates: [middle.certificatePath] };
    await comeUp(
      role,
      () =>
        startOurs(
          { ...a, certificatePath: chain },
          { options: { remote_name: 'host_2' }, global: { ca_cert: root.certificatePath } },
        ),
      () => startTheirs(charonSide(b, 'host_2', 'host_1', trust)),
    );
  });

  it('identify charon by its whole subject too, where it sends that', async () => {
    const root = pki.authority('root');
    const [a, b] = [pki.signed(root, 'host_1'), pki.signed(root, 'host_2')];
    const dn = '"C=US, O=Open vSwitch, CN=host_2"';
    await comeUp(
      'initiates',
      () => startOurs(a, { options: { remote_name: 'host_2' }, global: { ca_cert: root.certificatePath } }),
      () => startTheirs(charonSide(b, dn, 'host_1', { authority: root.certificatePath })),
    );
  });

  const refusals: readonly [
    string,
    (root: Issued) => { theirs: Issued; ours?: Issued; name?: string; at?: string },
    RegExp,
  ][] = [
    [
      'of another authority',
      () => ({ theirs: pki.signed(pki.authority('elsewhere'), 'host_2') }),
      /CN=elsewhere, which is not in ca_cert/,
    ],
    [
      'for another name',
      (root) => ({ theirs: pki.signed(root, 'host_3'), name: 'host_3' }),
      /AUTHENTICATION_FAILED|expected remote_name|host_3/,
    ],
    [
      'that expired',
      (root) => ({ theirs: pki.signed(root, 'host_2', { days: -1 }) }),
      /CN=host_2 expired at|AUTHENTICATION_FAILED/,
    ],
  ];
  it.each(refusals)('%s are refused, and tunnels/show says why', async (_what, make, words) => {
    const root = pki.authority('root');
    const a = pki.signed(root, 'host_1');
    const { theirs, name = 'host_2' } = make(root);
    const charon = await startTheirs(charonSide(theirs, name, 'host_1', { authority: root.certificatePath }));
    const espd = await startOurs(a, { options: { remote_name: 'host_2' }, global: { ca_cert: root.certificatePath } });
    await espd.waitForTunnel('tun', words);
    // As responder charon has believed us before we look at it; then it hears of our refusal.
    await until('no SA at charon', async () => (await charon.listSas()).length === 0);
    expect(await espd.appctl('sas/show')).not.toMatch(/SPI/);
  });

  it('of ours that charon does not trust: tunnels/show names our certificate', async () => {
    const root = pki.authority('root');
    const other = pki.authority('other');
    const [a, b] = [pki.signed(other, 'host_1'), pki.signed(root, 'host_2')];
    await startTheirs(charonSide(b, 'host_2', 'host_1', { authority: root.certificatePath }));
    const espd = await startOurs(a, { options: { remote_name: 'host_2' }, global: { ca_cert: root.certificatePath } });
    await espd.waitForTunnel(
      'tun',
      /AUTHENTICATION_FAILED\): does it trust our certificate .*CN=host_1, issued by .*CN=other/,
    );
  });
});
