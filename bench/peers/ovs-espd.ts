/** ovs-espd as a contender: a daemon on each host, from config files, a tunnel with a PSK between their bridges. */
import { type Espd, fileConfig, startEspd } from '../../test/rig/espd.ts';
import { type Host, ip } from '../../test/rig/namespace.ts';
import type { Rig } from '../../test/rig/rig.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const BRIDGE = 'br-ipsec';
const INNER = { a: '192.0.2.1', b: '192.0.2.2' } as const;

async function startHost(
  rig: Rig,
  type: 'gre' | 'geneve' | 'vxlan',
  [host, remote, inner]: readonly [Host, Host, string],
  args: readonly string[],
): Promise<Espd> {
  const options = { local_ip: host.address, remote_ip: remote.address, psk: 'swordfish' };
  const espd = await startEspd(rig, host, { config: fileConfig(BRIDGE, [{ name: 'tun', type, options }]), args });
  await ip(host.namespace, 'address', 'add', `${inner}/24`, 'dev', BRIDGE);
  await ip(host.namespace, 'link', 'set', BRIDGE, 'up');
  return espd;
}

/** ovs-espd with one tunnel of the given type; `args` go to both daemons (`--workers=2`). */
export function ovsEspd(type: 'gre' | 'geneve' | 'vxlan', args: readonly string[] = []): Peer {
  return {
    name: ['ovs-espd', type, ...args].join(' '),
    what: `Ethernet in ${type}, raw ESP in transport mode, AES-256-GCM, in userspace`,
    async start(rig, lan) {
      const daemons = await Promise.all([
        startHost(rig, type, [lan.a, lan.b, INNER.a], args),
        startHost(rig, type, [lan.b, lan.a, INNER.b], args),
      ]);
      for (const daemon of daemons) await daemon.waitForTunnel('tun');
      await waitForPing(lan.a.namespace, INNER.b, 20_000);
      return {
        client: { namespace: lan.a.namespace, address: INNER.a },
        server: { namespace: lan.b.namespace, address: INNER.b },
      };
    },
  };
}
