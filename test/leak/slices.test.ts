/**
 * The random sequences of random-sequences.test.ts with the longest way through a reconciliation: long work of the main thread
 * (control/slices.ts) gives events their turn after every single step, where it does so every few milliseconds in the daemon.
 * So packets, IKE messages and further changes of configuration meet each state that a reconciliation goes through.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { playSequence } from './sequence.ts';
import type { HostSpec, TunnelSpec } from './spec.ts';
import { LeakWorld } from './world.ts';

const turnsGiven = vi.hoisted(() => ({ count: 0 }));
vi.mock('../../control/slices.ts', async (original) => ({
  ...(await original<typeof import('../../control/slices.ts')>()),
  inSlices: async (steps: Generator<undefined, unknown>) => {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      turnsGiven.count++;
      await new Promise((resolve) => setImmediate(resolve));
    }
  },
}));

const SEQUENCES = Number(process.env.LEAK_SEQUENCES ?? 30);
const FIRST = Number(process.env.LEAK_FIRST ?? 1);

const tunnel = (index: number, ask: TunnelSpec['ask'], more: Partial<TunnelSpec> = {}): TunnelSpec => ({
  ...{ name: `t${index}`, type: 'gre', pair: index % 2, key: 100 * (index + 1), port: 0, ask, mark: undefined },
  ...{ extra: {}, ...more },
});
const PSK: TunnelSpec['ask'] = { kind: 'psk', secret: 'swordfish-one' };
const TUNNELS = [0, 1, 2, 3].map((index) => tunnel(index, PSK));

describe('a reconciliation in slices', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-leak-slices-'));
  });
  beforeEach(() => {
    turnsGiven.count = 0;
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('lets nothing pass between two steps that the policy forbids, whatever happens', {
    timeout: 120_000,
  }, async () => {
    const failed: string[] = [];
    for (let seed = FIRST; seed < FIRST + SEQUENCES; seed++) {
      const { violations } = await playSequence(seed, directory);
      if (violations.length > 0) failed.push(`seed ${seed}: ${violations.slice(0, 5).join('\n')}`);
    }
    expect(failed).toEqual([]);
    expect(turnsGiven.count).toBeGreaterThan(SEQUENCES * 10);
  });

  it('lets no packet out in the clear from its first step to the first SA, under a rule that forbids it', async () => {
    const world = new LeakWorld(1, directory);
    for (const host of world.hosts) {
      host.configure({ mark: { value: 0, mask: 1 }, tunnels: TUNNELS });
      await host.start();
    }
    for (let turn = 0; turn < 200; turn++) {
      world.traffic();
      await world.turns(1);
    }
    await world.run(5000);
    world.traffic();
    await world.turns();
    for (const host of world.hosts) host.crash();
    expect(world.violations()).toEqual([]);
    expect(world.tally.clear).toBe(0);
    expect(world.tally.deliveredEsp).toBeGreaterThanOrEqual(2 * TUNNELS.length);
  });

  it('carries out a change that comes at any step of it, as the next and whole', { timeout: 60_000 }, async () => {
    const first: HostSpec = { mark: 'unset', tunnels: TUNNELS.map((one) => ({ ...one, ask: { kind: 'none' } })) };
    const second: HostSpec = { mark: 'unset', tunnels: TUNNELS };
    const last: HostSpec = {
      mark: { value: 0, mask: 1 },
      tunnels: TUNNELS.map((one, index) => ({ ...one, pair: 1 - one.pair, key: one.key + index })),
    };
    for (let moment = 1; moment <= 40; moment += 2) {
      const world = new LeakWorld(moment, directory);
      for (const host of world.hosts) {
        host.configure(first);
        await host.start();
        await host.configured();
      }
      for (const spec of [second, last]) {
        for (const host of world.hosts) host.configure(spec);
        for (let turn = 0; turn < moment; turn++) {
          world.traffic();
          await world.turns(1);
        }
      }
      for (const host of world.hosts) await host.configured();
      // The last one says that nothing leaves in the clear.
      await world.turns();
      const { clear } = world.tally;
      for (let turn = 0; turn < 10; turn++) {
        world.traffic();
        await world.turns(1);
      }
      expect(world.tally.clear, `a change after ${moment} turns`).toBe(clear);
      await world.run(5000);
      const { deliveredEsp } = world.tally;
      world.traffic();
      await world.turns();
      for (const host of world.hosts) host.crash();
      expect(world.violations(), `a change after ${moment} turns`).toEqual([]);
      expect(world.tally.deliveredEsp - deliveredEsp, `a change after ${moment} turns`).toBe(2 * TUNNELS.length);
    }
  });
});
