/**
 * The tunnel ports a worker knows, as columns by port id, and which of them a decapsulated packet belongs to.
 *
 * Precedence of the lookup is that of OVS: (type, remote, local, key), the more specific first, where a fixed
 * key counts more than a local address. `none` and a fixed key of 0 are the same: the key is absent or 0.
 * Whether IPsec protects a packet is a matter of type and addresses alone, as in an SPD: a tunnel
 * without IPsec that shares them with a protected one travels under its protection.
 */

import { TUNNEL_TYPES } from './batch.ts';
import type { TunnelSettings, TunnelType } from './commands.ts';
import { encapState, encapsulationOf } from './encap/encap.ts';
import type { EncapState, Encapsulation } from './encap/encapsulation.ts';
import { TupleIndex } from './tuple-index.ts';
import { IPV4_DONT_FRAGMENT, ipv4FromText } from './wire/ipv4.ts';

/** In the key word of an index tuple: a tunnel that accepts any key. Exact keys stand in a tuple of their own kind. */
const EXACT_KEY = 0;
const ANY_KEY = 1;
const ANY_ADDRESS = 0;
/** Where a TTL is to be inherited and there is none. */
const DEFAULT_TTL = 64;
const NO_PROTECTION = -1;

export interface Tunnel {
  readonly port: number;
  readonly bridge: number;
  readonly type: number;
  readonly encapsulation: Encapsulation;
  readonly state: EncapState;
  /** int32 in network order; local 0: the kernel chooses, and any is accepted. */
  readonly local: number;
  readonly remote: number;
  readonly ttl: number;
  readonly inheritsTtl: boolean;
  /** DSCP alone: the ECN field comes from the inner packet. */
  readonly tos: number;
  readonly inheritsTos: boolean;
  /** Accepts headers with an extension (encapsulation.ts, POP_EXTENSION). */
  readonly extended: boolean;
  /** Fragment field of the outer header. */
  readonly fragment: number;
  /** undefined: the uplink's mark. */
  readonly egressMark: number | undefined;
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

const POPPERS: readonly (Encapsulation | undefined)[] = TUNNEL_TYPES.map(encapsulationOf);

/** The encapsulation of a type number that the table has given out. */
export function popperOf(type: number): Encapsulation {
  return POPPERS[type]!;
}

/** Reads one tunnel's settings. Throws one line for what the engine cannot do. */
export function makeTunnel(port: number, bridge: number, name: string, settings: TunnelSettings): Tunnel {
  const encapsulation = encapsulationOf(settings.type);
  if (encapsulation === undefined)
    throw new Error(`tunnel ${name}: type ${settings.type} is not supported, expected gre, geneve or vxlan`);
  const local = address(name, 'local', settings.local);
  const remote = address(name, 'remote', settings.remote);
  if (remote === ANY_ADDRESS)
    throw new Error(`tunnel ${name}: remote address 0.0.0.0, expected the address of the peer`);
  if (local === ANY_ADDRESS && (settings.protection !== undefined || settings.checksum))
    throw new Error(`tunnel ${name}: local address 0.0.0.0, but IPsec and checksums need the address; set local_ip`);
  return {
    port,
    bridge,
    type: typeNumber(settings.type),
    encapsulation,
    state: encapState(encapsulation, settings),
    local,
    remote,
    ttl: settings.ttl === 'inherit' ? DEFAULT_TTL : settings.ttl,
    inheritsTtl: settings.ttl === 'inherit',
    tos: settings.tos === 'inherit' ? 0 : settings.tos,
    inheritsTos: settings.tos === 'inherit',
    extended: settings.gbp === true,
    fragment: settings.dontFragment ? IPV4_DONT_FRAGMENT : 0,
    egressMark: settings.egressMark,
    ownProtection: settings.protection ?? NO_PROTECTION,
    protection: settings.protection ?? NO_PROTECTION,
    settings,
  };
}

function address(name: string, side: string, text: string): number {
  try {
    return ipv4FromText(text);
  } catch (error) {
    throw new Error(`tunnel ${name}: ${side} ${(error as Error).message}`);
  }
}

export class TunnelTable {
  /** By port id; undefined where the port is no tunnel. */
  readonly tunnels: (Tunnel | undefined)[];
  /** Type number of each UDP port, -1: no tunnel uses it. */
  private readonly typeOfUdpPort = new Int8Array(65536).fill(-1);
  private byKey = new TupleIndex(0);
  private byAddresses = new TupleIndex(0);

