/**
 * The `route` attach, `Open_vSwitch . external_ids:espd=route`: the kernel of this host makes the tunnel packets (OVS's kernel
 * datapath, vxlan, geneve and gre devices), and its routing leads them through a TUN of ours. Keeps TUN, rules and routes what
 * the tunnels and their protections ask for.
 *
 * What the policy says of plaintext is in rules of the kernel (rules.ts), which change when a tunnel is protected for the first
 * time. The TUN goes with the daemon, the rules stay: without ovs-espd nothing leaves.
 */
import type { Engine, MarkMatch } from '../../dataplane/index.ts';
import { familyOf } from '../../dataplane/index.ts';
import { type ProtectionOf, protectionOfTunnel } from '../attach.ts';
import type { DesiredState, TunnelState } from '../config/desired-state.ts';
import type { Links } from '../links.ts';
import { messageOf } from '../message-of.ts';
import { routedMtu } from '../mtu.ts';
import type { Timers } from '../ovsdb/timers.ts';
import { INVALID_PROTECTION, type Protections } from '../protections.ts';
import type { Underlay } from '../underlay.ts';
import type { Logger } from '../vlog.ts';
import type { Routing } from './kernel-routing.ts';
import { NO_ROUTING, type RoutedTunnel, type RoutingPlan, routingPlan, TUN_NAME } from './rules.ts';

const FAMILIES = [4, 6] as const;
/** How often the rules are looked at, in ms. */
const CHECK_MS = 5000;

export interface RoutedTunnelsOptions {
  readonly engine: Engine;
  readonly routing: Routing;
  readonly links: Links;
  readonly protections: Protections;
  readonly log: Logger;
  readonly timers: Timers;
  readonly takePort: () => number;
  readonly releasePort: (id: number) => void;
}

interface Wanted {
  readonly tunnels: readonly TunnelState[];
  readonly drop: MarkMatch | undefined;
  readonly protectionOf: ProtectionOf;
}

export class RoutedTunnels {
  readonly #options: RoutedTunnelsOptions;
  #port: { readonly id: number; readonly mtu: number } | undefined;
  #wanted: Wanted | undefined;
  /** What the rules were last made of; undefined: not known, as at the start. */
  #planned: string | undefined;
  /** Of the last change of the rules. */
  #steps = 0;
  #cancelCheck: (() => void) | undefined;
  /** One change of the rules at a time. */
  #last: Promise<void> = Promise.resolve();

  constructor(options: RoutedTunnelsOptions) {
    this.#options = options;
  }

  /**
   * After the engine has the tunnels. Without `desired.routed` everything is taken away, also what an earlier life has left.
   * @throws Error with what `ip` said
   */
  async apply(
    desired: DesiredState,
    underlay: Underlay,
    protectionOf: ProtectionOf,
    drop: MarkMatch | undefined,
  ): Promise<void> {
    if (!desired.routed) return this.removeAll();
    const userspace = new Set(
      desired.bridges.filter(({ datapathType }) => datapathType === 'netdev').map(({ uuid }) => uuid),
    );
    const tunnels = desired.tunnels.filter(
      ({ bridgeUuid, settings }) => settings !== undefined && !userspace.has(bridgeUuid),
    );
    await this.#setTun(tunnels, underlay);
    this.#wanted = { tunnels, drop, protectionOf };
    await this.#setRules();
    this.#checkLater();
  }

  /** Whether anything has changed is found out here: this is called at every turn of an SA. */
  protectionsChanged(): Promise<void> {
    return this.#wanted === undefined ? Promise.resolve() : this.#setRules();
  }

