/** An engine in memory with one bridge of ports with VLANs, and what of a frame comes out where, with which tag. */
import type { PortVlans } from '../../../dataplane/commands.ts';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { settle, TEST_LIMITS } from './pair.ts';

export const BRIDGE = 0;
const FD = 1000;
const DEFAULTS: PortVlans = { mode: 'trunk', tag: 0, trunks: [], priorityTags: 'never' };

/** Settings of a port with what is left out. */
export const vlans = (given: Partial<PortVlans>): PortVlans => ({ ...DEFAULTS, ...given });
export const access = (tag: number): PortVlans => vlans({ mode: 'access', tag });

/** An Ethernet frame between 02:00:00:00:00:xx (255: broadcast), with these tags (control information; type 0x8100). */
export function taggedFrame(to: number, from: number, tags: readonly number[] = [], fill = 0xa5): Uint8Array {
  const bytes = tags.flatMap((tag) => [0x81, 0, tag >> 8, tag & 255]);
  const group = to === 255 ? 255 : 0;
  const first = to === 255 ? 255 : 2;
  const addresses = [first, group, group, group, group, to, 2, 0, 0, 0, 0, from];
  return Uint8Array.of(...addresses, ...bytes, 0x88, 0xb5, ...new Uint8Array(46).fill(fill));
}

export interface VlanSwitch {
  readonly engine: Engine;
  readonly wire: MemoryWire;
  readonly ports: readonly MemoryPort[];
  /** Puts a frame in at a port and gives all that comes out, by port. */
  send(port: number, frame: Uint8Array): Promise<ReadonlyMap<number, readonly Uint8Array[]>>;
}

/** Port i has the VLANs of element i. `vnetHeaders`: whether it has headers as a TAP with offloads. */
export async function openSwitch(
  ports: readonly (PortVlans | undefined)[],
  vnetHeaders: readonly boolean[] = [],
): Promise<VlanSwitch> {
  const memory = ports.map((_, i) => (vnetHeaders[i] === true ? new MemoryPort(64, 66_000, true) : new MemoryPort()));
  const wire = new MemoryWire();
  const engine = await Engine.create({
    workers: 0,
    native: loadNative(),
    aead: 'native',
    uplinkIo: wire.attach(),
    random: (bytes) => new Uint8Array(bytes).fill(1),
    onEvent: () => {},
    limits: TEST_LIMITS,
    arena: { rows: 24, reads: 8, frameBytes: 2000 },
    memoryPorts: new Map(memory.map((port, i) => [FD + i, port])),
  });
  await engine.apply({ op: 'set-bridge', bridge: BRIDGE, name: 'br', ageingMs: 300_000, fdbSize: 100 });
  for (const [port, vlans] of ports.entries())
    await engine.apply({ op: 'set-tap-port', port, bridge: BRIDGE, name: `p${port}`, fds: [FD + port], vlans });
  const send: VlanSwitch['send'] = async (port, frame) => {
    memory[port]!.put(frame);
    await settle();
    const out = new Map<number, Uint8Array[]>();
    for (const [i, each] of memory.entries()) {
      const frames: Uint8Array[] = [];
      for (let taken = each.take(); taken !== undefined; taken = each.take()) frames.push(taken);
      if (frames.length > 0) out.set(i, frames);
    }
    return out;
  };
  return { engine, wire, ports: memory, send };
}
