/**
 * What the engine has been told, on the main thread: checks each command before a worker sees it, and gives a
 * replacement worker the full state again, in an order that is never more open than what it replaces.
 */

import { familyOf } from './address-pairs.ts';
import type { CaptureSettings } from './capture/capture.ts';
import type {
  EngineCommand,
  FlowTunnel,
  InboundSa,
  MarkMatch,
  OutboundSa,
  PortVlans,
  ProtectionState,
} from './commands.ts';
import { Demand } from './demand.ts';
import { encapsulationOf } from './encap/encap.ts';
import type { UplinkDemand } from './io/uplink.ts';
import type { EngineLimits } from './limits.ts';
import { PathMtus, SMALLEST_PATH_MTU } from './path-mtu.ts';
import { SendingSas } from './sending-sas.ts';
import { makeTunnel } from './tunnel-table.ts';
import { macFromText } from './wire/ethernet.ts';

type CommandOf<Op extends EngineCommand['op']> = Extract<EngineCommand, { op: Op }>;
/** TAP and device ports together: one poll takes 1024 descriptors, and the uplink has some of them. */
const MAX_LOCAL_PORTS = 1000;
const MAX_VLAN = 4095;

type TunnelCommand = CommandOf<'set-tunnel-port'>;
/** A port of one of our bridges. */
type BridgePortCommand = CommandOf<'set-tap-port' | 'set-device-port'> | TunnelCommand;
/** Where the frames of another datapath cross. */
type BesideCommand = CommandOf<'set-bump-port' | 'set-hairpin-port'>;
type PortCommand = BridgePortCommand | BesideCommand | CommandOf<'set-route-port'>;

export class DesiredState {
  private readonly limits: EngineLimits;
  private readonly bridges = new Map<number, CommandOf<'set-bridge'>>();
  private readonly ports = new Map<number, PortCommand>();
  /** How many of them are no tunnels. */
  private localPorts = 0;
  /** Tunnels by the protocol and port that they receive on. */
  private readonly listening = new Map<string, Map<number, TunnelCommand>>();
  private readonly demanded = new Demand();
  readonly paths = new PathMtus();
  /** Descriptors of the far ends of bumps, by their port ids. */
  private readonly nics = new Map<number, readonly number[]>();
  private readonly bumpHosts = new Map<number, CommandOf<'set-bump-hosts'>>();
  private flowTunnels: readonly FlowTunnel[] = [];
  private readonly protections = new Map<number, ProtectionState>();
  private readonly everProtected = new Set<number>();
  private readonly inbound = new Map<number, InboundSa>();
  private readonly outbound = new Map<number, OutboundSa>();
  /** Slots of outbound SAs by SPI: peers choose them, so two may have the same. */
  private readonly outboundSlots = new Map<number, readonly number[]>();
  private readonly sending = new SendingSas();
  private capture: CaptureSettings | undefined;
  private markPolicy: { drop: MarkMatch | undefined; uplinkMark: number } = { drop: undefined, uplinkMark: 0 };

  constructor(limits: EngineLimits) {
    this.limits = limits;
  }

