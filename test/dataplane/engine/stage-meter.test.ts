import { describe, expect, it } from 'vitest';
import type { StageObserver } from '../../../dataplane/observer.ts';
import { type StageCost, StageMeter, stageCosts, stageTotals } from '../../../dataplane/stage-meter.ts';
import type { WorkerState } from '../../../dataplane/worker-state.ts';
import { frame, openPair, settle } from './pair.ts';

const named = (costs: readonly StageCost[]): string[] => costs.map(({ direction, stage }) => `${direction} ${stage}`);
const OUT = ['read', 'switch', 'segment', 'encapsulate', 'policy-out', 'seal', 'outer-header', 'send', 'finish'];
const BACK = ['receive', 'take-off', 'open', 'policy-in', 'decapsulate', 'switch', 'segment', 'write', 'encapsulate'];

describe('the stage meter', () => {
  it('counts packets and time of every stage that a packet goes through, and nothing before or after it is asked to', async () => {
    const pair = await openPair({ protection: 'never-up' });
    const [a, b] = [stageTotals(1), stageTotals(1)];
    const pass = async (frames: number): Promise<void> => {
      for (let i = 0; i < frames; i++) {
        pair.a.port.put(frame(2, 1));
        await pair.b.frame();
      }
      await settle();
    };
    try {
      await pair.protect();
      await pass(2);
      await pair.a.engine.apply({ op: 'measure-stages', totals: a });
      await pair.b.engine.apply({ op: 'measure-stages', totals: b });
      await pass(3);
      await pair.a.engine.apply({ op: 'measure-stages', totals: undefined });
      await pair.b.engine.apply({ op: 'measure-stages', totals: undefined });
      await pass(4);
    } finally {
      await pair.stop();
    }
    const [sent, received] = [stageCosts(a, 0), stageCosts(b, 0)];
    expect(named(sent)).toEqual(OUT.map((stage) => `out ${stage}`));
    expect(named(received)).toEqual([...BACK, 'finish'].map((stage) => `in ${stage}`));
    expect(new Set(sent.map(({ packets }) => packets))).toEqual(new Set([3]));
    const unsent = received.filter(({ packets }) => packets !== 3);
    expect(unsent).toMatchObject([{ stage: 'encapsulate', packets: 0 }]);
    if (process.arch === 'x64') for (const { cycles } of [...sent, ...received]) expect(cycles).toBeGreaterThan(0);
  });

  it('leaves out what a capture behind it takes, and time before packets are asked for', () => {
    let ms = 0;
    let cycles = 2 ** 48 - 10;
    const spend = (time: number): void => {
      ms += time;
      // The counter wraps.
      cycles = (cycles + 1000 * time) % 2 ** 48;
    };
    const told: string[] = [];
    const behind: StageObserver = {
      after: (stage) => {
        told.push(stage);
        spend(100);
      },
    };
    const totals = stageTotals(2);
    const clock = { monotonicMs: () => ms, cycles: () => cycles };
    const meter = new StageMeter({ clock, totals, worker: 1, behind });
    const state = {
      batch: { count: 3, verdict: [0, 7, 0], tunnel: [5, 5, -1] },
      counters: { worker: new Float64Array(8) },
    } as unknown as WorkerState;
    spend(50);
    meter.begin();
    spend(1);
    meter.after('read', state);
    spend(2);
    meter.after('seal', state);
    spend(4);
    meter.after('finish', state);
    expect(told).toEqual(['read', 'seal', 'finish']);
    expect(stageCosts(totals, 0)).toEqual([]);
    expect(stageCosts(totals, 1)).toEqual([
      { direction: 'out', stage: 'read', packets: 3, ms: 1, cycles: 1000 },
      { direction: 'out', stage: 'seal', packets: 1, ms: 2, cycles: 2000 },
      { direction: 'out', stage: 'finish', packets: 2, ms: 4, cycles: 4000 },
    ]);
  });
});
