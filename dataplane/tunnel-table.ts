/**
 * The tunnel ports a worker knows, as columns by port id, and which of them a decapsulated packet belongs to.
 *
 * Both addresses of a tunnel are known (config finds the local one by route where it is not set), so they are one id of
 * address-pairs.ts. A fixed key comes before any key; `none` and a fixed key of 0 are the same: the key is absent or 0.
 * Whether IPsec protects a packet is a matter of type and addresses alone, as in an SPD: a tunnel
 * without IPsec that shares them with a protected one travels under its protection.
 */

import { type AddressPairs, type Family, familyOf, NO_PAIR, pairWords, REMOTE } from './address-pairs.ts';
import { TUNNEL_TYPES } from './batch.ts';
import type { FlowTunnel, TunnelSettings, TunnelType } from './commands.ts';
import { encapState, encapsulationOf } from './encap/encap.ts';
import type { EncapState, Encapsulation } from './encap/encapsulation.ts';
import { NO_PROTECTION, TunnelGroup } from './tunnel-group.ts';
import { TupleIndex } from './tuple-index.ts';
import { IPV4_DONT_FRAGMENT, PROTOCOL_TCP } from './wire/ipv4.ts';

/** In the key word of an index tuple: a tunnel that accepts any key. Exact keys stand in a tuple of their own kind. */
const EXACT_KEY = 0;
const ANY_KEY = 1;
const PORTS = 65_536;
/** Where a TTL is to be inherited and there is none. */
const DEFAULT_TTL = 64;
/** Whatever IP can carry: the uplink then says what it refuses. */
const UNKNOWN_PATH_MTU = 65_535;

export interface Tunnel {
  readonly port: number;
  readonly bridge: number;
  readonly type: number;
  readonly encapsulation: Encapsulation;
  readonly state: EncapState;
  readonly family: Family;
  /** Id of the outer addresses, given by the table that the tunnel is in. */
  pair: number;
  readonly ttl: number;
  readonly inheritsTtl: boolean;
  /** DSCP alone: the ECN field comes from the inner packet. */
  readonly tos: number;
  readonly inheritsTos: boolean;
  /** Accepts headers with an extension (encapsulation.ts, POP_EXTENSION). */
  readonly extended: boolean;
  /** Fragment field of an outer IPv4 header. */
  readonly fragment: number;
  /** undefined: the uplink's mark. */
  readonly egressMark: number | undefined;
  /** What fits through its path, outer IP header included; set by command, bytes. */
  pathMtu: number;
  readonly ownProtection: number;
  /** Own, or that of another tunnel of the same type and addresses; -1 is none. */
  protection: number;
  readonly settings: TunnelSettings;
}

/** The number of a type in the tunnelType column. */
export function typeNumber(type: TunnelType): number {
  return TUNNEL_TYPES.indexOf(type);
}

export const GRE = typeNumber('gre');
export const STT = typeNumber('stt');

const POPPERS: readonly Encapsulation[] = TUNNEL_TYPES.map(encapsulationOf);

/** The encapsulation of a type number that the table has given out. */
export function popperOf(type: number): Encapsulation {
  return POPPERS[type];
}

/** Reads one tunnel's settings. Throws one line for what the engine cannot do. */
export function makeTunnel(port: number, bridge: number, name: string, settings: TunnelSettings): Tunnel {
  const encapsulation = encapsulationOf(settings.type);
  checkAddresses(name, settings);
  return {
    port,
    bridge,
    type: typeNumber(settings.type),
    encapsulation,
    state: encapState(encapsulation, settings),
    family: familyOf(settings.remote),
    pair: NO_PAIR,
    ttl: settings.ttl === 'inherit' ? DEFAULT_TTL : settings.ttl,
    inheritsTtl: settings.ttl === 'inherit',
    tos: settings.tos === 'inherit' ? 0 : settings.tos,
    inheritsTos: settings.tos === 'inherit',
    extended: settings.gbp === true,
    fragment: settings.dontFragment ? IPV4_DONT_FRAGMENT : 0,
    egressMark: settings.egressMark,
    pathMtu: UNKNOWN_PATH_MTU,
    ownProtection: settings.protection ?? NO_PROTECTION,
    protection: settings.protection ?? NO_PROTECTION,
    settings,
  };
}

