/** Bridge, Port and Interface rows as bridges, ports that are no tunnels, and the rows of tunnels. */
import type { TunnelType } from '../../dataplane/commands.ts';
import { mapOf, numberOf, type Replica, type Row, textOf, textsOf } from '../ovsdb/database.ts';
import { hostsBehind } from './bridge-hosts.ts';
import { type CompanionPlace, ofportOf, readCompanion } from './companions.ts';
import type {
  BridgeState,
  CompanionBridge,
  CompanionPort,
  HostPort,
  PatchPort,
  PortState,
  WireVlan,
} from './desired-state.ts';
import { type Issue, quote } from './issue.ts';
import { BRIDGE_KEYS } from './keys.ts';
import { OptionReader } from './option-reader.ts';
import { isTunnelType, type TunnelPlace } from './tunnel.ts';
import { macAddress } from './value-formats.ts';
import { readVlans } from './vlans.ts';

const DEFAULT_AGEING_S = 300;
const DEFAULT_TABLE_SIZE = 8192;

export interface TunnelRow {
  readonly type: TunnelType;
  readonly row: Row;
  readonly place: TunnelPlace;
}

/** A bridge with its Interface rows, each with its place and the tag of its port. */
interface WalkedBridge {
  readonly rows: readonly [CompanionPlace, Row, number | undefined][];
  readonly beside: CompanionBridge;
}

export interface BridgesRead {
  readonly bridges: readonly BridgeState[];
  readonly ports: readonly PortState[];
  readonly companions: readonly CompanionPort[];
  readonly companionBridges: readonly CompanionBridge[];
  readonly tunnelRows: readonly TunnelRow[];
  readonly issues: readonly Issue[];
}

/** Walks from the root row down, so that rows nothing refers to count for nothing. */
export function readBridges(replica: Replica, root: Row | undefined): BridgesRead {
  const bridges: BridgeState[] = [];
  const ports: PortState[] = [];
  const companions: CompanionPort[] = [];
  const tunnelRows: TunnelRow[] = [];
  const issues: Issue[] = [];
  const walked: WalkedBridge[] = [];
  for (const [bridgeUuid, bridgeRow] of referred(replica, 'Bridge', root, 'bridges')) {
    const bridge = readBridge(bridgeUuid, bridgeRow, issues);
    bridges.push(bridge);
    const rows: [CompanionPlace, Row, number | undefined][] = [];
    const hostPorts: HostPort[] = [];
    const others: string[] = [];
    const patches: PatchPort[] = [];
    for (const [portUuid, portRow] of referred(replica, 'Port', bridgeRow, 'ports')) {
      const vlans = readVlans(portRow, issues);
      const interfaces = referred(replica, 'Interface', portRow, 'interfaces');
      for (const [index, [uuid, row]] of interfaces.entries()) {
        const place = { uuid, portUuid, bridgeUuid, bridge: bridge.name, vlans };
        const type = textOf(row, 'type') ?? '';
        if (index === 0 && isTunnelType(type)) tunnelRows.push({ type, row, place });
        else ports.push(readPort(row, place, index > 0));
        const vlan = wireVlanOf(portRow);
        rows.push([{ uuid, portUuid, vlan }, row, tagOf(portRow)]);
        if (type === 'internal') hostPorts.push(readHostPort(row, portRow));
        else others.push(textOf(row, 'name') ?? '');
        if (type === 'patch') patches.push(readPatch(row, vlan));
      }
    }
    walked.push({ rows, beside: companionBridge(bridgeRow, bridge, hostPorts, others, patches) });
  }
  const companionBridges = walked.map(({ beside }) => beside);
  for (const { rows, beside } of walked) {
    for (const [place, row, tag] of rows) {
      const companion = readCompanion(place, row, beside, hostsBehind(beside, companionBridges, tag));
      if (companion !== undefined) companions.push(companion);
    }
  }
  return { bridges, ports, companions, companionBridges, tunnelRows, issues };
}

