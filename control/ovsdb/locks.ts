/**
 * The locks a client wants and holds (RFC 7047 §4.1.8 to §4.1.10). A lock belongs to a session: it is lost
 * with the connection and asked for again on the next.
 */
import type { RpcSession } from './rpc.ts';

export class LockSet {
  /** Name to whether it is held. */
  readonly #wanted = new Map<string, boolean>();
  readonly #onChange: (name: string, held: boolean) => void;

  constructor(onChange: (name: string, held: boolean) => void) {
    this.#onChange = onChange;
  }

  holds(name: string): boolean {
    return this.#wanted.get(name) === true;
  }

  want(name: string, session: RpcSession | undefined): void {
    if (this.#wanted.has(name)) return;
    this.#wanted.set(name, false);
    if (session !== undefined) this.#request(name, session);
  }

  release(name: string, session: RpcSession | undefined): void {
    if (!this.#wanted.has(name)) return;
    this.#set(name, false);
    this.#wanted.delete(name);
    session?.call('unlock', [name], () => {});
  }

  requestAll(session: RpcSession): void {
    for (const name of this.#wanted.keys()) this.#request(name, session);
  }

  /** `locked` (true) and `stolen` (false). */
  notified(name: string, held: boolean): void {
    if (this.#wanted.has(name)) this.#set(name, held);
  }

  lostAll(): void {
    for (const name of this.#wanted.keys()) this.#set(name, false);
  }

  #request(name: string, session: RpcSession): void {
    session.call('lock', [name], ({ result, error }) => {
      const answered = error === null && typeof result === 'object' && result !== null && 'locked' in result;
      if (answered && result.locked === true) this.notified(name, true);
      // Somebody else has it: who waits for the lock should hear that it waits.
      else if (this.#wanted.get(name) === false) this.#onChange(name, false);
    });
  }

  #set(name: string, held: boolean): void {
    if (this.#wanted.get(name) === held) return;
    this.#wanted.set(name, held);
    this.#onChange(name, held);
  }
}
