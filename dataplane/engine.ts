/**
 * The packet engine, as the main thread sees it: commands in, events out, counters at any time.
 *
 * It keeps the desired state, opens every descriptor that workers use, and prepares what they share before it tells
 * them of it: sequence numbers and replay windows of an SA, counters of a port, addresses learned. It knows nothing
 * of OVSDB or IKE. With `workers` 0 it runs on the main thread (inline.ts), else on a pool of threads (pool.ts).
 */

import type { Native } from '../native-shims/types.ts';
import { type ArenaSize, DEFAULT_ARENA } from './arena.ts';
import type { EngineCommand, EngineEvent } from './commands.ts';
import { CounterReader } from './counters.ts';
import { DesiredState } from './desired-state.ts';
import { SaMemory } from './esp/sa-memory.ts';
import { type InlineContext, InlineRunner } from './inline.ts';
import { IcmpListener } from './io/icmp-listener.ts';
import { MmsgBackend } from './io/mmsg.ts';
import { MmsgUplink } from './io/mmsg-uplink.ts';
import type { FramePort } from './io/port.ts';
import { loadRawSocket, RawSocketBackend } from './io/raw-socket.ts';
import type { UplinkBackend, UplinkDemand, UplinkDescriptors } from './io/uplink.ts';
import { DEFAULT_LIMITS, type EngineLimits } from './limits.ts';
import { allOffloads, type Offloads, usesVnetHeaders } from './offload/offloads.ts';
import { TUN_CHECKSUM, TUN_TSO, TUN_USO } from './offload/vnet-header.ts';
import { parseTooBig } from './path-mtu.ts';
import { WorkerPool } from './pool.ts';
import { Postings } from './postings.ts';
import type { Runner, RunnerHost, WorkerCommand } from './runner.ts';
import { type AeadName, fdbSize, makeSharedState, type SharedState, saMemorySize } from './shared-state.ts';
import { MAX_WORKERS, SpiAllocator } from './steering.ts';
import { Fdb, type FdbEntry } from './switch/fdb.ts';
import type { TraceStep } from './trace/narrator.ts';
import { type TraceRequest, trace } from './trace/trace.ts';

export interface EngineOptions {
  /** Packet worker threads, 0 to 64; 0: the main thread does it. */
  readonly workers: number;
  readonly native: Native;
  readonly aead: AeadName;
  /** A backend instead of a name is for tests; it must bring its own uplink, with `workers` 0. */
  readonly uplinkIo: 'mmsg' | 'packet' | 'raw-socket' | UplinkBackend;
  /** Cryptographic random bytes. */
  random(bytes: number): Uint8Array;
  /** Monotonic milliseconds of the clock that the workers read too; default native.monotonicMs. */
  now?(): number;
  onEvent(event: EngineEvent): void;
  log?(message: string): void;
  readonly limits?: EngineLimits;
  readonly arena?: ArenaSize;
  /** Default: all on. */
  readonly offloads?: Offloads;
  /** Ports without a descriptor, by the number given as one in set-tap-port; for tests, with `workers` 0. */
  readonly memoryPorts?: ReadonlyMap<number, FramePort>;
  /** Stands between engine and runner; for tests of workers that die, with `workers` 0. */
  readonly makeRunner?: (context: InlineContext, host: RunnerHost) => Runner;
}

/** How often aged addresses are taken out of the FDB, which look-ups do not see anyway, and old path MTUs are forgotten. */
const SWEEP_MS = 5000;

export class Engine {
  private readonly options: EngineOptions;
  private readonly shared: SharedState;
  private readonly desired: DesiredState;
  private readonly backend: UplinkBackend;
  private readonly sas: SaMemory;
  private readonly learned: Fdb;
  private readonly reader: CounterReader;
  private readonly spis: SpiAllocator;
  private readonly sweeper: NodeJS.Timeout;
  private runner: Runner | undefined;
  private icmp: IcmpListener | undefined;
  private uplink: readonly UplinkDescriptors[];
  /** The demand that `uplink` meets. */
  private met: UplinkDemand;
  /** Sets of sockets that some worker may not have taken yet. */
  private uplinksUnderWay = 0;
  private readonly postings = new Postings((command) => this.carryOut(command));

