// One list for both IKE daemons of OVS, strongSwan's charon and Libreswan's pluto, each against ovs-espd: roles and ways to
// authenticate, rekeying from either end, fragments, NAT, death, deletion, and what has to be refused. Their SAs go to a null
// SAD (test/rig/null-sad.c); packets made with those keys are judged in charon-ike.test.ts, kernels are `npm run interop`'s.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import type { CharonCertificates } from '../rig/charon-credentials.ts';
import { type Espd, espdIsBuilt, fileConfig, startEspd } from '../rig/espd.ts';
import { createLan, type Host } from '../rig/namespace.ts';
import { createNatted } from '../rig/nat.ts';
import { type Issued, Pki } from '../rig/pki.ts';
import { until } from '../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../rig/rig.ts';
import { type IkePeer, type PeerChoices, type PeerKind, peerObstacle, startPeer } from './ike-peers.ts';

const PSK = 'swordfish';
const METHODS = ['PSK', 'self-signed certificates', 'CA-signed certificates'] as const;
const ROLES = ['we start', 'they start'] as const;
type Method = (typeof METHODS)[number];

/** What both ends are told, so that they agree. */
type Agreement = {
  readonly options: Readonly<Record<string, string>>;
  readonly global?: Readonly<Record<string, string>>;
  readonly theirs: Pick<PeerChoices, 'psk' | 'certificates'>;
};

const obstacle = (kind: PeerKind) => {
  const missing = [
    ...(canMakeNamespaces() ? [] : ['root']),
    ...(espdIsBuilt() ? [] : ['npm run build']),
    ...missingPrograms('cc', 'openssl', 'tcpdump', 'ethtool', 'ovs-appctl'),
    peerObstacle(kind),
  ].filter(Boolean);
  return missing.length === 0 ? '' : ` (skipped: needs ${missing.join(', ')})`;
};