function checkAddresses(name: string, { local, remote }: TunnelSettings): void {
  let words: Int32Array;
  try {
    words = pairWords(local, remote);
  } catch (error) {
    throw new Error(`tunnel ${name}: ${(error as Error).message}`);
  }
  for (const [side, start] of [
    ['local', 0],
    ['remote', REMOTE],
  ] as const) {
    if (words.subarray(start, start + REMOTE).every((word) => word === 0))
      throw new Error(`tunnel ${name}: ${side} address is the unspecified one, expected an address of its own`);
  }
}

export class TunnelTable {
  /** By port id; undefined where the port is no tunnel. */
  readonly tunnels: (Tunnel | undefined)[];
  private readonly pairs: AddressPairs;
  /** Type number of each UDP port and, behind them, each TCP port, -1: no tunnel uses it; and how many tunnels use it. */
  private readonly typesOfPorts = new Int8Array(2 * PORTS).fill(-1);
  private readonly usersOfPorts = new Map<number, number>();
  /** How many of them are STT. */
  sttTunnels = 0;
  private readonly byKey = new TupleIndex();
  private readonly byAddresses = new TupleIndex();
  /** By the tunnel that decides for it, as `byAddresses` names it. */
  private readonly groups = new Map<number, TunnelGroup>();

  /** By type and port. */
  private flowTunnels = new Map<number, FlowTunnel>();

  constructor(limit: number, pairs: AddressPairs) {
    this.tunnels = new Array<Tunnel | undefined>(limit).fill(undefined);
    this.pairs = pairs;
  }

  set(tunnel: Tunnel): void {
    this.remove(tunnel.port);
    tunnel.pair = this.pairs.take(tunnel.settings.local, tunnel.settings.remote);
    this.tunnels[tunnel.port] = tunnel;
    if (tunnel.type === STT) this.sttTunnels++;
    this.usePort(tunnel.encapsulation, tunnel.type, tunnel.state.port);
    this.join(tunnel);
  }

  remove(port: number): void {
    const tunnel = this.tunnels[port];
    if (tunnel === undefined) return;
    this.tunnels[port] = undefined;
    if (tunnel.type === STT) this.sttTunnels--;
    this.leave(tunnel);
    this.leavePort(tunnel.encapsulation, tunnel.state.port);
    this.pairs.release(tunnel.pair);
  }

  /** In place of those before. */
  setFlowTunnels(tunnels: readonly FlowTunnel[]): void {
    for (const { type, destinationPort } of this.flowTunnels.values())
      this.leavePort(encapsulationOf(type), destinationPort);
    this.flowTunnels = new Map(
      tunnels.map((tunnel) => [kindNumber(typeNumber(tunnel.type), tunnel.destinationPort), tunnel]),
    );
    for (const { type, destinationPort } of this.flowTunnels.values())
      this.usePort(encapsulationOf(type), typeNumber(type), destinationPort);
  }

  /** The flow-based tunnel of this type and port, if there is one. */
  flowTunnel(type: number, udpPort: number): FlowTunnel | undefined {
    return this.flowTunnels.get(kindNumber(type, udpPort));
  }

  private usePort({ protocol }: Encapsulation, type: number, port: number): void {
    if (port === 0) return;
    const at = portIndex(protocol, port);
    this.usersOfPorts.set(at, (this.usersOfPorts.get(at) ?? 0) + 1);
    this.typesOfPorts[at] = type;
  }

  private leavePort({ protocol }: Encapsulation, port: number): void {
    if (port === 0) return;
    const at = portIndex(protocol, port);
    const users = (this.usersOfPorts.get(at) ?? 0) - 1;
    this.usersOfPorts.set(at, users);
    if (users > 0) return;
    this.usersOfPorts.delete(at);
    this.typesOfPorts[at] = -1;
  }

  /** All tunnels, by ascending port id. */
  list(): readonly Tunnel[] {
    return this.tunnels.filter((tunnel) => tunnel !== undefined);
  }

