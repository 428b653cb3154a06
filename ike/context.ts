/**
 * What every room of the engine needs: settings, clock, randomness, timers, counters, the tables of SAs, and the
 * way out for actions. One context per engine. The time is the one of the call that is being served.
 */

import type { Computations } from './computations.ts';
import type { ConnectionState } from './connection.ts';
import type { CounterName } from './counters.ts';
import type { Journal } from './journal.ts';
import type { ChildTable } from './sa/child-table.ts';
import type { IkeSa } from './sa/ike-sa.ts';
import type { Answering } from './sa/task.ts';
import type { StartGate } from './start-gate.ts';
import type { TimerQueue } from './timers.ts';
import type { EngineHost, EngineSettings, IkeAction, LogLevel } from './types.ts';
import type { ExchangeName } from './wire/names.ts';

export interface EngineContext {
  readonly settings: EngineSettings;
  readonly host: EngineHost;
  readonly timers: TimerQueue;
  readonly children: ChildTable;
  /** Every IKE SA that can receive, by our SPI. */
  readonly ikeSas: Map<string, IkeSa>;
  /** The responder's side of each protected exchange (tasks/answers.ts). */
  readonly answers: Readonly<Partial<Record<ExchangeName, Answering>>>;
  readonly journal: Journal;
  readonly starts: StartGate;
  readonly computations: Computations;
  /** The connections that were set are all: who is in none is a stranger. */
  readonly configurationKnown: boolean;
  /** The connections between two addresses, in the order in which they were set. */
  connectionsBetween(local: string, remote: string): readonly ConnectionState[];
  nowMs(): number;
  /** A random number in [0, 1), for jitter only. */
  fraction(): number;
  emit(action: IkeAction): void;
  count(name: CounterName): void;
  log(level: LogLevel, connection: string | undefined, message: string): void;
  /** As log, for what anyone on the network can cause: at most one line in 10 s for each topic. */
  logRarely(topic: string, level: LogLevel, connection: string | undefined, message: string): void;
}

/** An IKE SPI that none of our IKE SAs has: 16 hex digits, not zero (RFC 7296 §3.1). */
export function freshSpi(context: EngineContext): string {
  for (;;) {
    const spi = Buffer.from(context.host.random(8)).toString('hex');
    if (!/^0+$/.test(spi) && !context.ikeSas.has(spi)) return spi;
  }
}
