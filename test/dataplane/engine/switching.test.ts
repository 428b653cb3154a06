import { afterEach, describe, expect, it } from 'vitest';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import type { UplinkBackend } from '../../../dataplane/io/uplink.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { frame, settle, TEST_LIMITS, tunnelSettings } from './pair.ts';

const BRIDGE = 0;
const LOCAL = [0, 1, 2];
/** More tunnels than there are rows for copies. */
const TUNNELS = 40;
const FIRST_TUNNEL = 10;

let engine: Engine;
afterEach(() => engine.stop());

interface Switch {
  readonly ports: readonly MemoryPort[];
  /** Last octet of the peer of each packet sent. */
  readonly sentTo: number[];
  /** Mark of the last packet to each peer. */
  readonly marks: ReadonlyMap<number, number>;
  readonly wire: MemoryWire;
}

async function open(tunnels = TUNNELS): Promise<Switch> {
  const sentTo: number[] = [];
  const marks = new Map<number, number>();
  const tap = (packet: Uint8Array, mark: number): boolean => {
    if (packet[19] !== 1) sentTo.push(packet[19]);
    marks.set(packet[19], mark >>> 0);
    return true;
  };
  const wire = new MemoryWire({ tap });
  const ports = LOCAL.map(() => new MemoryPort());
  engine = await Engine.create({
    workers: 0,
    native: loadNative(),
    aead: 'native',
    uplinkIo: wire.attach(),
    random: (bytes) => new Uint8Array(bytes).fill(1),
    onEvent: () => {},
    limits: TEST_LIMITS,
    arena: { rows: 24, reads: 8, frameBytes: 2000 },
    memoryPorts: new Map(ports.map((port, index) => [1000 + index, port])),
  });
  await engine.apply({ op: 'set-bridge', bridge: BRIDGE, name: 'br', ageingMs: 300_000, fdbSize: 100 });
  for (const port of LOCAL)
    await engine.apply({ op: 'set-tap-port', port, bridge: BRIDGE, name: `p${port}`, fds: [1000 + port] });
  for (let i = 0; i < tunnels; i++) {
    await engine.apply({
      op: 'set-tunnel-port',
      port: FIRST_TUNNEL + i,
      bridge: BRIDGE,
      name: `t${i}`,
      tunnel: tunnelSettings('gre', '192.0.2.1', `192.0.2.${100 + i}`),
    });
  }
  return { ports, sentTo, marks, wire };
}

const peers = (count: number): number[] => [...Array(count).keys()].map((i) => 100 + i);

