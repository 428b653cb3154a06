/** Changes of configuration that opened a tunnel for a moment, or for good, until the random sequences found them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type HostSpec, type MarkSpec, PAIRS, type TunnelSpec } from './spec.ts';
import { LeakWorld } from './world.ts';

const TUNNEL: TunnelSpec = {
  name: 't0',
  type: 'gre',
  pair: 0,
  key: 100,
  port: 0,
  ask: { kind: 'psk', secret: 'swordfish-one' },
  mark: undefined,
  extra: {},
};
const CLEAR: TunnelSpec = { ...TUNNEL, ask: { kind: 'none' } };

describe('a change of configuration', () => {
  let directory: string;
  let world: LeakWorld;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-leak-'));
    world = new LeakWorld(1, directory);
  });
  afterEach(() => {
    for (const host of world.hosts) host.crash();
    rmSync(directory, { recursive: true, force: true });
  });

  async function start(tunnels: readonly TunnelSpec[], mark: MarkSpec = 'unset'): Promise<void> {
    for (const host of world.hosts) {
      host.configure({ mark, tunnels });
      await host.start();
      await host.configured();
    }
    await world.run(3000);
    world.traffic();
    await world.turns();
  }

  /** Both hosts change, with packets at every turn of the event loop meanwhile. */
  async function change(spec: HostSpec): Promise<void> {
    world.slowness = 8;
    for (const host of world.hosts) host.configure(spec);
    for (let turn = 0; turn < 100; turn++) {
      world.traffic();
      await world.turns(1);
    }
    for (const host of world.hosts) await host.configured();
  }

  it.each<[string, Partial<TunnelSpec>]>([
    ['other addresses', { pair: 1 }],
    ['another type', { type: 'geneve', port: 6081 }],
    ['another key', { key: 101 }],
  ])('that gives a protected tunnel %s leaves it protected', async (_what, changed) => {
    await start([TUNNEL]);
    expect(world.tally.deliveredEsp).toBe(2);
    world.cut = true;
    await change({ mark: 'unset', tunnels: [{ ...TUNNEL, ...changed }] });
    expect(world.violations()).toEqual([]);
    expect(world.tally.clear).toBe(0);
  });

  it('that gives a protected tunnel other addresses while the daemon is dead leaves it protected', async () => {
    await start([TUNNEL]);
    world.cut = true;
    for (const host of world.hosts) host.crash();
    for (const host of world.hosts) await host.start();
    await change({ mark: 'unset', tunnels: [{ ...TUNNEL, pair: 1 }] });
    expect(world.violations()).toEqual([]);
    expect(world.tally.clear).toBe(0);
  });

  it('that takes IPsec out of a tunnel opens it, and the new one that asks for it begins anew', async () => {
    await start([TUNNEL]);
    await change({ mark: 'unset', tunnels: [CLEAR] });
    expect(world.tally.deliveredClear).toBeGreaterThan(0);
    const before = world.tally.clear;
    world.cut = true;
    await change({ mark: 'unset', tunnels: [TUNNEL] });
    expect(world.tally.clear).toBeGreaterThan(before);
    expect(world.violations()).toEqual([]);
  });

  it('of ipsec_skb_mark and of a mark at once lets nothing pass that neither the old nor the new one does', async () => {
    await start([{ ...CLEAR, mark: 1 }], { value: 1, mask: 1 });
    expect(world.tally.clear).toBe(0);
    await change({ mark: { value: 0, mask: 1 }, tunnels: [{ ...CLEAR, mark: 0 }] });
    expect(world.violations()).toEqual([]);
    expect(world.tally.clear).toBe(0);
  });

  it('to what the packet engine cannot do costs the one tunnel its port, and nothing else', async () => {
    const other: TunnelSpec = { ...TUNNEL, name: 't1', type: 'vxlan', port: 4789, key: 200 };
    await start([TUNNEL, other]);
    const wrong: TunnelSpec = { ...TUNNEL, type: 'geneve', port: 4789 };
    await change({ mark: 'unset', tunnels: [other, wrong] });
    expect(world.hosts[0].log.join('\n')).toMatch(/interface t0: .*UDP port 4789 belongs to vxlan tunnel t1/);
    world.slowness = 0;
    await world.run(1000);
    const before = world.tally.deliveredEsp;
    world.traffic();
    await world.turns();
    expect(world.tally.deliveredEsp).toBe(before + 2);
    // And two that exchange their ports are not in each other's way.
    await change({
      mark: 'unset',
      tunnels: [
        { ...wrong, port: 4789 },
        { ...other, port: 6081 },
      ],
    });
    world.slowness = 0;
    await world.run(5000);
    const middle = world.tally.deliveredEsp;
    world.traffic();
    await world.turns();
    expect(world.tally.deliveredEsp).toBe(middle + 4);
    expect(world.violations()).toEqual([]);
  });

  it('can happen any number of times', { timeout: 120_000 }, async () => {
    await start([]);
    for (let round = 0; round < 100; round++) {
      const tunnels = [{ ...TUNNEL, pair: round % PAIRS.length }];
      world.hosts[0].configure({ mark: 'unset', tunnels: round % 2 === 0 ? tunnels : [] });
      await world.hosts[0].configured();
    }
    expect(world.violations()).toEqual([]);
  });
});
