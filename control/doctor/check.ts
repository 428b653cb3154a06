/** What a check of `ovs-espd doctor` is: one idea about this host, looked at without changing anything, and what it found. */
import type { Native } from '../../native-shims/index.ts';
import type { DesiredState } from '../config/desired-state.ts';
import type { CredentialPaths, Credentials } from '../credentials/credentials.ts';
import type { Replica } from '../ovsdb/database.ts';
import type { Remembered } from '../protection-file.ts';
import type { Underlay } from '../underlay.ts';
import type { Process } from './processes.ts';

/** `warn`: works, but not as an operator may think. `fail`: does not work. */
export type Level = 'ok' | 'warn' | 'fail';

export interface Finding {
  readonly level: Level;
  /** What is so, one line, without a secret. */
  readonly message: string;
  /** What to do about it; every warning and failure has one. */
  readonly remedy?: string;
}

export interface Check {
  /** One word, for `--json` and for the line. */
  readonly name: string;
  /** What is looked at, for the manual. */
  readonly about: string;
  run(host: HostFacts): readonly Finding[] | Promise<readonly Finding[]>;
}

/** What the checks look at, gathered once. */
export interface HostFacts {
  /** The addon, or why it does not load. */
  readonly native: Native | { readonly problem: string };
  readonly processes: readonly Process[];
  readonly database: DatabaseFacts | { readonly name: string; readonly problem: string };
  /** What the database asks for; undefined when it cannot be read. */
  readonly configuration: Configuration | undefined;
  readonly nowMs: number;
}

export interface DatabaseFacts {
  readonly name: string;
  readonly isShared: boolean;
  readonly replica: Replica;
  /** `table.column` that the server's schema lacks. */
  readonly missingColumns: readonly string[];
  /** Locks that another client holds. */
  readonly heldLocks: ReadonlySet<string>;
}

export interface Configuration {
  readonly desired: DesiredState;
  readonly underlay: Underlay;
  readonly credentials: Credentials;
  /** Files that the database names. */
  readonly paths: CredentialPaths;
  /** What was ever protected. */
  readonly remembered: Remembered;
}

export const ok = (message: string): Finding => ({ level: 'ok', message });
export const warn = (message: string, remedy: string): Finding => ({ level: 'warn', message, remedy });
export const fail = (message: string, remedy: string): Finding => ({ level: 'fail', message, remedy });

/** Name and addresses of a tunnel whose settings hold. */
export interface PlacedTunnel {
  readonly name: string;
  readonly local: string;
  readonly remote: string;
}

export function placedTunnels({ desired }: Configuration): PlacedTunnel[] {
  return desired.tunnels.flatMap(({ name, settings }) =>
    settings === undefined ? [] : [{ name, local: settings.local, remote: settings.remote }],
  );
}
