/**
 * One packet worker without threads, sockets or event loop, whose unused bytes can be set: what it was given must decide what it does,
 * and nothing that lies around it.
 */
import { DEFAULT_ARENA } from '../../dataplane/arena.ts';
import type { EngineCommand } from '../../dataplane/commands.ts';
import { CounterReader, PACKETS_RECEIVED } from '../../dataplane/counters.ts';
import { DROP_REASONS } from '../../dataplane/drops.ts';
import { SaMemory } from '../../dataplane/esp/sa-memory.ts';
import { MemoryPort } from '../../dataplane/io/memory.ts';
import type { Uplink } from '../../dataplane/io/uplink.ts';
import { allOffloads } from '../../dataplane/offload/offloads.ts';
import { Pipeline } from '../../dataplane/pipeline.ts';
import type { WorkerCommand } from '../../dataplane/runner.ts';
import { fdbSize, makeSharedState, saMemorySize } from '../../dataplane/shared-state.ts';
import { Fdb } from '../../dataplane/switch/fdb.ts';
import { loadNative } from '../../native-shims/index.ts';

export const LIMITS = { ports: 64, bridges: 2, protections: 16, saSlots: 64, fdbCells: 4096 };
const MEMORY_FD = 1000;
/** Bytes of each slot that are set anew before a batch: what packets here reach. */
const RESIDUE = 2560;
export const BATCH = 64;

export class Victim {
  readonly port = new MemoryPort(4096, 65_536);
  readonly reader: CounterReader;
  /** Packets to receive in the next turn. */
  readonly incoming: Uint8Array[] = [];
  /** Checksum over all that was sent. */
  sent = 0;
  sentPackets = 0;
  /** Gets a copy of each packet sent. */
  onSent: ((packet: Uint8Array) => void) | undefined;
  now = 1000;
  private readonly pipeline: Pipeline;
  private readonly residue: number;
  private readonly words: Int32Array;
  private readonly tunnels: readonly number[];

  /** `residue`: the 32-bit word that unused bytes are full of. `afterReceipt` is the worker's. */
  constructor(commands: readonly EngineCommand[], residue: number, limits = LIMITS, afterReceipt?: () => void) {
    this.residue = residue;
    const native = loadNative();
    const shared = makeSharedState({
      workers: 1,
      limits,
      arena: DEFAULT_ARENA,
      aead: 'native',
      offloads: allOffloads(false),
    });
    const sas = new SaMemory(saMemorySize(1, limits), shared.sas);
    const fdb = new Fdb(fdbSize(limits), shared.fdb);
    this.reader = new CounterReader(shared.counters, 1, limits, sas);
    this.pipeline = new Pipeline({
      native,
      shared,
      worker: 0,
      uplink: this.uplink(),
      clock: () => this.now,
      emit: () => {},
      afterReceipt,
      memoryPorts: new Map([[MEMORY_FD, this.port]]),
    });
    this.words = new Int32Array(this.pipeline.state.arena.bytes.buffer);
    for (const command of commands) {
      if (command.op === 'set-bridge') fdb.setBridge(command.bridge, command.ageingMs, command.fdbSize);
      if (command.op === 'add-inbound-sa') sas.resetInbound(command.sa.slot, command.sa.replayWindow, command.sa.esn);
      if (command.op === 'add-outbound-sa') sas.resetOutbound(command.sa.slot, command.sa.lastSequence);
      this.pipeline.apply(command);
    }
    this.tunnels = commands.flatMap((command) => (command.op === 'set-tunnel-port' ? [command.port] : []));
  }

  apply(command: WorkerCommand): void {
    this.pipeline.apply(command);
  }

  /** Handles everything that waits. */
  run(): void {
    const { arena } = this.pipeline.state;
    const { stride } = arena;
    const { words } = this;
    for (let row = 0; row < Math.min(this.incoming.length + 16, arena.size.rows); row++) {
      const slot = row * (stride >> 2);
      words.fill(this.residue, slot, slot + (RESIDUE >> 2));
    }
    this.pipeline.markAll();
    while (this.pipeline.turn() > 0);
    this.now++;
  }

  /** Packets received, and what became of them; both must be the same. */
  account(): { readonly received: number; readonly explained: number } {
    const { stt } = this.pipeline.state;
    let explained = stt.accepted - stt.givenUp - stt.completed;
    for (const [name, [count]] of this.reader.drops()) if (INBOUND.has(name)) explained += count!;
    for (const port of this.tunnels) explained += this.reader.port(port).rxPackets;
    return { received: this.pipeline.state.counters.worker[PACKETS_RECEIVED]!, explained };
  }

  drops(): string {
    return [...this.reader.drops()].map(([name, [count]]) => `${name} ${count}`).join(', ');
  }

  private uplink(): Uplink {
    const { incoming } = this;
    return {
      descriptors: () => [],
      use: () => {},
      receive: (columns, first, count, capacity) => {
        let filled = 0;
        while (filled < count && incoming.length > 0) {
          const packet = incoming.shift()!;
          const row = first + filled++;
          columns.arena.set(packet.subarray(0, capacity), columns.offset[row]);
          columns.length[row] = packet.length <= capacity ? packet.length : -1;
        }
        return filled;
      },
      send: (list) => {
        for (let j = 0; j < list.count; j++) {
          const end = list.offset[j]! + list.length[j]!;
          for (let at = list.offset[j]!; at < end; at++) this.sent = (Math.imul(this.sent, 31) + list.arena[at]!) | 0;
          this.onSent?.(list.arena.slice(list.offset[j]!, end));
          list.errors[j] = 0;
        }
        this.sentPackets += list.count;
      },
      watch: () => () => {},
    };
  }
}

/** Reasons that a packet from the uplink is dropped for before it is a frame of a tunnel port. */
const INBOUND: ReadonlySet<string> = new Set([
  ...DROP_REASONS.slice(DROP_REASONS.findIndex(({ name }) => name === 'ip-too-short')).map(({ name }) => name),
  'policy-plaintext-in',
  'policy-esp-in',
  'policy-invalid',
]);
