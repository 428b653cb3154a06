/**
 * The packet worker on the main thread (`workers` 0): turned by the event loop when something is readable, a bounded
 * number of turns at a time, so that IKE, OVSDB and timers get theirs. The only way for the raw-socket backend.
 */

import { Pipeline } from './pipeline.ts';
import type { Runner, RunnerHost, WorkerCommand } from './runner.ts';
import type { WorkerContext } from './worker-state.ts';

/** Turns before the event loop goes on: 8 batches of 64 packets are below a millisecond. */
const TURNS_PER_WAKE = 8;

/** What the one worker on the main thread is made of. */
export type InlineContext = Omit<WorkerContext, 'worker' | 'emit'>;

export class InlineRunner implements Runner {
  private readonly pipeline: Pipeline;
  private version = -1;
  private unwatch: () => void = () => {};
  private scheduled: NodeJS.Immediate | undefined;
  private stopped = false;

  constructor(context: InlineContext, host: RunnerHost) {
    this.pipeline = new Pipeline({ ...context, worker: 0, emit: (event) => host.onEvent(event) });
    for (const command of host.stateOf(0)) this.pipeline.apply(command);
    this.watch();
  }

  async post(commandOf: (worker: number) => WorkerCommand): Promise<void> {
    this.pipeline.apply(commandOf(0));
    this.watch();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.unwatch();
    clearImmediate(this.scheduled);
    this.pipeline.close();
  }

  /** Handles what there is, up to the bound. Returns the packets handled. */
  run(): number {
    let handled = 0;
    for (let turns = 0; turns < TURNS_PER_WAKE; turns++) {
      this.pipeline.markAll();
      const packets = this.pipeline.turn();
      if (packets === 0) break;
      handled += packets;
    }
    return handled;
  }

  private readonly wake = (): void => {
    if (this.stopped || this.scheduled !== undefined) return;
    this.scheduled = setImmediate(this.turn);
  };

  private readonly turn = (): void => {
    this.scheduled = undefined;
    if (this.stopped) return;
    const handled = this.run();
    this.watch();
    if (handled > 0) this.wake();
  };

  /** Watches what there is to watch now; ports may have come or gone, also by themselves. */
  private watch(): void {
    if (this.version === this.pipeline.descriptorVersion) return;
    this.version = this.pipeline.descriptorVersion;
    this.unwatch();
    this.unwatch = this.pipeline.watch(this.wake);
    this.wake();
  }
}
