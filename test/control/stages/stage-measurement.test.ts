import { describe, expect, it } from 'vitest';
import { readSeconds, StageMeasurement, workerTable } from '../../../control/stages/stage-measurement.ts';

/** A measurement whose clock and time are the test's. */
function makeMeasurement() {
  const told: (Float64Array | undefined)[] = [];
  const waits: { readonly ms: number; readonly end: () => void }[] = [];
  let now = 5000;
  const measurement = new StageMeasurement({
    workers: 2,
    set: async (totals) => {
      told.push(totals);
    },
    nowMs: () => now,
    timers: {
      after: (ms, callback) => {
        waits.push({ ms, end: callback });
        return () => undefined;
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
    await pass(2000);
    expect(await text).toBe(
      'worker 0: 0.0 % of 2.00 s in the stages below\nworker 1: 0.0 % of 2.00 s in the stages below\n',
    );
    expect(waits.map(({ ms }) => ms)).toEqual([2000]);
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
