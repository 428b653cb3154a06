// docs/howto/migration.md word by word: its commands are read from the page and run in a guest with OVS's kernel datapath,
// ovs-monitor-ipsec and strongSwan, there and back. So `espd=route` is shown beside OVS's kernel datapath too, which this machine's
// kernel may not have. Slow (the guest is emulated), so only with OVS_ESPD_INTEROP=1.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { startCapture } from '../rig/capture.ts';
import { espdIsBuilt } from '../rig/espd.ts';
import { commandsOf } from '../rig/howto.ts';
import { createWire } from '../rig/namespace.ts';
import { start } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { bootGuest, type Guest, guestObstacle } from './guest.ts';
import { INNER, MatrixHost } from './matrix-host.ts';
import { ReferenceSystem } from './reference-system.ts';

const reason = guestObstacle() || (espdIsBuilt() ? '' : 'not built, run npm run build');
const MINUTES = 60_000;
const MTU = 1340;
const [OURS, THEIRS, PREFIX] = ['10.1.0.1', '10.1.0.2', 24];

/** Copies a file into the guest, over the wire: it may have a hundred megabytes. */
async function send(rig: Rig, { host }: MatrixHost, guest: Guest, path: string, target: string): Promise<void> {
  const script = `require('net').createServer((socket) => require('fs').createReadStream(process.argv[1]).pipe(socket))
    .listen(8000, '${OURS}', () => console.log('ready'))`;
  const server = start(rig, {
    ...{ name: `sender of ${path}`, command: process.execPath, args: ['-e', script, path] },
    namespace: host.namespace,
  });
  await server.waitForOutput(/ready/);
  await guest.sh(`cat </dev/tcp/${OURS}/8000 >${target}`, { ms: 3 * MINUTES });
  await server.stop();
}

describe.skipIf(reason !== '')(
  `Migration from ovs-monitor-ipsec${reason === '' ? '' : ` (skipped: ${reason})`}`,
  () => {
    let rig: Rig;
    let guest: Guest | undefined;
    afterEach(async (context) => {
      if (context.task.result?.state === 'fail' && guest !== undefined)
        process.stderr.write(
          `${await guest.diagnosis()}\n${await guest.sh('cat /var/log/openvswitch/ovs-espd.log; ip rule', { expect: 'any' })}`,
        );
      await rig?.close();
    }, MINUTES);

    it(
      'goes there and back by the commands of the page, with nothing in the clear on the wire',
      async () => {
        const [stop, startEspd, back] = commandsOf('migration.md') as [string, string, string];
        rig = createRig();
        const wire = await createWire(rig);
        const ours = await MatrixHost.start(rig, await wire.addHost('host', `${OURS}/${PREFIX}`), {
          mtu: MTU,
          label: 'host',
        });
        guest = await bootGuest(rig, wire, { addressWithPrefix: `${THEIRS}/${PREFIX}`, serial: 2 });
        const system = await ReferenceSystem.start(guest, 'strongSwan', `${INNER.theirs}/24`, MTU);
        const package_ = execFileSync(
          process.execPath,
          [join(ROOT, 'bin/debian/build.mjs'), join(rig.directory, 'deb')],
          {
            encoding: 'utf8',
          },
        ).trim();
        await send(rig, ours, guest, process.execPath, '/usr/bin/node');
        await send(rig, ours, guest, package_, '/root/ovs-espd.deb');
        // The guest's nodejs is no package of Debian's, and the old pair is to come back.
        await guest.sh(
          `chmod +x /usr/bin/node && dpkg --install --force-depends --force-conflicts /root/ovs-espd.deb && ovs-espd --version
        modprobe tun; mkdir -p /dev/net; [ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200`,
          { ms: 3 * MINUTES },
        );
        const capture = await startCapture(rig, wire, 'not ip6');
        const credentials = { global: {}, tunnel: { psk: 'swordfish' } };
        await ours.addTunnel('tun', 'geneve', { local_ip: OURS, remote_ip: THEIRS }, credentials);
        await system.addTunnel('tun', 'geneve', { local_ip: THEIRS, remote_ip: OURS }, credentials);
        await system.connections('tun');
        await guest.until('an answer to ping', `ping -n -c 1 -W 1 ${INNER.ours}`, 2 * MINUTES);

        await guest.sh(stop, { ms: 2 * MINUTES });
        expect((await guest.sh('ip xfrm state; ip xfrm policy')).trim()).toBe('');
        // Nobody encrypts now, and packets of the tunnel are there to leave.
        expect(await guest.sh(`ping -n -c 3 -W 1 ${INNER.ours}`, { expect: 'any' })).toMatch(/, 0 received/);
        await guest.sh(startEspd, { ms: 2 * MINUTES });
        const isUp = 'ovs-appctl -t ovs-espd tunnels/show tun | grep "SA state: *up"';
        await guest.until('the tunnel by ovs-espd', isUp, 2 * MINUTES);
        await guest.sh('nft delete table inet moving');
        await ours.pingBothWays(guest);
        for (const type of ['gre', 'vxlan']) {
          await ours.ovsdb.vsctl(['--timeout=20', 'set', 'interface', 'tun', `type=${type}`]);
          await guest.sh(`ovs-vsctl set interface tun type=${type}`);
          await ours.pingBothWays(guest);
          await guest.until(`the ${type} tunnel`, isUp, MINUTES);
        }
        await ours.ovsdb.vsctl(['--timeout=20', 'set', 'interface', 'tun', 'type=geneve']);
        await guest.sh('ovs-vsctl set interface tun type=geneve');
        await ours.pingBothWays(guest);

        await guest.sh(stop.slice(0, stop.indexOf('ovs-appctl')));
        await guest.sh(back, { ms: MINUTES });
        expect((await guest.sh('ip -d rule')).match(/^\d+:.*/gm)?.map((line) => line.split(':')[0])).toEqual([
          ...['0', '32766', '32767'],
        ]);
        await system.startKeying();
        await system.connections('tun');
        await guest.sh('nft delete table inet moving');
        await guest.until('an answer to ping', `ping -n -c 1 -W 1 ${INNER.ours}`, 2 * MINUTES);
        const packets = await capture.stop();
        const clear = packets.filter(({ kind }) => kind === 'gre' || kind === 'geneve' || kind === 'vxlan');
        expect(clear).toEqual([]);
        expect(packets.filter(({ kind }) => kind === 'esp').length).toBeGreaterThan(20);
      },
      15 * MINUTES,
    );
  },
);
