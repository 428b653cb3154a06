/**
 * Commands on their way to a packet worker, in the order in which they were posted.
 *
 * All of them are carried out between two turns of the pipeline. Those about SAs are also carried out when a batch has just been
 * received: the peer's first packet on a new SA may come while the worker is in a turn, and its SA was posted before the peer heard
 * of it (RFC 7296 §2.8). They touch neither ports nor the batch; any other command, and what came after it, waits for the end of
 * the turn.
 */

import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import type { ToWorker } from './pool.ts';
import type { WorkerCommand } from './runner.ts';

/** What may change between the receipt of a batch and the look at its SPIs. */
const ABOUT_SAS: ReadonlySet<WorkerCommand['op']> = new Set([
  'set-protection',
  'add-inbound-sa',
  'remove-inbound-sa',
  'add-outbound-sa',
  'use-outbound-sa',
  'remove-outbound-sa',
  'move-sa',
]);

export interface CommandQueueOptions {
  readonly port: MessagePort;
  /** Element `worker`: number of messages posted to it, ever. It grows after the message has been posted. */
  readonly posted: Int32Array;
  readonly worker: number;
  readonly carryOut: (message: ToWorker) => void;
}

export class CommandQueue {
  readonly #options: CommandQueueOptions;
  /** The value of the count when the queue was last known to be empty. */
  #seen: number;
  /** The first that had to wait for the end of the turn: the next one until then. */
  #held: ToWorker | undefined;

  constructor(options: CommandQueueOptions) {
    this.#options = options;
    this.#seen = this.#count();
  }

  /** Whether there is anything to take, one that is held included; may be true without need, never false with. */
  get waits(): boolean {
    return this.#count() !== this.#seen;
  }

  /** Between two turns: carries out every message there is. */
  takeAll(): void {
    // The count first: what is posted from here on is seen as new, even if it is taken now.
    this.#seen = this.#count();
    for (let message = this.#next(); message !== undefined; message = this.#next()) this.#options.carryOut(message);
  }

  /** When a batch has been received: carries out what concerns SAs, up to the first message that does not. */
  takeSas(): void {
    if (!this.waits) return;
    for (let message = this.#next(); message !== undefined; message = this.#next()) {
      if (message === 'stop' || !ABOUT_SAS.has(message.command.op)) {
        this.#held = message;
        return;
      }
      this.#options.carryOut(message);
    }
  }

  #count(): number {
    return Atomics.load(this.#options.posted, this.#options.worker);
  }

  #next(): ToWorker | undefined {
    const held = this.#held;
    this.#held = undefined;
    return held ?? (receiveMessageOnPort(this.#options.port)?.message as ToWorker | undefined);
  }
}
