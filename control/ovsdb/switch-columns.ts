/**
 * The tables and columns of the Open_vSwitch schema (ovs-vswitchd.conf.db(5)) that ovs-espd reads or writes.
 * A server is asked to monitor those that are read; a file database knows no others.
 */
import type { ColumnChoice } from './database.ts';
import type { OwnKeys } from './row-store.ts';
import type { ColumnType, DatabaseSchema } from './schema.ts';

const STRING = { key: 'string', min: 1, max: 1 } as const;
const INTEGER = { key: 'integer', min: 1, max: 1 } as const;
const BOOLEAN = { key: 'boolean', min: 1, max: 1 } as const;
const STRING_MAP = { key: 'string', value: 'string', min: 0, max: 'unlimited' } as const;
const INTEGER_MAP = { key: 'string', value: 'integer', min: 0, max: 'unlimited' } as const;
const STRINGS = { key: 'string', min: 0, max: 'unlimited' } as const;
const INTEGERS = { key: 'integer', min: 0, max: 'unlimited' } as const;
const UUIDS = { key: 'uuid', min: 0, max: 'unlimited' } as const;
const OPTIONAL_STRING = { key: 'string', min: 0, max: 1 } as const;
const OPTIONAL_INTEGER = { key: 'integer', min: 0, max: 1 } as const;
const OPTIONAL_BOOLEAN = { key: 'boolean', min: 0, max: 1 } as const;

/** Columns that are read, and so monitored. */
const READ: Readonly<Record<string, Readonly<Record<string, ColumnType>>>> = {
  Open_vSwitch: {
    bridges: UUIDS,
    other_config: STRING_MAP,
    external_ids: STRING_MAP,
    next_cfg: INTEGER,
    cur_cfg: INTEGER,
  },
  Bridge: {
    name: STRING,
    ports: UUIDS,
    other_config: STRING_MAP,
    external_ids: STRING_MAP,
    datapath_type: STRING,
    datapath_id: OPTIONAL_STRING,
    fail_mode: OPTIONAL_STRING,
    controller: UUIDS,
  },
  Port: {
    name: STRING,
    interfaces: UUIDS,
    tag: OPTIONAL_INTEGER,
    trunks: INTEGERS,
    vlan_mode: OPTIONAL_STRING,
    other_config: STRING_MAP,
    external_ids: STRING_MAP,
  },
  Interface: {
    name: STRING,
    type: STRING,
    options: STRING_MAP,
    other_config: STRING_MAP,
    external_ids: STRING_MAP,
    ofport: OPTIONAL_INTEGER,
    ofport_request: OPTIONAL_INTEGER,
    mac: OPTIONAL_STRING,
    mac_in_use: OPTIONAL_STRING,
    mtu_request: OPTIONAL_INTEGER,
    error: OPTIONAL_STRING,
    cfm_fault: OPTIONAL_BOOLEAN,
  },
};

/** Columns that are only written: monitoring them would bring back our own writes. */
const WRITTEN: typeof READ = {
  Open_vSwitch: {
    ovs_version: OPTIONAL_STRING,
    db_version: OPTIONAL_STRING,
    datapath_types: STRINGS,
    iface_types: STRINGS,
    dpdk_initialized: BOOLEAN,
    statistics: STRING_MAP,
  },
  Bridge: { datapath_version: STRING, status: STRING_MAP },
  Port: { mac: OPTIONAL_STRING, status: STRING_MAP, statistics: INTEGER_MAP },
  Interface: {
    admin_state: OPTIONAL_STRING,
    link_state: OPTIONAL_STRING,
    link_speed: OPTIONAL_INTEGER,
    link_resets: OPTIONAL_INTEGER,
    duplex: OPTIONAL_STRING,
    mtu: OPTIONAL_INTEGER,
    ifindex: OPTIONAL_INTEGER,
    statistics: INTEGER_MAP,
    status: STRING_MAP,
  },
};

/** Keys of Interface.external_ids that tell the state of a tunnel; what they mean is interface-status.ts's. */
export const STATUS_KEY_NAMES = {
  state: 'ipsec-state',
  error: 'ipsec-error',
  establishedAt: 'ipsec-established-at',
} as const;

/** What to give OvsdbClient as `ownKeys`. */
export const OWN_KEYS: OwnKeys = { Interface: { external_ids: new Set(Object.values(STATUS_KEY_NAMES)) } };

/** What to give OvsdbClient as `columns`. */
export const COLUMNS: ColumnChoice = Object.fromEntries(
  Object.entries(READ).map(([table, columns]) => [table, Object.keys(columns)]),
);

export const SWITCH_SCHEMA: DatabaseSchema = new Map(
  Object.keys(READ).map((table) => [table, new Map(Object.entries({ ...READ[table], ...WRITTEN[table] }))]),
);
