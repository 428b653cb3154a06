/**
 * A model of the policy's truth table (design: policy; docs/policy.md), written from the table and from nothing of
 * the product: which tunnel packets a host may send and take in the clear, given its configuration and which of its
 * tunnels have ever been protected.
 *
 * While a configuration is being carried out, what the former or the new one allows is allowed; what neither allows
 * is not, whatever mixture of the two is in force.
 */
import { BREAKAGES, type HostSpec, type MarkSpec, spdKey, type TunnelSpec } from './spec.ts';

/** A tunnel packet in the clear, as it is on the wire. */
export interface ClearPacket {
  readonly type: TunnelSpec['type'];
  readonly pair: number;
  readonly port: number;
  readonly key: number;
}

interface Rule {
  readonly set: boolean;
  readonly value: number;
  readonly mask: number;
}

interface JudgedTunnel {
  readonly spec: TunnelSpec;
  readonly state: 'none' | 'ipsec' | 'invalid' | 'no-port';
}

interface View {
  /** Undefined: no configuration has been read yet. */
  readonly rule: Rule | undefined;
  readonly tunnels: readonly JudgedTunnel[];
  /** Names of tunnels that have been protected since they asked for IPsec. */
  readonly wasUp: Set<string>;
}

const UNSET: Rule = { set: false, value: 0, mask: 0 };
const NOTHING: View = { rule: undefined, tunnels: [], wasUp: new Set() };

export class PolicyModel {
  #current: View = NOTHING;
  #next: View | undefined;

  /** The configuration begins to be carried out. */
  begin(spec: HostSpec): void {
    const former = this.#next ?? this.#current;
    const tunnels = judge(spec, former);
    const asking = new Set(spec.tunnels.filter(({ ask }) => ask.kind !== 'none').map(({ name }) => name));
    const wasUp = new Set([...former.wasUp].filter((name) => asking.has(name)));
    this.#next = { rule: ruleOf(spec.mark, former.rule), tunnels, wasUp };
    shareProtection(this.#next);
  }

  /** It is in force. */
  done(): void {
    this.#current = this.#next ?? this.#current;
    this.#next = undefined;
  }

  /** The process has ended: what it was told is gone, what it was told never to forget is not. */
  restart(): void {
    const { wasUp } = this.#next ?? this.#current;
    this.#current = { ...NOTHING, wasUp };
    this.#next = undefined;
  }

  /** An SA that serves these tunnel packets is in the packet engine: from now on never in the clear. */
  saUp(key: string): void {
    for (const view of this.#views()) {
      for (const { spec, state } of view.tunnels)
        if (state === 'ipsec' && spdKey(spec) === key) view.wasUp.add(spec.name);
      shareProtection(view);
    }
  }

  /** Why the host may not send this in the clear; undefined: it may. */
  forbidsOut(packet: ClearPacket, mark: number): string | undefined {
    return this.#forbidden((view) => outOf(view, packet, mark));
  }

  /** Why the host may not take this in the clear; undefined: it may. */
  forbidsIn(packet: ClearPacket): string | undefined {
    return this.#forbidden((view) => intoOf(view, packet));
  }

  #views(): View[] {
    return this.#next === undefined ? [this.#current] : [this.#current, this.#next];
  }

  #forbidden(judgement: (view: View) => string | undefined): string | undefined {
    const reasons = this.#views().map(judgement);
    return reasons.includes(undefined) ? undefined : reasons.join('; and in the new configuration: ');
  }
}

function outOf(view: View, packet: ClearPacket, mark: number): string | undefined {
  const tunnel = find(view, packet);
  if (tunnel === undefined) return 'no tunnel has such packets';
  if ((tunnel.spec.mark ?? 0) !== mark) return `its mark is ${mark}, not ${tunnel.spec.mark ?? 0}`;
  const closed = closedBy(view, tunnel);
  if (closed !== undefined) return closed;
  const { set, value, mask } = view.rule ?? UNSET;
  return set && (mark & mask) === (value & mask) ? `its mark ${mark} matches ${value}/${mask}` : undefined;
}

function intoOf(view: View, packet: ClearPacket): string | undefined {
  const tunnel = find(view, packet);
  if (tunnel === undefined) return 'no tunnel takes such packets';
  const closed = closedBy(view, tunnel);
  if (closed !== undefined) return closed;
  return travelsUnder(view, tunnel).length > 0 && view.rule?.set === true
    ? 'it wants IPsec and ipsec_skb_mark is set'
    : undefined;
}

/** Rows 1, 2 and 4 of the table. */
function closedBy(view: View, tunnel: JudgedTunnel): string | undefined {
  if (tunnel.state === 'invalid') return 'its tunnel asked for IPsec and got it wrong';
  if (travelsUnder(view, tunnel).some(({ spec }) => view.wasUp.has(spec.name))) return 'its tunnel has been protected';
  return undefined;
}

/** The tunnels with IPsec whose SA this one's packets would leave on. */
function travelsUnder(view: View, { spec }: JudgedTunnel): JudgedTunnel[] {
  return view.tunnels.filter((other) => other.state === 'ipsec' && spdKey(other.spec) === spdKey(spec));
}

function find(view: View, { type, pair, port, key }: ClearPacket): JudgedTunnel | undefined {
  return view.tunnels.find(
    ({ spec, state }) =>
      state !== 'no-port' && spec.type === type && spec.pair === pair && spec.port === port && spec.key === key,
  );
}

/** Tunnels that share an SA have all been protected when one of them has. */
function shareProtection(view: View): void {
  for (const tunnel of view.tunnels) {
    if (tunnel.state !== 'ipsec') continue;
    if (travelsUnder(view, tunnel).some(({ spec }) => view.wasUp.has(spec.name))) view.wasUp.add(tunnel.spec.name);
  }
}

/**
 * Between two addresses there is one pre-shared key: of tunnels that differ, those that were in force unchanged stay,
 * then the first by name (control/config/connections.ts says it to operators in the same words).
 */
function judge(spec: HostSpec, former: View): JudgedTunnel[] {
  const wasInForce = (tunnel: TunnelSpec): boolean => {
    const then = former.tunnels.find((other) => other.spec.name === tunnel.name);
    if (then === undefined || (then.state !== 'ipsec' && then.state !== 'none')) return false;
    if (then.spec.key !== tunnel.key || spdKey(then.spec) !== spdKey(tunnel)) return false;
    return secretOf(then.spec) === secretOf(tunnel);
  };
  const ordered = [...spec.tunnels].sort((a, b) => (a.name < b.name ? -1 : 1));
  const secrets = new Map<number, string>();
  return [...ordered.filter(wasInForce), ...ordered.filter((tunnel) => !wasInForce(tunnel))].map((tunnel) => {
    const { ask, pair } = tunnel;
    if (ask.kind === 'none') return { spec: tunnel, state: 'none' };
    if (ask.kind === 'broken') return { spec: tunnel, state: BREAKAGES[ask.how].encapsulation ? 'no-port' : 'invalid' };
    const secret = secrets.get(pair) ?? ask.secret;
    secrets.set(pair, secret);
    return { spec: tunnel, state: secret === ask.secret ? 'ipsec' : 'invalid' };
  });
}

const secretOf = ({ ask }: TunnelSpec): string | undefined => (ask.kind === 'none' ? undefined : ask.secret);

function ruleOf(mark: MarkSpec, former: Rule | undefined): Rule {
  if (mark === 'unset') return UNSET;
  if (mark === 'malformed') return former ?? { set: true, value: 0, mask: 0 };
  return { set: true, ...mark };
}
