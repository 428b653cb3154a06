/**
 * The `switch` attach: ovs-espd is the datapath. Every Bridge row is a learning switch with a TAP named after
 * it; tunnel ports are ports of the engine; internal and tap ports are TAPs, others existing devices.
 *
 * Touches only what changed since the last call. TAPs are persistent: addresses put on them outlive the daemon,
 * and they go away with their row or by `exit`. What the database is told about it is in `writeBack`.
 */
import type { Engine, EngineLimits, PortVlans, TunnelSettings } from '../dataplane/index.ts';
import { DEFAULT_LIMITS, familyOf, SMALLEST_PATH_MTU, tunnelOverhead, VLAN_TAG_LENGTH } from '../dataplane/index.ts';
import type { Native } from '../native-shims/index.ts';
import {
  type Attach,
  type AttachedBridge,
  type AttachedPort,
  type PortFailure,
  type ProtectionOf,
  protectionOfTunnel,
  withProtection,
} from './attach.ts';
import type { BridgeState, DesiredState, PortState, TunnelState } from './config/desired-state.ts';
import { Ids } from './ids.ts';
import type { Links } from './links.ts';
import { messageOf } from './message-of.ts';
import { innerMtu } from './mtu.ts';
import { LOCAL_OFPORT, OfportTable } from './ofports.ts';
import type { OwnedTaps } from './owned-taps.ts';
import type { Underlay } from './underlay.ts';
import type { Logger } from './vlog.ts';

export interface SwitchAttachOptions {
  readonly engine: Engine;
  readonly native: Native;
  readonly taps: OwnedTaps;
  readonly links: Links;
  readonly log: Logger;
  /** Of the engine, where they are not the default. */
  readonly limits?: EngineLimits | undefined;
}

export class SwitchAttach implements Attach {
  readonly #options: SwitchAttachOptions;
  readonly #bridges = new Map<string, AttachedBridge>();
  readonly #ports = new Map<string, AttachedPort>();
  readonly #failures = new Map<string, PortFailure>();
  readonly #ofports = new OfportTable();
  readonly #bridgeIds: Ids;
  readonly #portIds: Ids;

  constructor(options: SwitchAttachOptions) {
    this.#options = options;
    const { bridges, ports } = options.limits ?? DEFAULT_LIMITS;
    this.#bridgeIds = new Ids(0, bridges);
    this.#portIds = new Ids(0, ports);
  }

  bridges(): ReadonlyMap<string, AttachedBridge> {
    return this.#bridges;
  }

  /** By the UUID of the Interface row. */
  ports(): ReadonlyMap<string, AttachedPort> {
    return this.#ports;
  }

  failures(): ReadonlyMap<string, PortFailure> {
    return this.#failures;
  }

  /** Who is the datapath sends nothing through a tunnel that it could not make. */
  closesAll(): boolean {
    return false;
  }

