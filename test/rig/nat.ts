/**
 * Two hosts with a NAT between them (nat.mjs does the translation, since not every kernel can).
 *
 *     inside 10.1.0.1 ──veth── 10.1.0.2 NAT 10.2.0.1 ──veth── 10.2.0.2 outside
 */
import { join } from 'node:path';
import { createLan, type Host, ip } from './namespace.ts';
import { type Running, start } from './process.ts';
import type { Rig } from './rig.ts';
import { ROOT } from './root.ts';

export interface Natted {
  readonly inside: Host;
  readonly outside: Host;
  /** The NAT's address on the outside wire: as which `outside` sees `inside`. */
  readonly natAddress: string;
  /** The translation; SIGHUP gives all mappings new ports, and it then says `rebound`. */
  readonly nat: Running;
}

/** Makes them; the NAT knows packets, not the large messages that a veth passes whole, so the wires are honest ones. */
export async function createNatted(rig: Rig): Promise<Natted> {
  const inner = await createLan(rig, { labels: ['a', 'nat'], offloads: false });
  const outer = await createLan(rig, { net: 2, labels: ['out', 'b'], offloads: false });
  const { a: inside, b: router } = inner;
  const natAddress = outer.a.address;
  // One router with a leg on each wire: the other namespace's end moves into it.
  await ip(outer.a.namespace, 'link', 'set', 'eth0', 'name', 'eth1', 'netns', router.namespace);
  await ip(router.namespace, 'addr', 'add', `${natAddress}/24`, 'dev', 'eth1');
  await ip(router.namespace, 'link', 'set', 'eth1', 'up');
  await ip(inside.namespace, 'route', 'add', '10.2.0.0/24', 'via', router.address);
  const nat = start(rig, {
    command: process.execPath,
    args: [join(ROOT, 'test/rig/nat.mjs'), 'eth0', inside.address],
    namespace: router.namespace,
  });
  await nat.waitForOutput(/^ready$/m);
  return { inside, outside: outer.b, natAddress, nat };
}
