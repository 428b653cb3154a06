/**
 * The state of each tunnel as keys of Interface.external_ids, so that `ovs-vsctl get` and other programs see it.
 * (`status` and `statistics` are ovs-vswitchd's, which overwrites them whole; external_ids it does not even read.)
 *
 * OVSDB puts every write on disk and wakes who monitors the column, so only transitions are written: many of one moment
 * in one transaction, at most one transaction a second, and a failure that differs in its seconds alone is the
 * same failure. Every write is guarded by the lock of keying daemons. A file database has no other reader: nothing is written.
 */
import type { TunnelState } from './config/desired-state.ts';
import { type PolicyRowId, policyRowOf } from './model/policy-rows.ts';
import { type Database, mapOf, type Operation } from './ovsdb/database.ts';
import { STATUS_KEY_NAMES } from './ovsdb/switch-columns.ts';
import type { Timers } from './ovsdb/timers.ts';
import { indexStatus, type StatusSources } from './status.ts';
import type { Logger } from './vlog.ts';

/** Held by the daemon that keys the tunnels of this database: two of them would fight for the peers. */
export const KEYING_LOCK = 'ovs_ipsec';

const { state: STATE, error: ERROR, establishedAt: ESTABLISHED_AT } = STATUS_KEY_NAMES;

/** For the documentation. */
export const STATUS_KEYS = [
  {
    key: STATE,
    values: 'up, down, never-up or invalid',
    meaning:
      'The row of the policy table (policy.md) that the tunnel is in: `up` has an SA to send on; `down` had one and drops until it has one again; `never-up` has had none yet; `invalid` sends and accepts nothing.',
  },
  {
    key: ERROR,
    values: 'a sentence',
    meaning:
      'Why there is no SA: the key at fault, what came, what was expected and how to mend it, or the last failure of the negotiation. Absent while all is well.',
  },
  {
    key: ESTABLISHED_AT,
    values: 'a time in UTC, RFC 3339',
    meaning: 'When the tunnel last came up; rekeying does not change it. Present only while it is up.',
  },
] as const;

/** Between two transactions. The first transition after a quiet time is written after `GATHER_MS`. */
const PAUSE_MS = 1000;
const GATHER_MS = 50;

export interface InterfaceStatusOptions {
  readonly database: Database;
  /** Undefined before the first reconciliation. */
  readonly status: () => StatusSources | undefined;
  readonly dateMs: () => number;
  /** Tunnels that are up at the first look have been so since before this process: what the database says of them stays. */
  readonly isSuccessor: boolean;
  readonly timers: Timers;
  readonly log: Logger;
}

interface Wanted {
  readonly state: PolicyRowId;
  readonly error: string | undefined;
}

export class InterfaceStatus {
  readonly #options: InterfaceStatusOptions;
  /** When each tunnel came up, by the UUID of its Interface row. */
  readonly #upSince = new Map<string, string>();
  #cancel: (() => void) | undefined;
  #writing = false;
  #again = false;
  #lastMs = Number.NEGATIVE_INFINITY;
  #stopped = false;
  #isFirstLook = true;

  constructor(options: InterfaceStatusOptions) {
    this.#options = options;
  }

  /** Something may have changed: written soon, if it has. */
  soon(): void {
    if (this.#stopped || !this.#options.database.isShared) return;
    if (this.#writing) this.#again = true;
    if (this.#writing || this.#cancel !== undefined) return;
    const rest = this.#lastMs + PAUSE_MS - this.#options.dateMs();
    this.#cancel = this.#options.timers.after(Math.min(Math.max(rest, GATHER_MS), PAUSE_MS), () => {
      this.#cancel = undefined;
      void this.#write(this.#operations(this.#options.status()));
    });
  }

  /** Writes nothing any more; with `remove` the keys go too, as there is nobody left who would keep them true. */
  async stop(remove: boolean): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    if (remove) await this.#write(this.#operationsFor(new Map()));
  }

