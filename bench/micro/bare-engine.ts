/**
 * An engine in memory with one bridge, one port of frames and any number of tunnels, all between those ends that cost next
 * to nothing (engine-ends.ts), turned by the caller. Tunnel i leads to the host with address `remoteOf(i)`.
 */
import { randomBytes } from 'node:crypto';
import type { EspAlgorithm, Selector, TunnelType } from '../../dataplane/commands.ts';
import { encapsulationOf } from '../../dataplane/encap/encap.ts';
import { Engine, ESP_ALGORITHMS } from '../../dataplane/index.ts';
import { InlineRunner } from '../../dataplane/inline.ts';
import type { EngineLimits } from '../../dataplane/limits.ts';
import { loadNative } from '../../native-shims/index.ts';
import { SupplyPort, SupplyUplink } from './engine-ends.ts';

const MEMORY_FD = 1000;
const BRIDGE = 0;
const FRAME_PORT = 0;
const FIRST_TUNNEL = 1;
export const HERE = '192.0.2.1';

/** Address of the other end of tunnel `index`: 10.0.0.1, 10.0.0.2, … */
export function remoteOf(index: number): string {
  const host = index + 1;
  return `10.${host >> 16}.${(host >> 8) & 255}.${host & 255}`;
}

/** Selectors and addresses of a tunnel's end. */
const all = (address: string): Selector[] => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 },
];

export type BareEngineOptions = {
  readonly type: TunnelType;
  /** Undefined: in the clear. */
  readonly algorithm: EspAlgorithm | undefined;
  readonly tunnels: number;
  /** Looks at the tunnels from their other end: local and remote address change places. Only with one tunnel. */
  readonly mirrored?: boolean;
  readonly limits: EngineLimits;
};

/** A key that another engine can be given too. */
export type SharedKey = { readonly spi: number; readonly keyAndSalt: Uint8Array };

export class BareEngine {
  readonly engine: Engine;
  readonly port: SupplyPort;
  readonly uplink: SupplyUplink;
  private readonly options: BareEngineOptions;
  private readonly runner: InlineRunner;

  private constructor(
    options: BareEngineOptions,
    parts: { engine: Engine; port: SupplyPort; uplink: SupplyUplink; runner: InlineRunner },
  ) {
    this.options = options;
    this.engine = parts.engine;
    this.port = parts.port;
    this.uplink = parts.uplink;
    this.runner = parts.runner;
  }

  /** Makes the engine, its bridge and its tunnels; those with an algorithm wait for their SAs. */
  static async create(options: BareEngineOptions): Promise<BareEngine> {
    const [port, uplink] = [new SupplyPort(), new SupplyUplink()];
    let runner: InlineRunner | undefined;
    const engine = await Engine.create({
      workers: 0,
      native: loadNative(),
      aead: 'native',
      uplinkIo: uplink,
      random: (bytes) => new Uint8Array(randomBytes(bytes)),
      onEvent: () => undefined,
      limits: options.limits,
      memoryPorts: new Map([[MEMORY_FD, port]]),
      makeRunner: (context, host) => {
        runner = new InlineRunner(context, host);
        return runner;
      },
    });
    if (runner === undefined) throw new Error('the engine made no runner');
    const bare = new BareEngine(options, { engine, port, uplink, runner });
    const fdbSize = Math.max(1024, 2 * options.tunnels);
    await engine.apply({ op: 'set-bridge', bridge: BRIDGE, name: 'br', ageingMs: 300_000, fdbSize });
    await engine.apply({ op: 'set-tap-port', port: FRAME_PORT, bridge: BRIDGE, name: 'tap', fds: [MEMORY_FD] });
    for (let index = 0; index < options.tunnels; index++) await bare.addTunnel(index);
    return bare;
  }

  private addresses(index: number): { local: string; remote: string } {
    const [here, there] = [HERE, remoteOf(index)];
    return this.options.mirrored === true ? { local: there, remote: here } : { local: here, remote: there };
  }

  private async addTunnel(index: number): Promise<void> {
    const { type, algorithm } = this.options;
    const protection = algorithm === undefined ? undefined : index;
    if (protection !== undefined) await this.engine.apply({ op: 'set-protection', protection, state: 'never-up' });
    await this.engine.apply({
      op: 'set-tunnel-port',
      port: FIRST_TUNNEL + index,
      bridge: BRIDGE,
      name: `tun${index}`,
      tunnel: {
        type,
        ...this.addresses(index),
        inKey: { kind: 'none' },
        outKey: { kind: 'none' },
        checksum: false,
        destinationPort: encapsulationOf(type)?.defaultPort ?? 0,
        ttl: 64,
        tos: 0,
        dontFragment: true,
        egressMark: undefined,
        protection,
      },
    });
  }

  private saOf(index: number, { spi, keyAndSalt }: SharedKey) {
    const { local, remote } = this.addresses(index);
    const algorithm = this.options.algorithm ?? 'aes256gcm16';
    const limits = { esn: true, softPackets: 0, softBytes: 0 };
    return { spi, algorithm, keyAndSalt, local, remote, tsLocal: all(local), tsRemote: all(remote), ...limits };
  }

  /** A fresh key, with an SPI of this engine. */
  makeKey(): SharedKey {
    const { keyLength, saltLength } = ESP_ALGORITHMS[this.options.algorithm ?? 'aes256gcm16'];
    return { spi: this.engine.allocateSpi(), keyAndSalt: new Uint8Array(randomBytes(keyLength + saltLength)) };
  }

  /** From now on tunnel `index` sends with this key. */
  async sendWith(index: number, key: SharedKey): Promise<void> {
    const sa = { ...this.saOf(index, key), slot: index, protection: index, lastSequence: 0 };
    await this.engine.apply({ op: 'add-outbound-sa', sa });
    await this.engine.apply({ op: 'use-outbound-sa', protection: index, slot: index });
  }

  /** From now on tunnel `index` receives with this key, from the first sequence number on. */
  async receiveWith(index: number, key: SharedKey): Promise<void> {
    const slot = key.spi & 0xffff;
    await this.engine.apply({ op: 'remove-inbound-sa', slot }).catch(() => undefined);
    const sa = { ...this.saOf(index, key), slot, protection: index, replayWindow: 1024 };
    await this.engine.apply({ op: 'add-inbound-sa', sa });
  }

  /** Turns the engine until its supplies are used up. */
  run(): void {
    while (this.port.supply.budget > 0 || this.uplink.supply.budget > 0) this.runner.run();
  }

  /** What was dropped so far, by reason. */
  drops(): Record<string, number> {
    const counts = [...this.engine.counters().drops()];
    return Object.fromEntries(counts.map(([name, workers]) => [name, workers.reduce((sum, count) => sum + count, 0)]));
  }

  stop(): Promise<void> {
    return this.engine.stop();
  }
}
