/**
 * The flows of `espd=port`: a pure function from what is to be protected to the lines that ovs-ofctl takes (ovs-fields(7),
 * ovs-actions(7)). They stand in table 0 of the physical bridge, above whatever else is there, by priority:
 *
 *     9  what the engine gives back to the TAP: the own end's goes on as if it had just come from that end, the peer's goes to it
 *     8  anything else from the TAP: dropped
 *     7  tunnel packets to a peer with IPsec whose pkt_mark ipsec_skb_mark names: to the TAP, and the engine is told of the mark
 *     6  tunnel packets to a peer with IPsec: to the TAP
 *     5  ESP, in UDP too, and tunnel packets from a peer with IPsec: to the TAP
 *     4  packets of a flow-based tunnel that asks for IPsec, to and from any other address: dropped
 *     3  tunnel packets without IPsec whose pkt_mark ipsec_skb_mark names: dropped
 *     0  of the whole table, only where the bridge forwards nothing by itself (fail_mode=secure): NORMAL
 *
 * So what must not leave in the clear is dropped by flows, or by the TAP when nobody reads it; and both outlive ovs-espd.
 * What the engine decides is in dataplane/bump/hairpin.ts: with the TAP a packet loses its mark and its port.
 */
import { ENCAPSULATIONS, encapsulationOf, type FlowTunnel, familyOf, type MarkMatch } from '../../dataplane/index.ts';
import type { HostPort } from '../config/desired-state.ts';
import {
  addressedTo,
  addresses,
  BEEN_THROUGH,
  bothFamilies,
  COOKIE,
  flow,
  fromPort,
  type HostPortInUse,
  ip,
  type Kind,
  kindOf,
  kindPackets,
  mark,
  output,
  PRIORITY,
  PROTOCOL_UDP,
  tunnelPackets,
} from './matches.ts';

const PROTOCOL_ESP = 50;
const NAT_TRAVERSAL_PORT = 4500;

/** Tunnel packets between two addresses that are led through the engine. The port is that of UDP or TCP, 0 for gre. */
export interface LedTunnel extends Kind {
  readonly local: string;
  readonly remote: string;
}

/** What the flows of any bridge are made of, beside the bridge itself. */
export interface FlowPolicy {
  readonly led: readonly LedTunnel[];
  readonly flowTunnels: readonly FlowTunnel[];
  readonly drop: MarkMatch | undefined;
}

export interface FlowPlan extends FlowPolicy {
  /** OpenFlow port of the TAP; undefined while it has none: then what would go there is dropped. */
  readonly tap: number | undefined;
  readonly hostPorts: readonly HostPort[];
  /** Addresses of this host: those that flow-based tunnels may end at. */
  readonly addresses: readonly string[];
  readonly normal: boolean;
}

/** Each flow as ovs-ofctl reads it, without a command in front. */
export function flowsOf(plan: FlowPlan): string[] {
  const ports = plan.hostPorts.filter((port): port is HostPortInUse => port.ofport !== undefined);
  const flows = [
    ...pairsOf(plan.led).flatMap((pair) => [...returned(plan.tap, pair, ports), ...fromPeer(plan.tap, pair)]),
    ...plan.led.flatMap((tunnel) => [...toPeer(plan, tunnel, ports), ...plaintextOfPeer(plan.tap, tunnel)]),
    ...plan.flowTunnels.filter(({ closed }) => closed).flatMap((tunnel) => closedKind(plan, tunnel, ports)),
    ...(plan.drop === undefined ? [] : forbidden(plan, plan.drop, ports)),
  ];
  if (plan.tap !== undefined) flows.push(flow(PRIORITY + 8, [`in_port=${plan.tap}`], 'drop'));
  if (plan.normal) flows.push(flow(0, [], 'NORMAL'));
  return [...new Set(flows)];
}

/** The commands that lead from the flows before to those of now, for one bundle; `before` undefined: from whatever is there. */
export function flowCommands(before: ReadonlySet<string> | undefined, now: ReadonlySet<string>): string[] {
  const added = [...now].filter((line) => before?.has(line) !== true).map((line) => `add ${line}`);
  if (before === undefined) return [`delete cookie=${COOKIE}/-1`, ...added];
  const kept = new Set([...now].map(matchOf));
  const gone = [...before].filter((line) => !kept.has(matchOf(line)));
  return [...gone.map((line) => `delete_strict ${matchOf(line).replace(COOKIE, `${COOKIE}/-1`)}`), ...added];
}

/** What a flow matches, its priority with it: a bridge has one flow of each. */
export function matchOf(line: string): string {
  return line.slice(0, line.indexOf(',actions='));
}

interface Pair {
  readonly local: string;
  readonly remote: string;
}