  async #write(operations: readonly Operation[]): Promise<void> {
    const { database, dateMs, log } = this.#options;
    if (operations.length === 0 || !database.synced || !database.holdsLock(KEYING_LOCK)) return;
    this.#writing = true;
    this.#lastMs = dateMs();
    const result = await database.transact([{ op: 'assert-lock', lock: KEYING_LOCK }, ...operations]);
    this.#writing = false;
    if (!result.committed)
      log.limited('interface-status', 'warn', `writing the state of tunnels to the database failed: ${result.reason}`);
    if (this.#again) {
      this.#again = false;
      this.soon();
    }
  }

  #operations(sources: StatusSources | undefined): Operation[] {
    if (sources === undefined || !this.#options.database.isShared) return [];
    return this.#operationsFor(wantedStates(sources));
  }

  /** What makes the keys of all Interface rows those of `wanted`, by UUID; rows that are not in it have none. */
  #operationsFor(wanted: ReadonlyMap<string, Wanted>): Operation[] {
    const operations: Operation[] = [];
    for (const uuid of this.#upSince.keys()) if (wanted.get(uuid)?.state !== 'up') this.#upSince.delete(uuid);
    for (const [uuid, row] of this.#options.database.replica().get('Interface') ?? []) {
      const ids = mapOf(row, 'external_ids');
      const entries = this.#entries(uuid, wanted.get(uuid), ids);
      const target = { table: 'Interface', uuid, column: 'external_ids' };
      const differing = Object.entries(entries).filter(([key, value]) => !sameText(ids.get(key), value));
      const superfluous = STATUS_KEYS.map(({ key }) => key).filter((key) => ids.has(key) && !(key in entries));
      if (superfluous.length > 0) operations.push({ op: 'remove-keys', ...target, keys: superfluous });
      if (differing.length > 0) operations.push({ op: 'set-keys', ...target, entries: Object.fromEntries(differing) });
    }
    this.#isFirstLook = false;
    return operations;
  }

  #entries(uuid: string, wanted: Wanted | undefined, ids: ReadonlyMap<string, string>): Record<string, string> {
    if (wanted === undefined) return {};
    const { state, error } = wanted;
    if (state !== 'up') return { [STATE]: state, ...(error === undefined ? {} : { [ERROR]: error }) };
    const before = this.#options.isSuccessor && this.#isFirstLook ? ids.get(ESTABLISHED_AT) : undefined;
    const since =
      this.#upSince.get(uuid) ?? before ?? `${new Date(this.#options.dateMs()).toISOString().slice(0, 19)}Z`;
    this.#upSince.set(uuid, since);
    return { [STATE]: state, [ESTABLISHED_AT]: since };
  }
}

/** By UUID, of all tunnels that want IPsec. */
function wantedStates(sources: StatusSources): ReadonlyMap<string, Wanted> {
  const index = indexStatus(sources);
  const wanting = sources.desired.tunnels.filter(({ wantsIpsec }) => wantsIpsec);
  return new Map(
    wanting.map((tunnel) => {
      const plan = index.plans.get(tunnel.connection ?? '');
      const failure = plan === undefined ? undefined : index.ike.get(plan.connection.name)?.lastFailure;
      return [tunnel.uuid, { state: stateOf(tunnel, sources), error: tunnel.reason ?? failure }];
    }),
  );
}

function stateOf(tunnel: TunnelState, { protections, children }: StatusSources): PolicyRowId {
  const protection = tunnel.connection === undefined ? undefined : protections.get(tunnel.connection);
  const sends = protection !== undefined && children.sendingChild(protection.id) !== undefined;
  return policyRowOf(tunnel.state === 'INVALID', protection?.state ?? 'invalid', sends);
}

/** `has not answered for 31 s` is no news after `… 7 s`. */
function sameText(before: string | undefined, now: string): boolean {
  return before === now || (before !== undefined && withoutSeconds(before) === withoutSeconds(now));
}

const withoutSeconds = (text: string): string => text.replace(/\b\d+ s\b/g, '# s');