  private constructor(options: EngineOptions, backend: UplinkBackend) {
    const limits = options.limits ?? DEFAULT_LIMITS;
    const workers = Math.max(1, options.workers);
    this.options = options;
    this.backend = backend;
    const { arena = DEFAULT_ARENA, aead, offloads = allOffloads(true) } = options;
    this.shared = makeSharedState({ workers, limits, arena, aead, offloads });
    this.desired = new DesiredState(limits);
    this.sas = new SaMemory(saMemorySize(workers, limits), this.shared.sas);
    this.learned = new Fdb(fdbSize(limits), this.shared.fdb);
    this.reader = new CounterReader(this.shared.counters, workers, limits, this.sas);
    this.spis = new SpiAllocator({ workers, slots: limits.saSlots, random: options.random, now: () => this.now() });
    this.met = this.desired.demand();
    this.uplink = backend.open(this.met);
    this.sweeper = setInterval(() => this.sweep(), SWEEP_MS).unref();
  }

  /** Opens the uplink and starts the workers. Throws one line: no privilege, no addon, a worker file that is not built. */
  static async create(options: EngineOptions): Promise<Engine> {
    if (!Number.isInteger(options.workers) || options.workers < 0 || options.workers > MAX_WORKERS)
      throw new RangeError(`workers ${options.workers}, expected 0 to ${MAX_WORKERS}`);
    const backend = await openBackend(options);
    let engine: Engine;
    try {
      engine = new Engine(options, backend);
    } catch (error) {
      backend.close();
      throw error;
    }
    try {
      engine.runner = await engine.start();
      if (options.uplinkIo === 'mmsg' || options.uplinkIo === 'packet')
        engine.icmp = new IcmpListener(options.native, (family, message) => engine.receiveIcmp(family, message));
    } catch (error) {
      await engine.stop();
      throw error;
    }
    return engine;
  }

  /**
   * Opens a TAP or TUN, creates it if need be: one descriptor for each worker, to be given back in set-tap-port, set-bump-port or
   * set-route-port, or one for one of them (`single`). `plain`: without offloads. Throws NativeError.
   */
  openTap(
    name: string,
    {
      persistent,
      plain = false,
      single = false,
      kind = 'tap',
    }: { persistent: boolean; plain?: boolean; single?: boolean; kind?: 'tap' | 'tun' },
  ): readonly number[] {
    const { native } = this.options;
    const { offloads, workers } = this.shared;
    const vnetHeader = !plain && usesVnetHeaders(offloads);
    const fds: number[] = [];
    try {
      for (let queue = 0; queue < (single ? 1 : workers); queue++) {
        // Multi-queue also for one worker: a persistent TAP then opens again when the number of workers has changed.
        fds.push(native.openTap(name, { kind, multiQueue: true, vnetHeader, persistent }));
      }
      // Off as well: a persistent TAP remembers.
      offerOffloads(native, fds[0], !plain && offloads.tso);
    } catch (error) {
      for (const fd of fds) native.close(fd);
      throw error;
    }
    return fds;
  }

  /** Opens an existing device, promiscuous: one descriptor, which one worker reads. Throws NativeError. */
  openDevice(name: string): readonly number[] {
    const buffer = 8 << 20;
    const vnetHeader = usesVnetHeaders(this.shared.offloads);
    return [this.options.native.openPacketSocket(name, { receiveBuffer: buffer, sendBuffer: buffer, vnetHeader })];
  }

  /**
   * Carries out a command in every worker; commands take effect in the order of the calls, and are with the workers when this
   * returns (postings.ts). Rejects with one line, and changes nothing, when the command is wrong. A port that is removed or set anew
   * has its old descriptors closed.
   */
  apply(command: EngineCommand): Promise<void> {
    return this.postings.apply(command);
  }