/** The rows that a reference column names, sorted by their names. */
function referred(replica: Replica, table: string, row: Row | undefined, column: string): [string, Row][] {
  const rows = replica.get(table);
  if (row === undefined || rows === undefined) return [];
  const found: [string, Row][] = [];
  for (const uuid of textsOf(row, column)) {
    const target = rows.get(uuid);
    if (target !== undefined) found.push([uuid, target]);
  }
  const name = ([, target]: [string, Row]): string => textOf(target, 'name') ?? '';
  return found.sort((a, b) => (name(a) < name(b) ? -1 : 1));
}

function readBridge(uuid: string, row: Row, issues: Issue[]): BridgeState {
  const name = textOf(row, 'name') ?? '';
  const reader = new OptionReader(`bridge ${name}`, `ovs-vsctl set bridge ${name}`, mapOf(row, 'other_config'));
  const state: BridgeState = {
    uuid,
    name,
    ageingMs: (reader.readOrWarn(BRIDGE_KEYS.ageing) ?? DEFAULT_AGEING_S) * 1000,
    fdbSize: reader.readOrWarn(BRIDGE_KEYS.tableSize) ?? DEFAULT_TABLE_SIZE,
    hwaddr: reader.readOrWarn(BRIDGE_KEYS.hwaddr),
    datapathId: reader.readOrWarn(BRIDGE_KEYS.datapathId),
    datapathType: textOf(row, 'datapath_type') ?? '',
  };
  issues.push(...reader.warnings);
  return state;
}

function companionBridge(
  row: Row,
  { name, datapathType }: BridgeState,
  hostPorts: readonly HostPort[],
  others: readonly string[],
  patches: readonly PatchPort[],
): CompanionBridge {
  const isSecure = textOf(row, 'fail_mode') === 'secure';
  const hasController = textsOf(row, 'controller').length > 0;
  return { name, isUserspace: datapathType === 'netdev', isSecure, hasController, hostPorts, others, patches };
}

function readPatch(row: Row, vlan: WireVlan): PatchPort {
  const name = textOf(row, 'name') ?? '';
  return { name, peer: mapOf(row, 'options').get('peer') ?? '', ofport: ofportOf(row), ...vlan };
}

function readHostPort(row: Row, portRow: Row): HostPort {
  const mac = textOf(row, 'mac_in_use');
  return {
    name: textOf(row, 'name') ?? '',
    ofport: ofportOf(row),
    mac: mac === undefined ? undefined : macAddress(mac),
    tag: tagOf(portRow),
  };
}

/** A trunk ignores it. */
function tagOf(portRow: Row): number | undefined {
  return textOf(portRow, 'vlan_mode') === 'trunk' ? undefined : numberOf(portRow, 'tag');
}

/** A port with a tag is an access port unless it says otherwise (vlan_mode). */
function wireVlanOf(portRow: Row): WireVlan {
  const mode = textOf(portRow, 'vlan_mode') ?? 'access';
  const tag = tagOf(portRow);
  const untagged = tag !== 0 && mode !== 'native-tagged' ? tag : undefined;
  return { untagged, isAccess: untagged !== undefined && mode !== 'native-untagged' };
}

const KINDS: Readonly<Record<string, PortState['kind']>> = {
  '': 'system',
  system: 'system',
  internal: 'internal',
  tap: 'tap',
};

function readPort(row: Row, place: TunnelPlace, isBondMember: boolean): PortState {
  const name = textOf(row, 'name') ?? '';
  const type = textOf(row, 'type') ?? '';
  const known = Object.hasOwn(KINDS, type) ? KINDS[type] : undefined;
  let reason: string | undefined;
  if (isBondMember) reason = 'bonds are not supported yet: only the first interface of a port is used';
  else if (known === undefined) {
    reason = `type ${quote(type)} is not supported, expected internal, system, tap, gre, geneve, vxlan or stt; ovs-vsctl set interface ${name} type=…`;
  }
  const mac = textOf(row, 'mac');
  const kind = known === 'internal' && name === place.bridge ? 'local' : known;
  const { uuid, portUuid, bridgeUuid } = place;
  return {
    uuid,
    portUuid,
    bridgeUuid,
    name,
    kind: reason === undefined && kind !== undefined ? kind : 'unsupported',
    reason,
    vlans: place.vlans,
    mac: mac === undefined ? undefined : macAddress(mac),
    mtu: numberOf(row, 'mtu_request'),
    ofportRequest: numberOf(row, 'ofport_request'),
  };
}
