/**
 * The companion attaches, `external_ids:espd`: a real ovs-vswitchd with a userspace datapath encapsulates, and ovs-espd stands
 * where its tunnel packets have to pass: between the physical bridge and a NIC (uplink-places.ts), or behind a port of that
 * bridge (port-places.ts). Flows keep their packets from all other ways (guarded-bridges.ts). The engine is told the tunnels for
 * their IPsec policy alone.
 *
 * The database is only read: its Bridge and Interface rows are ovs-vswitchd's to write.
 */
import type { Engine, EngineLimits } from '../dataplane/index.ts';
import { DEFAULT_LIMITS } from '../dataplane/index.ts';
import type { Native } from '../native-shims/index.ts';
import {
  type Attach,
  type AttachedBridge,
  type AttachedPort,
  type PortFailure,
  type ProtectionOf,
  protectionOfTunnel,
} from './attach.ts';
import { bypassLine, bypassOf } from './bypass.ts';
import type { CompanionPort, DesiredState, TunnelState } from './config/desired-state.ts';
import { GuardedBridges } from './guarded-bridges.ts';
import { Ids } from './ids.ts';
import type { Links } from './links.ts';
import { markInForce } from './mark-policy.ts';
import { messageOf } from './message-of.ts';
import type { FlowPolicy, LedTunnel } from './openflow/flows.ts';
import type { Timers } from './ovsdb/timers.ts';
import type { OwnedTaps } from './owned-taps.ts';
import { PortPlaces } from './port-places.ts';
import type { Protections } from './protections.ts';
import type { Routing } from './route/kernel-routing.ts';
import { RoutedTunnels } from './route/routed-tunnels.ts';
import type { Underlay } from './underlay.ts';
import { UplinkPlaces } from './uplink-places.ts';
import type { Logger } from './vlog.ts';

export interface CompanionAttachOptions {
  readonly engine: Engine;
  readonly native: Native;
  readonly taps: OwnedTaps;
  readonly links: Links;
  readonly routing: Routing;
  readonly protections: Protections;
  readonly timers: Timers;
  readonly log: Logger;
  /** OVS_RUNDIR. */
  readonly runDirectory: string;
  /** Of the engine, where they are not the default. */
  readonly limits?: EngineLimits | undefined;
}

export class CompanionAttach implements Attach {
  readonly #options: CompanionAttachOptions;
  readonly #uplinks: UplinkPlaces;
  readonly #ports: PortPlaces;
  readonly #guarded: GuardedBridges;
  readonly #tunnels = new Map<string, AttachedPort>();
  readonly #failures = new Map<string, PortFailure>();
  readonly #portIds: Ids;
  readonly #routed: RoutedTunnels;
  #flowTunnels = '[]';
  #closesAll = false;
  /** Lines about tunnels that bypass us. */
  #bypassed = new Set<string>();