  /**
   * Makes bridges and ports what the configuration asks for.
   * @param underlay routes to all remotes of `desired`, and the devices
   * @param protectionOf id of the protection of a connection key
   * @param ofportOf the ofport that the database has for an Interface, kept if it is free
   */
  async apply(
    desired: DesiredState,
    underlay: Underlay,
    protectionOf: ProtectionOf,
    ofportOf: (uuid: string) => number | undefined,
  ): Promise<void> {
    await this.#removeGone(desired);
    for (const bridge of desired.bridges) await this.#setBridge(bridge);
    for (const port of desired.ports) await this.#setDevicePort(port, ofportOf(port.uuid));
    await this.#setTunnelPorts(desired.tunnels, (tunnel) =>
      this.#setTunnelPort(tunnel, underlay, protectionOf, ofportOf(tunnel.uuid)),
    );
    await this.#setMtus(desired, underlay);
    await this.#options.taps.removeUnused(new Set(this.#tapNames()), this.#options.native, this.#options.links);
  }

  async #removeGone(desired: DesiredState): Promise<void> {
    const wanted = new Map<string, string>();
    for (const port of [...desired.ports, ...desired.tunnels]) wanted.set(port.uuid, port.bridgeUuid);
    for (const uuid of this.#failures.keys()) if (!wanted.has(uuid)) this.#failures.delete(uuid);
    for (const [uuid, port] of this.#ports) {
      const bridge = this.#bridges.get(wanted.get(uuid) ?? '');
      if (bridge?.id !== port.bridge) await this.#removePort(port);
    }
    const bridges = new Set(desired.bridges.map((bridge) => bridge.uuid));
    for (const [uuid, bridge] of this.#bridges) {
      if (bridges.has(uuid)) continue;
      this.#bridges.delete(uuid);
      await this.#options.engine.apply({ op: 'remove-bridge', bridge: bridge.id });
      this.#bridgeIds.release(bridge.id);
      this.#options.log.info(`bridge ${bridge.state.name}: removed`);
    }
  }

  async #setBridge(state: BridgeState): Promise<void> {
    const known = this.#bridges.get(state.uuid);
    if (known !== undefined && known.state.ageingMs === state.ageingMs && known.state.fdbSize === state.fdbSize) {
      this.#bridges.set(state.uuid, { ...known, state });
      return;
    }
    const id = known?.id ?? this.#bridgeIds.take('bridges');
    this.#bridges.set(state.uuid, { id, state });
    const { name, ageingMs, fdbSize } = state;
    await this.#options.engine.apply({ op: 'set-bridge', bridge: id, name, ageingMs, fdbSize });
    if (known === undefined) this.#options.log.info(`bridge ${name}: added`);
  }

  async #setDevicePort(port: PortState, formerOfport: number | undefined): Promise<void> {
    const bridge = this.#bridges.get(port.bridgeUuid);
    if (bridge === undefined) return;
    if (port.kind === 'unsupported') {
      this.#fail(port.uuid, port.name, port.reason ?? 'this kind of port is not supported');
      return;
    }
    const settings = JSON.stringify([port.kind, port.name]);
    const known = this.#ports.get(port.uuid);
    if (port.vlans.reason !== undefined) {
      if (known !== undefined) await this.#removePort(known);
      this.#fail(port.uuid, port.name, port.vlans.reason);
      return;
    }
    if (known?.settings === settings) {
      await this.#setVlans(known, port.vlans.vlans);
      await this.#setMac(port, bridge.state);
      return;
    }
    if (known !== undefined) await this.#removePort(known);
    try {
      await this.#addDevicePort(port, bridge, settings, formerOfport);
      this.#failures.delete(port.uuid);
    } catch (error) {
      this.#fail(port.uuid, port.name, messageOf(error));
    }
  }

  async #addDevicePort(
    port: PortState,
    bridge: AttachedBridge,
    settings: string,
    formerOfport: number | undefined,
  ): Promise<void> {
    const { engine, native, taps, links } = this.#options;
    const { vlans } = port.vlans;
    const system = port.kind === 'system';
    // Noted before it exists, so that a crash in between leaves no TAP that nobody owns.
    if (!system) taps.add(port.name);
    const fds = system ? engine.openDevice(port.name) : engine.openTap(port.name, { persistent: true });
    const op = system ? 'set-device-port' : 'set-tap-port';
    let id: number;
    try {
      id = this.#portIds.take('ports');
      await engine.apply({ op, port: id, bridge: bridge.id, name: port.name, fds, vlans });
    } catch (error) {
      for (const fd of fds) native.close(fd);
      throw error;
    }
    const ofport =
      port.kind === 'local' ? LOCAL_OFPORT : this.#ofports.take(bridge.id, port.ofportRequest ?? formerOfport);
    const device = { kind: system ? 'system' : 'tap', fds, facts: await links.linkFacts(port.name) } as const;
    const { uuid, name } = port;
    this.#ports.set(uuid, { id, bridge: bridge.id, uuid, name, ofport, settings, vlans, device });
    await this.#setMac(port, bridge.state);
    this.#options.log.info(`bridge ${bridge.state.name}: added interface ${port.name} on port ${ofport}`);
  }

  async #setVlans(port: AttachedPort, vlans: PortVlans | undefined): Promise<void> {
    if (JSON.stringify(port.vlans) === JSON.stringify(vlans)) return;
    await this.#options.engine.apply({ op: 'set-port-vlans', port: port.id, vlans });
    this.#ports.set(port.uuid, { ...port, vlans });
    this.#options.log.info(`port ${port.name}: ${vlansText(vlans)}`);
  }

  async #setMac(port: PortState, bridge: BridgeState): Promise<void> {
    if (port.kind === 'system') return;
    const mac = port.mac ?? (port.kind === 'local' ? bridge.hwaddr : undefined);
    const { links } = this.#options;
    const facts = await links.linkFacts(port.name);
    if (mac !== undefined && facts !== undefined && facts.mac !== mac) await links.setLink(port.name, { mac });
  }

  /** One that cannot be set may only have been in the way of, or behind, another: it is tried again after the others. */
  async #setTunnelPorts(
    tunnels: readonly TunnelState[],
    set: (tunnel: TunnelState) => Promise<string | undefined>,
  ): Promise<void> {
    let failed = new Map<TunnelState, string>();
    let left = tunnels;
    do {
      failed = new Map();
      for (const tunnel of left) {
        const reason = await set(tunnel);
        if (reason !== undefined) failed.set(tunnel, reason);
      }
      if (failed.size === left.length) break;
      left = [...failed.keys()];
    } while (left.length > 0);
    for (const [{ uuid, name }, reason] of failed) this.#fail(uuid, name, reason);
  }

  /** Gives the reason when the engine cannot have such a port beside the others; then there is none. */
  async #setTunnelPort(
    tunnel: TunnelState,
    underlay: Underlay,
    protectionOf: ProtectionOf,
    formerOfport: number | undefined,
  ): Promise<string | undefined> {
    const bridge = this.#bridges.get(tunnel.bridgeUuid);
    if (bridge === undefined) return undefined;
    const known = this.#ports.get(tunnel.uuid);
    if (tunnel.settings === undefined) {
      if (known !== undefined) await this.#removePort(known);
      this.#failures.set(tunnel.uuid, { uuid: tunnel.uuid, reason: tunnel.reason ?? 'invalid' });
      return undefined;
    }
    const { vlans, reason } = tunnel.vlans;
    if (reason !== undefined) {
      if (known !== undefined) await this.#removePort(known);
      return reason;
    }
    const protection = protectionOfTunnel(tunnel, protectionOf);
    const engineTunnel = withProtection(tunnel.settings, protection);
    const settings = JSON.stringify(engineTunnel);
    if (known !== undefined) await this.#setVlans(known, vlans);
    const current = this.#ports.get(tunnel.uuid);
    if (current?.settings === settings) {
      await this.#setUplink(current, underlay, tunnel.settings.remote);
      return undefined;
    }
    let id: number;
    try {
      id = await this.#setEnginePort(known?.id, bridge.id, tunnel.name, engineTunnel, vlans);
    } catch (error) {
      // The engine can't do it beside the others: then the port must not go on as it was before.
      if (known !== undefined) await this.#removePort(known);
      return messageOf(error);
    }
    this.#failures.delete(tunnel.uuid);
    const ofport = known?.ofport ?? this.#ofports.take(bridge.id, tunnel.ofportRequest ?? formerOfport);
    const attached: AttachedPort = {
      id,
      bridge: bridge.id,
      uuid: tunnel.uuid,
      name: tunnel.name,
      ofport,
      settings,
      vlans,
      device: { kind: 'tunnel', egress: undefined, uplinkMtu: undefined },
    };
    this.#ports.set(tunnel.uuid, attached);
    await this.#setUplink(attached, underlay, tunnel.settings.remote);
    if (known === undefined)
      this.#options.log.info(`bridge ${bridge.state.name}: added interface ${tunnel.name} on port ${ofport}`);
    return undefined;
  }

  /** Rejects with one line, with nothing left of a new port, when the engine can't. */
  async #setEnginePort(
    known: number | undefined,
    bridge: number,
    name: string,
    tunnel: TunnelSettings,
    vlans: PortVlans | undefined,
  ): Promise<number> {
    const port = known ?? this.#portIds.take('ports');
    try {
      await this.#options.engine.apply({ op: 'set-tunnel-port', port, bridge, name, tunnel, vlans });
    } catch (error) {
      if (known === undefined) {
        await this.#options.engine.apply({ op: 'remove-port', port });
        this.#portIds.release(port);
      }
      throw error;
    }
    return port;
  }

  /** Where a tunnel's packets leave, and what the engine is told of it: how large they may be. */
  async #setUplink(port: AttachedPort, underlay: Underlay, remote: string): Promise<void> {
    if (port.device.kind !== 'tunnel') return;
    const egress = underlay.routeTo(remote)?.device;
    const deviceMtu = egress === undefined ? undefined : underlay.link(egress)?.mtu;
    // Without a route nothing leaves; what IPv6 and IPv4 ask of every device is the least there is.
    const uplinkMtu = deviceMtu === undefined ? undefined : clampMtu(deviceMtu, familyOf(remote));
    if (uplinkMtu !== undefined && uplinkMtu !== port.device.uplinkMtu)
      await this.#options.engine.apply({ op: 'set-path-mtu', port: port.id, mtu: uplinkMtu });
    this.#ports.set(port.uuid, { ...port, device: { kind: 'tunnel', egress, uplinkMtu } });
  }

  /** A TAP without `mtu_request` gets what fits every tunnel of its bridge; without tunnels it keeps what it has. */
  async #setMtus(desired: DesiredState, underlay: Underlay): Promise<void> {
    const derivedOf = derivedMtus(desired.tunnels, underlay);
    const tagging = taggingBridges(desired);
    for (const port of desired.ports) {
      const attached = this.#ports.get(port.uuid);
      if (attached?.device.kind !== 'tap') continue;
      const facts = underlay.link(port.name) ?? (await this.#options.links.linkFacts(port.name));
      const fitting = derivedOf.get(port.bridgeUuid);
      const derived = fitting !== undefined && tagging.has(port.bridgeUuid) ? fitting - VLAN_TAG_LENGTH : fitting;
      const mtu = port.mtu ?? derived;
      if (facts === undefined) continue;
      if (mtu !== undefined && facts.mtu !== mtu) await this.#options.links.setLink(port.name, { mtu });
      const current = mtu === undefined ? facts : { ...facts, mtu };
      this.#ports.set(port.uuid, { ...attached, device: { ...attached.device, facts: current } });
    }
  }

  async #removePort(port: AttachedPort): Promise<void> {
    this.#ports.delete(port.uuid);
    this.#ofports.release(port.bridge, port.ofport);
    // The engine closes the descriptors; a TAP that is persistent no more goes away with the last of them.
    const taps = port.device.kind === 'tap' ? port.device.fds : [];
    for (const fd of taps) this.#options.native.setTapPersistent(fd, false);
    await this.#options.engine.apply({ op: 'remove-port', port: port.id });
    this.#portIds.release(port.id);
    if (port.device.kind === 'tap') this.#options.taps.remove(port.name);
    this.#options.log.info(`removed interface ${port.name} (port ${port.ofport})`);
  }

  #fail(uuid: string, name: string, reason: string): void {
    if (this.#failures.get(uuid)?.reason !== reason) this.#options.log.warn(`interface ${name}: ${reason}`);
    this.#failures.set(uuid, { uuid, reason });
  }

  #tapNames(): string[] {
    return [...this.#ports.values()].filter((port) => port.device.kind === 'tap').map((port) => port.name);
  }

  /** Nothing does. */
  async stop(): Promise<void> {}

  /** Takes every port down and with it the TAPs, by `exit`. Otherwise they stay, with the addresses on them, for a successor. */
  async removeAll(): Promise<void> {
    for (const port of this.#ports.values()) await this.#removePort(port);
  }
}

