import { describe, expect, it } from 'vitest';
import { readSeconds, StageMeasurement, workerTable } from '../../../control/stages/stage-measurement.ts';

/** A measurement whose clock and time are the test's. */
function makeMeasurement(set: (totals: Float64Array | undefined) => Promise<void> = async () => {}) {
  const told: (Float64Array | undefined)[] = [];
  const waits: { readonly ms: number; readonly end: () => void }[] = [];
  let now = 5000;
  const measurement = new StageMeasurement({
    workers: 2,
    set: (totals) => {
      told.push(totals);
      return set(totals);
    },
    nowMs: () => now,
    timers: {
      after: (ms, callback) => {
        waits.push({ ms, end: callback });
        return () => {
          waits.length = 0;
        };
      },
    },
  });
  const pass = async (ms: number): Promise<void> => {
    await Promise.resolve();
    now += ms;
    waits.at(-1)!.end();
  };
  return { measurement, told, waits, pass };
}

describe('stages/show', () => {
  it('measures for as long as it was told to and no longer, and tells of each worker', async () => {
    const { measurement, told, waits, pass } = makeMeasurement();
    const text = measurement.run(2);
    await Promise.resolve();
    const asked = waits.map(({ ms }) => ms);
    await pass(2000);
    expect(await text).toBe(
      'worker 0: 0.0 % of 2.00 s in the stages below\nworker 1: 0.0 % of 2.00 s in the stages below\n',
    );
    expect(asked).toEqual([2000]);
    expect(told.map((totals) => totals !== undefined)).toEqual([true, false]);
  });

  it('runs once at a time', async () => {
    const { measurement, told, pass } = makeMeasurement();
    const first = measurement.run(1);
    await expect(measurement.run(1)).rejects.toThrow('a measurement runs already; ask again when it has ended');
    await pass(1000);
    await first;
    const second = measurement.run(1);
    await pass(1000);
    await second;
    expect(told).toHaveLength(4);
  });

  it('ends at once with the daemon, tells what there is, and begins no more', async () => {
    const { measurement, told, waits } = makeMeasurement();
    const text = measurement.run(10);
    await Promise.resolve();
    expect(waits).toHaveLength(1);
    await measurement.stop();
    expect(told.at(-1)).toBeUndefined();
    expect(await text).toMatch(/^worker 0: /);
    expect(waits).toHaveLength(0);
    await expect(measurement.run(1)).rejects.toThrow('the daemon is ending');
    expect(told).toHaveLength(2);
  });

  it('ends with the daemon too when the workers have not heard of it yet', async () => {
    const heard: (() => void)[] = [];
    const { measurement, told } = makeMeasurement(() => new Promise((resolve) => heard.push(resolve)));
    const text = measurement.run(10);
    const stopped = measurement.stop();
    heard[0]!();
    await expect.poll(() => heard.length).toBe(2);
    heard[1]!();
    await stopped;
    await text;
    expect(told.map((totals) => totals !== undefined)).toEqual([true, false]);
  });

  it('leaves no worker measuring when one of them cannot, and may be asked for again', async () => {
    const failures = [new Error('a worker died')];
    const { measurement, told, pass } = makeMeasurement(async () => {
      const failure = failures.pop();
      if (failure !== undefined) throw failure;
    });
    await expect(measurement.run(1)).rejects.toThrow('a worker died');
    expect(told.map((totals) => totals !== undefined)).toEqual([true, false]);
    const again = measurement.run(1);
    await pass(1000);
    expect(await again).toMatch(/^worker 0: /);
  });

  it('gives time and cycles for a packet, and the share of the time that was measured', () => {
    const text = workerTable(
      1,
      [
        { direction: 'out', stage: 'read', packets: 1000, ms: 0.5, cycles: 1_500_000 },
        { direction: 'out', stage: 'seal', packets: 0, ms: 0.25, cycles: 0 },
      ],
      1000,
    );
    expect(text.split('\n').map((line) => line.trim().split(/ {2,}/))).toEqual([
      ['worker 1: 0.1 % of 1.00 s in the stages below'],
      ['packets', 'ns/packet', 'cycles/packet', 'share'],
      ['out read', '1000', '500', '1500', '0.1 %'],
      ['out seal', '0', '-', '-', '0.0 %'],
      [''],
    ]);
  });

  it.each(['0', '11', '1.5', 'soon'])('refuses %s as a number of seconds, and says what it takes', (text) => {
    expect(() => readSeconds(text)).toThrow(`seconds is "${text}", expected 1 to 10`);
  });

  it('takes a second when nothing is said', () => {
    expect([readSeconds(undefined), readSeconds('10')]).toEqual([1, 10]);
  });
});
