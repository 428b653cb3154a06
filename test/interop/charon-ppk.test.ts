// A post-quantum preshared key (RFC 8784) between ovs-espd and strongSwan's charon: both roles, demanded or not, and what
// either end says where the other has none or another.
import { afterEach, describe, expect, it } from 'vitest';
import { type Charon, type CharonConnection, startCharon } from '../rig/charon.ts';
import { type Espd, espdIsBuilt, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan } from '../rig/namespace.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';

const missing = [
  ...(canMakeNamespaces() ? [] : ['root']),
  ...(espdIsBuilt() ? [] : ['npm run build']),
  ...missingPrograms('swanctl', 'charon-systemd', 'cc'),
];
const title = `a PPK between ovs-espd and charon${missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`}`;

const SECRET = 'correct horse battery staple, and 32 bytes long';
type PpkOptions = Readonly<Record<string, string>>;
const OURS: PpkOptions = { ipsec_ppk: SECRET, ipsec_ppk_id: 'site-a-b' };
const THEIRS: NonNullable<CharonConnection['ppk']> = { id: 'site-a-b', secret: SECRET };
const USED = /IKE SA .*established[\s\S]*; PPK used/;

let rig: Rig;
afterEach(() => rig?.close());

async function pair(ours: PpkOptions, theirs: CharonConnection['ppk']): Promise<{ espd: Espd; charon: Charon }> {
  rig = createRig();
  const lan = await createLan(rig);
  const spec = {
    name: 'tun',
    type: 'gre',
    remote: lan.a.address,
    psk: 'swordfish',
    ...(theirs && { ppk: theirs }),
  } as const;
  const charon = await startCharon(rig, lan.b, [spec], { kernel: 'null-sad', verbose: true });
  const options = { local_ip: lan.a.address, remote_ip: lan.b.address, psk: 'swordfish', ...ours };
  const config = fileConfig('br-ipsec', [{ name: 'tun', type: 'gre', options }]);
  return { espd: await startEspd(rig, lan.a, { config }), charon };
}

/** Every word of ours that people may read. charon's own log shows its secrets at the level that tests need. */
async function words({ espd }: { espd: Espd }): Promise<string> {
  const shown = await Promise.all(
    [['tunnels/show'], ['ike/show'], ['ike/log', 'tun'], ['coverage/show']].map(([command = '', ...args]) =>
      espd.appctl(command, ...args),
    ),
  );
  return `${espd.log()}${shown.join('')}`;
}

describe.skipIf(missing.length > 0)(title, { timeout: 120_000 }, () => {
  it('is used when both have it, and after charon rekeys, and when charon initiates', async () => {
    const made = await pair({ ...OURS, ipsec_ppk_required: 'yes' }, { ...THEIRS, required: true });
    const { espd, charon } = made;
    await charon.waitForChild('tun-1');
    await espd.waitForTunnel('tun');
    expect(await espd.appctl('ike/show')).toMatch(USED);
    expect(charon.log()).toMatch(/using PPK for PPK_ID 'site-a-b'/);
    for (const what of ['ike', 'child'] as const) await charon.rekey(what, what === 'ike' ? 'tun' : 'tun-1');
    await charon.terminate('tun');
    await charon.initiate('tun-1');
    await charon.waitForChild('tun-1');
    await espd.running.waitUntil('an IKE SA that charon initiated', () => /IKE_SA .* established/.test(espd.log()));
    expect(await espd.appctl('ike/show')).toMatch(USED);
    const show = await espd.appctl('tunnels/show');
    expect(show).toMatch(/'ppk': '\(set\)'/);
    expect(await words(made)).not.toContain('horse');
  });

  it.each([
    ['charon has none', OURS, undefined],
    ['charon knows its name but not the secret', OURS, { id: 'site-a-b' }],
    ['only charon has one', {}, THEIRS],
  ] as const)('is left out where nobody demands it and %s', async (_when, ours, theirs) => {
    const { espd, charon } = await pair(ours, theirs);
    await charon.waitForChild('tun-1');
    await espd.waitForTunnel('tun');
    expect(await espd.appctl('ike/show')).toMatch(/established/);
    expect(await espd.appctl('ike/show')).not.toMatch(USED);
  });

  it.each([
    ['we demand it and charon has none', { ...OURS, ipsec_ppk_required: 'yes' }, undefined, /peer has no PPK/],
    [
      'charon demands it and we have none',
      {},
      { ...THEIRS, required: true },
      /refused (our authentication|IKE_SA_INIT|IKE_AUTH)/,
    ],
    // charon takes no other name than the one it has, also where it demands none.
    ['charon has another', OURS, { ...THEIRS, id: 'other' }, /refused our authentication.*ipsec_ppk/],
    ['the secrets differ', OURS, { ...THEIRS, secret: 'wrong' }, /refused our authentication/],
  ] as const)('keeps the tunnel down when %s, with the reason in tunnels/show', async (_when, ours, theirs, reason) => {
    const made = await pair(ours, theirs);
    const { espd } = made;
    await espd.running.waitUntil('a failure', () => reason.test(espd.log()));
    expect(await espd.appctl('tunnels/show')).toMatch(reason);
    const established = (await made.charon.listSas()).filter(({ state }) => state === 'ESTABLISHED');
    expect(established).toEqual([]);
    expect(await words(made)).not.toContain('horse');
  });
});