  /**
   * Checks the command against what is known, then remembers its effect. Throws one line, and changes nothing, when an id is out of
   * range, names a thing that is not there, or the settings are such as the engine can't do.
   */
  record(command: EngineCommand): void {
    switch (command.op) {
      case 'set-bridge':
        this.checkId('bridge', command.bridge, this.limits.bridges);
        this.bridges.set(command.bridge, command);
        return;
      case 'remove-bridge':
        this.bridges.delete(command.bridge);
        return;
      case 'flush-fdb':
      case 'measure-stages':
        return;
      case 'set-capture':
        this.capture = command.capture;
        return;
      case 'set-tap-port':
      case 'set-device-port':
      case 'set-tunnel-port':
      case 'set-route-port':
      case 'set-hairpin-port':
        this.checkPort(command);
        this.setPort(command);
        return;
      case 'set-bump-port':
        this.checkBump(command);
        this.setPort(command);
        this.nics.set(command.nicPort, command.nicFds);
        return;
      case 'set-bump-hosts':
        this.setBumpHosts(command);
        return;
      case 'set-flow-tunnels':
        this.flowTunnels = command.tunnels;
        return;
      case 'set-port-vlans':
        this.setVlans(command);
        return;
      case 'remove-port':
        this.removePort(command.port);
        this.paths.remove(command.port);
        this.nics.delete(command.port);
        return;
      case 'set-path-mtu':
        this.setPathMtu(command.port, command.mtu);
        return;
      case 'set-mark-policy':
        this.markPolicy = { drop: command.drop, uplinkMark: command.uplinkMark };
        this.demanded.setUplinkMark(command.uplinkMark);
        return;
      case 'set-protection':
        this.setProtection(command.protection, command.state);
        return;
      case 'remove-protection':
        this.protections.delete(command.protection);
        this.everProtected.delete(command.protection);
        this.sending.forget(command.protection);
        return;
      case 'add-inbound-sa':
        this.checkSa(command.sa);
        this.setInbound(command.sa.slot, copyOf(command.sa));
        return;
      case 'add-outbound-sa':
        this.checkSa(command.sa);
        this.outbound.set(command.sa.slot, copyOf(command.sa));
        this.outboundSlots.set(command.sa.spi, [...(this.outboundSlots.get(command.sa.spi) ?? []), command.sa.slot]);
        return;
      case 'remove-inbound-sa':
        this.inbound.get(command.slot)?.keyAndSalt.fill(0);
        this.setInbound(command.slot, undefined);
        return;
      case 'remove-outbound-sa':
        this.removeOutboundSa(command.slot);
        return;
      case 'move-sa':
        this.move(command);
        return;
      case 'use-outbound-sa':
        this.use(command);
        return;
    }
  }

  /** The commands that bring an empty worker to this state: protections before tunnels, SAs before their use. */
  commands(): EngineCommand[] {
    return [
      { op: 'set-mark-policy', ...this.markPolicy },
      ...(this.capture === undefined ? [] : [{ op: 'set-capture', capture: this.capture } as const]),
      ...(this.flowTunnels.length === 0 ? [] : [{ op: 'set-flow-tunnels', tunnels: this.flowTunnels } as const]),
      ...this.bridges.values(),
      ...[...this.protections].map(
        ([protection, state]): EngineCommand => ({ op: 'set-protection', protection, state }),
      ),
      ...[...this.inbound.values()].map((sa): EngineCommand => ({ op: 'add-inbound-sa', sa })),
      ...[...this.outbound.values()].map((sa): EngineCommand => ({ op: 'add-outbound-sa', sa })),
      ...this.sending.commands(),
      ...this.ports.values(),
      ...this.bumpHosts.values(),
      ...this.pathMtus(this.paths.ports()),
    ];
  }

  /** What workers are to take the MTU of these tunnel ports' paths for. */
  pathMtus(ports: readonly number[]): EngineCommand[] {
    return ports.map((port) => ({ op: 'set-path-mtu', port, mtu: this.paths.mtuOf(port) }));
  }

  outboundSas(spi: number): readonly OutboundSa[] {
    return (this.outboundSlots.get(spi) ?? []).map((slot) => this.outbound.get(slot)!);
  }

  protectionState(protection: number): ProtectionState | undefined {
    return this.protections.get(protection);
  }

  /** Descriptors of a TAP or device port; none for a tunnel port or an unknown one. */
  portDescriptors(port: number): readonly number[] {
    const known = this.ports.get(port);
    if (known === undefined) return this.nics.get(port) ?? [];
    return known.op === 'set-tunnel-port' ? [] : known.fds;
  }

  allDescriptors(): readonly number[] {
    return [...this.ports.keys(), ...this.nics.keys()].flatMap((port) => this.portDescriptors(port));
  }

  /** What the uplink must receive and send with for the tunnels there are; the same object until that is something else. */
  demand(): UplinkDemand {
    return this.demanded.current();
  }

  private setPort(command: PortCommand): void {
    const isTunnel = command.op === 'set-tunnel-port';
    // Before the one that it replaces goes, so that nothing is closed and opened again.
    if (isTunnel) this.demanded.addTunnel(command.tunnel, command.bridge !== undefined);
    if (command.op === 'set-route-port') this.demanded.addRoute();
    if (isBeside(command)) this.demanded.addBeside();
    this.removePort(command.port);
    this.ports.set(command.port, command);
    if (!isTunnel) {
      this.localPorts++;
      return;
    }
    const listener = listenerOf(command);
    const others = this.listening.get(listener);
    if (others === undefined) this.listening.set(listener, new Map([[command.port, command]]));
    else others.set(command.port, command);
  }

