/**
 * What the datapath tells OVSDB, so that `ovs-vsctl` never hangs and shows the truth: cur_cfg, ofport,
 * mac_in_use, mtu, ifindex, link and admin state, errors, statistics, tunnel status.
 *
 * Only differences from the replica are written, guarded by the datapath's lock; of thousands of rows so many in one
 * transaction, in the order in which they were set, as each is carried out in one piece.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';

import type { Database, Operation, Row, Value } from './ovsdb/database.ts';
import { inSlices } from './slices.ts';
import type { Logger } from './vlog.ts';

/** The OVSDB lock that whoever is the datapath holds; the real ovs-vswitchd too. */
export const DATAPATH_LOCK = 'ovs_vswitchd';

/** Rows of one transaction. */
const ROWS_AT_ONCE = 100;

/** Rows by table and UUID, with the columns that they should have. */
export class WriteBack {
  readonly #rows = new Map<string, Map<string, Record<string, Value>>>();

  set(table: string, uuid: string, columns: Readonly<Record<string, Value>>): void {
    const rows = this.#rows.get(table) ?? new Map<string, Record<string, Value>>();
    this.#rows.set(table, rows);
    rows.set(uuid, { ...rows.get(uuid), ...columns });
  }

  /** The operations that make the replica's rows equal to what was set. Rows that are gone are left out. */
  *#operations(database: Database): Generator<undefined, Operation[]> {
    const operations: Operation[] = [];
    for (const [table, rows] of this.#rows) {
      for (const [uuid, columns] of rows) {
        yield;
        const current = database.replica().get(table)?.get(uuid);
        if (current === undefined) continue;
        const row = differing(current, columns, (column) => database.hasColumn(table, column));
        if (Object.keys(row).length > 0) operations.push({ op: 'update', table, uuid, row });
      }
    }
    return operations;
  }

  /** Writes the differences. A failure is logged; the next change or the statistics timer tries again. */
  async commit(database: Database, log: Logger): Promise<boolean> {
    const operations = await inSlices(this.#operations(database));
    for (let first = 0; first < operations.length; first += ROWS_AT_ONCE) {
      const portion = operations.slice(first, first + ROWS_AT_ONCE);
      const result = await database.transact([{ op: 'assert-lock', lock: DATAPATH_LOCK }, ...portion]);
      if (!result.committed) {
        log.limited('write-back', 'warn', `writing state to the database failed: ${result.reason}`);
        return false;
      }
      await nextTurn();
    }
    return true;
  }
}

function differing(current: Row, wanted: Readonly<Record<string, Value>>, known: (column: string) => boolean): Row {
  return Object.fromEntries(
    Object.entries(wanted).filter(([column, value]) => known(column) && !sameValue(current[column], value)),
  );
}

/** Equality of column values; sets and maps without regard to order. */
export function sameValue(a: Value, b: Value): boolean {
  if (a instanceof Map && b instanceof Map)
    return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((atom) => b.includes(atom));
  return a === b;
}
