/**
 * The order in which commands reach the workers, and what they wait for.
 *
 * A command is posted before `apply` returns: what its caller does next, for instance sending the IKE message after which the peer
 * may use a new SA, comes after it. It does not wait for the answers to those before it. One thing it does wait for: an SA whose slot
 * another one has just left is not entered before every worker has let go of that one, because the two share sequence numbers
 * and replay window (shared-state.ts). What is called after it waits with it.
 */

import type { EngineCommand } from './commands.ts';

interface Waiting {
  readonly command: EngineCommand;
  resolve(answered: Promise<void>): void;
}

export class Postings {
  /** Posts at once; resolves when every worker has answered. */
  readonly #post: (command: EngineCommand) => Promise<void>;
  readonly #waiting: Waiting[] = [];
  /** Slots that some worker may still use an SA of. */
  readonly #leaving = new Set<string>();
  #underWay: Promise<unknown> = Promise.resolve();

  constructor(post: (command: EngineCommand) => Promise<void>) {
    this.#post = post;
  }

  /** Resolves when every worker has carried it out; rejects as the post does. */
  apply(command: EngineCommand): Promise<void> {
    const applied = new Promise<void>((resolve) => this.#waiting.push({ command, resolve }));
    this.#postWaiting();
    this.#underWay = Promise.allSettled([this.#underWay, applied]);
    return applied;
  }

  /** Resolves when all that was called before is answered or refused. */
  async rest(): Promise<void> {
    await this.#underWay;
  }

  #postWaiting(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const { command } = next;
      const entered = entering(command);
      if (entered !== undefined && this.#leaving.has(entered)) return;
      this.#waiting.shift();
      const answered = this.#post(command);
      const left = leaving(command);
      if (left !== undefined) this.#free(left, answered);
      next.resolve(answered);
    }
  }

  #free(slot: string, answered: Promise<void>): void {
    this.#leaving.add(slot);
    const free = (): void => {
      this.#leaving.delete(slot);
      this.#postWaiting();
    };
    answered.then(free, free);
  }
}

function entering(command: EngineCommand): string | undefined {
  if (command.op === 'add-inbound-sa') return `in ${command.sa.slot}`;
  return command.op === 'add-outbound-sa' ? `out ${command.sa.slot}` : undefined;
}

function leaving(command: EngineCommand): string | undefined {
  if (command.op === 'remove-inbound-sa') return `in ${command.slot}`;
  return command.op === 'remove-outbound-sa' ? `out ${command.slot}` : undefined;
}
