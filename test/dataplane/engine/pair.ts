/**
 * Two engines back to back in memory, each with one bridge, one port of frames and one tunnel to the other: what
 * the engine tests are made of. Nothing of the kernel is involved.
 */

import { randomBytes } from 'node:crypto';
import type {
  EngineEvent,
  EspAlgorithm,
  EspMode,
  ProtectionState,
  Selector,
  TunnelSettings,
  TunnelType,
  UdpPath,
} from '../../../dataplane/commands.ts';
import { DROP_REASONS, type DropName } from '../../../dataplane/drops.ts';
import { encapsulationOf } from '../../../dataplane/encap/encap.ts';
import { Engine, type EngineOptions } from '../../../dataplane/engine.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { MemoryPort, MemoryWire, type MemoryWireOptions } from '../../../dataplane/io/memory.ts';
import type { EngineLimits } from '../../../dataplane/limits.ts';
import type { Offloads } from '../../../dataplane/offload/offloads.ts';
import { loadNative } from '../../../native-shims/index.ts';

export const BRIDGE = 1;
export const LOCAL_PORT = 2;
export const TUNNEL_PORT = 3;
export const PROTECTION = 4;
const MEMORY_FD = 1000;

/** Small, so that a hundred engines in a test file cost nothing. */
export const TEST_LIMITS: EngineLimits = { ports: 64, bridges: 8, protections: 64, saSlots: 64, fdbCells: 1024 };

export class Side {
  readonly address: string;
  readonly engine: Engine;
  readonly port: MemoryPort;
  readonly events: EngineEvent[];

  constructor(address: string, engine: Engine, port: MemoryPort, events: EngineEvent[]) {
    this.address = address;
    this.engine = engine;
    this.port = port;
    this.events = events;
  }

  /** Drops so far, by reason, without those that never happened. */
  drops(): Partial<Record<DropName, number>> {
    const counts = [...this.engine.counters().drops()].map(([name, workers]) => [
      name,
      workers.reduce((a, b) => a + b),
    ]);
    return Object.fromEntries(counts);
  }

  /** The next frame that the engine delivers to its port. */
  async frame(): Promise<Uint8Array> {
    await until(() => this.port.delivered > 0);
    return this.port.take()!;
  }
}

/** Turns the event loop until the condition holds; gives up after some thousand turns, so that a test fails by its own words. */
export async function until(condition: () => boolean, what = 'the condition'): Promise<void> {
  for (let turns = 0; turns < 20_000; turns++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`${what} did not come about`);
}

/** Enough turns of the event loop for everything in memory to come to rest. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 50; turns++) await new Promise((resolve) => setImmediate(resolve));
}

export interface PairOptions extends MemoryWireOptions {
  readonly aead?: EngineOptions['aead'];
  readonly type?: TunnelType;
  readonly tunnel?: Partial<TunnelSettings>;
  /** Settings of the second side where they differ. */
  readonly tunnelB?: Partial<TunnelSettings>;
  readonly protection?: ProtectionState;
  /** Of the outer addresses, default 4. */
  readonly family?: 4 | 6;
  readonly now?: () => number;
  /** Default: a wire with these options. */
  readonly wire?: MemoryWire;
  /** Default: TEST_LIMITS. */
  readonly limits?: EngineLimits;
  /** Sides whose port has vnet headers, as a TAP's with offloads; default: none. */
  readonly vnetHeaders?: readonly ('a' | 'b')[];
  readonly offloads?: Offloads;
}

/** What SAs of a pair may have beside algorithm and ESN. `inUdp`: ESP travels in UDP, from port 4500 to port 4500. */
export interface SaChange {
  readonly softPackets?: number;
  readonly mode?: EspMode;
  readonly inUdp?: boolean;
  /** Mode of the receiver, if it is another one. */
  readonly peerMode?: EspMode;
  /** Whom the receiver takes for the other end of the tunnel packets. */
  readonly innerRemote?: string;
}

/** The slots of an SA from one side to the other. */
export interface Connected {
  readonly inboundSlot: number;
  readonly outboundSlot: number;
}

export class Pair {
  readonly wire: MemoryWire;
  readonly a: Side;
  readonly b: Side;

  constructor(wire: MemoryWire, a: Side, b: Side) {
    this.wire = wire;
    this.a = a;
    this.b = b;
  }

  async stop(): Promise<void> {
    await Promise.all([this.a.engine.stop(), this.b.engine.stop()]);
  }

  /** Installs SAs in both directions, with fresh keys. */
  async protect(algorithm: EspAlgorithm = 'aes256gcm16', esn = true, change: SaChange = {}): Promise<void> {
    await connect(this.a, this.b, algorithm, esn, change);
    await connect(this.b, this.a, algorithm, esn, change);
  }
}

const any = (address: string): Selector[] => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 },
];

let nextSlot = 0;

/** The ends of ESP in UDP as `here` sees them. */
function pathOf(here: Side, there: Side, inUdp: boolean | undefined): UdpPath | undefined {
  if (inUdp !== true) return undefined;
  return { local: { address: here.address, port: 4500 }, remote: { address: there.address, port: 4500 } };
}

