// The control of the matrix (`npm run interop`): two reference systems, without ovs-espd. If they do not talk to each other in this
// rig, what a cell says about ovs-espd means nothing. Slow (the guests are emulated), so only with OVS_ESPD_INTEROP=1.
import { afterEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { createWire } from '../rig/namespace.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { bootGuest, type Guest, guestObstacle } from './guest.ts';
import { ReferenceSystem } from './reference-system.ts';

const reason = guestObstacle();
const MINUTES = 60_000;
const MTU = 1400;

describe.skipIf(reason !== '')(`The reference system${reason === '' ? '' : ` (skipped: ${reason})`}`, () => {
  let rig: Rig;
  const guests: Guest[] = [];
  afterEach(async (context) => {
    if (context.task.result?.state === 'fail') {
      for (const guest of guests) process.stderr.write(`${guest.address}:\n${await guest.diagnosis()}\n`);
    }
    await rig?.close();
  }, MINUTES);

  it.each(['strongSwan', 'Libreswan'] as const)(
    'protects a GRE tunnel with a PSK between two guests with %s: the rig and the guests are right',
    async (daemon) => {
      rig = createRig();
      const wire = await createWire(rig);
      const capture = await startCapture(rig, wire, 'not ip6');
      const begin = async (serial: number) => {
        const guest = await bootGuest(rig, wire, { addressWithPrefix: `10.1.0.${serial}/24`, serial });
        guests.push(guest);
        return ReferenceSystem.start(guest, daemon, `192.0.0.${serial}/24`, MTU);
      };
      const [a, b] = await Promise.all([begin(1), begin(2)]);
      for (const [system, peer] of [
        [a, b],
        [b, a],
      ] as const) {
        const ends = { local_ip: system.guest.address, remote_ip: peer.guest.address };
        await system.addTunnel('tun', 'gre', ends, { global: {}, tunnel: { psk: 'swordfish' } });
      }
      for (const system of [a, b]) await system.connections('tun');
      await a.guest.until('an answer to ping', 'ping -n -c 1 -W 1 192.0.0.2', 2 * MINUTES);
      await capture.waitFor('esp', 2);
      const before = capture.packets().length;
      expect(await b.guest.sh('ping -n -c 3 192.0.0.1')).toContain('3 packets transmitted, 3 received');
      const after = (await capture.stop()).slice(before);
      expect(after.filter(({ kind }) => kind === 'esp').length).toBeGreaterThanOrEqual(6);
      expect(after.filter(({ kind }) => kind === 'gre')).toEqual([]);
    },
    15 * MINUTES,
  );
});
