/**
 * The companion attach, `external_ids:espd=uplink`: a real ovs-vswitchd with a userspace datapath encapsulates, and
 * ovs-espd sits between its physical bridge and the NIC. Makes the TAPs that are the datapath's uplinks, opens the
 * NICs behind them, and tells the engine the tunnels, for their IPsec policy alone.
 *
 * The TAPs are persistent: without ovs-espd they stay, with nobody behind them, so nothing leaves.
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
import type { CompanionPort, DesiredState, TunnelState } from './config/desired-state.ts';
import { Ids } from './ids.ts';
import type { Links } from './links.ts';
import { markInForce } from './mark-policy.ts';
import type { Timers } from './ovsdb/timers.ts';
import type { OwnedTaps } from './owned-taps.ts';
import type { Protections } from './protections.ts';
import type { Routing } from './route/kernel-routing.ts';
import { RoutedTunnels } from './route/routed-tunnels.ts';
import type { Underlay } from './underlay.ts';
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
  /** Of the engine, where they are not the default. */
  readonly limits?: EngineLimits | undefined;
}

interface AttachedUplink {
  readonly port: number;
  readonly nicPort: number;
  readonly name: string;
  readonly fds: readonly number[];
  /** What the engine was given; the uplink is replaced when it changes. */
  readonly settings: string;
}

export class CompanionAttach implements Attach {
  readonly #options: CompanionAttachOptions;
  readonly #uplinks = new Map<string, AttachedUplink>();
  readonly #tunnels = new Map<string, AttachedPort>();
  readonly #failures = new Map<string, PortFailure>();
  readonly #portIds: Ids;
  readonly #routed: RoutedTunnels;

  constructor(options: CompanionAttachOptions) {
    this.#options = options;
    this.#portIds = new Ids(0, (options.limits ?? DEFAULT_LIMITS).ports);
    this.#routed = new RoutedTunnels({
      ...options,
      takePort: () => this.#portIds.take('ports'),
      releasePort: (id) => this.#portIds.release(id),
    });
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

  /** Tunnels first, then uplinks: no frame crosses before the policy for it is there. */
  async apply(desired: DesiredState, underlay: Underlay, protectionOf: ProtectionOf): Promise<void> {
    await this.#removeGone(desired);
    for (const tunnel of desired.tunnels) await this.#setTunnel(tunnel, underlay, protectionOf);
    for (const port of desired.companions) await this.#setUplink(port, underlay);
    await this.#routed.apply(desired, underlay, protectionOf, markInForce(desired));
    const names = new Set([...this.#uplinks.values()].map(({ name }) => name));
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
    for (const uuid of this.#uplinks.keys()) if (!companions.has(uuid)) await this.#removeUplink(uuid);
    for (const uuid of this.#tunnels.keys()) if (!tunnels.has(uuid)) await this.#removeTunnel(uuid);
  }

  async #setTunnel(tunnel: TunnelState, underlay: Underlay, protectionOf: ProtectionOf): Promise<void> {
    const { uuid, name, ofport } = tunnel;
    if (tunnel.settings === undefined) {
      await this.#removeTunnel(uuid);
      this.#fail(uuid, name, tunnel.reason ?? 'invalid');
      return;
    }
    this.#failures.delete(uuid);
    const settings = { ...tunnel.settings, protection: protectionOfTunnel(tunnel, protectionOf) };
    const text = JSON.stringify(settings);
    const known = this.#tunnels.get(uuid);
    if (known?.settings === text) return;
    const id = known?.id ?? this.#portIds.take('ports');
    await this.#options.engine.apply({
      op: 'set-tunnel-port',
      port: id,
      bridge: undefined,
      name,
      tunnel: settings,
    });
    const egress = underlay.routeTo(settings.remote)?.device;
    this.#tunnels.set(uuid, {
      id,
      bridge: -1,
      uuid,
      name,
      ofport: ofport ?? -1,
      settings: text,
      device: { kind: 'tunnel', egress, uplinkMtu: undefined },
    });
  }

  async #setUplink(port: CompanionPort, underlay: Underlay): Promise<void> {
    const { uuid, name, nic, mark, reason } = port;
    const facts = nic === undefined ? undefined : underlay.link(nic);
    const settings = JSON.stringify([name, nic, facts?.index, mark]);
    const known = this.#uplinks.get(uuid);
    if (known?.settings === settings) return;
    await this.#removeUplink(uuid);
    if (nic === undefined || facts === undefined) {
      this.#fail(
        uuid,
        name,
        reason ?? `external_ids:espd-nic is "${nic}", expected a device that exists; see: ip link show`,
      );
      return;
    }
    try {
      await this.#addUplink(port, nic, facts.mtu, settings);
      this.#failures.delete(uuid);
    } catch (error) {
      this.#fail(uuid, name, error instanceof Error ? error.message : String(error));
    }
  }

  async #addUplink({ uuid, name, mark }: CompanionPort, nic: string, mtu: number, settings: string): Promise<void> {
    const { engine, taps, links, log } = this.#options;
    taps.add(name);
    const fds = engine.openTap(name, { persistent: true, plain: true });
    const nicFds = engine.openDevice(nic);
    const uplink = { port: this.#portIds.take('ports'), nicPort: this.#portIds.take('ports'), name, fds, settings };
    await engine.apply({ op: 'set-bump-port', port: uplink.port, nicPort: uplink.nicPort, name, fds, nicFds, mark });
    this.#uplinks.set(uuid, uplink);
    await links.setLink(name, { mtu, up: true });
    await links.setLink(nic, { up: true });
    log.info(`uplink ${name}: between ovs-vswitchd and ${nic}, mark ${mark}`);
  }

  async #removeTunnel(uuid: string): Promise<void> {
    const known = this.#tunnels.get(uuid);
    if (known === undefined) return;
    this.#tunnels.delete(uuid);
    await this.#removeEnginePort(known.id);
  }

  /** The TAP goes with the last descriptor, which the engine closes. */
  async #removeUplink(uuid: string): Promise<void> {
    const known = this.#uplinks.get(uuid);
    if (known === undefined) return;
    const { native, taps, log } = this.#options;
    this.#uplinks.delete(uuid);
    for (const fd of known.fds) native.setTapPersistent(fd, false);
    await this.#removeEnginePort(known.port);
    await this.#removeEnginePort(known.nicPort);
    taps.remove(known.name);
    log.info(`uplink ${known.name}: removed`);
  }

  async #removeEnginePort(id: number): Promise<void> {
    await this.#options.engine.apply({ op: 'remove-port', port: id });
    this.#portIds.release(id);
  }

  #fail(uuid: string, name: string, reason: string): void {
    if (this.#failures.get(uuid)?.reason !== reason) this.#options.log.warn(`interface ${name}: ${reason}`);
    this.#failures.set(uuid, { uuid, reason });
  }

  /** By `exit`: the uplinks go, and what is behind them is cut off; the tunnels' policy goes last. */
  async removeAll(): Promise<void> {
    for (const uuid of [...this.#uplinks.keys()]) await this.#removeUplink(uuid);
    await this.#routed.removeAll();
    for (const uuid of [...this.#tunnels.keys()]) await this.#removeTunnel(uuid);
  }
}
