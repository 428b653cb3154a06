/** What one more tunnel costs when there are many: as much as the first ones did, counted in blocks of code that run. */
import { describe, expect, it } from 'vitest';
import { BareEngine } from '../../../bench/micro/bare-engine.ts';
import type { EngineCommand, InboundSa, OutboundSa, TunnelSettings } from '../../../dataplane/commands.ts';
import { DEFAULT_LIMITS } from '../../../dataplane/limits.ts';
import { OperationCounter } from './operations.ts';
import { tunnelSettings } from './pair.ts';

const HERE = '192.0.2.1';
/** A removal looks through the whole FDB once: with a large one that would be all there is to count. */
const LIMITS = { ...DEFAULT_LIMITS, fdbCells: 64 };
const addressOf = (index: number): string => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;

interface Shape {
  readonly name: string;
  readonly tunnel: (index: number) => TunnelSettings;
  /** Each tunnel has a protection of its own, and both SAs. */
  readonly secured: boolean;
}

const SHAPES: readonly Shape[] = [
  {
    name: 'to as many peers, each with its SAs',
    tunnel: (index) => ({ ...tunnelSettings('geneve', HERE, addressOf(index + 1)), protection: index }),
    secured: true,
  },
  {
    name: 'to one peer, told apart by their keys',
    tunnel: (index) => ({
      ...tunnelSettings('vxlan', HERE, '10.0.0.1'),
      inKey: { kind: 'fixed', key: index },
      outKey: { kind: 'fixed', key: index },
    }),
    secured: false,
  },
];

const all = (address: string) => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65_535 },
];

function commandsOf(bare: BareEngine, { tunnel, secured }: Shape, index: number): EngineCommand[] {
  const settings = tunnel(index);
  const port = 1 + index;
  const added: EngineCommand[] = [
    { op: 'set-tunnel-port', port, bridge: 0, name: `tun${index}`, tunnel: settings },
    { op: 'set-path-mtu', port, mtu: 1500 },
  ];
  if (!secured) return added;
  const spi = bare.engine.allocateSpi();
  const sa: InboundSa = {
    ...{ slot: spi & 0xffff, spi, protection: index, local: settings.local, remote: settings.remote },
    ...{ algorithm: 'aes128gcm16', keyAndSalt: new Uint8Array(20), esn: true, replayWindow: 64 },
    ...{ tsLocal: all(settings.local), tsRemote: all(settings.remote), softPackets: 0, softBytes: 0 },
  };
  const outbound: OutboundSa = { ...sa, slot: index, spi: 0x1000_0000 + index, lastSequence: 0 };
  return [
    { op: 'set-protection', protection: index, state: 'never-up' },
    ...added,
    { op: 'add-inbound-sa', sa },
    { op: 'add-outbound-sa', sa: outbound },
    { op: 'use-outbound-sa', protection: index, slot: index },
  ];
}

function removalOf({ secured }: Shape, index: number): EngineCommand[] {
  const port: EngineCommand = { op: 'remove-port', port: 1 + index };
  if (!secured) return [port];
  return [
    { op: 'remove-outbound-sa', slot: index },
    { op: 'remove-inbound-sa', slot: index },
    port,
    { op: 'remove-protection', protection: index },
  ];
}

async function applyAll(bare: BareEngine, commands: readonly EngineCommand[]): Promise<void> {
  for (const command of commands) await bare.engine.apply(command);
}

describe('with many tunnels', () => {
  // Tables double their size now and then, so what counts is the mean from one doubling to the next.
  it.each(SHAPES)('adding and removing one costs what it did with few: $name', { timeout: 120_000 }, async (shape) => {
    const bare = await BareEngine.create({ type: 'gre', algorithm: undefined, tunnels: 0, limits: LIMITS });
    const counter = new OperationCounter('/dataplane/');
    try {
      const perTunnel = async (from: number, to: number, commands: (index: number) => readonly EngineCommand[]) =>
        (await counter.count(async () => {
          for (let index = from; index < to; index++) await applyAll(bare, commands(index));
        })) /
        (to - from);
      const add = (from: number, to: number) => perTunnel(from, to, (index) => commandsOf(bare, shape, index));
      const remove = (from: number, to: number) => perTunnel(from, to, (index) => removalOf(shape, index));
      await add(0, 256);
      const few = await add(256, 512);
      await add(512, 1024);
      const many = await add(1024, 2048);
      expect(few).toBeGreaterThan(100);
      expect(many / few).toBeLessThan(1.25);
      const removedOfMany = await remove(0, 256);
      await remove(256, 1792);
      const removedOfFew = await remove(1792, 2048);
      expect(removedOfFew).toBeGreaterThan(100);
      // Tables are fuller, so there is a bit more to be put in order; eight times as much would be too much.
      expect(removedOfMany / removedOfFew).toBeLessThan(2);
    } finally {
      counter.close();
      await bare.stop();
    }
  });

  it('all ids that the limits allow can be used, and the bridge floods to every tunnel', {
    timeout: 60_000,
  }, async () => {
    const tunnels = 10_000;
    const bare = await BareEngine.create({ type: 'gre', algorithm: undefined, tunnels, limits: DEFAULT_LIMITS });
    try {
      const before = bare.uplink.taken;
      const broadcast = new Uint8Array(64).fill(0xff, 0, 6);
      broadcast.set([2, 0, 0, 0, 0, 1], 6);
      bare.port.supply.start([broadcast], 1);
      bare.run();
      expect(bare.uplink.taken - before).toBe(tunnels);
      expect(bare.drops()).toEqual({});
    } finally {
      await bare.stop();
    }
  });
});