  /** An ICMP message as a raw socket gives it (path-mtu.ts): tunnels heed it if they believe it. */
  receiveIcmp(family: 4 | 6, message: Uint8Array): void {
    const { desired, sas } = this;
    const told = parseTooBig(family, message);
    if (told === undefined) return;
    const sent = {
      outboundSas: (spi: number) => desired.outboundSas(spi),
      protectionState: (protection: number) => desired.protectionState(protection),
      lastSequence: (slot: number) => sas.outboundStatus(slot).sequence,
    };
    const ports = desired.paths.learn(told, sent, this.now());
    this.tellPathMtus(ports);
    if (ports.length > 0)
      this.options.onEvent({ event: 'path-mtu', remote: told.remote, mtu: desired.paths.mtuOf(ports[0]!) });
  }

  /** A fresh inbound SPI; its low 16 bits are the slot of the SA, and `worker` opens its packets. Throws when there is none left. */
  allocateSpi(worker?: number): number {
    return this.spis.allocate(worker);
  }

  /** Packet workers there are, the main thread as one. */
  get workers(): number {
    return this.shared.workers;
  }

  /** Gives an SPI back, after its SA is removed or if it was never used. */
  releaseSpi(spi: number): void {
    this.spis.release(spi);
  }

  /** Takes an SPI of a process before ours; false if this engine cannot have it (steering.ts). */
  adoptSpi(spi: number): boolean {
    return this.spis.adopt(spi);
  }

  /** The replay window of an inbound SA, for a successor's `InboundSa.replay`; also after `stop`. */
  replayState(slot: number): Uint8Array {
    return this.sas.replayState(slot);
  }

  /** Counters of ports, SAs, drops and workers. Reading costs the packet path nothing. */
  counters(): CounterReader {
    return this.reader;
  }

  /** What the switch has learned, of all bridges. */
  fdb(): readonly FdbEntry[] {
    return this.learned.entries(this.now());
  }

  /**
   * What would become of a packet, after what was applied before; nothing is changed by asking. Takes some
   * milliseconds of the main thread, as it copies what the workers share. Rejects with one line for an unknown port.
   */
  async trace(request: TraceRequest): Promise<readonly TraceStep[]> {
    await this.postings.rest();
    const { native } = this.options;
    const { shared } = this;
    return trace({ native, shared, clock: () => this.now(), commands: this.desired.commands() }, request);
  }

  /** Carries out what was applied before, ends the workers, closes every descriptor. */
  async stop(): Promise<void> {
    clearInterval(this.sweeper);
    this.icmp?.close();
    await this.postings.rest();
    const { runner } = this;
    this.runner = undefined;
    await runner?.stop();
    await this.postings.rest();
    this.backend.close();
    for (const fd of this.desired.allDescriptors()) this.closePort(fd);
  }

  private now(): number {
    return this.options.now?.() ?? this.options.native.monotonicMs();
  }

  private async start(): Promise<Runner> {
    const { native, memoryPorts } = this.options;
    const host: RunnerHost = {
      onEvent: (event) => this.options.onEvent(event),
      stateOf: (worker) => [{ op: 'set-uplink', uplink: this.uplink[worker] }, ...this.desired.commands()],
    };
    if (this.options.workers > 0) return WorkerPool.start(native, this.shared, host);
    const { arena, offloads } = this.shared;
    const { rows } = arena;
    const uplink = this.backend.uplink?.() ?? new MmsgUplink(native, rows, offloads['udp-gso']);
    const context: InlineContext = { native, shared: this.shared, uplink, clock: () => this.now(), memoryPorts };
    return this.options.makeRunner?.(context, host) ?? new InlineRunner(context, host);
  }

  /** Until its first wait it runs within the call: afterwards the command is posted. */
  private async carryOut(command: EngineCommand): Promise<void> {
    const { runner } = this;
    if (runner === undefined) throw new Error(`engine is stopped: ${command.op} came too late`);
    const isKept = !('port' in command) || command.op === 'set-port-vlans' || command.op === 'set-bump-hosts';
    const replaced = isKept ? [] : this.desired.portDescriptors(command.port);
    this.desired.record(command);
    const uplinkTaken = this.meetDemand();
    this.prepare(command);
    const [posted] = command.op === 'set-path-mtu' ? this.desired.pathMtus([command.port]) : [command];
    await Promise.all([uplinkTaken, this.post(() => posted!)]);
    this.settle(command, replaced);
  }