  constructor(limit: number) {
    this.tunnels = new Array<Tunnel | undefined>(limit).fill(undefined);
  }

  set(tunnel: Tunnel): void {
    this.tunnels[tunnel.port] = tunnel;
    this.rebuild();
  }

  remove(port: number): void {
    if (this.tunnels[port] === undefined) return;
    this.tunnels[port] = undefined;
    this.rebuild();
  }

  /** All tunnels, by ascending port id. */
  list(): readonly Tunnel[] {
    return this.tunnels.filter((tunnel) => tunnel !== undefined);
  }

  /** Type number of a tunnel type that uses this UDP port, or -1. */
  typeOfPort(udpPort: number): number {
    return this.typeOfUdpPort[udpPort];
  }

  /** Port id of the tunnel of a decapsulated packet, or -1. `udpPort` is 0 for GRE. */
  lookup(type: number, udpPort: number, remote: number, local: number, key: number): number {
    const kind = (type << 16) | udpPort;
    let port = this.byKey.get(kind | (EXACT_KEY << 24), remote, local, key);
    if (port < 0) port = this.byKey.get(kind | (EXACT_KEY << 24), remote, ANY_ADDRESS, key);
    if (port < 0) port = this.byKey.get(kind | (ANY_KEY << 24), remote, local, 0);
    if (port < 0) port = this.byKey.get(kind | (ANY_KEY << 24), remote, ANY_ADDRESS, 0);
    return port;
  }

  /** The tunnel, any one, that says which protection packets of this type between these addresses need; -1: none. */
  lookupAddresses(type: number, udpPort: number, remote: number, local: number): number {
    const kind = (type << 16) | udpPort;
    const port = this.byAddresses.get(kind, remote, local, 0);
    return port < 0 ? this.byAddresses.get(kind, remote, ANY_ADDRESS, 0) : port;
  }

  private rebuild(): void {
    const all = this.list();
    this.byKey = new TupleIndex(all.length);
    this.byAddresses = new TupleIndex(all.length);
    this.typeOfUdpPort.fill(-1);
    // Protected ones first: the first entry of a pair of addresses stays, and it decides for all of them.
    for (const protectedOnes of [true, false]) {
      for (const tunnel of all) {
        if (tunnel.ownProtection >= 0 === protectedOnes)
          this.byAddresses.add(kindOf(tunnel), tunnel.remote, tunnel.local, 0, tunnel.port);
      }
    }
    for (const tunnel of all) {
      const kind = kindOf(tunnel);
      if (tunnel.state.port > 0) this.typeOfUdpPort[tunnel.state.port] = tunnel.type;
      const key = tunnel.settings.inKey;
      if (key.kind === 'flow') this.byKey.add(kind | (ANY_KEY << 24), tunnel.remote, tunnel.local, 0, tunnel.port);
      else
        this.byKey.add(
          kind | (EXACT_KEY << 24),
          tunnel.remote,
          tunnel.local,
          key.kind === 'fixed' ? key.key : 0,
          tunnel.port,
        );
      const decides = this.lookupAddresses(tunnel.type, tunnel.state.port, tunnel.remote, tunnel.local);
      tunnel.protection = tunnel.ownProtection >= 0 ? tunnel.ownProtection : this.tunnels[decides]!.ownProtection;
    }
  }
}

function kindOf(tunnel: Tunnel): number {
  return (tunnel.type << 16) | tunnel.state.port;
}