function vlansText(vlans: PortVlans | undefined): string {
  if (vlans === undefined) return 'trunk of all VLANs';
  const { mode, tag, trunks } = vlans;
  const carried = mode === 'access' ? '' : trunks.length === 0 ? ', all VLANs' : `, VLANs ${trunks.join(', ')}`;
  return `${mode}${mode === 'trunk' ? '' : ` VLAN ${tag}`}${carried}`;
}

function clampMtu(mtu: number, family: 4 | 6): number {
  return Math.min(65_535, Math.max(SMALLEST_PATH_MTU[family], mtu));
}

/** Bridges on which frames of access ports get a tag on their way into a tunnel that is a trunk. */
function taggingBridges({ ports, tunnels }: DesiredState): ReadonlySet<string> {
  const tagging = [...ports, ...tunnels].filter((port) => (port.vlans.vlans?.tag ?? 0) > 0);
  return new Set(tagging.map(({ bridgeUuid }) => bridgeUuid));
}

/** By bridge, the smallest of what fits each tunnel's route; none where no tunnel has one. Bytes. */
function derivedMtus(tunnels: readonly TunnelState[], underlay: Underlay): ReadonlyMap<string, number> {
  const smallest = new Map<string, number>();
  for (const { settings, wantsIpsec, ipsec, bridgeUuid } of tunnels) {
    const route = settings === undefined ? undefined : underlay.routeTo(settings.remote);
    const device = route === undefined ? undefined : underlay.link(route.device);
    if (settings === undefined || device === undefined) continue;
    const { mode, encapsulation } = ipsec?.options ?? {};
    const layers = wantsIpsec ? { tunnelMode: mode === 'tunnel', inUdp: encapsulation === 'yes' } : undefined;
    const mtu = innerMtu(device.mtu, tunnelOverhead(settings), layers, familyOf(settings.remote));
    smallest.set(bridgeUuid, Math.min(smallest.get(bridgeUuid) ?? mtu, mtu));
  }
  return smallest;
}