  private removePort(port: number): void {
    const known = this.ports.get(port);
    if (known === undefined) return;
    this.ports.delete(port);
    this.bumpHosts.delete(port);
    if (known.op === 'set-route-port') this.demanded.removeRoute();
    if (isBeside(known)) this.demanded.removeBeside();
    if (known.op !== 'set-tunnel-port') {
      this.localPorts--;
      return;
    }
    this.demanded.removeTunnel(known.tunnel, known.bridge !== undefined);
    const listener = listenerOf(known);
    const others = this.listening.get(listener);
    others?.delete(port);
    if (others?.size === 0) this.listening.delete(listener);
  }

  private setInbound(slot: number, sa: InboundSa | undefined): void {
    const before = this.inbound.get(slot)?.udp;
    if (sa === undefined) this.inbound.delete(slot);
    else this.inbound.set(slot, sa);
    if (sa?.udp !== undefined) this.demanded.addInUdp(sa.udp.local.address);
    if (before !== undefined) this.demanded.removeInUdp(before.local.address);
  }

  private checkId(what: string, id: number, limit: number): void {
    if (!Number.isInteger(id) || id < 0 || id >= limit)
      throw new RangeError(`${what} id ${id}, expected 0 to ${limit - 1}`);
  }

  private checkPort(command: PortCommand): void {
    this.checkId('port', command.port, this.limits.ports);
    if (command.op === 'set-bump-port') return;
    if (command.op === 'set-route-port') {
      if (command.fds.length === 0) throw new Error(`TUN ${command.name}: no descriptors; open the device first`);
      return;
    }
    if (isOfBridge(command)) {
      this.checkVlans(command.name, command.vlans);
      if (command.bridge !== undefined && !this.bridges.has(command.bridge))
        throw new Error(`port ${command.name}: bridge ${command.bridge} is not there; set the bridge first`);
    }
    if (command.op !== 'set-tunnel-port') {
      if (command.fds.length === 0) throw new Error(`port ${command.name}: no descriptors; open the device first`);
      const known = this.ports.get(command.port);
      const others = this.localPorts - (known === undefined || known.op === 'set-tunnel-port' ? 0 : 1);
      if (others >= MAX_LOCAL_PORTS)
        throw new Error(
          `port ${command.name}: there are ${MAX_LOCAL_PORTS} TAP and device ports, and that is the limit`,
        );
      return;
    }
    const { protection } = command.tunnel;
    if (protection !== undefined && !this.protections.has(protection))
      throw new Error(`tunnel ${command.name}: protection ${protection} is not there; set the protection first`);
    const tunnel = makeTunnel(command.port, command.bridge ?? -1, command.name, command.tunnel);
    if (tunnel.state.port === 0) return;
    // All that listen there are of one type, but for the tunnel that this one replaces.
    for (const other of this.listening.get(listenerOf(command))?.values() ?? []) {
      if (other.port === command.port) continue;
      if (other.tunnel.type === command.tunnel.type) return;
      throw new Error(
        `tunnel ${command.name}: UDP port ${tunnel.state.port} belongs to ${other.tunnel.type} tunnel ${other.name}; set another dst_port`,
      );
    }
  }

  private setVlans({ port, vlans }: CommandOf<'set-port-vlans'>): void {
    const known = this.ports.get(port);
    if (known === undefined || !isOfBridge(known))
      throw new Error(`VLANs of port ${port}, which is no port of a bridge; set the port first`);
    this.checkVlans(known.name, vlans);
    this.ports.set(port, { ...known, vlans });
  }

  private checkVlans(name: string, vlans: PortVlans | undefined): void {
    for (const vlan of vlans === undefined ? [] : [vlans.tag, ...vlans.trunks])
      if (!Number.isInteger(vlan) || vlan < 0 || vlan > MAX_VLAN)
        throw new RangeError(`port ${name}: VLAN ${vlan}, expected 0 to ${MAX_VLAN}`);
  }

  private removeOutboundSa(slot: number): void {
    const sa = this.outbound.get(slot);
    if (sa === undefined) return;
    sa.keyAndSalt.fill(0);
    this.outbound.delete(slot);
    const others = (this.outboundSlots.get(sa.spi) ?? []).filter((other) => other !== slot);
    if (others.length > 0) this.outboundSlots.set(sa.spi, others);
    else this.outboundSlots.delete(sa.spi);
    this.sending.remove(sa.protection, slot);
  }

