/**
 * Everything the stages of one worker work with: its batch, its tables, its ways in and out. The commands that
 * change it are carried out in apply.ts; outbound.ts and inbound.ts read it.
 */

import type { Native } from '../native-shims/types.ts';
import { AddressPairs } from './address-pairs.ts';
import { Arena } from './arena.ts';
import { type AeadList, type Batch, FrameList } from './batch.ts';
import { BumpFrames } from './bump/frames.ts';
import type { EngineEvent } from './commands.ts';
import { WorkerCounters } from './counters.ts';
import { POP_RESULTS } from './encap/encapsulation.ts';
import type { Aead } from './esp/aead.ts';
import { createNativeAead } from './esp/aead-native.ts';
import { createNobleAead } from './esp/aead-noble.ts';
import { createNodeAead } from './esp/aead-node.ts';
import { SaMemory } from './esp/sa-memory.ts';
import { InboundSas, OutboundSas } from './esp/sa-table.ts';
import type { FramePort } from './io/port.ts';
import type { Uplink } from './io/uplink.ts';
import type { StageObserver } from './observer.ts';
import { Coalescer } from './offload/coalesce.ts';
import { usesVnetHeaders } from './offload/offloads.ts';
import { Segmenter } from './offload/segment.ts';
import type { MarkRule } from './policy.ts';
import { Protections } from './protections.ts';
import { Senders } from './senders.ts';
import { fdbSize, type SharedState, saMemorySize } from './shared-state.ts';
import { SttReassembly } from './stt/reassembly.ts';
import { BridgePorts } from './switch/bridge-ports.ts';
import { Fdb } from './switch/fdb.ts';
import { FloodBudget } from './switch/flood-budget.ts';
import { Vlans } from './switch/vlans.ts';
import { AnswerLimit } from './too-big.ts';
import { TunnelTable } from './tunnel-table.ts';
import { UnknownSpis } from './unknown-spis.ts';
import type { ChecksumBatch } from './wire/checksum.ts';

/** A TAP or device port of a bridge. */
export interface LocalPort {
  readonly port: number;
  /** -1: of none, it is an end of a bump. */
  readonly bridge: number;
  readonly frames: FramePort;
  /** Whether this worker reads it; every worker writes it. */
  readonly reads: boolean;
  /** Frames of the batch at hand that leave through it. */
  readonly list: FrameList;
}

/** An uplink of a real ovs-vswitchd: ovs-espd sits between its TAP and the NIC (bump/). With espd=port the TAP is both ends. */
export interface Bump {
  /** The TAP, where the datapath is. */
  readonly inside: LocalPort;
  /** The NIC. */
  readonly outside: LocalPort;
  /** Mark of what leaves through it, as int32. */
  readonly mark: number;
  /** Whom opened frames may go to (bump/hosts.ts); undefined: the flows of the bridge see to it. */
  hosts: Int32Array | undefined;
}

const AEADS: Readonly<Record<Aead['name'], (native: Native) => Aead>> = {
  native: createNativeAead,
  node: createNodeAead,
  noble: createNobleAead,
};

export function createAead(name: Aead['name'], native: Native): Aead {
  return AEADS[name](native);
}

/** What a worker is made with. */
export interface WorkerContext {
  readonly native: Native;
  readonly shared: SharedState;
  readonly worker: number;
  readonly uplink: Uplink;
  /** Milliseconds of CLOCK_MONOTONIC, the same for all workers. */
  readonly clock: () => number;
  readonly emit: (event: EngineEvent) => void;
  /** Called when a batch has been received, before its SPIs are looked up: commands about SAs may have come meanwhile. */
  readonly afterReceipt?: (() => void) | undefined;
  /** Ports that have no descriptor, by the number that stands for one. Only on the main thread. */
  readonly memoryPorts?: ReadonlyMap<number, FramePort> | undefined;
  /** Another AEAD than that of the shared state's name: trace's, which seals nothing. */
  readonly aead?: Aead;
}

export class WorkerState implements WorkerContext {
  readonly native: Native;
  readonly shared: SharedState;
  readonly worker: number;
  readonly uplink: Uplink;
  readonly clock: () => number;
  readonly emit: (event: EngineEvent) => void;
  readonly afterReceipt: (() => void) | undefined;
  readonly memoryPorts: ReadonlyMap<number, FramePort> | undefined;
  /** Monotonic ms, set at the start of each turn. */
  now = 0;

