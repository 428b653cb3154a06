// What the datapath tells OVSDB, in portions: thousands of rows in one piece would hold everything up.
import { describe, expect, it } from 'vitest';
import type { Database, Operation, Row, TransactionResult } from '../../control/ovsdb/database.ts';
import type { Logger } from '../../control/vlog.ts';
import { WriteBack } from '../../control/write-back.ts';

const PORTS = 250;

/** A database with so many Interface rows, which notes what is asked of it, and refuses from the `failing`th transaction on. */
function databaseOf(ports: number, failing = Number.POSITIVE_INFINITY) {
  const transactions: (readonly Operation[])[] = [];
  const rows = new Map(Array.from({ length: ports }, (_, index) => [`port-${index}`, { ofport: undefined }]));
  const database = {
    replica: () =>
      new Map<string, ReadonlyMap<string, Row>>([
        ['Interface', rows],
        ['Open_vSwitch', new Map([['root', { cur_cfg: 0 }]])],
      ]),
    hasColumn: () => true,
    transact: (operations: readonly Operation[]): Promise<TransactionResult> => {
      transactions.push(operations);
      const committed = transactions.length < failing;
      return Promise.resolve({
        committed,
        reason: committed ? undefined : 'not owner',
        results: [],
      } as TransactionResult);
    },
  } as unknown as Database;
  return { database, transactions };
}

function report(): WriteBack {
  const writeBack = new WriteBack();
  for (let index = 0; index < PORTS; index++) writeBack.set('Interface', `port-${index}`, { ofport: index });
  writeBack.set('Interface', 'gone', { ofport: 7 });
  writeBack.set('Open_vSwitch', 'root', { cur_cfg: 5 });
  return writeBack;
}

const warnings: string[] = [];
const log = { limited: (_key: string, _level: string, message: string) => warnings.push(message) } as unknown as Logger;

describe('what the datapath writes back', () => {
  it('is written a hundred rows at a time, each guarded by the lock, and cur_cfg comes last', async () => {
    const { database, transactions } = databaseOf(PORTS);
    let turns = 0;
    const turning = setInterval(() => turns++, 0);
    expect(await report().commit(database, log)).toBe(true);
    clearInterval(turning);
    expect(transactions.map((operations) => operations.length)).toEqual([101, 101, 52]);
    for (const [guard] of transactions) expect(guard).toEqual({ op: 'assert-lock', lock: 'ovs_vswitchd' });
    expect(transactions.at(-1)?.at(-1)).toMatchObject({ table: 'Open_vSwitch', row: { cur_cfg: 5 } });
    expect(transactions.flat().filter((operation) => 'uuid' in operation && operation.uuid === 'gone')).toEqual([]);
    expect(turns).toBeGreaterThan(0);
  });

  it('ends with the first transaction that fails, so that cur_cfg never says what is not so', async () => {
    const { database, transactions } = databaseOf(PORTS, 2);
    expect(await report().commit(database, log)).toBe(false);
    expect(transactions).toHaveLength(2);
    expect(warnings).toEqual(['writing state to the database failed: not owner']);
  });

  it('is nothing when nothing differs', async () => {
    const { database, transactions } = databaseOf(0);
    const writeBack = new WriteBack();
    writeBack.set('Open_vSwitch', 'root', { cur_cfg: 0 });
    expect(await writeBack.commit(database, log)).toBe(true);
    expect(transactions).toEqual([]);
  });
});
