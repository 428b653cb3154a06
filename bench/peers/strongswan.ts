/** strongSwan's kernel-libipsec as a contender: the established ESP in userspace. */
import { startLibipsecPair } from '../../test/rig/libipsec.ts';
import type { Peer } from './peer.ts';

/** Two charons with kernel-libipsec. */
export const strongswanLibipsec: Peer = {
  name: 'strongSwan kernel-libipsec',
  what: 'IP (no Ethernet), ESP in UDP in tunnel mode, AES-256-GCM, in userspace',
  wire: 'esp-in-udp',
  programs: ['swanctl', 'charon-systemd'],
  async start(rig, lan) {
    const { a, b } = await startLibipsecPair(rig, lan);
    const end = ({ namespace, address }: typeof a) => ({ namespace, address });
    return { client: end(a), server: end(b) };
  },
};
