import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mapOf, type Replica, type Row, textOf, textsOf } from '../../../control/ovsdb/database.ts';
import { FileDatabase } from '../../../control/ovsdb/file-database.ts';
import { parseFileRows } from '../../../control/ovsdb/file-rows.ts';

const TUTORIAL = {
  Open_vSwitch: { other_config: { ipsec_skb_mark: '0/1' } },
  Bridge: [{ name: 'br-ipsec', ports: ['br-ipsec', 'tun'] }],
  Interface: [{ name: 'tun', type: 'gre', options: { remote_ip: '10.0.0.2', psk: 'swordfish', key: 5, csum: true } }],
};

function rowOf(replica: Replica, table: string, name: string): [string, Row] {
  const found = [...(replica.get(table) ?? [])].find(([, row]) => textOf(row, 'name') === name);
  if (found === undefined) throw new Error(`no ${table} ${name}`);
  return found;
}

describe('FileDatabase', () => {
  let directory: string;
  let path: string;
  let database: FileDatabase;
  const told: string[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-file-'));
    path = join(directory, 'conf.json');
    database = new FileDatabase(path);
    told.length = 0;
    database.on('disconnected', (reason) => told.push(reason));
  });

  afterEach(async () => {
    await database.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** As an editor does: another file takes the place. */
  function replace(content: unknown): void {
    const next = join(directory, 'next');
    writeFileSync(next, typeof content === 'string' ? content : JSON.stringify(content));
    renameSync(next, path);
  }

  async function begin(content: unknown = TUTORIAL): Promise<void> {
    replace(content);
    const synced = once(database, 'synced');
    database.start();
    await synced;
  }

  it('fills in ports, interfaces, references and UUIDs', async () => {
    await begin();
    const replica = database.replica();
    const [, bridge] = rowOf(replica, 'Bridge', 'br-ipsec');
    const [tunPort, port] = rowOf(replica, 'Port', 'tun');
    const [tunUuid, tun] = rowOf(replica, 'Interface', 'tun');
    const [root] = [...replica.get('Open_vSwitch')!.values()];
    expect(textsOf(root!, 'bridges')).toEqual([rowOf(replica, 'Bridge', 'br-ipsec')[0]]);
    expect(textsOf(bridge, 'ports')).toEqual([rowOf(replica, 'Port', 'br-ipsec')[0], tunPort]);
    expect(textsOf(port, 'interfaces')).toEqual([tunUuid]);
    expect(textOf(rowOf(replica, 'Interface', 'br-ipsec')[1], 'type')).toBe('internal');
    expect(mapOf(tun, 'options').get('key')).toBe('5');
    expect(mapOf(tun, 'options').get('csum')).toBe('true');
    expect(mapOf(root!, 'other_config').get('ipsec_skb_mark')).toBe('0/1');
  });

  it('sees a change of the file, tells which tables changed, and keeps the UUIDs of what stayed', async () => {
    await begin();
    const [before] = rowOf(database.replica(), 'Interface', 'tun');
    const changed = once(database, 'changed');
    replace({ ...TUTORIAL, Interface: [{ ...TUTORIAL.Interface[0]!, type: 'vxlan' }] });
    expect(await changed).toEqual([new Set(['Interface'])]);
    const [after, row] = rowOf(database.replica(), 'Interface', 'tun');
    expect(after).toBe(before);
    expect(textOf(row, 'type')).toBe('vxlan');
  });

  it('keeps the last good state when the file goes bad, says why in one line without a secret, and goes on when it is mended', async () => {
    await begin();
    const bad = once(database, 'disconnected');
    replace('{"Bridge": [\n{"name": "br0"},\n{"psk": "swordfish" oops}]}');
    const [reason] = await bad;
    expect(reason).toBe(`file:${path}: bad JSON at line 3; the last good state stays in force`);
    expect(rowOf(database.replica(), 'Interface', 'tun')).toBeDefined();
    expect(database.synced).toBe(true);
    const mended = once(database, 'changed');
    replace({ Bridge: [{ name: 'br1' }] });
    await mended;
    expect(rowOf(database.replica(), 'Bridge', 'br1')).toBeDefined();
    expect(database.replica().get('Interface')?.size).toBe(1);
  });

  it('waits for a file that is not there', async () => {
    const gone = once(database, 'disconnected');
    database.start();
    expect(await gone).toEqual([`file:${path}: cannot read it (ENOENT); waiting until it is mended`]);
    const synced = once(database, 'synced');
    replace(TUTORIAL);
    await synced;
  });

  it('takes write-backs into memory and keeps them when the file is read again', async () => {
    await begin();
    const [uuid] = rowOf(database.replica(), 'Interface', 'tun');
    const changes: ReadonlySet<string>[] = [];
    database.on('changed', (tables) => changes.push(tables));
    const result = await database.transact([
      { op: 'update', table: 'Interface', uuid, row: { ofport: 1, type: 'geneve' } },
      { op: 'set-keys', table: 'Interface', uuid, column: 'external_ids', entries: { state: 'up' } },
    ]);
    expect(result).toEqual({ committed: true, reason: undefined, results: [{ count: 1 }, { count: 1 }] });
    expect(changes).toEqual([new Set(['Interface'])]);
    replace({ ...TUTORIAL, Bridge: [{ name: 'br-ipsec', ports: ['tun', 'more'] }] });
    await once(database, 'changed');
    const [, row] = rowOf(database.replica(), 'Interface', 'tun');
    expect(row.ofport).toBe(1);
    expect(mapOf(row, 'external_ids').get('state')).toBe('up');
    // The file states the type, so it wins.
    expect(textOf(row, 'type')).toBe('gre');
  });

  it('calls what is only written no change, as a server does not send it back', async () => {
    await begin();
    const [uuid] = rowOf(database.replica(), 'Interface', 'tun');
    const changes: ReadonlySet<string>[] = [];
    database.on('changed', (tables) => changes.push(tables));
    const statistics = new Map([['rx_packets', 1]]);
    await database.transact([{ op: 'update', table: 'Interface', uuid, row: { statistics, link_state: 'up' } }]);
    expect(changes).toEqual([]);
    expect(database.replica().get('Interface')!.get(uuid)!.statistics).toEqual(statistics);
  });

  it('takes all of a transaction or nothing', async () => {
    await begin();
    const [uuid] = rowOf(database.replica(), 'Interface', 'tun');
    const result = await database.transact([
      { op: 'update', table: 'Interface', uuid, row: { ofport: 1 } },
      { op: 'expect', table: 'Interface', uuid, column: 'type', value: 'vxlan' },
    ]);
    expect(result.reason).toBe('expect: timed out: Interface.type has another value');
    expect(database.replica().get('Interface')!.get(uuid)!.ofport).toBeUndefined();
    expect((await database.transact([{ op: 'assert-lock', lock: 'l' }])).committed).toBe(false);
  });

  it('inserts, refers to and deletes rows as a server does', async () => {
    await begin();
    const inserted = await database.transact([
      { op: 'insert', table: 'Interface', name: 'i', row: { name: 'x' } },
      { op: 'insert', table: 'Port', row: { name: 'x', interfaces: ['i'] } },
    ]);
    const [uuid, row] = rowOf(database.replica(), 'Interface', 'x');
    expect(inserted.results[0]).toEqual({ uuid });
    expect(row.mtu).toBeUndefined();
    expect(textsOf(rowOf(database.replica(), 'Port', 'x')[1], 'interfaces')).toEqual([uuid]);
    await database.transact([{ op: 'delete', table: 'Interface', uuid }]);
    expect(database.replica().get('Interface')?.has(uuid)).toBe(false);
  });

  it('grants every lock, as nobody else can have it', async () => {
    const granted = once(database, 'lock');
    database.lock('ovs_vswitchd');
    expect(await granted).toEqual(['ovs_vswitchd', true]);
    expect(database.holdsLock('ovs_vswitchd')).toBe(true);
  });

  it('does not take transactions before it has read the file', async () => {
    expect(await database.transact([])).toMatchObject({ committed: false, reason: `file:${path} has not been read` });
  });
});

describe('a file that is refused', () => {
  it.each([
    ['an unknown table', { Bridges: [] }, 'the file: unknown "Bridges"'],
    ['an unknown column', { Interface: [{ name: 'x', option: {} }] }, 'Interface[0]: unknown "option"'],
    ['a number for a map', { Interface: [{ name: 'x', options: 1 }] }, 'Interface[0].options: expected an object'],
    [
      'an object as a value',
      { Interface: [{ name: 'x', options: { psk: {} } }] },
      'Interface[0].options.psk: expected a text',
    ],
    ['a text for an integer', { Interface: [{ name: 'x', ofport: '1' }] }, 'Interface[0].ofport: expected an integer'],
    ['a row without a name', { Bridge: [{}] }, 'Bridge: a row has no name'],
    ['two rows of one name', { Bridge: [{ name: 'a' }, { name: 'a' }] }, 'Bridge: two rows are "a"'],
    [
      'a bridge that is not there',
      { Open_vSwitch: { bridges: ['a'] } },
      'Open_vSwitch.bridges: there is no Bridge "a"',
    ],
    ['a wrong UUID', { Bridge: [{ name: 'a', _uuid: 'x' }] }, 'Bridge[0]._uuid: expected a UUID'],
    ['an array', [], 'the file: Invalid input: expected object, received array'],
  ])('for %s says where and what', (_, file, message) => {
    expect(() => parseFileRows(JSON.stringify(file))).toThrow(message);
  });

  it.each([
    ['{"a": }', 'bad JSON'],
    ['{"a": 1', 'bad JSON'],
    ['', 'bad JSON: it ends too early'],
  ])('for the text %j says so', (text, message) => {
    expect(() => parseFileRows(text)).toThrow(message);
  });

  it('never shows a value, wherever the syntax goes wrong', () => {
    const good = JSON.stringify(TUTORIAL);
    for (let at = 0; at < good.length; at++) {
      for (const text of [good.slice(0, at), `${good.slice(0, at)}@${good.slice(at)}`]) {
        try {
          parseFileRows(text);
        } catch (error) {
          expect(String(error)).not.toMatch(/sword|fish/);
        }
      }
    }
  });
});