describe.each(['strongSwan', 'Libreswan'] as const)('IKE with %s', (kind) => {
  const reason = obstacle(kind);
  describe.skipIf(reason !== '')(`as OVS configures it${reason}`, { timeout: 90_000 }, () => {
    let rig: Rig;
    let pki: Pki;
    beforeEach(() => {
      rig = createRig();
      pki = new Pki(rig.directory);
    });
    let peers: IkePeer[] = [];
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail')
        for (const peer of peers) process.stderr.write(`${peer.log().split('\n').slice(-40).join('\n')}\n`);
      peers = [];
      await rig.close();
    });

    const files = ({ certificatePath, keyPath }: Issued) => ({ certificate: certificatePath, private_key: keyPath });
    const certificatesOf = (own: Issued, trust: Partial<CharonCertificates>): CharonCertificates => ({
      id: own.name,
      certificate: own.certificatePath,
      privateKey: own.keyPath,
      peerId: 'host_1',
      ...trust,
    });

    function agreement(method: Method): Agreement {
      if (method === 'PSK') return { options: { psk: PSK }, theirs: { psk: PSK } };
      if (method === 'self-signed certificates') {
        const [ours, theirs] = [pki.selfSigned('host_1', { key: 'rsa' }), pki.selfSigned('host_2', { key: 'rsa' })];
        return {
          options: { remote_cert: theirs.certificatePath },
          global: files(ours),
          theirs: { certificates: certificatesOf(theirs, { peerCertificate: ours.certificatePath }) },
        };
      }
      const root = pki.authority('root', { key: 'rsa' });
      return caSigned(root, pki.signed(root, 'host_2', { key: 'rsa' }));
    }

    /** They show `theirs`; each end trusts `root` only. */
    function caSigned(root: Issued, theirs: Issued, ours = pki.signed(root, 'host_1', { key: 'rsa' })): Agreement {
      return {
        options: { remote_name: 'host_2' },
        global: { ...files(ours), ca_cert: root.certificatePath },
        theirs: { certificates: certificatesOf(theirs, { authority: root.certificatePath }) },
      };
    }

    const startOurs = (
      host: Host,
      remote: string,
      { options, global = {} }: Agreement,
      more: Readonly<Record<string, string>> = {},
      type: PeerChoices['type'] = 'gre',
    ): Promise<Espd> => {
      const all = { local_ip: host.address, remote_ip: remote, ...options, ...more };
      return startEspd(rig, host, { config: fileConfig('br-ipsec', [{ name: 'tun', type, options: all }], global) });
    };
    const startTheirs = async (host: Host, remote: string, { theirs }: Agreement, more: Partial<PeerChoices> = {}) => {
      const peer = await startPeer(kind, rig, host, { type: 'gre', remote, ...theirs, ...more });
      peers.push(peer);
      return peer;
    };

    /** SPIs of all child SAs of ours, as `in/out` pairs crossed to the peer's view. */
    async function ourChildren(espd: Espd): Promise<string[]> {
      const text = await espd.appctl('sas/show');
      return [...text.matchAll(/in {2}SPI 0x([0-9a-f]+).*\n\s*out SPI 0x([0-9a-f]+)/g)].map(
        ([, spiIn, spiOut]) => `${spiOut}/${spiIn}`,
      );
    }
    /** Resolves when both ends hold the same SAs, `count` of them if given. */
    const sameChildren = (espd: Espd, peer: IkePeer, count?: number) =>
      until('the same SAs on both ends', async () => {
        const hex = (spi: number) => spi.toString(16).padStart(8, '0');
        const theirs = (await peer.children()).map(({ spiIn, spiOut }) => `${hex(spiIn)}/${hex(spiOut)}`);
        const [a, b] = [(await ourChildren(espd)).sort().join(' '), theirs.sort().join(' ')];
        if (a !== b || a === '' || (count !== undefined && theirs.length !== count))
          throw new Error(`ours '${a}', theirs '${b}'`);
        return a;
      });

    /** Both ends up over a plain wire, the peer in the given role. */
    async function comeUp(
      role: (typeof ROLES)[number],
      agreed: Agreement,
      { ours = {}, theirs = {} }: { ours?: Readonly<Record<string, string>>; theirs?: Partial<PeerChoices> } = {},
    ) {
      const lan = await createLan(rig);
      const type = theirs.type ?? 'gre';
      const begin = () => startTheirs(lan.b, lan.a.address, agreed, theirs);
      const early = role === 'we start' ? await begin() : undefined;
      const espd = await startOurs(lan.a, lan.b.address, agreed, ours, type);
      // Ours cannot reach anybody until the peer is there, and backs off; the peer then begins.
      if (early === undefined) await until('a first attempt', () => /initiating IKE_SA/.test(espd.log()));
      const peer = early ?? (await begin());
      if (early === undefined) await peer.initiate();
      await espd.waitForTunnel('tun');
      await sameChildren(espd, peer);
      return { lan, espd, peer };
    }

    describe.each(METHODS)('with %s', (method) => {
      it.each(ROLES)('brings the tunnel up: %s', async (role) => {
        const { espd } = await comeUp(role, agreement(method));
        // The star is at the SPI of ours.
        expect(await espd.appctl('ike/show')).toMatch(
          role === 'we start' ? /IKE SA \w+_i\* \w+_r:/ : /IKE SA \w+_i \w+_r\*:/,
        );
      });
    });

    it.each(['geneve', 'vxlan'] as const)('has both children of a %s tunnel, whoever starts', async (type) => {
      const { espd, peer } = await comeUp('they start', agreement('PSK'), { theirs: { type } });
      await sameChildren(espd, peer, 2);
      await peer.terminate();
      // Ours begins again by itself.
      await sameChildren(espd, peer, 2);
    });

    it('follows when the peer rekeys the child, the IKE SA, and the child again', async () => {
      const { espd, peer } = await comeUp('we start', agreement('PSK'));
      for (const what of ['child', 'ike', 'child'] as const) {
        const before = what === 'ike' ? (await peer.ikeSas()).join() : await sameChildren(espd, peer);
        await peer.rekey(what);
        const changed = async () =>
          what === 'ike' ? (await peer.ikeSas()).join() !== before : (await sameChildren(espd, peer)) !== before;
        await until(`another ${what} SA alone`, changed);
        expect(await peer.ikeSas()).toHaveLength(1);
        await sameChildren(espd, peer, 1);
      }
      await espd.waitForTunnel('tun');
    });

    it('is followed when ours rekeys the child and the IKE SA', async () => {
      const times = {
        ipsec_salifetime: '10s',
        ipsec_ikelifetime: '14s',
        ipsec_rekeymargin: '6s',
        ipsec_rekeyfuzz: '0%',
      };
      const { espd, peer } = await comeUp('they start', agreement('PSK'), { ours: times });
      const [child, ike] = [await sameChildren(espd, peer), (await peer.ikeSas()).join()];
      await until('a rekeyed child', async () => (await sameChildren(espd, peer)) !== child, 15_000);
      await until('a rekeyed IKE SA', async () => !(await peer.ikeSas()).includes(ike), 15_000);
      await sameChildren(espd, peer, 1);
      await espd.waitForTunnel('tun');
    });

    it.each([
      ['both ends allow them', 'yes', true, true],
      ['ours does not', 'no', true, false],
      ['the peer does not', 'yes', false, false],
    ] as const)('sends its certificate in IKE fragments only if %s', async (_, ours, theirs, fragments) => {
      // An authority with a long key: so the message of either side is larger than the 1280 bytes of an unfragmented one.
      const root = pki.authority('root', { key: 'rsa4096' });
      const agreed = caSigned(root, pki.signed(root, 'host_2', { key: 'rsa' }));
      const lan = await createLan(rig);
      const capture = await startCapture(rig, lan.a);
      const peer = await startTheirs(lan.b, lan.a.address, agreed, { fragmentation: theirs });
      const espd = await startOurs(lan.a, lan.b.address, agreed, { ipsec_fragmentation: ours });
      await espd.waitForTunnel('tun');
      await sameChildren(espd, peer);
      const large = (await capture.stop()).filter(({ kind: what, source, wireLength }) => {
        return what === 'ike' && source === lan.a.address && wireLength > 14 + 1280;
      });
      expect(large.length > 0).toBe(!fragments);
      const received = /received: fragments\D+(\d+)/.exec(await espd.appctl('coverage/show'));
      expect(Number(received?.[1] ?? 0) > 0).toBe(fragments);
    });

    /** CA-signed certificates, whose identities are names: no address that a NAT would change. */
    async function beginThroughNat(behind: 'us' | 'the peer') {
      const { inside, outside, natAddress } = await createNatted(rig);
      const capture = await startCapture(rig, outside);
      const agreed = agreement('CA-signed certificates');
      const [ourHost, theirHost] = behind === 'us' ? [inside, outside] : [outside, inside];
      const seen = (host: Host) => (host === inside ? natAddress : host.address);
      const peer = await startTheirs(theirHost, seen(ourHost), agreed);
      return { peer, capture, espd: await startOurs(ourHost, seen(theirHost), agreed) };
    }
    /** Libreswan 4.10 as responder in transport mode does not translate the selectors of an initiator behind a NAT (RFC 7296 §2.23.1). */
    const behindNat = kind === 'Libreswan' ? (['the peer'] as const) : (['us', 'the peer'] as const);

    it.each(behindNat)('goes through a NAT with %s behind it, ESP in UDP', async (behind) => {
      const { espd, peer, capture } = await beginThroughNat(behind);
      if (behind === 'the peer') {
        // Nothing of ours gets to it; but then ours has its configuration.
        await until('a first attempt', () => /initiating IKE_SA/.test(espd.log()));
        await peer.initiate();
      }
      await espd.waitForTunnel('tun');
      await sameChildren(espd, peer);
      const sas = peer.installedSas();
      expect(sas.length).toBeGreaterThanOrEqual(2);
      expect(sas.every((sa) => sa.udpEncapsulated && sa.mode === 'transport')).toBe(true);
      expect(await espd.appctl('ike/show')).toMatch(
        behind === 'us' ? /we are behind a NAT/ : /the peer is behind a NAT/,
      );
      expect((await capture.stop()).filter(({ kind: what }) => what === 'esp')).toEqual([]);
    });

    it.runIf(kind === 'Libreswan')('says what Libreswan as responder answers to us behind a NAT', async () => {
      const { espd, peer } = await beginThroughNat('us');
      await espd.waitForTunnel(
        'tun',
        /peer refused child tun \(TS_UNACCEPTABLE\).*10\.1\.0\.1\[gre\] === 10\.2\.0\.2\[gre\]/,
      );
      expect(peer.log()).toContain('No IKEv2 connection found with compatible Traffic Selectors');
    });

    it('checks an idle peer for life, and the peer answers', async () => {
      const { espd } = await comeUp('we start', agreement('PSK'), { ours: { ipsec_dpddelay: '1s' } });
      await until('two liveness checks and their answers', async () => {
        const log = await espd.appctl('ike/log', 'tun');
        return [...log.matchAll(/received INFORMATIONAL response/g)].length >= 2;
      });
      await espd.waitForTunnel('tun');
    });

    const long = process.env.OVS_ESPD_LONG === '1';
    it.skipIf(!long)(
      `finds a silent peer dead, and has the tunnel again when it is back${long ? '' : ' (skipped: takes 4 minutes, set OVS_ESPD_LONG=1)'}`,
      { timeout: 400_000 },
      async () => {
        const agreed = agreement('PSK');
        const { lan, espd, peer } = await comeUp('we start', agreed, { ours: { ipsec_dpddelay: '1s' } });
        await peer.running.kill();
        await espd.waitForTunnel('tun', /SA state:\s+down/, 200_000);
        // It does not start by itself, so it is ours that has to.
        const again = await startTheirs(lan.b, lan.a.address, agreed);
        await espd.waitForTunnel('tun', undefined, 100_000);
        await sameChildren(espd, again, 1);
      },
    );

    it('is replaced when the peer died and comes back: one IKE SA, new children', async () => {
      const agreed = agreement('PSK');
      const { lan, espd, peer } = await comeUp('we start', agreed);
      const before = await ourChildren(espd);
      await peer.running.kill();
      const again = await startTheirs(lan.b, lan.a.address, agreed);
      await again.initiate();
      if (kind === 'strongSwan') await sameChildren(espd, again, 1);
      // Libreswan 4 says no INITIAL_CONTACT, so ours keeps the old child too, until liveness checks end it; it sends on the new one.
      const fresh = (await again.children()).map(({ spiIn }) => spiIn.toString(16).padStart(8, '0'));
      expect(fresh).toHaveLength(1);
      expect(before.join()).not.toContain(fresh[0]);
      await until('ours sending on the new child', async () =>
        new RegExp(`sending.*\\n.*\\n\\s+out SPI 0x${fresh[0]}`).test(await espd.appctl('sas/show')),
      );
      expect(await again.ikeSas()).toHaveLength(1);
    });

    it('replaces it at the peer when ours was killed and starts again', async () => {
      const agreed = agreement('PSK');
      const { lan, espd, peer } = await comeUp('we start', agreed);
      await espd.kill();
      const again = await startOurs(lan.a, lan.b.address, agreed);
      await again.waitForTunnel('tun');
      await sameChildren(again, peer, 1);
      // Libreswan deletes the old child at once and keeps the old IKE SA, empty, until its own liveness or lifetime ends it.
      if (kind === 'strongSwan') expect(await peer.ikeSas()).toHaveLength(1);
    });

    it('ends on both sides when ours ends', async () => {
      const { espd, peer } = await comeUp('we start', agreement('PSK'));
      await espd.appctl('exit');
      await until('no SA at the peer', async () => (await peer.ikeSas()).length + (await peer.children()).length === 0);
    });

    it('comes back by itself when the peer deletes it', async () => {
      const { espd, peer } = await comeUp('we start', agreement('PSK'));
      const before = await sameChildren(espd, peer);
      await peer.terminate();
      await until('other SAs', async () => (await sameChildren(espd, peer)) !== before);
    });

    const refusals: readonly [string, () => Agreement, RegExp][] = [
      ['another PSK', () => ({ ...agreement('PSK'), theirs: { psk: 'sailfish' } }), /AUTHENTICATION_FAILED/],
      [
        'a certificate of another authority',
        () => {
          const agreed = caSigned(pki.authority('root'), pki.signed(pki.authority('elsewhere'), 'host_2'));
          return agreed;
        },
        /AUTHENTICATION_FAILED|CN=elsewhere, which is not in ca_cert/,
      ],
      [
        'an expired certificate',
        () => {
          const root = pki.authority('root');
          return caSigned(root, pki.signed(root, 'host_2', { days: -1 }));
        },
        /AUTHENTICATION_FAILED|CN=host_2 expired at/,
      ],
      [
        'a certificate with another name',
        () => {
          const root = pki.authority('root');
          return caSigned(root, pki.signed(root, 'host_3'));
        },
        /AUTHENTICATION_FAILED|expected remote_name|host_3/,
      ],
    ];
    // pluto does not load a certificate of its own that expired, so it cannot show us one.
    const possible = refusals.filter(([what]) => kind === 'strongSwan' || what !== 'an expired certificate');
    it.each(possible)('refuses %s, and tunnels/show says why', async (_, make, words) => {
      const agreed = make();
      const lan = await createLan(rig);
      const peer = await startTheirs(lan.b, lan.a.address, agreed);
      const espd = await startOurs(lan.a, lan.b.address, agreed);
      await espd.waitForTunnel('tun', words);
      // Libreswan as responder, which believed us first, does not act on our AUTHENTICATION_FAILED in INFORMATIONAL (RFC 7296 §2.21.2).
      if (kind === 'strongSwan') await until('no SA at the peer', async () => (await peer.children()).length === 0);
      expect(await ourChildren(espd)).toEqual([]);
      expect((await espd.tunnelsShow()) + espd.log()).not.toContain(PSK);
    });

    it.each([
      ['of another authority', (root: Issued) => pki.signed(pki.authority('elsewhere'), root.name && 'host_1')],
      ['that expired', (root: Issued) => pki.signed(root, 'host_1', { days: -1 })],
      ['with another name', (root: Issued) => pki.signed(root, 'host_9')],
    ])('has no SA when the peer refuses our certificate %s', async (_, make) => {
      const root = pki.authority('root');
      const agreed = caSigned(root, pki.signed(root, 'host_2'), make(root));
      const lan = await createLan(rig);
      const peer = await startTheirs(lan.b, lan.a.address, agreed);
      const espd = await startOurs(lan.a, lan.b.address, agreed);
      await espd.waitForTunnel('tun', /AUTHENTICATION_FAILED|expired|INVALID/);
      expect(await peer.children()).toEqual([]);
      expect(await ourChildren(espd)).toEqual([]);
    });
  });
});
