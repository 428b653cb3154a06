/**
 * Which routing rules make the kernel's own tunnel packets go through ovs-espd, and those that the policy forbids go nowhere:
 * the policy's truth table (docs/policy.md) as rules of ip-rule(8). A pure function; kernel-rules.ts carries it out.
 *
 *     1  what comes out of the TUN is for this host …          4  marked plaintext of a tunnel that was never protected
 *     2  … or for nobody                                       5  tunnel packets to protected peers: into the TUN
 *     3  plaintext from protected peers: dropped               6  marked plaintext of all other tunnels: dropped
 *                                                              9  the table `local`, which is first otherwise
 *
 * They outlive the daemon, and the TUN does not: the routes into it vanish with it, and the blackhole behind them stays. What is
 * forwarded for others (rule 5 and 6 are for `iif lo`, what this host itself sends) goes its own way.
 */
import type { MarkMatch, ProtectionState, TunnelType } from '../../dataplane/index.ts';
import { encapsulationOf, familyOf } from '../../dataplane/index.ts';

export const TUN_NAME = 'espd-route';
/** Of the routes into the TUN, and the rtnetlink protocol that marks rules and routes as ours. */
export const ROUTE_TABLE = 2423;
export const ROUTE_PROTOCOL = 242;
export const LOCAL_TABLE = 255;
/** Where the kernel has the table `local`, and where it goes so that rules can come before it. */
export const LOCAL_FIRST = 0;
export const LOCAL_BEHIND = 9;

/** A tunnel of the kernel's, and what protects it; undefined: nothing does. */
export interface RoutedTunnel {
  readonly type: TunnelType;
  readonly local: string;
  readonly remote: string;
  /** UDP or TCP port, 0 for gre. */
  readonly port: number;
  readonly protection: ProtectionState | undefined;
}

/** One line of `ip rule` or `ip route`, without the verb; `from`, `iif` and so on in the order in which rules are read back. */
export interface RoutingPlan {
  readonly rules: readonly string[];
  readonly routes: readonly string[];
}

export const NO_ROUTING: RoutingPlan = { rules: [], routes: [] };

/** The plan for one address family. `drop`: ipsec_skb_mark in force. */
export function routingPlan(family: 4 | 6, tunnels: readonly RoutedTunnel[], drop: MarkMatch | undefined): RoutingPlan {
  const ours = tunnels.filter(({ remote }) => familyOf(remote) === family);
  const guarded = ours.filter(({ protection }) => protection !== undefined);
  const marked = drop === undefined ? [] : kinds(ours).map((kind) => `pref 6${markOf(drop)} iif lo ${kind} blackhole`);
  if (guarded.length === 0 && marked.length === 0) return NO_ROUTING;
  const rules = [
    `pref 1 iif ${TUN_NAME} lookup ${LOCAL_TABLE}`,
    `pref 2 iif ${TUN_NAME} blackhole`,
    ...guarded
      .filter(({ protection }) => protection !== 'never-up' || drop !== undefined)
      .map((tunnel) => `pref 3 from ${tunnel.remote} to ${tunnel.local} ${kindOf(tunnel)} blackhole`),
    ...guarded
      .filter(({ protection }) => protection === 'never-up' && drop !== undefined)
      .map((tunnel) => `pref 4 to ${tunnel.remote}${markOf(drop!)} iif lo ${kindOf(tunnel)} blackhole`),
    ...guarded.map((tunnel) => `pref 5 to ${tunnel.remote} iif lo ${kindOf(tunnel)} lookup ${ROUTE_TABLE}`),
    ...marked,
    `pref ${LOCAL_BEHIND} lookup ${LOCAL_TABLE}`,
  ];
  // The source is for devices that leave it to the route.
  const routes = new Map(guarded.map(({ local, remote }) => [remote, `${remote} dev ${TUN_NAME} src ${local}`]));
  return { rules: [...new Set(rules)], routes: [...routes.values()] };
}

/** How a rule knows a tunnel's packets. */
function kindOf({ type, port }: Pick<RoutedTunnel, 'type' | 'port'>): string {
  const { protocol } = encapsulationOf(type);
  return port === 0 ? `ipproto ${protocol}` : `ipproto ${protocol} dport ${port}`;
}

/** Kinds of all tunnel packets that there may be: those of the types' own ports, whether or not a tunnel is known, and of the tunnels there are. */
function kinds(tunnels: readonly RoutedTunnel[]): string[] {
  const own = (['gre', 'geneve', 'vxlan', 'stt'] as const).map((type) =>
    kindOf({ type, port: encapsulationOf(type).defaultPort }),
  );
  return [...new Set([...own, ...tunnels.map(kindOf)])];
}

/** A mask of 0 means every mark, which a rule says by not naming one. */
function markOf({ value, mask }: MarkMatch): string {
  if (mask >>> 0 === 0) return '';
  const hex = (number: number): string => `0x${(number >>> 0).toString(16)}`;
  return ` fwmark ${hex(value & mask)}/${hex(mask)}`;
}

/** A rule as `ip -json -N rule show` gives it. */
export interface KernelRule {
  readonly priority: number;
  readonly src?: string;
  readonly srclen?: number;
  readonly dst?: string;
  readonly fwmark?: string;
  readonly fwmask?: string;
  readonly iif?: string;
  readonly ipproto?: string;
  readonly dport?: number;
  readonly action?: string;
  readonly table?: string;
  readonly protocol?: string;
}

/** The rule in the words of a plan, so that the two can be compared. */
export function wordsOf(rule: KernelRule): string {
  const words = [`pref ${rule.priority}`];
  if (rule.src !== undefined && rule.src !== 'all') words.push(`from ${rule.src}`);
  if (rule.dst !== undefined && rule.dst !== 'all') words.push(`to ${rule.dst}`);
  if (rule.fwmark !== undefined) words.push(`fwmark ${hexOf(rule.fwmark)}/${hexOf(rule.fwmask ?? '0xffffffff')}`);
  if (rule.iif !== undefined) words.push(`iif ${rule.iif}`);
  if (rule.ipproto !== undefined) words.push(`ipproto ${rule.ipproto.replace(/\D+/, '')}`);
  if (rule.dport !== undefined) words.push(`dport ${rule.dport}`);
  words.push(rule.table === undefined ? actionOf(rule) : `lookup ${rule.table}`);
  return words.join(' ');
}

/** FR_ACT_BLACKHOLE of linux/fib_rules.h, which `ip -N` prints as a number. */
const actionOf = ({ action }: KernelRule): string => (action === '6' ? 'blackhole' : `action ${action}`);

const hexOf = (text: string): string => `0x${Number(text).toString(16)}`;