  /** Rules first: while they go, packets that they lead to us are dropped. */
  async removeAll(): Promise<void> {
    this.#wanted = undefined;
    this.#cancelCheck?.();
    this.#cancelCheck = undefined;
    await this.#setRules();
    if (this.#port === undefined) return;
    const { id } = this.#port;
    this.#port = undefined;
    await this.#options.engine.apply({ op: 'remove-port', port: id });
    this.#options.releasePort(id);
  }

  async #setTun(tunnels: readonly TunnelState[], underlay: Underlay): Promise<void> {
    const { engine, links, routing, takePort, log } = this.#options;
    const mtu = mtuOf(tunnels, underlay);
    if (this.#port?.mtu === mtu) return;
    if (this.#port === undefined) {
      const fds = engine.openTap(TUN_NAME, { kind: 'tun', persistent: false, plain: true });
      const id = takePort();
      this.#port = { id, mtu: 0 };
      await engine.apply({ op: 'set-route-port', port: id, name: TUN_NAME, fds });
      await routing.prepareTun();
      log.info(`device ${TUN_NAME}: takes the tunnel packets of the kernel`);
    }
    await links.setLink(TUN_NAME, { mtu, up: true });
    this.#port = { id: this.#port.id, mtu };
  }

  /** Never fails: what the kernel refuses is told and tried again, and until then it is as closed as it was. */
  #setRules(): Promise<void> {
    this.#last = this.#last.then(async () => {
      const plans = FAMILIES.map((family) =>
        this.#wanted === undefined ? NO_ROUTING : this.#plan(family, this.#wanted),
      );
      const text = JSON.stringify(plans);
      if (text === this.#planned) return;
      try {
        this.#steps = await this.#applyPlans(plans);
        this.#planned = text;
      } catch (error) {
        this.#planned = undefined;
        const reason = messageOf(error);
        this.#options.log.limited(
          'routing',
          'err',
          `the rules of the kernel's routing cannot be set, tried again in ${CHECK_MS / 1000} s: ${reason}`,
        );
      }
    });
    return this.#last;
  }

  async #applyPlans(plans: readonly RoutingPlan[]): Promise<number> {
    let steps = 0;
    for (const [index, family] of FAMILIES.entries()) steps += await this.#options.routing.apply(family, plans[index]!);
    return steps;
  }

  /** Other programs clear what they take for left over, rules of systemd-networkd's host among it. */
  #checkLater(): void {
    this.#cancelCheck ??= this.#options.timers.after(CHECK_MS, () => {
      this.#cancelCheck = undefined;
      void this.#check();
    });
  }

  async #check(): Promise<void> {
    if (this.#wanted === undefined) return;
    const { log } = this.#options;
    const planned = this.#planned;
    this.#planned = undefined;
    await this.#setRules();
    if (planned !== undefined && planned === this.#planned && this.#steps > 0)
      log.warn("rules of the kernel's routing were gone and are put back: another program takes them away");
    this.#checkLater();
  }

  #plan(family: 4 | 6, { tunnels, drop, protectionOf }: Wanted): RoutingPlan {
    const { protections } = this.#options;
    const routed = tunnels.map((tunnel): RoutedTunnel => {
      const { type, local, remote, destinationPort } = tunnel.settings!;
      const id = protectionOfTunnel(tunnel, protectionOf);
      const state = id === undefined ? undefined : (protections.byId(id)?.state ?? 'invalid');
      const protection = id === INVALID_PROTECTION ? 'invalid' : state;
      return { type, local, remote, port: destinationPort, protection };
    });
    return routingPlan(family, routed, drop);
  }
}

/** The smallest of what fits the tunnels' ways, so that the kernel tells senders, and no packet is cut before it is sealed. */
function mtuOf(tunnels: readonly TunnelState[], underlay: Underlay): number {
  const mtus = tunnels.flatMap(({ settings, wantsIpsec, ipsec }) => {
    const device = settings === undefined ? undefined : underlay.routeTo(settings.remote)?.device;
    const link = device === undefined ? undefined : underlay.link(device);
    if (settings === undefined || !wantsIpsec || link === undefined) return [];
    const { mode, encapsulation } = ipsec?.options ?? {};
    const esp = { tunnelMode: mode === 'tunnel', inUdp: encapsulation !== 'no' };
    return [routedMtu(link.mtu, esp, familyOf(settings.remote))];
  });
  return mtus.length === 0 ? DEFAULT_MTU : Math.max(IPV6_MINIMUM, Math.min(...mtus));
}

const DEFAULT_MTU = 1500;
/** The least MTU of a device over which IPv6 works (RFC 8200 §5). */
const IPV6_MINIMUM = 1280;