  /** Opens what the uplink needs for the tunnels and SAs of now; closes what it no longer needs when no worker uses it any more. */
  private async meetDemand(): Promise<void> {
    const demand = this.desired.demand();
    if (demand === this.met) return;
    this.uplink = this.backend.open(demand);
    this.met = demand;
    this.uplinksUnderWay++;
    try {
      await this.post((worker) => ({ op: 'set-uplink', uplink: this.uplink[worker] }));
    } finally {
      this.uplinksUnderWay--;
    }
    if (this.uplinksUnderWay === 0) this.backend.settle();
  }

  /** A port that is gone is passed over. */
  private tellPathMtus(ports: readonly number[]): void {
    if (ports.length === 0) return;
    const present = new Set(this.desired.paths.ports());
    for (const command of this.desired.pathMtus(ports.filter((port) => present.has(port))))
      this.post(() => command).catch((error: Error) => this.options.log?.(`path MTU: ${error.message}`));
  }

  private sweep(): void {
    this.learned.sweep(this.now());
    this.tellPathMtus(this.desired.paths.age(this.now()));
  }

  private post(commandOf: (worker: number) => WorkerCommand): Promise<void> {
    return this.runner === undefined ? Promise.resolve() : this.runner.post(commandOf);
  }

  /** What the workers share, before they hear of the command. */
  private prepare(command: EngineCommand): void {
    switch (command.op) {
      case 'set-bridge':
        this.learned.setBridge(command.bridge, command.ageingMs, command.fdbSize);
        return;
      case 'flush-fdb':
        this.learned.flushBridge(command.bridge);
        return;
      case 'add-inbound-sa':
        this.sas.resetInbound(command.sa.slot, command.sa.replayWindow, command.sa.esn, command.sa.replay);
        return;
      case 'add-outbound-sa':
        this.sas.resetOutbound(command.sa.slot, command.sa.lastSequence);
        return;
      default:
    }
  }

  /** What is left behind, after no worker uses it any more. */
  private settle(command: EngineCommand, replaced: readonly number[]): void {
    if (command.op === 'remove-bridge') this.learned.flushBridge(command.bridge);
    if (command.op === 'set-port-vlans') this.learned.flushPort(command.port);
    if (command.op === 'remove-port') {
      this.learned.flushPort(command.port);
      this.reader.clearPort(command.port);
    }
    const kept = 'fds' in command ? command.fds : [];
    for (const fd of replaced) if (!kept.includes(fd)) this.closePort(fd);
  }

  private closePort(fd: number): void {
    if (!this.options.memoryPorts?.has(fd)) this.options.native.close(fd);
  }
}

/** What the kernel may leave to us in frames of a TAP: open checksums and frames to cut, UDP ones where it knows how. */
function offerOffloads(native: Native, fd: number, on: boolean): void {
  const flags = on ? TUN_CHECKSUM | TUN_TSO : 0;
  try {
    native.setTapOffload(fd, on ? flags | TUN_USO : flags);
  } catch {
    native.setTapOffload(fd, flags);
  }
}

async function openBackend(options: EngineOptions): Promise<UplinkBackend> {
  const { workers, uplinkIo } = options;
  const log = (message: string): void => options.log?.(message);
  const { offloads = allOffloads(true) } = options;
  if (uplinkIo === 'mmsg' || uplinkIo === 'packet') {
    const how = { joins: offloads['udp-gro'], direct: uplinkIo === 'packet' };
    return new MmsgBackend(options.native, Math.max(1, workers), log, how);
  }
  if (workers > 0)
    throw new Error(
      `uplink-io ${typeof uplinkIo === 'string' ? uplinkIo : 'given as a backend'} works on the main thread only; use --workers=0 or --uplink-io=mmsg`,
    );
  return uplinkIo === 'raw-socket' ? new RawSocketBackend(await loadRawSocket(), log) : uplinkIo;
}