  private setPathMtu(port: number, mtu: number): void {
    const known = this.ports.get(port);
    if (known?.op !== 'set-tunnel-port') throw new Error(`path MTU of port ${port}, which is no tunnel`);
    const smallest = SMALLEST_PATH_MTU[familyOf(known.tunnel.remote)];
    if (!Number.isInteger(mtu) || mtu < smallest || mtu > 65_535)
      throw new RangeError(`tunnel ${known.name}: path MTU ${mtu}, expected ${smallest} to 65535`);
    this.paths.setUplink(port, known.tunnel, mtu);
  }

  private checkBump(command: CommandOf<'set-bump-port'>): void {
    this.checkId('port', command.port, this.limits.ports);
    this.checkId('port', command.nicPort, this.limits.ports);
    if (command.fds.length === 0 || command.nicFds.length === 0)
      throw new Error(`uplink ${command.name}: no descriptors; open the TAP and the device first`);
  }

  private setBumpHosts(command: CommandOf<'set-bump-hosts'>): void {
    if (this.ports.get(command.port)?.op !== 'set-bump-port')
      throw new Error(`hosts of port ${command.port}, which is no uplink of another datapath; set the port first`);
    for (const { mac, vlan } of command.hosts) {
      macFromText(mac);
      if (vlan !== undefined && (!Number.isInteger(vlan) || vlan < 0 || vlan > MAX_VLAN))
        throw new RangeError(`host ${mac}: VLAN ${vlan}, expected 0 to ${MAX_VLAN}`);
    }
    this.bumpHosts.set(command.port, command);
  }

  private setProtection(id: number, state: ProtectionState): void {
    this.checkId('protection', id, this.limits.protections);
    if (state === 'protected') this.everProtected.add(id);
    if (state === 'never-up' && this.everProtected.has(id))
      throw new Error(`protection ${id} was protected and cannot become never-up; remove it first`);
    this.protections.set(id, state);
  }

  private checkSa(sa: InboundSa | OutboundSa): void {
    this.checkId('SA slot', sa.slot, this.limits.saSlots);
    if (!this.protections.has(sa.protection))
      throw new Error(`SA ${hex(sa.spi)}: protection ${sa.protection} is not there; set the protection first`);
  }

  private move({ direction, slot, udp }: CommandOf<'move-sa'>): void {
    const inbound = this.inbound.get(slot);
    const outbound = this.outbound.get(slot);
    if (direction === 'in' && inbound?.udp !== undefined) this.setInbound(slot, { ...inbound, udp });
    if (direction === 'out' && outbound?.udp !== undefined) this.outbound.set(slot, { ...outbound, udp });
  }

  private use(command: CommandOf<'use-outbound-sa'>): void {
    const { protection, slot } = command;
    if (slot === undefined) {
      this.sending.set(command);
      return;
    }
    const sa = this.outbound.get(slot);
    if (sa === undefined || sa.protection !== protection)
      throw new Error(`outbound SA slot ${slot} is no SA of protection ${protection}; add the SA first`);
    this.sending.set(command);
    this.everProtected.add(protection);
    if (this.protections.get(protection) === 'never-up') this.protections.set(protection, 'protected');
  }
}

function isOfBridge(command: PortCommand): command is BridgePortCommand {
  return command.op === 'set-tap-port' || command.op === 'set-device-port' || command.op === 'set-tunnel-port';
}

function isBeside({ op }: PortCommand): boolean {
  return op === 'set-bump-port' || op === 'set-hairpin-port';
}

/** What a tunnel's packets are received by: GRE has no port, and its tunnels exclude nobody. */
function listenerOf({ tunnel }: TunnelCommand): string {
  return `${encapsulationOf(tunnel.type).protocol} ${tunnel.destinationPort}`;
}

/** The sender may wipe its keys when it likes. */
function copyOf<Sa extends { readonly keyAndSalt: Uint8Array }>(sa: Sa): Sa {
  return { ...sa, keyAndSalt: sa.keyAndSalt.slice() };
}

function hex(spi: number): string {
  return `0x${(spi >>> 0).toString(16).padStart(8, '0')}`;
}
