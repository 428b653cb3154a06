/**
 * When to reconcile: one reconciliation at a time, and changes that come meanwhile are joined into the next, which reads what is
 * then in force. So the last change is always carried out whole, however many came before it and whatever was under way.
 * What a reconciliation is, its owner says.
 */
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';

export class Reconciliations {
  readonly #reconcile: () => Promise<void>;
  readonly #onBug: (error: unknown) => void;
  #isDue = false;
  #isOver = false;
  #running: Promise<void> | undefined;

  /** `onBug`: one has failed; nothing is known about what is in force, and no other begins by itself. */
  constructor(reconcile: () => Promise<void>, onBug: (error: unknown) => void) {
    this.#reconcile = reconcile;
    this.#onBug = onBug;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Something has changed. */
  soon(): void {
    this.#isDue = true;
    if (this.#running === undefined && !this.#isOver) this.#running = this.#run();
  }

  /** From now on none begins. Resolves when that which is under way is over, or after so long: a database may not answer it. */
  async end(mostMs: number): Promise<void> {
    this.#isOver = true;
    await Promise.race([this.settled(), delay(mostMs, undefined, { ref: false })]);
  }

  /** Resolves when none is under way or due. */
  async settled(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    try {
      // What changes in one turn is one change.
      await nextTurn();
      while (this.#isDue && !this.#isOver) {
        this.#isDue = false;
        await this.#reconcile();
      }
    } catch (error) {
      this.#onBug(error);
    } finally {
      this.#running = undefined;
    }
  }
}
