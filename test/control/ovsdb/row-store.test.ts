import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { modifyMap, modifySet, RowStore } from '../../../control/ovsdb/row-store.ts';
import { decodeValue, encodeValue, OvsdbFormatError, parseSchema, ZERO_UUID } from '../../../control/ovsdb/schema.ts';

const SCHEMA = parseSchema({
  tables: {
    T: {
      columns: {
        name: { type: 'string' },
        count: { type: 'integer' },
        tag: { type: { key: 'integer', min: 0, max: 1 } },
        set: { type: { key: 'string', min: 0, max: 'unlimited' } },
        map: { type: { key: 'string', value: 'string', min: 0, max: 'unlimited' } },
        ref: { type: { key: { type: 'uuid', refTable: 'T' } } },
      },
    },
  },
});
const U1 = '11111111-1111-1111-1111-111111111111';

function storeWith(initial: object): RowStore {
  const store = new RowStore(SCHEMA);
  store.applyUpdate2({ T: { [U1]: { initial } } });
  return store;
}

const row = (store: RowStore) => store.tables.get('T')?.get(U1);

describe('RowStore', () => {
  it('fills columns that an initial row leaves out with the defaults of their types', () => {
    expect(row(storeWith({ name: 'a' }))).toEqual({
      name: 'a',
      count: 0,
      tag: undefined,
      set: [],
      map: new Map(),
      ref: ZERO_UUID,
    });
  });

  it('takes a modify as a difference for sets and maps and as the value for all others', () => {
    const store = storeWith({
      name: 'a',
      tag: 5,
      set: ['set', ['x', 'y']],
      map: [
        'map',
        [
          ['k', '1'],
          ['l', '2'],
          ['m', '3'],
        ],
      ],
    });
    const before = row(store);
    const changed = store.applyUpdate2({
      T: {
        [U1]: {
          modify: {
            name: 'b',
            tag: ['set', []],
            set: ['set', ['y', 'z']],
            map: [
              'map',
              [
                ['k', '1'],
                ['l', '9'],
                ['n', '4'],
              ],
            ],
          },
        },
      },
    });
    expect(changed).toEqual(new Set(['T']));
    expect(row(store)).toMatchObject({
      name: 'b',
      tag: undefined,
      set: ['x', 'z'],
      map: new Map([
        ['l', '9'],
        ['m', '3'],
        ['n', '4'],
      ]),
    });
    expect(before).toMatchObject({ name: 'a', set: ['x', 'y'] });
  });

  it('tells no change of a row that differs in nothing but the keys we write ourselves', () => {
    const store = new RowStore(SCHEMA, { T: { map: new Set(['ours']) } });
    const pairs = (...list: [string, string][]) => ['map', list];
    store.applyUpdate2({ T: { [U1]: { initial: { name: 'a', set: 'x', map: pairs(['theirs', '1']) } } } });
    const modify = (row: object) => store.applyUpdate2({ T: { [U1]: { modify: row } } });
    expect(modify({ map: pairs(['ours', 'up']) })).toEqual(new Set());
    expect(row(store)?.map).toEqual(new Map(Object.entries({ theirs: '1', ours: 'up' })));
    expect(modify({ map: pairs(['ours', 'down'], ['theirs', '2']) })).toEqual(new Set(['T']));
    expect(modify({ map: pairs(['ours', 'up']), name: 'b' })).toEqual(new Set(['T']));
    expect(modify({ map: pairs(['other', '1']) })).toEqual(new Set(['T']));
    expect(modify({ map: pairs(['ours', 'up']) })).toEqual(new Set());
    expect(row(store)?.map).toEqual(new Map(Object.entries({ theirs: '2', other: '1' })));
  });

  it('takes a bare atom for a set of one, in a difference too', () => {
    const store = storeWith({ set: 'x' });
    expect(row(store)?.set).toEqual(['x']);
    store.applyUpdate2({ T: { [U1]: { modify: { set: 'x' } } } });
    expect(row(store)?.set).toEqual([]);
  });

  it('follows the whole rows of plain update', () => {
    const store = new RowStore(SCHEMA);
    store.applyUpdate({ T: { [U1]: { new: { name: 'a', set: ['set', ['x', 'y']] } } } });
    store.applyUpdate({ T: { [U1]: { old: { set: ['set', ['x', 'y']] }, new: { name: 'a', set: ['set', ['x']] } } } });
    expect(row(store)?.set).toEqual(['x']);
    store.applyUpdate({ T: { [U1]: { old: { name: 'a' } } } });
    expect(row(store)).toBeUndefined();
  });

  it('turns any map into any other by their difference, and any set likewise', () => {
    const map = fc
      .dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2'))
      .map((object) => new Map(Object.entries(object)));
    fc.assert(
      fc.property(map, map, (from, to) => {
        const difference = new Map([...from].filter(([key]) => !to.has(key)));
        for (const [key, value] of to) if (from.get(key) !== value) difference.set(key, value);
        expect(modifyMap(from, difference)).toEqual(to);
      }),
    );
    const set = fc.uniqueArray(fc.nat(8));
    fc.assert(
      fc.property(set, set, (from, to) => {
        const difference = [...from.filter((atom) => !to.includes(atom)), ...to.filter((atom) => !from.includes(atom))];
        expect(new Set(modifySet(from, difference))).toEqual(new Set(to));
      }),
    );
  });

  it.each([
    ['a table not monitored', { X: {} }],
    ['a column not monitored', { T: { [U1]: { initial: { other: 1 } } } }],
    ['a value of another type', { T: { [U1]: { initial: { name: 1 } } } }],
    ['a malformed map', { T: { [U1]: { initial: { map: ['map', [['a']]] } } } }],
    ['two members where one fits', { T: { [U1]: { initial: { tag: ['set', [1, 2]] } } } }],
    ['a malformed uuid', { T: { [U1]: { initial: { ref: ['uuid', 'x'] } } } }],
    ['a row without an event', { T: { [U1]: {} } }],
    ['a modify of a row that is not there', { T: { [U1]: { modify: { name: 'x' } } } }],
    ['a key that is no UUID', { T: { x: { initial: {} } } }],
    ['something else than tables', [1]],
  ])('refuses %s', (_, updates) => {
    expect(() => new RowStore(SCHEMA).applyUpdate2(updates)).toThrow(OvsdbFormatError);
  });

  it('does not mistake __proto__ and constructor for rows or columns', () => {
    const updates = JSON.parse(`{"T":{"${U1}":{"initial":{"map":["map",[["__proto__","x"]]]}}}}`);
    const store = new RowStore(SCHEMA);
    store.applyUpdate2(updates);
    expect(row(store)?.map).toEqual(new Map([['__proto__', 'x']]));
    expect(() => store.applyUpdate2(JSON.parse('{"constructor":{}}'))).toThrow(OvsdbFormatError);
  });
});

describe('values on the wire', () => {
  it('come back as they were for every column type', () => {
    const uuid = fc.uuid();
    const cases = [
      [SCHEMA.get('T')!.get('name')!, fc.string()],
      [SCHEMA.get('T')!.get('tag')!, fc.option(fc.integer(), { nil: undefined })],
      [SCHEMA.get('T')!.get('set')!, fc.uniqueArray(fc.string())],
      [SCHEMA.get('T')!.get('map')!, fc.array(fc.tuple(fc.string(), fc.string())).map((pairs) => new Map(pairs))],
      [SCHEMA.get('T')!.get('ref')!, uuid],
    ] as const;
    for (const [type, values] of cases) {
      fc.assert(
        fc.property<[unknown]>(values, (value) => {
          const wire = JSON.parse(JSON.stringify(encodeValue(type, value as string)));
          expect(decodeValue(type, wire)).toEqual(value);
        }),
      );
    }
  });
});
