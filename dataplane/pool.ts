/**
 * Packet workers as threads: a piscina pool in which every thread runs one task that ends only when it is told to.
 *
 * A worker never turns its event loop: it sleeps in one native poll. So a command goes through a MessagePort,
 * a shared count says that there is one, and an eventfd ends the poll. When a worker dies the others go on; its
 * task is started again with the full state, and whoever waited for the dead one's answer waits for that.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { Native } from '../native-shims/types.ts';
import type { EngineEvent } from './commands.ts';
import type { Runner, RunnerHost, WorkerCommand } from './runner.ts';
import type { SharedState } from './shared-state.ts';

/** What a worker's task starts with; survives a structured clone but for `port`, which is transferred. */
export interface WorkerTask {
  readonly worker: number;
  readonly eventFd: number;
  /** Element `worker`: number of commands posted to it, ever. */
  readonly posted: Int32Array;
  readonly shared: SharedState;
  readonly state: readonly WorkerCommand[];
  readonly port: MessagePort;
}

export type ToWorker = { readonly id: number; readonly command: WorkerCommand } | 'stop';
export type FromWorker =
  | { readonly done: number; readonly error: string | undefined }
  | { readonly event: EngineEvent };

/** The id under which a fresh worker answers for its whole state. */
export const STATE_LOADED = 0;

interface Waiter {
  resolve(): void;
  reject(error: Error): void;
}

interface Thread {
  readonly worker: number;
  readonly eventFd: number;
  port: MessagePort;
  readonly waiting: Map<number, Waiter>;
  ended: Promise<void>;
}

/** A dead worker is started again after this time, so that one which dies at once does not keep the process busy. */
const RESTART_DELAY_MS = 1000;

export class WorkerPool implements Runner {
  private readonly native: Native;
  private readonly host: RunnerHost;
  private readonly shared: SharedState;
  private readonly piscina: Piscina;
  private readonly posted: Int32Array;
  private readonly threads: Thread[] = [];
  private nextId = STATE_LOADED + 1;
  private stopping = false;

  private constructor(native: Native, shared: SharedState, host: RunnerHost) {
    this.native = native;
    this.host = host;
    this.shared = shared;
    this.posted = new Int32Array(new SharedArrayBuffer(4 * shared.workers));
    this.piscina = new Piscina({
      filename: workerFile(),
      minThreads: shared.workers,
      maxThreads: shared.workers,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      recordTiming: false,
    });
  }

  /** Resolves when every worker runs and has its state. */
  static async start(native: Native, shared: SharedState, host: RunnerHost): Promise<WorkerPool> {
    const pool = new WorkerPool(native, shared, host);
    const loaded: Promise<void>[] = [];
    for (let worker = 0; worker < shared.workers; worker++) {
      const thread: Thread = {
        worker,
        eventFd: native.createEventFd(),
        port: new MessageChannel().port1,
        waiting: new Map(),
        ended: Promise.resolve(),
      };
      pool.threads.push(thread);
      loaded.push(pool.answer(thread, STATE_LOADED));
      pool.run(thread);
    }
    try {
      await Promise.all(loaded);
    } catch (error) {
      await pool.stop();
      throw error;
    }
    return pool;
  }

  post(commandOf: (worker: number) => WorkerCommand): Promise<void> {
    const id = this.nextId++;
    const answers = this.threads.map((thread) => {
      const answer = this.answer(thread, id);
      this.tell(thread, { id, command: commandOf(thread.worker) });
      return answer;
    });
    return Promise.all(answers).then(() => undefined);
  }

  async stop(): Promise<void> {
    this.stopping = true;
    for (const thread of this.threads) this.tell(thread, 'stop');
    await Promise.all(this.threads.map((thread) => thread.ended));
    await this.piscina.destroy();
    for (const thread of this.threads) {
      thread.port.close();
      this.native.close(thread.eventFd);
      for (const waiter of thread.waiting.values()) waiter.reject(new Error('engine is stopped'));
    }
    this.threads.length = 0;
  }

  private run(thread: Thread): void {
    thread.port.close();
    const channel = new MessageChannel();
    thread.port = channel.port1;
    thread.port.on('message', (message: FromWorker) => this.hear(thread, message));
    const task: WorkerTask = {
      worker: thread.worker,
      eventFd: thread.eventFd,
      posted: this.posted,
      shared: this.shared,
      state: this.host.stateOf(thread.worker),
      port: channel.port2,
    };
    thread.ended = this.piscina.run(task, { transferList: [channel.port2] }).then(
      () => this.ended(thread, 'its task returned'),
      (error: unknown) => this.ended(thread, error instanceof Error ? error.message : String(error)),
    );
  }

  private ended(thread: Thread, reason: string): void {
    if (this.stopping) return;
    const starting = thread.waiting.get(STATE_LOADED);
    if (starting !== undefined) {
      starting.reject(new Error(`packet worker ${thread.worker} did not start: ${reason}`));
      return;
    }
    this.host.onEvent({ event: 'worker-died', worker: thread.worker, reason });
    setTimeout(() => {
      if (!this.stopping) this.run(thread);
    }, RESTART_DELAY_MS).unref();
  }

  private hear(thread: Thread, message: FromWorker): void {
    if ('event' in message) {
      this.host.onEvent(message.event);
      return;
    }
    if (message.done === STATE_LOADED && message.error === undefined) {
      // A replacement: what its predecessor has not answered is part of the state.
      for (const waiter of thread.waiting.values()) waiter.resolve();
      thread.waiting.clear();
      return;
    }
    const waiter = thread.waiting.get(message.done);
    thread.waiting.delete(message.done);
    if (message.error === undefined) waiter?.resolve();
    else waiter?.reject(new Error(message.error));
  }

  private answer(thread: Thread, id: number): Promise<void> {
    return new Promise((resolve, reject) => thread.waiting.set(id, { resolve, reject }));
  }

  private tell(thread: Thread, message: ToWorker): void {
    thread.port.postMessage(message);
    Atomics.add(this.posted, thread.worker, 1);
    this.native.signalEventFd(thread.eventFd);
  }
}

/** Node loads the worker itself, so it must be JavaScript: the compiled one beside this, or the bundle when this file runs from source. */
function workerFile(): string {
  const here = import.meta.url;
  const relative = here.endsWith('.ts') ? '../dist/daemon/worker.js' : './worker.js';
  const path = fileURLToPath(new URL(relative, here));
  if (!existsSync(path)) throw new Error(`packet worker ${path} is not there: build it with \`npm run build\``);
  return path;
}
