// One list for both IKE daemons of OVS, strongSwan's charon and Libreswan's pluto, each against ovs-espd: roles and ways to
// authenticate, rekeying from either end, fragments, NAT, death and deletion. What has to be refused is in ike-refusals.test.ts.
// Their SAs go to a null SAD (test/rig/null-sad.c); packets made with those keys are judged in charon-ike.test.ts, kernels are
// `npm run interop`'s. Daemons take seconds to start, so tests of one configuration share them, in the order in which they stand.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import type { Espd } from '../rig/espd.ts';
import { createLan, type Host, type Lan } from '../rig/namespace.ts';
import { createNatted } from '../rig/nat.ts';
import { until } from '../rig/process.ts';
import type { IkePeer } from './ike-peers.ts';
import { type Agreement, METHODS, ourChildren, PeerStage, sameChildren, stageObstacle } from './peer-stage.ts';

/** Whether ours took a request for the IKE SAs that it has had, or answers to requests of its own. */
const OUR_PART = { responder: /received IKE_SA_INIT request/, initiator: /received IKE_SA_INIT response/ } as const;

describe.each(['strongSwan', 'Libreswan'] as const)('IKE with %s', (kind) => {
  const reason = stageObstacle(kind);
  describe.skipIf(reason !== '')(`as OVS configures it${reason}`, { timeout: 180_000 }, () => {
    let stage: PeerStage;
    const begin = () => {
      stage = new PeerStage(kind);
    };
    const end = () => stage.rig.close();
    afterEach(({ task }) => {
      if (task.result?.state === 'fail') stage.complain();
    });

    /** What ours has said and heard of IKE with the peer. */
    const ikeLog = (espd: Espd) => espd.appctl('ike/log', 'tun');

    describe.each(METHODS)('with %s', (method) => {
      let up: Awaited<ReturnType<PeerStage['theyStart']>>;
      let agreed: Agreement;
      beforeAll(async () => {
        begin();
        agreed = stage.agreement(method);
        up = await stage.theyStart(agreed, { ours: { ipsec_dpddelay: '1s' } });
      }, 90_000);
      afterAll(end);

      it('brings the tunnel up: they start', async () => {
        expect(await ikeLog(up.espd)).toMatch(OUR_PART.responder);
        expect(await ikeLog(up.espd)).not.toMatch(OUR_PART.initiator);
      });

      it('brings the tunnel up: we start, by itself when the peer has deleted it', async () => {
        const { espd, peer } = up;
        const before = await sameChildren(espd, peer);
        await up.unmute();
        await peer.terminate();
        await until('other SAs', async () => (await sameChildren(espd, peer)) !== before);
        expect(await ikeLog(espd)).toMatch(OUR_PART.initiator);
        await espd.waitForTunnel('tun');
      });

      // What follows is the same however the ends have authenticated.
      if (method !== 'PSK') {
        it('ends on both sides when ours ends', async () => {
          const { espd, peer } = up;
          await espd.appctl('exit');
          await until('no SA at the peer', async () => {
            return (await peer.ikeSas()).length + (await peer.children()).length === 0;
          });
        });
        return;
      }

      it('checks an idle peer for life, and the peer answers', async () => {
        await until('two liveness checks and their answers', async () => {
          return [...(await ikeLog(up.espd)).matchAll(/received INFORMATIONAL response/g)].length >= 2;
        });
        await up.espd.waitForTunnel('tun');
      });

      it('follows when the peer rekeys the child, the IKE SA, and the child again', async () => {
        const { espd, peer } = up;
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

      it('is replaced when the peer died and comes back: one IKE SA, new children', async () => {
        const { hosts, espd, peer } = up;
        const before = await ourChildren(espd);
        await peer.running.kill();
        const again = await stage.startTheirs(hosts.b, hosts.a.address, agreed);
        await again.initiate();
        up = { ...up, peer: again };
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
        const { hosts, espd, peer } = up;
        await espd.kill();
        const again = await stage.startOurs(hosts.a, hosts.b.address, agreed);
        up = { ...up, espd: again };
        await again.waitForTunnel('tun');
        await sameChildren(again, peer, 1);
        // Libreswan deletes the old child at once and keeps the old IKE SA, empty, until its own liveness or lifetime ends it.
        if (kind === 'strongSwan') expect(await peer.ikeSas()).toHaveLength(1);
      });
    });

    describe('from the beginning', () => {
      beforeEach(begin);
      afterEach(end);

      it.each(['geneve', 'vxlan'] as const)('has both children of a %s tunnel, whoever starts', async (type) => {
        const { espd, peer, unmute } = await stage.theyStart(stage.agreement('PSK'), { theirs: { type } });
        const before = await sameChildren(espd, peer, 2);
        await unmute();
        await peer.terminate();
        // Ours begins again by itself.
        await until('two other children', async () => (await sameChildren(espd, peer, 2)) !== before);
      });

      it('is followed when ours rekeys the child and the IKE SA', async () => {
        const times = {
          ipsec_salifetime: '10s',
          ipsec_ikelifetime: '14s',
          ipsec_rekeymargin: '6s',
          ipsec_rekeyfuzz: '0%',
        };
        const { espd, peer } = await stage.theyStart(stage.agreement('PSK'), { ours: times });
        const [child, ike] = [await sameChildren(espd, peer), (await peer.ikeSas()).join()];
        await until('a rekeyed child', async () => (await sameChildren(espd, peer)) !== child, 15_000);
        await until('a rekeyed IKE SA', async () => !(await peer.ikeSas()).includes(ike), 15_000);
        await sameChildren(espd, peer, 1);
        await espd.waitForTunnel('tun');
      });

      /** CA-signed certificates, whose identities are names: no address that a NAT would change. */
      async function beginThroughNat(behind: 'us' | 'the peer') {
        const { inside, outside, natAddress } = await createNatted(stage.rig);
        const capture = await startCapture(stage.rig, outside);
        const agreed = stage.agreement('CA-signed certificates');
        const [ourHost, theirHost] = behind === 'us' ? [inside, outside] : [outside, inside];
        const seen = (host: Host) => (host === inside ? natAddress : host.address);
        const peer = await stage.startTheirs(theirHost, seen(ourHost), agreed);
        return { peer, capture, espd: await stage.startOurs(ourHost, seen(theirHost), agreed) };
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

      const long = process.env.OVS_ESPD_LONG === '1';
      it.skipIf(!long)(
        `finds a silent peer dead, and has the tunnel again when it is back${long ? '' : ' (skipped: takes 4 minutes, set OVS_ESPD_LONG=1)'}`,
        { timeout: 400_000 },
        async () => {
          const agreed = stage.agreement('PSK');
          const { hosts, espd, peer } = await stage.weStart(agreed, { ours: { ipsec_dpddelay: '1s' } });
          await peer.running.kill();
          await espd.waitForTunnel('tun', /SA state:\s+down/, 200_000);
          // It does not start by itself, so it is ours that has to.
          const again = await stage.startTheirs(hosts.b, hosts.a.address, agreed);
          await espd.waitForTunnel('tun', undefined, 100_000);
          await sameChildren(espd, again, 1);
        },
      );
    });

    describe('with certificates that are large', () => {
      let lan: Lan;
      let agreed: Agreement;
      let peer: IkePeer | undefined;
      let fragments: boolean | undefined;
      beforeAll(async () => {
        begin();
        // An authority with a long key: so the message of either side is larger than the 1280 bytes of an unfragmented one.
        const root = stage.pki.authority('root', { key: 'rsa4096' });
        agreed = stage.caSigned(root, stage.pki.signed(root, 'host_2', { key: 'rsa' }));
        lan = await createLan(stage.rig);
      });
      afterAll(end);

      /** The peer that runs, if it takes fragments or not as it should. */
      async function peerWith(fragmentation: boolean): Promise<IkePeer> {
        if (peer !== undefined && fragments === fragmentation) return peer;
        await peer?.running.stop();
        fragments = fragmentation;
        peer = await stage.startTheirs(lan.b, lan.a.address, agreed, { fragmentation });
        return peer;
      }

      it.each([
        ['both ends allow them', 'yes', true, true],
        ['ours does not', 'no', true, false],
        ['the peer does not', 'yes', false, false],
      ] as const)('sends its certificate in IKE fragments only if %s', async (_, ours, theirs, expected) => {
        const running = await peerWith(theirs);
        const capture = await startCapture(stage.rig, lan.a);
        const espd = await stage.startOurs(lan.a, lan.b.address, agreed, { ipsec_fragmentation: ours });
        await espd.waitForTunnel('tun');
        await sameChildren(espd, running);
        const large = (await capture.stop()).filter(({ kind: what, source, wireLength }) => {
          return what === 'ike' && source === lan.a.address && wireLength > 14 + 1280;
        });
        expect(large.length > 0).toBe(!expected);
        const received = /received: fragments\D+(\d+)/.exec(await espd.appctl('coverage/show'));
        expect(Number(received?.[1] ?? 0) > 0).toBe(expected);
        await espd.stop();
        await until('no SA at the peer', async () => (await running.children()).length === 0);
      });
    });
  });
});
