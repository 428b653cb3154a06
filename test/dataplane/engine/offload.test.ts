import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { Engine } from '../../../dataplane/engine.ts';
import { MemoryPort, MemoryWire } from '../../../dataplane/io/memory.ts';
import { allOffloads } from '../../../dataplane/offload/offloads.ts';
import { loadNative } from '../../../native-shims/index.ts';
import { ACK, FIN, type LargeFrame, PSH, segmentsOf, withVnetHeader } from '../offload/large-frames.ts';
import { openPair, type Pair, type PairOptions, settle, TEST_LIMITS, tunnelSettings, until } from './pair.ts';

const SIZE = 1000;
const large: LargeFrame = {
  version: 4,
  protocol: 'tcp',
  tags: 0,
  id: 100,
  tos: 0,
  sequence: 0xffff0000,
  flags: ACK | PSH,
  options: new Uint8Array(12).fill(1),
  payload: new Uint8Array(randomBytes(50 * SIZE - 123)),
  ports: [40000, 5201],
};
const plain = (frame: Uint8Array) => Uint8Array.of(...new Uint8Array(10), ...frame);

let stop = async (): Promise<void> => {};
afterEach(() => stop());

/** A pair that has learned where the hosts of the frames are, so that nothing is flooded. */
async function pairOf(options: PairOptions): Promise<Pair> {
  const pair = await openPair({ type: 'geneve', protection: 'never-up', tunnel: { checksum: true }, ...options });
  stop = () => pair.stop();
  await pair.protect();
  const answer = new Uint8Array(60).fill(9);
  answer.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
  pair.b.port.put(pair.b.port.hasVnetHeader ? plain(answer) : answer);
  expect(await pair.a.frame()).toEqual(pair.a.port.hasVnetHeader ? plain(answer) : answer);
  return pair;
}

async function delivered(pair: Pair, count: number): Promise<Uint8Array[]> {
  await until(() => pair.b.port.delivered >= count);
  await settle();
  expect(pair.b.port.delivered).toBe(count);
  return Array.from({ length: count }, () => pair.b.port.take()!);
}

describe('an engine with offloads', () => {
  it('sends the segments of a large frame, byte for byte', async () => {
    const pair = await pairOf({ vnetHeaders: ['a'] });
    pair.a.port.put(withVnetHeader(large, SIZE));
    expect(await delivered(pair, 50)).toEqual(segmentsOf(large, SIZE));
    expect(pair.a.engine.counters().port(3)).toMatchObject({ txPackets: 50 });
  });

  it('delivers what it gets in segments as one large frame, and a FIN behind it', async () => {
    const pair = await pairOf({ vnetHeaders: ['b'] });
    for (const segment of segmentsOf(large, SIZE)) pair.a.port.put(segment);
    const last = { ...large, flags: ACK | FIN, payload: Uint8Array.of(1), sequence: large.sequence + 50 * SIZE - 123 };
    pair.a.port.put(segmentsOf(last, SIZE)[0]!);
    await until(() => pair.b.engine.counters().port(2).txPackets === 51);
    const frames = await delivered(pair, pair.b.port.delivered);
    expect(frames[0]).toEqual(withVnetHeader(large, SIZE));
    expect(frames.slice(1)).toEqual([plain(segmentsOf(last, SIZE)[0]!)]);
  });

  it.each(['none', 'tso', 'gro', 'all'])('carries the same bytes end to end: %s', async (mode) => {
    const [tso, gro] = [mode === 'tso' || mode === 'all', mode === 'gro' || mode === 'all'];
    const pair = await pairOf({
      vnetHeaders: [...(tso ? (['a'] as const) : []), ...(gro ? (['b'] as const) : [])],
      offloads: { ...allOffloads(false), tso, gro },
    });
    for (let i = 0; i < 8; i++) {
      const part = { ...large, sequence: large.sequence + i * large.payload.length, id: 100 + i * 50 };
      if (tso) pair.a.port.put(withVnetHeader(part, SIZE));
      else for (const segment of segmentsOf(part, SIZE)) pair.a.port.put(segment);
    }
    await until(() => pair.b.engine.counters().port(2).txPackets === 400);
    const stream: Uint8Array[] = [];
    while (pair.b.port.delivered > 0) stream.push(pair.b.port.take()!.subarray((gro ? 10 : 0) + 66));
    expect(Buffer.concat(stream).equals(Buffer.concat(new Array(8).fill(large.payload)))).toBe(true);
    expect(stream.length).toBeLessThanOrEqual(gro ? 16 : 400);
    expect(pair.a.drops()).toEqual({});
    expect(pair.b.drops()).toEqual({});
  });

  it('coalesces nothing that it must not: a damaged segment arrives as damaged as it was sent', async () => {
    const pair = await pairOf({ vnetHeaders: ['b'] });
    const segments = segmentsOf(large, SIZE).slice(0, 3);
    segments[1]![500]! ^= 1;
    for (const segment of segments) pair.a.port.put(segment);
    expect(await delivered(pair, 3)).toEqual(segments.map(plain));
  });

  it('floods a large frame to every port, in order: whole to one that takes it, in segments to tunnels and the other', async () => {
    const sent = new Map<number, Uint8Array[]>();
    const tap = (packet: Uint8Array): boolean => {
      sent.set(packet[19]!, [...(sent.get(packet[19]!) ?? []), packet.slice(20 + 8)]);
      return true;
    };
    const ports = [new MemoryPort(64, 66_000, true), new MemoryPort(64, 66_000, true), new MemoryPort(64)];
    const engine = await Engine.create({
      workers: 0,
      native: loadNative(),
      aead: 'native',
      uplinkIo: new MemoryWire({ tap }).attach(),
      random: (bytes) => new Uint8Array(bytes).fill(1),
      onEvent: () => {},
      limits: TEST_LIMITS,
      // Far fewer rows than the frame has segments.
      arena: { rows: 12, reads: 8, frameBytes: 2000 },
      memoryPorts: new Map(ports.map((port, index) => [1000 + index, port])),
    });
    stop = () => engine.stop();
    await engine.apply({ op: 'set-bridge', bridge: 0, name: 'br', ageingMs: 300_000, fdbSize: 100 });
    for (const port of [0, 1, 2])
      await engine.apply({ op: 'set-tap-port', port, bridge: 0, name: `p${port}`, fds: [1000 + port] });
    for (const peer of [7, 8, 9]) {
      const tunnel = {
        ...tunnelSettings('gre', '192.0.2.1', `192.0.2.${peer}`),
        outKey: { kind: 'fixed', key: 77 },
      } as const;
      await engine.apply({ op: 'set-tunnel-port', port: 10 + peer, bridge: 0, name: `t${peer}`, tunnel });
    }
    const small = plain(segmentsOf(large, SIZE)[0]!);
    ports[0]!.put(small);
    ports[0]!.put(withVnetHeader(large, SIZE));
    ports[0]!.put(small);
    await settle();

    const wanted = [small.slice(10), ...segmentsOf(large, SIZE), small.slice(10)];
    const inOrder = (port: MemoryPort) => Array.from({ length: port.delivered }, () => port.take()!);
    expect(inOrder(ports[1]!)).toEqual([small, withVnetHeader(large, SIZE), small]);
    expect(inOrder(ports[2]!)).toEqual(wanted);
    for (const peer of [7, 8, 9]) expect(sent.get(peer)).toEqual(wanted);
    expect([...engine.counters().drops()]).toEqual([]);
  });
});
