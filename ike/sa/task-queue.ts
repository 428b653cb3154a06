/**
 * The exchanges that we want on one IKE SA, one after another, as the window is 1 (RFC 7296 §2.3): which one waits for its
 * response, which ones for their turn. A request is built when it is its turn and what it needs, a key pair or signatures, is
 * there. What comes in is ike-sa.ts's, what the exchanges mean is in tasks/.
 */

import type { Payload } from '../wire/payloads.ts';
import { LAST_MESSAGE_ID } from './exchange-window.ts';
import type { IkeSa } from './ike-sa.ts';
import { noteRequest } from './said.ts';
import { DisownedTask, type InitiatorTask } from './task.ts';

const QUEUE_LIMIT = 512;

export class TaskQueue {
  readonly #sa: IkeSa;
  #current: InitiatorTask | undefined;
  #waiting: InitiatorTask[] = [];

  constructor(sa: IkeSa) {
    this.#sa = sa;
  }

  /** The task that waits for its response. */
  get current(): InitiatorTask | undefined {
    return this.#current;
  }

  /** Nothing is asked, and nothing waits to be. */
  get isIdle(): boolean {
    return this.#current === undefined && this.#waiting.length === 0;
  }

  /** Queues an exchange; `first`: before all that wait. */
  enqueue(task: InitiatorTask, first: boolean): void {
    if (this.#sa.state === 'gone' || this.#waiting.length >= QUEUE_LIMIT) {
      task.abandon('the IKE SA is gone');
      return;
    }
    if (first) this.#waiting.unshift(task);
    else this.#waiting.push(task);
    this.pump();
  }

  /** Takes the tasks out of the queue that have not been sent yet. */
  takeWaiting(): InitiatorTask[] {
    const tasks = this.#waiting;
    this.#waiting = [];
    return tasks;
  }

  /** Nobody wants any more what the outstanding request asked for. Its response is for `heir`, or only lets the next request go. */
  disown(reason: string, heir?: InitiatorTask): void {
    const task = this.#current;
    if (task === undefined) return;
    // Between two requests of a task nothing is outstanding.
    this.#current = this.#sa.requests.busy ? (heir ?? new DisownedTask(task)) : undefined;
    task.abandon(reason);
  }

  /** Sends the next request, unless one is outstanding. */
  pump(): void {
    const sa = this.#sa;
    while (this.#current === undefined && sa.state !== 'gone') {
      const [task] = this.#waiting;
      if (task === undefined || this.#isWaitedFor(task, () => this.pump())) return;
      this.#waiting.shift();
      const payloads = task.build(sa);
      if (payloads === undefined) continue;
      if (sa.requests.id >= LAST_MESSAGE_ID) {
        task.abandon('the message ids are used up');
        sa.end('lost', 'its message ids are used up');
        return;
      }
      this.#current = task;
      this.#send(task, payloads);
    }
  }

  /** Whether what the request needs is being computed; `then` is called when it is there. */
  #isWaitedFor(task: InitiatorTask, then: () => void): boolean {
    const sa = this.#sa;
    return (
      sa.keyExchanges.prepare(task.keyExchange?.(sa), then) ||
      sa.signatures.prepare(() => task.signatures?.(sa) ?? [], then)
    );
  }

  #send(task: InitiatorTask, payloads: readonly Payload[]): void {
    noteRequest(this.#sa, task, payloads);
    this.#sa.requests.begin(this.#sa.seal(task.exchange, payloads, this.#sa.requests.id, false));
  }

  /** The request of the current task anew, in the place of the outstanding one. */
  rebuild(task: InitiatorTask): void {
    const payloads = task.build(this.#sa);
    if (payloads !== undefined) this.#send(task, payloads);
  }

  /** The next request of a task that goes on. */
  proceed(task: InitiatorTask): void {
    // Given up while its key pair was being made: what waited behind it goes on.
    if (this.#current !== task) {
      this.pump();
      return;
    }
    if (this.#isWaitedFor(task, () => this.proceed(task))) return;
    const more = task.build(this.#sa);
    if (more === undefined) this.finish();
    else this.#send(task, more);
  }

  /** The current task is over. */
  finish(): void {
    this.#current = undefined;
    this.pump();
  }

  /** The current task ends without a response that could be used; the next request waits until `pump`. */
  abandonCurrent(reason: string): void {
    const task = this.#current;
    this.#current = undefined;
    task?.abandon(reason);
  }

  /** The IKE SA ends. */
  abandonAll(reason: string): void {
    const tasks = this.#current === undefined ? this.#waiting : [this.#current, ...this.#waiting];
    this.#current = undefined;
    this.#waiting = [];
    for (const task of tasks) task.abandon(reason);
  }
}