  constructor(options: CompanionAttachOptions) {
    this.#options = options;
    this.#portIds = new Ids(0, (options.limits ?? DEFAULT_LIMITS).ports);
    this.#routed = new RoutedTunnels({
      ...options,
      takePort: () => this.#portIds.take('ports'),
      releasePort: (id) => this.#portIds.release(id),
    });
    this.#uplinks = new UplinkPlaces({ ...options, portIds: this.#portIds });
    this.#ports = new PortPlaces({ ...options, portIds: this.#portIds });
    this.#guarded = new GuardedBridges(options);
  }

  /** None: they are ovs-vswitchd's. */
  bridges(): ReadonlyMap<string, AttachedBridge> {
    return new Map();
  }

  /** The tunnels, by the UUID of the Interface row. */
  ports(): ReadonlyMap<string, AttachedPort> {
    return this.#tunnels;
  }

  failures(): ReadonlyMap<string, PortFailure> {
    return this.#failures;
  }

  closesAll(): boolean {
    return this.#closesAll;
  }

  /** Tunnels first, then the places: no frame crosses before the policy for it is there. */
  async apply(
    desired: DesiredState,
    underlay: Underlay,
    protectionOf: ProtectionOf,
    _ofportOf: (uuid: string) => number | undefined,
    close: () => Promise<void>,
  ): Promise<void> {
    await this.#removeGone(desired);
    await this.#setFlowTunnels(desired);
    await this.#setTunnels(desired.tunnels, (tunnel) => this.#setTunnel(tunnel, underlay, protectionOf), close);
    this.#closesAll = desired.tunnels.some(
      ({ uuid, wantsIpsec, settings }) => wantsIpsec && settings !== undefined && !this.#tunnels.has(uuid),
    );
    this.#tellBypassed(desired, underlay);
    const policy = this.#flowPolicy(desired, protectionOf);
    await this.#guarded.set(desired, underlay, policy, (port) => this.#ports.concerns(port));
    for (const port of desired.companions) await this.#setPlace(port, underlay, policy);
    await this.#routed.apply(desired, underlay, protectionOf, markInForce(desired, this.#closesAll));
    const names = new Set([...this.#uplinks.names(), ...this.#ports.names()]);
    await this.#options.taps.removeUnused(names, this.#options.native, this.#options.links);
  }

  /** What a companion that was killed has left in the kernel; once is enough. */
  removeLeftovers(): Promise<void> {
    return this.#routed.removeAll();
  }

  /** An SA came or went: plaintext of a tunnel that is protected from now on ends in the kernel too. */
  protectionsChanged(): Promise<void> {
    return this.#routed.protectionsChanged();
  }

  async #removeGone(desired: DesiredState): Promise<void> {
    const companions = new Set(desired.companions.map(({ uuid }) => uuid));
    const tunnels = new Set(desired.tunnels.map(({ uuid }) => uuid));
    for (const uuid of this.#failures.keys())
      if (!companions.has(uuid) && !tunnels.has(uuid)) this.#failures.delete(uuid);
    await this.#ports.removeGone(desired.companions);
    await this.#uplinks.removeGone(desired.companions);
  }

  /** Of one type and port together: one that asks for IPsec closes them all. */
  async #setFlowTunnels({ tunnels }: DesiredState): Promise<void> {
    const kinds = new Map<string, NonNullable<TunnelState['flowBased']>>();
    for (const { flowBased } of tunnels) {
      if (flowBased === undefined) continue;
      const kind = `${flowBased.type} ${flowBased.destinationPort}`;
      kinds.set(kind, { ...flowBased, closed: flowBased.closed || kinds.get(kind)?.closed === true });
    }
    const text = JSON.stringify([...kinds.values()]);
    if (text === this.#flowTunnels) return;
    await this.#options.engine.apply({ op: 'set-flow-tunnels', tunnels: [...kinds.values()] });
    this.#flowTunnels = text;
  }

  /**
   * New ones before those that go: with both gone for a moment, packets between their addresses would be nobody's. One that the engine
   * refuses is no reason to end: it has none then, and nothing is to leave in the clear from before that on.
   */
  async #setTunnels(
    tunnels: readonly TunnelState[],
    set: (tunnel: TunnelState) => Promise<string | undefined>,
    close: () => Promise<void>,
  ): Promise<void> {
    const refused: TunnelState[] = [];
    for (const tunnel of tunnels) if ((await set(tunnel)) !== undefined) refused.push(tunnel);
    if (refused.some(({ wantsIpsec }) => wantsIpsec)) await close();
    const kept = new Set(tunnels.filter((tunnel) => !refused.includes(tunnel)).map(({ uuid }) => uuid));
    for (const uuid of [...this.#tunnels.keys()]) if (!kept.has(uuid)) await this.#removeTunnel(uuid);
    // What stood in the way may be gone now.
    for (const tunnel of refused) {
      const reason = await set(tunnel);
      if (reason !== undefined) this.#fail(tunnel.uuid, tunnel.name, reason);
    }
  }

  /** Gives the reason if the engine refuses it; then the one before, if any, is as it was. */
  async #setTunnel(tunnel: TunnelState, underlay: Underlay, protectionOf: ProtectionOf): Promise<string | undefined> {
    const { uuid, name, ofport } = tunnel;
    if (tunnel.settings === undefined) {
      await this.#removeTunnel(uuid);
      if (tunnel.flowBased === undefined) this.#fail(uuid, name, tunnel.reason ?? 'invalid');
      else this.#failures.delete(uuid);
      return undefined;
    }
    const settings = { ...tunnel.settings, protection: protectionOfTunnel(tunnel, protectionOf) };
    const text = JSON.stringify(settings);
    const known = this.#tunnels.get(uuid);
    if (known?.settings === text) return undefined;
    let id: number | undefined;
    try {
      id = known?.id ?? this.#portIds.take('ports');
      await this.#options.engine.apply({ op: 'set-tunnel-port', port: id, bridge: undefined, name, tunnel: settings });
    } catch (error) {
      if (known === undefined && id !== undefined) this.#portIds.release(id);
      return messageOf(error);
    }
    this.#failures.delete(uuid);
    const egress = underlay.routeTo(settings.remote)?.device;
    this.#tunnels.set(uuid, {
      ...{ id, bridge: -1, uuid, name, ofport: ofport ?? -1, settings: text, vlans: undefined },
      device: { kind: 'tunnel', egress, uplinkMtu: undefined },
    });
    return undefined;
  }

  /** Each once, until it is mended. */
  #tellBypassed(desired: DesiredState, underlay: Underlay): void {
    const found = new Set<string>();
    for (const tunnel of desired.tunnels) {
      const device = bypassOf(tunnel, desired, underlay);
      if (device !== undefined) found.add(`interface ${tunnel.name}: ${bypassLine(device).join('; ')}`);
    }
    for (const line of found) if (!this.#bypassed.has(line)) this.#options.log.warn(line);
    this.#bypassed = found;
  }

  /** What the flows of every bridge with a port of ours are made of. */
  #flowPolicy(desired: DesiredState, protectionOf: ProtectionOf): FlowPolicy {
    const led: LedTunnel[] = [];
    for (const tunnel of desired.tunnels) {
      const { settings } = tunnel;
      if (settings === undefined || protectionOfTunnel(tunnel, protectionOf) === undefined) continue;
      const { type, local, remote, destinationPort } = settings;
      led.push({ type, local, remote, port: destinationPort });
    }
    const flowTunnels = desired.tunnels.flatMap(({ flowBased }) => (flowBased === undefined ? [] : [flowBased]));
    return { led, flowTunnels, drop: markInForce(desired, this.#closesAll) };
  }

  async #setPlace(port: CompanionPort, underlay: Underlay, policy: FlowPolicy): Promise<void> {
    const failure = this.#ports.concerns(port)
      ? await this.#ports.set(port, underlay, policy)
      : await this.#uplinks.set(port, underlay);
    if (failure === undefined) this.#failures.delete(port.uuid);
    else this.#fail(port.uuid, port.name, failure.reason);
  }

  async #removeTunnel(uuid: string): Promise<void> {
    const known = this.#tunnels.get(uuid);
    if (known === undefined) return;
    this.#tunnels.delete(uuid);
    await this.#options.engine.apply({ op: 'remove-port', port: known.id });
    this.#portIds.release(known.id);
  }

  #fail(uuid: string, name: string, reason: string): void {
    if (this.#failures.get(uuid)?.reason !== reason) this.#options.log.warn(`interface ${name}: ${reason}`);
    this.#failures.set(uuid, { uuid, reason });
  }

  /** By `exit`: the places go, and with them flows and TAPs; the tunnels' policy goes last. */
  async removeAll(): Promise<void> {
    await this.#guarded.removeAll();
    await this.#ports.removeAll(true);
    await this.#uplinks.removeAll();
    await this.#routed.removeAll();
    for (const uuid of [...this.#tunnels.keys()]) await this.#removeTunnel(uuid);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#ports.stop(), this.#guarded.stop()]);
  }
}
