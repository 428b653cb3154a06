// What an IKE daemon of OVS, strongSwan's charon or Libreswan's pluto, and ovs-espd have to refuse each other: wrong keys and
// certificates. Neither has an SA then, and tunnels/show says why.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLan, type Lan } from '../rig/namespace.ts';
import type { Issued } from '../rig/pki.ts';
import { until } from '../rig/process.ts';
import type { IkePeer } from './ike-peers.ts';
import { type Agreement, ourChildren, PeerStage, PSK, stageObstacle } from './peer-stage.ts';

describe.each(['strongSwan', 'Libreswan'] as const)('IKE with %s', (kind) => {
  const reason = stageObstacle(kind);
  describe.skipIf(reason !== '')(`that must not be${reason}`, { timeout: 180_000 }, () => {
    let stage: PeerStage;
    const begin = () => {
      stage = new PeerStage(kind);
    };
    const end = () => stage.rig.close();
    afterEach(({ task }) => {
      if (task.result?.state === 'fail') stage.complain();
    });

    describe('by us', () => {
      beforeEach(begin);
      afterEach(end);
      const refusals: readonly [string, () => Agreement, RegExp][] = [
        ['another PSK', () => ({ ...stage.agreement('PSK'), theirs: { psk: 'sailfish' } }), /AUTHENTICATION_FAILED/],
        [
          'a certificate of another authority',
          () => {
            const agreed = stage.caSigned(
              stage.pki.authority('root'),
              stage.pki.signed(stage.pki.authority('elsewhere'), 'host_2'),
            );
            return agreed;
          },
          /AUTHENTICATION_FAILED|CN=elsewhere, which is not in ca_cert/,
        ],
        [
          'an expired certificate',
          () => {
            const root = stage.pki.authority('root');
            return stage.caSigned(root, stage.pki.signed(root, 'host_2', { days: -1 }));
          },
          /AUTHENTICATION_FAILED|CN=host_2 expired at/,
        ],
        [
          'a certificate with another name',
          () => {
            const root = stage.pki.authority('root');
            return stage.caSigned(root, stage.pki.signed(root, 'host_3'));
          },
          /AUTHENTICATION_FAILED|expected remote_name|host_3/,
        ],
      ];
      // pluto does not load a certificate of its own that expired, so it cannot show us one.
      const possible = refusals.filter(([what]) => kind === 'strongSwan' || what !== 'an expired certificate');
      it.each(possible)('refuses %s, and tunnels/show says why', async (_, make, words) => {
        const agreed = make();
        const lan = await createLan(stage.rig);
        const peer = await stage.startTheirs(lan.b, lan.a.address, agreed);
        const espd = await stage.startOurs(lan.a, lan.b.address, agreed);
        await espd.waitForTunnel('tun', words);
        // Libreswan as responder, which believed us first, does not act on our AUTHENTICATION_FAILED in INFORMATIONAL (RFC 7296 §2.21.2).
        if (kind === 'strongSwan') await until('no SA at the peer', async () => (await peer.children()).length === 0);
        expect(await ourChildren(espd)).toEqual([]);
        expect((await espd.tunnelsShow()) + espd.log()).not.toContain(PSK);
      });
    });

    describe('by the peer', () => {
      let lan: Lan;
      let peer: IkePeer;
      let root: Issued;
      let theirs: Issued;
      beforeAll(async () => {
        begin();
        root = stage.pki.authority('root');
        theirs = stage.pki.signed(root, 'host_2');
        lan = await createLan(stage.rig);
        // What we show makes no difference to what it is told.
        peer = await stage.startTheirs(lan.b, lan.a.address, stage.caSigned(root, theirs));
      });
      afterAll(end);

      it.each([
        ['of another authority', () => stage.pki.signed(stage.pki.authority('elsewhere'), 'host_1')],
        ['that expired', () => stage.pki.signed(root, 'host_1', { days: -1 })],
        ['with another name', () => stage.pki.signed(root, 'host_9')],
      ])('has no SA when the peer refuses our certificate %s', async (_, ours) => {
        const espd = await stage.startOurs(lan.a, lan.b.address, stage.caSigned(root, theirs, ours()));
        await espd.waitForTunnel('tun', /AUTHENTICATION_FAILED|expired|INVALID/);
        expect(await peer.children()).toEqual([]);
        expect(await ourChildren(espd)).toEqual([]);
        await espd.stop();
      });
    });
  });
});
