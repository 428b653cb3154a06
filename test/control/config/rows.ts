/** Replicas for tests of the configuration, written as a file database would be. */
import { type ConfigSurroundings, desiredState } from '../../../control/config/config.ts';
import type { DesiredState, IpsecAuth, TunnelState } from '../../../control/config/desired-state.ts';
import type { Credentials } from '../../../control/credentials/credentials.ts';
import type { Replica } from '../../../control/ovsdb/database.ts';
import { parseFileRows } from '../../../control/ovsdb/file-rows.ts';

export function replicaOf(file: object): Replica {
  const tables = parseFileRows(JSON.stringify(file));
  return new Map([...tables].map(([table, rows]) => [table, new Map([...rows].map(([uuid, { row }]) => [uuid, row]))]));
}

const none = (path: string) => ({ problem: `${JSON.stringify(path)}: there is no such file` });
/** Where no files are. */
const NO_CREDENTIALS: Credentials = { local: none, certificate: none, authorities: none, revocationLists: none };

export const SURROUNDINGS: ConfigSurroundings = {
  credentials: NO_CREDENTIALS,
  defaultLocalAddress: () => '10.0.0.1',
  isOwnAddress: (address) => address === '10.0.0.99',
  parseProposals: (protocol, text) => {
    if (text.startsWith('aes')) return [{ transforms: [] }];
    throw new Error(`unknown algorithm in ${protocol}`);
  },
};

export type Options = Readonly<Record<string, string>>;
export interface TunnelRow {
  readonly name: string;
  readonly type?: string;
  readonly options: Options;
}

/** The state of a bridge br0 with these tunnels. */
export function stateOf(
  tunnels: readonly TunnelRow[],
  otherConfig: Options = {},
  surroundings: Partial<ConfigSurroundings> = {},
): DesiredState {
  const replica = replicaOf({
    Open_vSwitch: { other_config: otherConfig },
    Bridge: [{ name: 'br0', ports: tunnels.map(({ name }) => name) }],
    Interface: tunnels.map(({ name, type = 'gre', options }) => ({ name, type, options })),
  });
  return desiredState(replica, { ...SURROUNDINGS, ...surroundings });
}

/** One tunnel `tun` to 10.0.0.2, with these options on top; an empty text takes an option away. */
export function tunnelOf(type: string, options: Options, otherConfig: Options = {}): TunnelState {
  return stateOf([{ name: 'tun', type, options: withRemote(options) }], otherConfig).tunnels[0]!;
}

export function withRemote(options: Options): Options {
  const all = { remote_ip: '10.0.0.2', ...options };
  return Object.fromEntries(Object.entries(all).filter(([key, value]) => key !== 'remote_ip' || value !== ''));
}

/** The bytes of a pre-shared key. */
export function secretOf(auth: IpsecAuth): Uint8Array {
  if (auth.method !== 'psk') throw new Error('not a pre-shared key');
  return auth.secret.reveal();
}
