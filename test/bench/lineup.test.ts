// The plan of the end-to-end benchmark: who is measured when, and what --only and --resume make of it.
import { describe, expect, it } from 'vitest';
import { BASELINES, CONTENDERS, plan, select } from '../../bench/e2e/lineup.ts';
import { e2eMain, remaining } from '../../bench/e2e/main.ts';

const all = select([]);

describe('the plan', () => {
  it('turns every other round around, so that a drift meets the first and the last alike', () => {
    const names = plan(2, select(['tcp-1', 'wire-honest', 'geneve, raw', 'libipsec'])).map(({ cells }) =>
      cells.map(({ peer }) => peer.name),
    );
    expect(names).toHaveLength(2);
    const twice = new Set(names[1]);
    expect(names[1]).toEqual(names[0]!.filter((name) => twice.has(name)).reverse());
    expect(names[1]!.length).toBeGreaterThan(1);
  });

  it('measures everything in the first round, and the lead in each', () => {
    const [first, second] = [1, 2].map((round) =>
      plan(2, all)
        .flatMap(({ cells }) => cells)
        .filter((cell) => cell.round === round && cell.measurement.id === 'tcp-1'),
    );
    expect(new Set(first!.map(({ peer }) => peer.name))).toEqual(new Set(CONTENDERS.map(({ name }) => name)));
    for (const name of Object.values(BASELINES)) expect(second!.map(({ peer }) => peer.name)).toContain(name);
    expect(second!.length).toBeLessThan(first!.length);
  });

  it('names each contender once', () => {
    expect(new Set(CONTENDERS.map(({ name }) => name)).size).toBe(CONTENDERS.length);
  });
});

describe('--only', () => {
  it('narrows by kind and widens within a kind', () => {
    const cells = plan(1, select(['udp-64', 'udp-512', 'libipsec', 'wireguard'])).flatMap((block) => block.cells);
    expect(cells.map(({ measurement, peer }) => `${measurement.id} ${peer.name}`)).toEqual([
      `udp-64 ${BASELINES.libipsec}`,
      `udp-64 ${BASELINES.wireguard}`,
      `udp-512 ${BASELINES.libipsec}`,
      `udp-512 ${BASELINES.wireguard}`,
    ]);
  });

  it('takes the kind of a measurement for all of that kind', () => {
    expect(select(['latency']).measurements).toEqual(['latency-idle', 'latency-load']);
  });
});

describe('--resume', () => {
  it('leaves the blocks that have all their samples, whatever session they are of, and takes the others whole', () => {
    const blocks = plan(1, select(['tcp-1', 'wire-honest', 'libipsec', 'wireguard-go']));
    const [block] = blocks;
    const samples = (names: string[]) =>
      names.map((contender) => ({ contender, block: `2026-11-25T01:02:03.000Z/${block!.name}` })) as never[];
    expect(remaining(blocks, { samples: samples([BASELINES.libipsec, BASELINES.wireguard]) })).toEqual([]);
    expect(remaining(blocks, { samples: samples([BASELINES.libipsec]) })).toEqual(blocks);
  });
});

it.each([
  ['--rounds=0', '--rounds=0: expected a whole number from 1 on'],
  ['--seconds=x', '--seconds=x: expected a number above 0'],
  ['--only=ipx', '--only=ipx: no measurement (tcp-1, tcp-4'],
  ['--only=udp,offload', '--only=udp,offload: these words have nothing in common to measure'],
])('refuses %s with what came and what was expected', async (option, message) => {
  await expect(e2eMain([option])).rejects.toThrow(message);
});