/** Each once. Of two that mirror each other neither: nobody could tell which way their packets go, so they end at the TAP. */
function pairsOf(led: readonly LedTunnel[]): Pair[] {
  const pairs = new Map(led.map(({ local, remote }) => [`${local} ${remote}`, { local, remote }]));
  return [...pairs.values()].filter(({ local, remote }) => !pairs.has(`${remote} ${local}`));
}

/** Priority 9. With several host ports a packet is told by the MAC address of its own. */
function returned(tap: number | undefined, { local, remote }: Pair, ports: readonly HostPortInUse[]): string[] {
  if (tap === undefined) return [];
  const from = [`in_port=${tap}`];
  return ports.flatMap((port) => {
    const mac = (field: string): string[] => (ports.length > 1 ? [`${field}=${port.mac ?? '00:00:00:00:00:00'}`] : []);
    const outward = [...from, ...mac('dl_src'), ip(local, remote)];
    const inward = [...from, ...mac('dl_dst'), ip(remote, local)];
    const again = `load:${port.ofport}->NXM_OF_IN_PORT[],load:${BEEN_THROUGH}->NXM_NX_REG15[],resubmit(,0)`;
    const untagged = [...inward, 'vlan_tci=0x0000/0x1fff'];
    return [
      flow(PRIORITY + 9, outward, again),
      flow(PRIORITY + 9, untagged, output(port.ofport)),
      ...(port.tag !== undefined
        ? [flow(PRIORITY + 9, [...inward, 'vlan_tci=0x1000/0x1000'], `strip_vlan,${output(port.ofport)}`)]
        : []),
    ];
  });
}

/** Priorities 7 and 6. Of a UDP datagram in fragments only the first would be told, so the others are dropped. */
function toPeer({ tap, drop }: FlowPlan, tunnel: LedTunnel, ports: readonly HostPortInUse[]): string[] {
  const { local, remote } = tunnel;
  const packets = [...tunnelPackets(tunnel, local, remote)];
  return ports.flatMap((port) => {
    const from = fromPort(port.ofport);
    return [
      ...(drop === undefined
        ? []
        : [flow(PRIORITY + 7, [...from, ...packets, mark(drop)], `load:1->NXM_OF_ETH_SRC[40],${output(tap)}`)]),
      flow(PRIORITY + 6, [...from, ...packets], output(tap)),
      ...(encapsulationOf(tunnel.type).protocol === PROTOCOL_UDP
        ? [flow(PRIORITY + 6, [...from, ip(local, remote), `nw_proto=${PROTOCOL_UDP}`, 'ip_frag=later'], 'drop')]
        : []),
    ];
  });
}

/** Priority 5. */
function fromPeer(tap: number | undefined, { local, remote }: Pair): string[] {
  const udp = familyOf(remote) === 6 ? 'udp6' : 'udp';
  return [
    flow(PRIORITY + 5, [ip(remote, local), `nw_proto=${PROTOCOL_ESP}`], led(tap)),
    flow(PRIORITY + 5, [udp, addresses(remote, local), `tp_dst=${NAT_TRAVERSAL_PORT}`], led(tap)),
  ];
}

function plaintextOfPeer(tap: number | undefined, tunnel: LedTunnel): string[] {
  return [flow(PRIORITY + 5, tunnelPackets(tunnel, tunnel.remote, tunnel.local), led(tap))];
}

/** Priority 4. */
function closedKind(plan: FlowPlan, tunnel: FlowTunnel, ports: readonly HostPortInUse[]): string[] {
  const kind = kindOf(tunnel);
  const outward = ports.flatMap((port) =>
    bothFamilies(kind).map((packets) => flow(PRIORITY + 4, [...fromPort(port.ofport), ...packets], 'drop')),
  );
  const inward = plan.addresses.map((address) =>
    flow(PRIORITY + 4, [...kindPackets(kind, familyOf(address)), addressedTo(address)], 'drop'),
  );
  return [...outward, ...inward];
}

/** What a mark concerns: the types' own ports, also of tunnels that the datapath has heard of before us, and those of our tunnels. */
export function markedKinds({ led, flowTunnels }: FlowPolicy): Kind[] {
  return [
    ...Object.values(ENCAPSULATIONS).map(({ type, defaultPort }) => ({ type, port: defaultPort })),
    ...led,
    ...flowTunnels.map(kindOf),
  ];
}

/** Priority 3. */
function forbidden(plan: FlowPlan, drop: MarkMatch, ports: readonly HostPortInUse[]): string[] {
  return ports.flatMap((port) =>
    markedKinds(plan).flatMap((kind) =>
      bothFamilies(kind).map((packets) =>
        flow(PRIORITY + 3, [...fromPort(port.ofport), ...packets, mark(drop)], 'drop'),
      ),
    ),
  );
}

/**
 * To the TAP. That the bridge goes on learning behind which port the peer is, NORMAL sees the frame as one that is sent to
 * its own sender: it learns, and drops.
 */
function led(tap: number | undefined): string {
  return tap === undefined ? 'drop' : `${output(tap)},move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],NORMAL`;
}
