/**
 * What was last said between us and each peer, for operators: every message with its proposals and selectors, and every
 * outcome with its reason. Bounded: so many lines a connection, and none for peers that no connection is with. No line
 * holds a secret: messages are described by wire/pretty.ts, which shows no key, nonce or authentication data.
 */

import type { JournalLine } from './types.ts';

/** A negotiation takes about ten lines. */
export const JOURNAL_LINES = 80;

export class Journal {
  readonly #lines = new Map<string, JournalLine[]>();

  note(connection: string, atMs: number, text: string): void {
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
}
