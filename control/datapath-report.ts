/**
 * What the datapath reports to OVSDB about its bridges and ports: the rows and columns of write-back.ts, made
 * from the state of the attach. Pure but for reading link facts.
 */
import type { Engine } from '../dataplane/index.ts';
import type { Attach, AttachedPort } from './attach.ts';
import type { DesiredState } from './config/desired-state.ts';
import { allLinkFacts, type LinkFacts } from './links.ts';
import { inSlices } from './slices.ts';
import { WriteBack } from './write-back.ts';

/** Interface types this datapath has, for Open_vSwitch.iface_types. */
const INTERFACE_TYPES = ['geneve', 'gre', 'internal', 'system', 'tap', 'vxlan'];
/** What ovs-vswitchd writes for a port that it could not make. */
const FAILED_OFPORT = -1;

/** Everything: after a reconciliation. With it cur_cfg reaches next_cfg, and ovs-vsctl returns. */
export async function datapathReport(desired: DesiredState, attach: Attach, engine: Engine): Promise<WriteBack> {
  const report = await statisticsReport(attach, engine);
  const links = await allLinkFacts();
  for (const [uuid, bridge] of attach.bridges()) {
    const mac = links.get(bridge.state.name)?.mac;
    const id = bridge.state.datapathId ?? (mac === undefined ? undefined : `0000${mac.replaceAll(':', '')}`);
    if (id !== undefined) report.set('Bridge', uuid, { datapath_id: id });
  }
  for (const port of attach.ports().values()) {
    report.set('Interface', port.uuid, { ofport: port.ofport, error: undefined });
  }
  for (const failure of attach.failures().values()) {
    report.set('Interface', failure.uuid, { ofport: FAILED_OFPORT, error: failure.reason });
  }
  if (desired.rootUuid !== undefined) {
    report.set('Open_vSwitch', desired.rootUuid, {
      cur_cfg: desired.nextCfg,
      iface_types: INTERFACE_TYPES,
      datapath_types: ['netdev'],
    });
  }
  return report;
}

/** What changes by itself: counters, and the state of the links. */
export async function statisticsReport(attach: Attach, engine: Engine): Promise<WriteBack> {
  const links = await allLinkFacts();
  return inSlices(statisticsSteps(attach, engine, links));
}

function* statisticsSteps(
  attach: Attach,
  engine: Engine,
  links: ReadonlyMap<string, LinkFacts>,
): Generator<undefined, WriteBack> {
  const report = new WriteBack();
  const counters = engine.counters();
  for (const port of attach.ports().values()) {
    yield;
    const { rxPackets, rxBytes, txPackets, txBytes } = counters.port(port.id);
    report.set('Interface', port.uuid, {
      ...linkColumns(port, links),
      statistics: new Map([
        ['rx_packets', rxPackets],
        ['rx_bytes', rxBytes],
        ['tx_packets', txPackets],
        ['tx_bytes', txBytes],
        ['rx_dropped', sum(counters.portDrops(port.id).values())],
      ]),
    });
  }
  return report;
}

function linkColumns(port: AttachedPort, links: ReadonlyMap<string, LinkFacts>) {
  if (port.device.kind === 'tunnel') {
    const carrier = port.device.egress === undefined ? undefined : links.get(port.device.egress)?.carrier;
    const status = new Map([
      ...(port.device.egress === undefined ? [] : [['tunnel_egress_iface', port.device.egress] as const]),
      ...(carrier === undefined ? [] : [['tunnel_egress_iface_carrier', carrier ? 'up' : 'down'] as const]),
    ]);
    return { admin_state: 'up', link_state: 'up', status };
  }
  const facts = links.get(port.name);
  if (facts === undefined) return {};
  return {
    admin_state: facts.up ? 'up' : 'down',
    link_state: facts.carrier ? 'up' : 'down',
    mac_in_use: facts.mac,
    mtu: facts.mtu,
    ifindex: facts.index,
  };
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}