  /** Type number of a tunnel type that uses this port of UDP or TCP, or -1. */
  typeOfPort(protocol: number, port: number): number {
    return this.typesOfPorts[portIndex(protocol, port)];
  }

  /** Port id of the tunnel of a decapsulated packet, or -1. `udpPort` is a TCP port for STT and 0 for GRE, `pair` -1 for unknown addresses. */
  lookup(type: number, udpPort: number, pair: number, key: number): number {
    const kind = (type << 16) | udpPort;
    const port = this.byKey.get(kind | (EXACT_KEY << 24), pair, key);
    return port < 0 ? this.byKey.get(kind | (ANY_KEY << 24), pair, 0) : port;
  }

  /** The tunnel, any one, that says which protection packets of this type between these addresses need; -1: none. */
  lookupAddresses(type: number, udpPort: number, pair: number): number {
    return this.byAddresses.get((type << 16) | udpPort, pair, 0);
  }

  private join(tunnel: Tunnel): void {
    const kind = kindOf(tunnel);
    const keyed = kind | (keyKind(tunnel) << 24);
    const group = this.takeGroup(tunnel) ?? new TunnelGroup();
    // Where two have one key the first of them counts.
    const isDouble = this.byKey.get(keyed, tunnel.pair, keyWord(tunnel)) >= 0;
    if (!isDouble) this.byKey.set(keyed, tunnel.pair, keyWord(tunnel), tunnel.port);
    group.add(tunnel, isDouble);
    this.enter(tunnel, group);
  }

  private leave(tunnel: Tunnel): void {
    const keyed = kindOf(tunnel) | (keyKind(tunnel) << 24);
    const group = this.takeGroup(tunnel);
    const heir = group?.remove(
      tunnel,
      (other) => keyKind(other) === keyKind(tunnel) && keyWord(other) === keyWord(tunnel),
    );
    if (heir !== undefined) this.byKey.set(keyed, tunnel.pair, keyWord(tunnel), heir.port);
    else this.byKey.delete(keyed, tunnel.pair, keyWord(tunnel));
    if (group !== undefined) this.enter(tunnel, group);
  }

  /** The group of the tunnel's type, port and addresses, out of the index until it is entered again. */
  private takeGroup({ type, state, pair }: Tunnel): TunnelGroup | undefined {
    const decides = this.lookupAddresses(type, state.port, pair);
    const group = this.groups.get(decides);
    this.groups.delete(decides);
    return group;
  }

  /** One that is protected decides for all of them. */
  private enter(tunnel: Tunnel, group: TunnelGroup): void {
    const { decides } = group;
    if (decides === undefined) {
      this.byAddresses.delete(kindOf(tunnel), tunnel.pair, 0);
      return;
    }
    this.byAddresses.set(kindOf(tunnel), tunnel.pair, 0, decides.port);
    this.groups.set(decides.port, group);
  }
}

function portIndex(protocol: number, port: number): number {
  return protocol === PROTOCOL_TCP ? PORTS + port : port;
}

const TYPES_OF_DEFAULT_PORTS = new Int8Array(2 * PORTS).fill(-1);
POPPERS.forEach(({ protocol, defaultPort }, type) => {
  if (defaultPort > 0) TYPES_OF_DEFAULT_PORTS[portIndex(protocol, defaultPort)] = type;
});

/** Type number of the tunnel type whose default port of UDP or TCP this is, or -1. */
export function typeOfDefaultPort(protocol: number, port: number): number {
  return TYPES_OF_DEFAULT_PORTS[portIndex(protocol, port)];
}

function kindOf(tunnel: Tunnel): number {
  return kindNumber(tunnel.type, tunnel.state.port);
}

function kindNumber(type: number, port: number): number {
  return (type << 16) | port;
}

function keyKind(tunnel: Tunnel): number {
  return tunnel.settings.inKey.kind === 'flow' ? ANY_KEY : EXACT_KEY;
}

function keyWord(tunnel: Tunnel): number {
  const { inKey } = tunnel.settings;
  return inKey.kind === 'fixed' ? inKey.key : 0;
}
