/**
 * What ends a batch: each drop is counted, and what the SAs noticed goes to the main thread.
 */

import type { EngineEvent } from './commands.ts';
import { SA_EXHAUSTED, SA_FIRST_PACKET, SA_SOFT_LIMIT } from './esp/sa-memory.ts';
import type { SaEvents } from './esp/sa-table.ts';
import type { WorkerState } from './worker-state.ts';

export function finishBatch(state: WorkerState): void {
  countDrops(state, 0);
  state.observer?.after('finish', state);
  reportSas(state);
}

/** What the SAs noticed in this batch goes to the main thread. */
export function reportSas(state: WorkerState): void {
  if (state.inboundSas.events.count > 0) report(state, state.inboundSas.events, 'in');
  if (state.outboundSas.events.count > 0) report(state, state.outboundSas.events, 'out');
}

/** Counts the drops from row `first` on: at the tunnel port if there was one, else at the port they came in through. */
export function countDrops(state: WorkerState, first: number): void {
  const { batch, counters } = state;
  for (let row = first; row < batch.count; row++) {
    const reason = batch.verdict[row];
    if (reason <= 0) continue;
    const tunnel = batch.tunnel[row];
    counters.dropped(reason, tunnel >= 0 ? tunnel : batch.port[row]);
  }
}

function report(state: WorkerState, events: SaEvents, direction: 'in' | 'out'): void {
  for (let i = 0; i < events.count; i++) {
    const event = eventOf(events.slot[i], events.flag[i], direction);
    if (event !== undefined) state.emit(event);
  }
  events.count = 0;
}

function eventOf(slot: number, flag: number, direction: 'in' | 'out'): EngineEvent | undefined {
  switch (flag) {
    case SA_SOFT_LIMIT:
      return { event: 'sa-soft-limit', slot, direction };
    case SA_EXHAUSTED:
      return { event: 'sa-exhausted', slot };
    case SA_FIRST_PACKET:
      return { event: 'sa-first-packet', slot };
    default:
      return undefined;
  }
}
