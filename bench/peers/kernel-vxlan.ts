/** The kernel's own VXLAN device, in the clear: what an unencrypted tunnel without a userspace costs on this machine. */
import { type Host, ip } from '../../test/rig/namespace.ts';
import { run } from '../../test/rig/process.ts';
import { waitForPing } from '../../test/rig/traffic.ts';
import type { Peer } from './peer.ts';

const DEVICE = 'vx0';
const INNER = { a: '10.97.0.1', b: '10.97.0.2' } as const;

async function startHost(host: Host, remote: Host, inner: string, gso: boolean): Promise<void> {
  const { namespace, device } = host;
  const link = ['link', 'add', DEVICE, 'mtu', '1450', 'type', 'vxlan', 'id', '42', 'dstport', '4789', 'dev', device];
  await ip(namespace, ...link, 'local', host.address, 'remote', remote.address);
  if (!gso) {
    const words = ['tso', 'off', 'gso', 'off', 'gro', 'off'];
    await run({ command: 'ethtool', args: ['-K', DEVICE, ...words], namespace });
  }
  await ip(namespace, 'address', 'add', `${inner}/24`, 'dev', DEVICE);
  await ip(namespace, 'link', 'set', DEVICE, 'up');
}

/**
 * Two vxlan devices. With `gso` the host's TCP hands 64 KB at once to the tunnel, and the tunnel joins what it receives;
 * without, every packet goes through the tunnel alone.
 */
export function kernelVxlan({ gso }: { gso: boolean }): Peer {
  return {
    name: gso ? 'kernel VXLAN, plaintext' : 'kernel VXLAN, plaintext, no GSO',
    what: `Ethernet in vxlan, no encryption, in the kernel${gso ? '' : ', segmentation offloads of the vxlan device off'}`,
    wire: 'vxlan',
    programs: [],
    async start(_rig, lan) {
      await startHost(lan.a, lan.b, INNER.a, gso);
      await startHost(lan.b, lan.a, INNER.b, gso);
      await waitForPing(lan.a.namespace, INNER.b, 10_000);
      return {
        client: { namespace: lan.a.namespace, address: INNER.a },
        server: { namespace: lan.b.namespace, address: INNER.b },
      };
    },
  };
}