/** A new SA from one side to the other, which sends on it from now on. */
export async function connect(
  from: Side,
  to: Side,
  algorithm: EspAlgorithm = 'aes256gcm16',
  esn = true,
  { softPackets = 0, mode = 'transport', inUdp, peerMode = mode, innerRemote }: SaChange = {},
): Promise<Connected> {
  const row = ESP_ALGORITHMS[algorithm];
  const keyAndSalt = new Uint8Array(randomBytes(row.keyLength + row.saltLength));
  const spi = to.engine.allocateSpi();
  const common = { spi, protection: PROTECTION, algorithm, keyAndSalt, esn, softPackets, softBytes: 0, mode };
  await to.engine.apply({
    op: 'add-inbound-sa',
    sa: {
      ...common,
      mode: peerMode,
      slot: spi & 0xffff,
      local: to.address,
      remote: innerRemote ?? from.address,
      udp: pathOf(to, from, inUdp || innerRemote !== undefined),
      tsLocal: any(to.address),
      tsRemote: any(innerRemote ?? from.address),
      replayWindow: 64,
    },
  });
  const slot = nextSlot++ % TEST_LIMITS.saSlots;
  await from.engine.apply({
    op: 'add-outbound-sa',
    sa: {
      ...common,
      slot,
      local: from.address,
      remote: to.address,
      udp: pathOf(from, to, inUdp),
      tsLocal: any(from.address),
      tsRemote: any(to.address),
      lastSequence: 0,
    },
  });
  await from.engine.apply({ op: 'use-outbound-sa', protection: PROTECTION, slot });
  return { inboundSlot: spi & 0xffff, outboundSlot: slot };
}

export function tunnelSettings(type: TunnelType, local: string, remote: string): TunnelSettings {
  return {
    type,
    local,
    remote,
    inKey: { kind: 'fixed', key: 77 },
    outKey: { kind: 'fixed', key: 77 },
    checksum: false,
    destinationPort: encapsulationOf(type)?.defaultPort ?? 7471,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection: undefined,
  };
}

async function openSide(
  wire: MemoryWire,
  address: string,
  remote: string,
  options: PairOptions,
  second: boolean,
): Promise<Side> {
  const hasVnetHeader = options.vnetHeaders?.includes(second ? 'b' : 'a') === true;
  const port = hasVnetHeader ? new MemoryPort(128, 66_000, true) : new MemoryPort();
  const events: EngineEvent[] = [];
  const engine = await Engine.create({
    workers: 0,
    native: loadNative(),
    aead: options.aead ?? 'native',
    uplinkIo: wire.attach(),
    random: (bytes) => new Uint8Array(randomBytes(bytes)),
    onEvent: (event) => events.push(event),
    limits: options.limits ?? TEST_LIMITS,
    memoryPorts: new Map([[MEMORY_FD, port]]),
    ...(options.offloads === undefined ? {} : { offloads: options.offloads }),
    ...(options.now === undefined ? {} : { now: options.now }),
  });
  await engine.apply({ op: 'set-bridge', bridge: BRIDGE, name: 'br0', ageingMs: 300_000, fdbSize: 512 });
  await engine.apply({ op: 'set-tap-port', port: LOCAL_PORT, bridge: BRIDGE, name: 'br0', fds: [MEMORY_FD] });
  if (options.protection !== undefined)
    await engine.apply({ op: 'set-protection', protection: PROTECTION, state: options.protection });
  const tunnel: TunnelSettings = {
    ...tunnelSettings(options.type ?? 'gre', address, remote),
    protection: options.protection === undefined ? undefined : PROTECTION,
    ...options.tunnel,
    ...(second ? options.tunnelB : {}),
  };
  await engine.apply({ op: 'set-tunnel-port', port: TUNNEL_PORT, bridge: BRIDGE, name: 'tun', tunnel });
  return new Side(address, engine, port, events);
}

export async function openPair(options: PairOptions = {}): Promise<Pair> {
  const wire = options.wire ?? new MemoryWire(options);
  const [here, there] = options.family === 6 ? ['2001:db8::1', '2001:db8::2'] : ['192.0.2.1', '192.0.2.2'];
  const a = await openSide(wire, here, there, options, false);
  const b = await openSide(wire, there, here, options, true);
  return new Pair(wire, a, b);
}

/** An Ethernet frame with an IPv4 UDP packet; MAC addresses 02:00:00:00:00:xx. */
export function frame(to: number, from: number, length = 98, fill = 0xa5): Uint8Array {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set([to === 255 ? 255 : 2, 0, 0, 0, 0, to], 0);
  if (to === 255) bytes.fill(255, 0, 6);
  bytes.set([2, 0, 0, 0, 0, from, 8, 0], 6);
  bytes.set(
    [0x45, 0, (length - 14) >> 8, (length - 14) & 255, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to],
    14,
  );
  return bytes;
}

export const REASONS: readonly string[] = DROP_REASONS.map((reason) => reason.name);
