/** The shape of a row of keys.ts and ipsec-keys.ts. */
import type { TunnelType } from '../../dataplane/commands.ts';

export interface OvsdbKey<T> {
  readonly table: 'Open_vSwitch' | 'Bridge' | 'Port' | 'Interface';
  /** A map column. */
  readonly column: 'options' | 'other_config' | 'external_ids';
  readonly key: string;
  readonly aliases?: readonly string[];
  /** Tunnel types that have it; undefined: all of them, or no matter of tunnels. */
  readonly types?: readonly TunnelType[];
  readonly parse: (text: string) => T | undefined;
  /** A noun phrase for messages. */
  readonly expected: string;
  readonly example: string;
  /** Its value is shown nowhere: not in issues, tunnels/show or documents. */
  readonly secret?: true;
  /** In words; undefined: none. */
  readonly byDefault?: string;
  readonly documentation: string;
}

/** A row of Interface.options. */
export function option<T>(key: string, row: Omit<OvsdbKey<T>, 'table' | 'column' | 'key'>): OvsdbKey<T> {
  return { table: 'Interface', column: 'options', key, ...row };
}
