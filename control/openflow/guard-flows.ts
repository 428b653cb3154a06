/**
 * The flows that keep tunnel packets of peers with IPsec from passing by ovs-espd, for every bridge of a real ovs-vswitchd that has no
 * port of ours (`espd=port` has its own, flows.ts): a pure function. NORMAL floods what it does not know and believes
 * whoever claims an address, and OVS takes a tunnel packet from whichever bridge delivers it to the host; so, by priority
 * (two apart from one row to the next):
 *
 *     9  tunnel packets from a peer with IPsec that come by an uplink: on, since the engine has judged them
 *     8  … that come by any other port: dropped
 *     7  tunnel packets from the host to a peer with IPsec: out by the uplinks and by nothing else; dropped where there is none
 *     6  … that do not come from the host: dropped, where there is an uplink, as the engine would take them for the host's
 *     5  packets of a flow-based tunnel that asks for IPsec, from any other address: as 9 …
 *     4  … and 8
 *     3  … and to any other address: as 7
 *     2  tunnel packets from the host whose pkt_mark ipsec_skb_mark names: as 7, and the engine compares the mark
 *     0  of the whole table, only where the bridge has an uplink and forwards nothing by itself (fail_mode=secure): NORMAL
 *
 * Of several uplinks OpenFlow or NORMAL chooses one as ever; beside other ports each gets a copy, as when NORMAL floods.
 */
import { encapsulationOf, familyOf, type MarkMatch } from '../../dataplane/index.ts';
import { type FlowPolicy, type LedTunnel, markedKinds } from './flows.ts';
import {
  addressedTo,
  BEEN_THROUGH,
  bothFamilies,
  flow,
  fromPort,
  type HostPortInUse,
  hex,
  ip,
  type Kind,
  kindOf,
  kindPackets,
  mark,
  PRIORITY,
  PROTOCOL_UDP,
  tunnelPackets,
} from './matches.ts';
import type { BridgeWays, Inside, WayOut } from './ways-out.ts';

/** One of the host's addresses, and the MAC address of the device that has it. */
export interface HostEnd {
  readonly address: string;
  readonly mac: string;
}

export interface GuardPlan extends FlowPolicy {
  /** Where tunnels may end: OVS takes what is for such an address and its MAC address. */
  readonly ends: readonly HostEnd[];
}

/** Each flow as ovs-ofctl reads it, without a command in front. */
export function guardFlows(around: BridgeWays, plan: GuardPlan): string[] {
  const { bridge, hasUplink, ways, patches } = around;
  const hosts = bridge.hostPorts.filter((port): port is HostPortInUse => port.ofport !== undefined);
  const closed = plan.flowTunnels.filter((tunnel) => tunnel.closed).map(kindOf);
  const flows = [
    ...plan.led.flatMap((tunnel) => fromPeer(around, plan, tunnel)),
    ...closed.flatMap((kind) => fromAnyPeer(around, plan, kind)),
  ];
  if (!isLeftToOthers(around)) {
    flows.push(
      ...plan.led.flatMap((tunnel) => toPeer(tunnel, [...hosts, ...patches], ways)),
      ...(ways.length > 0 ? plan.led.flatMap(forged) : []),
      ...closed.flatMap((kind) => bothFamilies(kind).flatMap((packets) => sent(3, packets, hosts, ways))),
      ...(plan.drop === undefined ? [] : marked(plan, plan.drop, hosts, ways)),
    );
  }
  if (hasUplink && bridge.isSecure && !bridge.hasController) flows.push(flow(0, [], 'NORMAL'));
  return [...new Set(flows)];
}

/** Two apart: a flow of one VLAN stands just above that of the others. */
const priority = (step: number): number => PRIORITY + 2 * step;

/** Several uplinks and nothing beside them: whichever is chosen, the engine is behind it. */
function isLeftToOthers({ ways, others }: BridgeWays): boolean {
  return ways.length > 1 && others.length === 0;
}

/** Priorities 9 and 8. In a bridge without an uplink others may have the same addresses, but not the host's MAC address. */
function fromPeer({ hasUplink, ways }: BridgeWays, { ends }: GuardPlan, tunnel: LedTunnel): string[] {
  const packets = ['reg15=0', ...tunnelPackets(tunnel, tunnel.remote, tunnel.local)];
  const macs = ends.filter(({ address }) => address === tunnel.local).map(({ mac }) => [`dl_dst=${mac}`, ...packets]);
  return [
    ...judged(9, ways, packets),
    ...(hasUplink ? [packets] : macs).map((match) => flow(priority(8), match, 'drop')),
  ];
}

