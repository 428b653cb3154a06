/**
 * Interfaces with `external_ids:espd`: the places where ovs-espd sits between a real ovs-vswitchd and the network.
 * They are what tells that this host has an ovs-vswitchd, and that ovs-espd is its companion and not the datapath.
 */
import type { HostAddress } from '../../dataplane/commands.ts';
import { mapOf, numberOf, type Row, textOf } from '../ovsdb/database.ts';
import type { CompanionBridge, CompanionPort, WireVlan } from './desired-state.ts';
import { COMPANION_KEYS } from './keys.ts';
import { OptionReader } from './option-reader.ts';
import { deviceName } from './value-formats.ts';

/** Where its Interface row stands. */
export interface CompanionPlace {
  readonly uuid: string;
  readonly portUuid: string;
  readonly vlan: WireVlan;
}

/** As ovs-vswitchd reports it; undefined until it has, and while it cannot open the interface (-1). */
export function ofportOf(row: Row): number | undefined {
  const ofport = numberOf(row, 'ofport');
  return ofport === undefined || ofport < 0 ? undefined : ofport;
}

/** Undefined: the interface is none of ours. One with a wrong setting has the reason, and no NIC. */
export function readCompanion(
  { uuid, portUuid, vlan }: CompanionPlace,
  row: Row,
  bridge: CompanionBridge,
  hosts: readonly HostAddress[],
): CompanionPort | undefined {
  const ids = mapOf(row, 'external_ids');
  const { attach, nic, mark } = COMPANION_KEYS;
  if (!ids.has(attach.key)) return undefined;
  const name = textOf(row, 'name') ?? '';
  const reader = new OptionReader(`interface ${name}`, `ovs-vsctl set interface ${name}`, ids);
  if (deviceName(name) === undefined)
    reader.refuseFor(`the name ${name} is too long for a device, expected at most 15 characters; choose another`);
  const kind = reader.read(attach) ?? 'uplink';
  if (kind === 'uplink' && reader.take(nic) === undefined) reader.refuse(nic, undefined, nic.expected);
  if (kind === 'port') refuseUplinkKeys(reader);
  const device = reader.read(nic);
  const markValue = reader.read(mark) ?? 0;
  const reason = reader.fault;
  return {
    ...{ uuid, portUuid, ...vlan, name, bridge, hosts, attach: kind, ofport: ofportOf(row) },
    ...{ nic: reason === undefined ? device : undefined, mark: markValue, reason },
  };
}

/** At a port the datapath keeps its NICs, and the flows see the packets' own marks. */
function refuseUplinkKeys(reader: OptionReader): void {
  for (const key of [COMPANION_KEYS.nic, COMPANION_KEYS.mark]) {
    const value = reader.take(key);
    if (value !== undefined)
      reader.refuse(key, value, `none with ${COMPANION_KEYS.attach.key}=port`, 'remove it, or set espd=uplink');
  }
}
