/**
 * A packet worker that the test can slow down, watch, kill and start anew: it stands between the engine and the
 * worker of the product, as the pool of threads does.
 */
import { type InlineContext, InlineRunner } from '../../dataplane/inline.ts';
import type { Runner, RunnerHost, WorkerCommand } from '../../dataplane/runner.ts';

export interface RunnerHooks {
  /** Turns of the event loop before a command is carried out. */
  readonly delay: () => number;
  /** A command has been carried out. */
  readonly onDone: (command: WorkerCommand) => void;
}

export class WatchedRunner implements Runner {
  readonly #context: InlineContext;
  readonly #host: RunnerHost;
  readonly #hooks: RunnerHooks;
  #worker: InlineRunner;
  #posting = 0;
  #dead = false;

  constructor(context: InlineContext, host: RunnerHost, hooks: RunnerHooks) {
    this.#context = context;
    this.#host = host;
    this.#hooks = hooks;
    this.#worker = new InlineRunner(context, host);
  }

  async post(commandOf: (worker: number) => WorkerCommand): Promise<void> {
    this.#posting++;
    for (let turns = this.#hooks.delay(); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    // A process that was killed never answers.
    if (this.#dead) return new Promise(() => {});
    await this.#worker.post(commandOf);
    this.#posting--;
    this.#hooks.onDone(commandOf(0));
  }

  /** The worker dies and another takes its place, which gets the whole state. Not between two halves of a command. */
  restart(): void {
    if (this.#posting > 0 || this.#dead) return;
    void this.#worker.stop();
    this.#worker = new InlineRunner(this.#context, this.#host);
  }

  /** The process is killed. */
  kill(): void {
    this.#dead = true;
    void this.#worker.stop();
  }

  stop(): Promise<void> {
    return this.#worker.stop();
  }
}
