/**
 * Hosts and wires: network namespaces and veth pairs between them, by `ip`.
 *
 *     lan(rig)                                    bridge(rig, n)
 *     ┌───────── a ─────────┐  ┌────── b ──────┐   ┌─ wire ────────────────────┐
 *     │  eth0 10.x.0.1/24   ├──┤ eth0 10.x.0.2 │   │ br-wire: p1 p2 … (L2 only)│
 *     └─────────────────────┘  └───────────────┘   └──┴──┴──── each a host ────┘
 *
 * Devices are made inside their namespaces, so their names collide with nobody's; namespace names carry the owner's
 * pid. The addresses are private to the namespaces: every rig may use the same.
 */
import { existsSync } from 'node:fs';
import { type Outcome, run } from './process.ts';
import { type Rig, removeNamespace } from './rig.ts';

/** Offloads that a wire does not have: off on both ends, every frame crosses the veth as a NIC would send it. */
const OFFLOADS = ['tso', 'gso', 'gro', 'tx-udp-segmentation'] as const;

/** A namespace with a device and, usually, an address: a host. */
export type Host = {
  /** Name of its namespace. */
  readonly namespace: string;
  /** Its underlay device, `eth0`. */
  readonly device: string;
  /** Its underlay address without prefix length. */
  readonly address: string;
  /** Runs a program in it to its end. */
  exec(command: string, args?: readonly string[], options?: Parameters<typeof run>[1]): Promise<Outcome>;
};

/** Makes an empty namespace with its loopback up; `label` is short, of letters and digits. */
export async function createNamespace(rig: Rig, label: string): Promise<string> {
  const name = rig.uniqueName(label);
  if (existsSync(`/run/netns/${name}`)) throw new Error(`namespace ${name} exists already: choose another label`);
  const disown = rig.ownNamespace(name);
  rig.defer(`namespace ${name}`, () => {
    removeNamespace(name);
    disown();
  });
  await run({ command: 'ip', args: ['netns', 'add', name] });
  await run({ command: 'ip', args: ['-n', name, 'link', 'set', 'lo', 'up'] });
  return name;
}

/** Runs `ip ARGS` inside a namespace. */
export function ip(namespace: string, ...args: string[]): Promise<Outcome> {
  return run({ command: 'ip', args: ['-n', namespace, ...args] });
}

/** Joins two namespaces by a veth pair and sets both ends up; resolves when both have a carrier. */
export async function createVeth(
  a: { namespace: string; device: string },
  b: { namespace: string; device: string },
  { mtu = 1500 }: { mtu?: number } = {},
): Promise<void> {
  const peer = ['peer', 'name', b.device, 'mtu', String(mtu), 'netns', b.namespace];
  const args = ['link', 'add', a.device, 'mtu', String(mtu), 'netns', a.namespace, 'type', 'veth', ...peer];
  await run({ command: 'ip', args });
  for (const end of [a, b]) await ip(end.namespace, 'link', 'set', end.device, 'up');
}

/** Switches segmentation and receive offloads of a device: off is wire-honest (facts: two columns, always). */
export async function setOffloads(host: { namespace: string; device: string }, on: boolean): Promise<void> {
  const words = OFFLOADS.flatMap((offload) => [offload, on ? 'on' : 'off']);
  await run({ command: 'ethtool', args: ['-K', host.device, ...words], namespace: host.namespace });
}

function hostOf(namespace: string, device: string, address: string): Host {
  return {
    namespace,
    device,
    address,
    exec: (command, args = [], options) => run({ command, args, namespace }, options),
  };
}

/** Two hosts on one wire. */
export type Lan = { readonly a: Host; readonly b: Host };

/**
 * Two hosts a and b on one veth, in one call: 10.`net`.0.1 and 10.`net`.0.2, MTU `mtu`. With `offloads: false` the wire
 * is honest. `ipv6` adds fd00:`net`::1 and ::2.
 */
export async function createLan(
  rig: Rig,
  {
    mtu = 1500,
    offloads = true,
    net = 1,
    ipv6 = false,
    labels = ['a', 'b'],
  }: { mtu?: number; offloads?: boolean; net?: number; ipv6?: boolean; labels?: readonly [string, string] } = {},
): Promise<Lan> {
  const [a, b] = [await createNamespace(rig, labels[0]), await createNamespace(rig, labels[1])];
  await createVeth({ namespace: a, device: 'eth0' }, { namespace: b, device: 'eth0' }, { mtu });
  const hosts = { a: hostOf(a, 'eth0', `10.${net}.0.1`), b: hostOf(b, 'eth0', `10.${net}.0.2`) };
  for (const [index, host] of [hosts.a, hosts.b].entries()) {
    await ip(host.namespace, 'address', 'add', `${host.address}/24`, 'dev', host.device);
    if (ipv6) {
      const address = `fd00:${net}::${index + 1}/64`;
      await ip(host.namespace, 'address', 'add', address, 'dev', host.device, 'nodad');
    }
    if (!offloads) await setOffloads(host, false);
  }
  return hosts;
}

/** A bridge in a namespace of its own, to which hosts, TAPs of guests and more can be plugged. */
export type Wire = {
  readonly namespace: string;
  /** The bridge device: a capture on it sees every frame. */
  readonly device: string;
  /** Makes a host with the given address and prefix length (10.1.0.7/24) on this wire. */
  addHost(label: string, addressWithPrefix: string): Promise<Host>;
  /** Makes a TAP on this wire, for a virtual machine's NIC; gives its name. */
  addTap(): Promise<string>;
};

/** Makes a wire of any number of hosts. */
export async function createWire(rig: Rig, { mtu = 1500 }: { mtu?: number } = {}): Promise<Wire> {
  const namespace = await createNamespace(rig, 'wire');
  const device = 'br-wire';
  // Without snooping the bridge takes no part in multicast groups: what is on the wire is its hosts'.
  await ip(namespace, 'link', 'add', device, 'mtu', String(mtu), 'type', 'bridge', 'mcast_snooping', '0');
  await ip(namespace, 'link', 'set', device, 'up');
  let ports = 0;
  return {
    namespace,
    device,
    async addHost(label, addressWithPrefix) {
      const host = await createNamespace(rig, label);
      const port = `p${++ports}`;
      await createVeth({ namespace: host, device: 'eth0' }, { namespace, device: port }, { mtu });
      await ip(namespace, 'link', 'set', port, 'master', device);
      await ip(host, 'address', 'add', addressWithPrefix, 'dev', 'eth0');
      return hostOf(host, 'eth0', addressWithPrefix.split('/')[0] as string);
    },
    async addTap() {
      const port = `tap${++ports}`;
      await ip(namespace, 'tuntap', 'add', 'dev', port, 'mode', 'tap');
      await ip(namespace, 'link', 'set', port, 'master', device);
      await ip(namespace, 'link', 'set', port, 'up');
      return port;
    },
  };
}
