/** What many seeds together have reached: counters, states of the two ends, traits and events. */

import type { SeedResult } from './run-seed.ts';

export class Coverage {
  readonly #counters = new Map<string, number>();
  readonly #states = new Map<string, number>();
  readonly #traits = new Map<string, number>();
  readonly #events = new Map<string, number>();
  seeds = 0;

  add({ counters, states, traits, events }: Pick<SeedResult, 'counters' | 'states' | 'traits' | 'events'>): void {
    this.seeds += 1;
    for (const [name, count] of Object.entries(counters)) add(this.#counters, name, count);
    for (const state of states) add(this.#states, state, 1);
    for (const trait of traits) add(this.#traits, trait, 1);
    for (const event of events) add(this.#events, event, 1);
  }

  /** Lines for people. */
  report(): string[] {
    const reached = [...this.#counters].filter(([, count]) => count > 0);
    const never = [...this.#counters].filter(([, count]) => count === 0).map(([name]) => name);
    return [
      `scenarios: ${list(this.#traits)}`,
      `events: ${list(this.#events)}`,
      `${this.#states.size} pairs of states of the two ends, the most frequent:`,
      ...sorted(this.#states)
        .slice(0, 12)
        .map(([state, count]) => `  ${state}  (${count} seeds)`),
      `${reached.length} of ${this.#counters.size} counters reached:`,
      ...sorted(this.#counters)
        .filter(([, count]) => count > 0)
        .map(([name, count]) => `  ${name}: ${count}`),
      `never reached: ${never.length === 0 ? 'none' : never.join(', ')}`,
    ];
  }
}

function add(to: Map<string, number>, name: string, count: number): void {
  to.set(name, (to.get(name) ?? 0) + count);
}

const sorted = (counts: ReadonlyMap<string, number>): [string, number][] => [...counts].sort((a, b) => b[1] - a[1]);
const list = (counts: ReadonlyMap<string, number>): string =>
  sorted(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');
