/**
 * Reads the keys of one map column by their rows in keys.ts. The first wrong value is kept as the reason to
 * refuse the whole; warnings are collected; what nobody asked for at the end is an unknown key.
 */
import { type Issue, issueReason } from './issue.ts';
import type { OvsdbKey } from './key-row.ts';

export class OptionReader {
  readonly #subject: string;
  readonly #setCommand: string;
  readonly #values: ReadonlyMap<string, string>;
  readonly #seen = new Set<string>();
  readonly warnings: Issue[] = [];
  #fault: string | undefined;

  /** `setCommand` is what a mend is spelled with, for instance `ovs-vsctl set interface tun`. */
  constructor(subject: string, setCommand: string, values: ReadonlyMap<string, string>) {
    this.#subject = subject;
    this.#setCommand = setCommand;
    this.#values = values;
  }

  /** The first wrong value as one line, or undefined: all was right so far. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** The text itself, unchecked; undefined when it is not set. */
  take(row: OvsdbKey<unknown>): string | undefined {
    return this.#find(row)?.text;
  }

  /** The parsed value, or undefined when it is not set or wrong; then `fault` is set. */
  read<T>(row: OvsdbKey<T>): T | undefined {
    const found = this.#find(row);
    if (found === undefined) return undefined;
    const value = row.parse(found.text);
    if (value === undefined) this.refuse(row, found.text, row.expected);
    return value;
  }

  /** The same, but a wrong value is a warning and counts as not set. */
  readOrWarn<T>(row: OvsdbKey<T>): T | undefined {
    const found = this.#find(row);
    if (found === undefined) return undefined;
    const value = row.parse(found.text);
    if (value === undefined) {
      this.warn(row, found.text, row.expected, `the default (${row.byDefault}) is used; ${this.#mend(row)}`);
    }
    return value;
  }

  /** Refuses the whole for this key, unless something before it was wrong. */
  refuse(row: OvsdbKey<unknown>, value: string | undefined, expected: string, mend?: string): void {
    this.refuseFor(issueReason(this.issue(row, value, expected, mend ?? this.#mend(row))));
  }

  refuseFor(reason: string): void {
    this.#fault ??= reason;
  }

  warn(row: OvsdbKey<unknown>, value: string | undefined, expected: string, mend: string): void {
    this.warnings.push(this.issue(row, value, expected, mend));
  }

  issue(row: OvsdbKey<unknown>, value: string | undefined, expected: string, mend: string): Issue {
    const shown = value !== undefined && row.secret === true ? '(set)' : value;
    return { subject: this.#subject, key: `${row.column}:${row.key}`, value: shown, expected, mend };
  }

  /** Warns of each key that no `read` asked for. Values are left out: a mistyped `psk` is a secret all the same. */
  warnOfTheRest(column: string, expected: string, except: (key: string) => boolean): void {
    for (const key of this.#values.keys()) {
      if (this.#seen.has(key) || except(key)) continue;
      this.warnings.push({
        subject: this.#subject,
        key: `${column}:${key}`,
        value: '(ignored)',
        expected,
        mend: `check its spelling or remove it: ${this.#setCommand.replace(/\bset\b/, 'remove')} ${column} ${key}`,
      });
    }
  }

  #find(row: OvsdbKey<unknown>): { readonly text: string } | undefined {
    let found: { text: string } | undefined;
    for (const name of [row.key, ...(row.aliases ?? [])]) {
      const text = this.#values.get(name);
      if (text === undefined) continue;
      this.#seen.add(name);
      found ??= { text };
    }
    return found;
  }

  #mend(row: OvsdbKey<unknown>): string {
    return `for instance: ${this.#setCommand} ${row.column}:${row.key}=${row.example}`;
  }
}
