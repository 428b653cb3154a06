/**
 * What was last said between us and each peer, for operators: every message with its proposals and selectors, and every
 * outcome with its reason. Bounded: so many lines a connection and in all, and none for peers that no connection is with. No line
 * holds a secret: messages are described by wire/pretty.ts, which shows no key, nonce or authentication data.
 */

import type { JournalLine } from './types.ts';

/** A negotiation takes about ten lines. */
export const JOURNAL_LINES = 80;

/** Of all connections together: the latest negotiations of a few hundred peers, however many there are. */
export const JOURNAL_TOTAL = 8192;

export class Journal {
  readonly #lines = new Map<string, JournalLine[]>();
  /** Whose lines they are, in the order they came: a ring, `#next` is where the oldest gives way. */
  readonly #order: string[] = [];
  #next = 0;

  note(connection: string, atMs: number, text: string): void {
    this.#makeRoom(connection);
    let lines = this.#lines.get(connection);
    if (lines === undefined) {
      lines = [];
      this.#lines.set(connection, lines);
    }
    lines.push({ atMs, text });
    if (lines.length > JOURNAL_LINES) lines.shift();
  }

  of(connection: string): readonly JournalLine[] {
    return this.#lines.get(connection) ?? [];
  }

  forget(connection: string): void {
    this.#lines.delete(connection);
  }

  /** The place of the oldest note goes to this one. Its line may be gone by itself; then the connection loses its next. */
  #makeRoom(connection: string): void {
    const oldest = this.#order[this.#next];
    this.#order[this.#next] = connection;
    this.#next = (this.#next + 1) % JOURNAL_TOTAL;
    const lines = oldest === undefined ? undefined : this.#lines.get(oldest);
    lines?.shift();
    if (oldest !== undefined && lines?.length === 0) this.#lines.delete(oldest);
  }
}
