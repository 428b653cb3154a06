/** The report of the benchmark of tunnels that come up. */
import type { Environment } from '../report/environment.ts';
import { interval, type Page } from '../report/page.ts';
import { estimate } from '../report/statistics.ts';
import type { Outcome } from './site.ts';

export type TunnelResults = {
  readonly environment: Environment;
  readonly command: string;
  readonly tunnels: number;
  readonly contenders: readonly {
    readonly name: string;
    readonly what: string;
    readonly outcomes: readonly Outcome[];
  }[];
  /** Contenders that gave nothing, and why. */
  readonly skipped: readonly string[];
};

function intervalOf(outcomes: readonly Outcome[], of: (outcome: Outcome) => number | undefined): string {
  const values = outcomes.map(of).filter((value) => value !== undefined);
  return interval(values.length === 0 ? undefined : estimate(values));
}

/** The report as data. */
export function tunnelsPage({ environment, command, tunnels, contenders, skipped }: TunnelResults): Page {
  return {
    title: 'Tunnels that come up at once',
    environment,
    command,
    summary: [
      'Held to: 1,000 tunnels between two daemons on one machine are all up within 30 s with PSK and x25519, and the main thread never blocks for over 50 ms.',
      ...skipped.map((reason) => `**Left out:** ${reason}.`),
    ],
    sections: [
      {
        heading: `${tunnels} tunnels between two daemons`,
        text: [
          'From before both daemons are started, with everything in their configuration, until every tunnel is up at both ends: an IKE SA each, with PSK, and a child SA. Main thread: how long an event had to wait for it, of the busier end, the start included.',
          ...contenders.map(({ name, what }) => `${name}: ${what}.`),
        ],
        table: {
          head: [
            'contender',
            'all up, s',
            'CPU of both, s',
            'main thread blocked at most, ms',
            '99 of 100 events waited less than, ms',
          ],
          rows: contenders.map(({ name, outcomes }) => [
            name,
            intervalOf(outcomes, ({ seconds }) => seconds),
            intervalOf(outcomes, ({ cpuSeconds }) => cpuSeconds),
            intervalOf(outcomes, ({ longestMs }) => longestMs),
            intervalOf(outcomes, ({ p99Ms }) => p99Ms),
          ]),
        },
      },
    ],
  };
}