  readonly arena: Arena;
  readonly batch: Batch;
  readonly aeadList: AeadList;
  /** Packets whose GRE or UDP checksum is to be computed. */
  readonly checksums: FrameList;
  readonly checksum: ChecksumBatch;
  /** Large frames of TAPs and devices: cut, and made (offload/). */
  readonly segmenter: Segmenter;
  readonly coalescer: Coalescer;
  readonly counters: WorkerCounters;
  /** The switch: learned addresses of all workers, and the ports of each bridge. */
  readonly fdb: Fdb;
  readonly bridgePorts: BridgePorts;
  readonly vlans: Vlans;
  readonly floodBudget = new FloodBudget();
  readonly aead: Aead;
  readonly pairs = new AddressPairs();
  readonly inboundSas: InboundSas;
  readonly outboundSas: OutboundSas;
  readonly protections: Protections;
  readonly tunnels: TunnelTable;
  /** TAP and device ports by port id. */
  readonly localPorts: (LocalPort | undefined)[];
  /** By the id of either of its ports. */
  readonly bumps: (Bump | undefined)[];
  readonly bumpFrames: BumpFrames;
  /** The TUN of the kernel's own tunnels (routed.ts). */
  routed: LocalPort | undefined;
  /** What leaves with each mark. */
  readonly senders: Senders;
  /** Ports that have frames of the batch at hand on their list. */
  readonly busyPorts: LocalPort[] = [];
  /** Where a tunnel header's values are read into (encapsulation.ts). */
  readonly popped = new Int32Array(POP_RESULTS);
  readonly unknownSpis = new UnknownSpis();
  /** STT frames that are not whole yet, and how many this worker has sent. */
  readonly stt: SttReassembly;
  sttFrames = 0;
  /** Tunnel packets that the encapsulation at hand has made. */
  made = 0;
  /** How often frames that are too big may be answered. */
  readonly answers = new AnswerLimit();
  markRule: MarkRule = { set: false, value: 0, mask: 0 };
  uplinkMark = 0;
  /** Who wants to see the stages, if anybody does. */
  capture: StageObserver | undefined;
  stageTotals: Float64Array | undefined;
  /** Watches the stages for them; undefined: nobody does. */
  observer: StageObserver | undefined;

  constructor(context: WorkerContext) {
    const { native, shared, worker } = context;
    this.native = native;
    this.shared = shared;
    this.worker = worker;
    this.uplink = context.uplink;
    this.clock = context.clock;
    this.emit = context.emit;
    this.afterReceipt = context.afterReceipt;
    this.memoryPorts = context.memoryPorts;
    this.checksum = native.checksumBatch;
    this.arena = new Arena(shared.arena, usesVnetHeaders(shared.offloads), native.packetMemory);
    this.batch = this.arena.batch;
    this.aeadList = this.arena.aead;
    this.checksums = new FrameList(this.arena.bytes, shared.arena.rows);
    this.segmenter = new Segmenter(this.batch, shared.arena.frameBytes, native);
    this.coalescer = new Coalescer(this.batch, native.checksumBatch);
    this.counters = new WorkerCounters(shared.counters, worker, shared.limits);
    this.aead = context.aead ?? createAead(shared.aead, native);
    const memory = new SaMemory(saMemorySize(shared.workers, shared.limits), shared.sas);
    this.inboundSas = new InboundSas(memory, this.aead, this.pairs);
    this.outboundSas = new OutboundSas(memory, worker, this.aead, this.pairs);
    this.fdb = new Fdb(fdbSize(shared.limits), shared.fdb);
    this.vlans = new Vlans(shared.limits.ports);
    this.bridgePorts = new BridgePorts(shared.limits.bridges, shared.limits.ports);
    this.protections = new Protections(shared.limits.protections);
    this.stt = new SttReassembly(this.arena.bytes, this.arena.reassembly, this.counters);
    this.tunnels = new TunnelTable(shared.limits.ports, this.pairs);
    this.localPorts = new Array<LocalPort | undefined>(shared.limits.ports).fill(undefined);
    this.bumps = new Array<Bump | undefined>(shared.limits.ports).fill(undefined);
    this.bumpFrames = new BumpFrames(shared.arena.rows);
    this.senders = new Senders(shared.limits.ports, this.arena.bytes, shared.arena.rows);
  }
}
