/**
 * Actions of IKE in the order in which IKE gave them, though one may have to wait for the disk: what it waits for is asked for at
 * once, so that those that wait together are written together, and everything behind it waits with it. So an SA is with the
 * packet workers before the message that lets the peer use it is sent, whatever its disk does (RFC 7296 §2.8).
 *
 * How much may wait is bounded: beyond that, and when the runner ends, all is carried out at once, and whoever carries it out waits
 * for the disk itself.
 */
import type { IkeAction } from '../ike/index.ts';

/** Some hundred handshakes. */
const MOST_WAITING = 4096;

export interface IkeActionsOptions {
  readonly carryOut: (action: IkeAction) => void;
  /** Begins what has to be done before the action is carried out; undefined: nothing, or it is done. */
  readonly prepare: (action: IkeAction) => Promise<void> | undefined;
  /** A bug: whoever runs this must end it. */
  readonly onBug: (error: unknown) => void;
}

interface Waiting {
  readonly action: IkeAction;
  isReady: boolean;
}

export class IkeActions {
  readonly #options: IkeActionsOptions;
  #waiting: Waiting[] = [];
  #carryingOut = false;

  constructor(options: IkeActionsOptions) {
    this.#options = options;
  }

  /** Carries them out, now or as soon as all before them are. */
  add(actions: readonly IkeAction[]): void {
    for (const action of actions) this.#enter(action);
    if (this.#waiting.length > MOST_WAITING) this.flush();
    else this.#carryOut(({ isReady }) => isReady);
  }

  /** Carries out whatever waits, at once. */
  flush(): void {
    this.#carryOut(() => true);
  }

  #enter(action: IkeAction): void {
    const prepared = this.#options.prepare(action);
    const waiting: Waiting = { action, isReady: prepared === undefined };
    this.#waiting.push(waiting);
    prepared
      ?.then(() => {
        waiting.isReady = true;
        this.#carryOut(({ isReady }) => isReady);
      })
      .catch(this.#options.onBug);
  }

  /** Up to the first that is not to go yet. What is added meanwhile comes behind, in the same pass. */
  #carryOut(mayGo: (waiting: Waiting) => boolean): void {
    if (this.#carryingOut) return;
    this.#carryingOut = true;
    let done = 0;
    try {
      while (done < this.#waiting.length && mayGo(this.#waiting[done]!))
        this.#options.carryOut(this.#waiting[done++]!.action);
    } finally {
      this.#waiting = this.#waiting.slice(done);
      this.#carryingOut = false;
    }
  }
}