/** Priorities 5 and 4. */
function fromAnyPeer({ hasUplink, ways }: BridgeWays, { ends }: GuardPlan, kind: Kind): string[] {
  return ends.flatMap(({ address, mac }) => {
    const packets = ['reg15=0', ...kindPackets(kind, familyOf(address)), addressedTo(address)];
    return [
      ...judged(5, ways, packets),
      flow(priority(4), hasUplink ? packets : [`dl_dst=${mac}`, ...packets], 'drop'),
    ];
  });
}

/** What the engine has let in goes on through the other flows of the table. */
function judged(step: number, ways: readonly WayOut[], packets: readonly string[]): string[] {
  return ways
    .flatMap(({ ofports }) => ofports)
    .map((ofport) =>
      flow(priority(step), [`in_port=${ofport}`, ...packets], `load:${BEEN_THROUGH}->NXM_NX_REG15[],resubmit(,0)`),
    );
}

/** Priority 7. Of a UDP datagram in fragments only the first would be told, so the others are dropped. */
function toPeer(tunnel: LedTunnel, from: readonly Inside[], ways: readonly WayOut[]): string[] {
  const { local, remote, type } = tunnel;
  const fragments = [ip(local, remote), `nw_proto=${PROTOCOL_UDP}`, 'ip_frag=later'];
  return [
    ...sent(7, tunnelPackets(tunnel, local, remote), from, ways),
    ...(encapsulationOf(type).protocol === PROTOCOL_UDP
      ? from.map(({ ofport }) => flow(priority(7), [...fromPort(ofport), ...fragments], 'drop'))
      : []),
  ];
}

/** Priority 6. */
function forged(tunnel: LedTunnel): string[] {
  return [flow(priority(6), ['reg15=0', ...tunnelPackets(tunnel, tunnel.local, tunnel.remote)], 'drop')];
}

/** Priority 2. */
function marked(plan: GuardPlan, drop: MarkMatch, hosts: readonly Inside[], ways: readonly WayOut[]): string[] {
  return markedKinds(plan).flatMap((kind) =>
    bothFamilies(kind).flatMap((packets) => sent(2, [...packets, mark(drop)], hosts, ways)),
  );
}

/** What the host sends by these ports: to the uplinks that are of its VLAN, with the tag or without that it has there. */
function sent(step: number, packets: readonly string[], from: readonly Inside[], ways: readonly WayOut[]): string[] {
  return from.flatMap(({ ofport, tag }) => {
    const match = [...fromPort(ofport), ...packets];
    if (tag !== undefined && tag !== 0) return [flow(priority(step), match, inVlan(tag, ways, `mod_vlan_vid:${tag}`))];
    // Of a trunk the tag is in the frame.
    const natives = new Set(ways.flatMap(({ untagged }) => untagged ?? []));
    return [
      ...[...natives].map((vlan) =>
        flow(priority(step) + 1, [...match, `vlan_tci=${hex(0x1000 | vlan)}/0x1fff`], inVlan(vlan, ways)),
      ),
      flow(priority(step), match, actions(ways.filter(({ isAccess }) => !isAccess).map(output))),
    ];
  });
}

/** Out by the uplinks of a VLAN. @param tagging makes the frame a tagged one; without, it is one already */
function inVlan(vlan: number, ways: readonly WayOut[], tagging?: string): string {
  const bare = ways.filter(({ untagged }) => untagged === vlan).map(output);
  const tagged = ways.filter(({ untagged, isAccess }) => untagged !== vlan && !isAccess).map(output);
  const withTag = tagging === undefined || tagged.length === 0 ? tagged : [tagging, ...tagged];
  if (tagging !== undefined) return actions([...bare, ...withTag]);
  return actions([...withTag, ...(bare.length > 0 ? ['strip_vlan', ...bare] : [])]);
}

/** Of the members of a bond the one that a packet's addresses and ports choose, among those that work. */
function output({ ofports }: WayOut): string {
  if (ofports.length === 0) return '';
  if (ofports.length === 1) return `output:${ofports[0]}`;
  return `bundle(symmetric_l4,0,hrw,ofport,members:${ofports.join(',')})`;
}

function actions(list: readonly string[]): string {
  return list.filter((action) => action !== '').join(',') || 'drop';
}
