/** The keeper of flows against a bridge that loses them; with a real ovs-vswitchd it is proved in test/e2e. */
import { tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import { FlowKeeper } from '../../../control/openflow/flow-keeper.ts';
import { COOKIE } from '../../../control/openflow/matches.ts';
import { until } from '../../rig/process.ts';

const FLOW = `table=0,cookie=${COOKIE},priority=61456,udp,actions=drop`;

/** A bridge whose flows are gone again right after each of the first `losses` commits, before anybody looks. */
function startKeeper(losses: number) {
  let flows: string[] = [];
  let commits = 0;
  let tell = (): void => {};
  const lines: string[] = [];
  const note = (line: string): void => void lines.push(line);
  const keeper = new FlowKeeper({
    ...{ bridge: 'br-phy', socket: `${tmpdir()}/br-phy.mgmt` },
    table: {
      commit: async (commands) => {
        flows = commits++ < losses ? [] : commands.filter((command) => command.startsWith('add '));
        tell();
      },
      listing: async () => flows.join('\n'),
      monitor: (onChange) => {
        tell = onChange;
        return () => {};
      },
    },
    timers: {
      after: (ms: number, work: () => void) => {
        const timer = setTimeout(work, ms / 10);
        return () => clearTimeout(timer);
      },
    } as never,
    log: { info: note, warn: note } as never,
  });
  return { keeper, flows: () => flows, lines, lose: () => void flows.splice(0), tell: () => tell() };
}

describe('the keeper of flows', () => {
  it('puts them in again when they are lost before it has looked at them', async () => {
    const { keeper, flows, lines } = startKeeper(2);
    await keeper.set([FLOW]);
    expect(keeper.failure).toBe('only 0 of 1 are there');
    await until('the flow', () => flows().length === 1 && keeper.failure === undefined);
    expect(lines.filter((line) => line.includes('only 0 of 1'))).toHaveLength(1);
    await keeper.close(false);
  });

  it('puts them back when the bridge tells of a loss', async () => {
    const { keeper, flows, lose, tell, lines } = startKeeper(0);
    await keeper.set([FLOW]);
    lose();
    tell();
    await until('the flow', () => flows().length === 1);
    expect(lines.at(-2) ?? '').toContain('they are put back');
    await keeper.close(false);
  });
});