describe('the switch', () => {
  it('floods a broadcast to every other port, more tunnels than there are rows included', async () => {
    const { ports, sentTo } = await open();
    ports[0].put(frame(255, 1));
    await settle();
    expect(ports.map((port) => port.delivered)).toEqual([0, 1, 1]);
    expect(ports[1].take()).toEqual(frame(255, 1));
    expect(ports[2].take()).toEqual(frame(255, 1));
    expect(sentTo.sort()).toEqual(peers(TUNNELS));
    expect(engine.counters().drops()).toEqual(new Map());
  });

  it('sends to each tunnel with its own mark', async () => {
    const { ports, marks } = await open(3);
    for (const [index, egressMark] of [0x80000000, undefined, 5].entries()) {
      const tunnel = { ...tunnelSettings('gre', '192.0.2.1', `192.0.2.${100 + index}`), egressMark };
      await engine.apply({ op: 'set-tunnel-port', port: FIRST_TUNNEL + index, bridge: BRIDGE, name: 't', tunnel });
    }
    await engine.apply({ op: 'set-mark-policy', drop: undefined, uplinkMark: 9 });
    ports[0].put(frame(255, 1));
    await settle();
    expect(Object.fromEntries(marks)).toEqual({ 100: 0x80000000, 101: 9, 102: 5 });
  });

  it('floods each frame of a full batch', async () => {
    const { ports, sentTo } = await open();
    for (let i = 0; i < 8; i++) ports[0].put(frame(255, i + 1, 100 + i));
    await settle();
    expect(sentTo).toHaveLength(8 * TUNNELS);
    for (let i = 0; i < 8; i++) expect(ports[1].take()).toEqual(frame(255, i + 1, 100 + i));
    expect(engine.counters().drops()).toEqual(new Map());
  });

  it('sends a frame for a learned address to its port alone', async () => {
    const { ports, sentTo } = await open(2);
    ports[1].put(frame(255, 7));
    await settle();
    sentTo.length = 0;
    for (const port of ports) while (port.take() !== undefined);
    ports[0].put(frame(7, 1));
    await settle();
    expect(ports.map((port) => port.delivered)).toEqual([0, 1, 0]);
    expect(sentTo).toEqual([]);
  });

  it('forwards from one tunnel to another, and not back into the same', async () => {
    const { ports, sentTo, wire } = await open(3);
    const packet = gre(100, frame(255, 9, 60));
    wire.inject(packet);
    await settle();
    expect(sentTo.sort()).toEqual([101, 102]);
    expect(ports.map((port) => port.delivered)).toEqual([1, 1, 1]);
    ports[0].put(frame(9, 1));
    await settle();
    expect(sentTo.sort()).toEqual([100, 101, 102]);
  });

  it('forgets a removed port and what was learned on it', async () => {
    const { ports, sentTo } = await open(1);
    ports[1].put(frame(255, 7));
    await settle();
    await engine.apply({ op: 'remove-port', port: 1 });
    expect(engine.fdb().map((entry) => entry.mac)).toEqual([]);
    sentTo.length = 0;
    ports[0].put(frame(7, 1));
    await settle();
    expect(sentTo).toEqual([100]);
    expect(ports[1].delivered).toBe(0);
  });

  it('lists what it has learned', async () => {
    const { ports } = await open(1);
    ports[2].put(frame(255, 7));
    await settle();
    expect(engine.fdb()).toMatchObject([{ bridge: BRIDGE, port: 2, vlan: 0, mac: '02:00:00:00:00:07' }]);
    await engine.apply({ op: 'flush-fdb', bridge: BRIDGE });
    expect(engine.fdb()).toEqual([]);
  });

  it('drops what a port refuses and counts it there', async () => {
    const { ports } = await open(0);
    for (let batch = 0; batch < 200; batch++) {
      for (let i = 0; i < 8; i++) ports[0].put(frame(255, 1));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await settle();
    expect(engine.counters().portDrops(1).get('port-queue-full')).toBe(1600 - 1024);
  });
});

/** A GRE packet with key 77 from 192.0.2.x to 192.0.2.1. */
function gre(from: number, inner: Uint8Array): Uint8Array {
  const packet = new Uint8Array(28 + inner.length);
  packet.set([
    0x45,
    0,
    packet.length >> 8,
    packet.length & 255,
    0,
    0,
    0,
    0,
    64,
    47,
    0,
    0,
    192,
    0,
    2,
    from,
    192,
    0,
    2,
    1,
  ]);
  packet.set([0x20, 0, 0x65, 0x58, 0, 0, 0, 77], 20);
  packet.set(inner, 28);
  return packet;
}

describe('an engine', () => {
  it('refuses wrong commands in one line and goes on', async () => {
    const { ports } = await open(1);
    const refused: [Parameters<Engine['apply']>[0], RegExp][] = [
      [{ op: 'set-bridge', bridge: 999, name: 'x', ageingMs: 1, fdbSize: 1 }, /bridge id 999, expected 0 to 7/],
      [{ op: 'set-tap-port', port: 5, bridge: 3, name: 'p5', fds: [1] }, /port p5: bridge 3 is not there/],
      [{ op: 'set-tap-port', port: 5, bridge: BRIDGE, name: 'p5', fds: [] }, /port p5: no descriptors/],
      [
        {
          op: 'set-tunnel-port',
          port: 6,
          bridge: BRIDGE,
          name: 't',
          tunnel: { ...tunnelSettings('gre', '1.1.1.1', '2.2.2.2'), protection: 3 },
        },
        /tunnel t: protection 3 is not there/,
      ],
      [{ op: 'set-path-mtu', port: 60, mtu: 1500 }, /path MTU of port 60, which is no tunnel/],
      [{ op: 'use-outbound-sa', protection: 1, slot: 2 }, /outbound SA slot 2 is no SA of protection 1/],
    ];
    for (const [command, message] of refused) await expect(engine.apply(command)).rejects.toThrow(message);
    ports[0].put(frame(255, 1));
    await settle();
    expect(ports[1].delivered).toBe(1);
  });

  it('says that two tunnel types cannot share a UDP port', async () => {
    await open(0);
    const vxlan = tunnelSettings('vxlan', '192.0.2.1', '192.0.2.2');
    await engine.apply({ op: 'set-tunnel-port', port: 20, bridge: BRIDGE, name: 'v', tunnel: vxlan });
    const geneve = { ...tunnelSettings('geneve', '192.0.2.1', '192.0.2.2'), destinationPort: 4789 };
    await expect(
      engine.apply({ op: 'set-tunnel-port', port: 21, bridge: BRIDGE, name: 'g', tunnel: geneve }),
    ).rejects.toThrow(/tunnel g: UDP port 4789 belongs to vxlan tunnel v; set another dst_port/);
  });

  it('keeps commands in the order of the calls and refuses them after it was stopped', async () => {
    await open(0);
    const applied = [1, 2, 3].map((bridge) =>
      engine.apply({ op: 'set-bridge', bridge, name: `b${bridge}`, ageingMs: 1000, fdbSize: 10 }),
    );
    applied.push(engine.apply({ op: 'set-tap-port', port: 7, bridge: 3, name: 'late', fds: [1000] }));
    await Promise.all(applied);
    await engine.stop();
    await expect(engine.apply({ op: 'remove-bridge', bridge: 1 })).rejects.toThrow(/engine is stopped/);
  });

  it('with workers refuses a backend that needs the main thread', async () => {
    await open(0);
    const backend: UplinkBackend = new MemoryWire().attach();
    const common = {
      native: loadNative(),
      aead: 'native' as const,
      random: () => new Uint8Array(2),
      onEvent: () => {},
    };
    await expect(Engine.create({ ...common, workers: 1, uplinkIo: backend })).rejects.toThrow(/main thread only/);
    await expect(Engine.create({ ...common, workers: 1, uplinkIo: 'raw-socket' })).rejects.toThrow(
      /uplink-io raw-socket works on the main thread only; use --workers=0/,
    );
    await expect(Engine.create({ ...common, workers: 65, uplinkIo: 'mmsg' })).rejects.toThrow(
      /workers 65, expected 0 to 64/,
    );
  });
});
