/**
 * A worker's state again, for one imaginary packet: the same tables, made by the same commands, over copies of what
 * the workers share. Whatever the stages do to it — learn an address, take a sequence number, move a replay window,
 * count — is done to the copies and forgotten with them.
 *
 * Ports and the uplink give the packet and take what becomes of it. The AEAD opens but does not seal: a real packet
 * will have the sequence number that this one is shown with, and a (key, IV) must not be used twice even for nothing.
 */

import type { AeadColumns, FrameColumns, Native } from '../../native-shims/types.ts';
import { applyCommand } from '../apply.ts';
import type { FrameList } from '../batch.ts';
import type { EngineCommand } from '../commands.ts';
import { countersBytes } from '../counters.ts';
import type { Aead } from '../esp/aead.ts';
import type { FramePort } from '../io/port.ts';
import type { Uplink } from '../io/uplink.ts';
import type { SharedState } from '../shared-state.ts';
import { createAead, WorkerState } from '../worker-state.ts';

export interface TwinSource {
  readonly native: Native;
  readonly shared: SharedState;
  /** Milliseconds of the workers' clock. */
  readonly clock: () => number;
  /** What brings an empty worker to the state of the moment (desired-state.ts). */
  readonly commands: readonly EngineCommand[];
}

/** A port or uplink with one packet to read; what is written to it is only told. */
class Stub implements FramePort, Uplink {
  readonly descriptor = -1;
  readonly failure = undefined;
  readonly hasVnetHeader = false;
  readonly takesGroups = false;
  private readonly packet: Uint8Array | undefined;
  private readonly onWrite: (list: FrameList) => void;
  private isRead = false;

  constructor(packet: Uint8Array | undefined, onWrite: (list: FrameList) => void) {
    this.packet = packet;
    this.onWrite = onWrite;
  }

  read(columns: FrameColumns, first: number, _count: number, capacity: number): number {
    if (this.packet === undefined || this.isRead) return 0;
    this.isRead = true;
    columns.arena.set(this.packet.subarray(0, capacity), columns.offset[first]);
    columns.length[first] = this.packet.length <= capacity ? this.packet.length : -1;
    return 1;
  }

  write(list: FrameList): void {
    list.errors.fill(0, 0, list.count);
    this.onWrite(list);
  }

  receive(columns: FrameColumns, first: number, count: number, capacity: number): number {
    return this.read(columns, first, count, capacity);
  }

  send(list: FrameList): void {
    list.errors.fill(0, 0, list.count);
  }

  descriptors(): readonly number[] {
    return [];
  }

  use(): void {
    // There are no descriptors.
  }

  watch(): () => void {
    return () => {};
  }
}

export class Twin {
  readonly state: WorkerState;
  private readonly aead: OpenOnlyAead;

  /** `received`: a packet for the uplink to give; `onWrite` hears of frames given to a TAP or device. */
  constructor(source: TwinSource, received: Uint8Array | undefined, onWrite: (port: number, list: FrameList) => void) {
    const { native, shared, clock, commands } = source;
    const memoryPorts = new Map<number, FramePort>();
    this.aead = new OpenOnlyAead(createAead(shared.aead, native));
    this.state = new WorkerState({
      native,
      shared: {
        ...shared,
        counters: new SharedArrayBuffer(countersBytes(shared.workers, shared.limits)),
        sas: shared.sas.slice(0),
        fdb: shared.fdb.slice(0),
      },
      worker: 0,
      uplink: new Stub(received, () => {}),
      clock,
      emit: () => {},
      memoryPorts,
      aead: this.aead,
    });
    this.state.now = clock();
    for (const command of commands) {
      // An imaginary packet is not to stand in a capture.
      if (command.op === 'set-capture') continue;
      if (!('fds' in command)) {
        applyCommand(this.state, command);
        continue;
      }
      memoryPorts.set(command.port, new Stub(undefined, (list) => onWrite(command.port, list)));
      applyCommand(this.state, { ...command, fds: [command.port] });
    }
  }

  /** A source of one frame in place of the port's own. */
  sourceOf(frame: Uint8Array): FramePort {
    return new Stub(frame, () => {});
  }

  /** Forgets the keys. */
  close(): void {
    this.aead.close();
  }
}

class OpenOnlyAead implements Aead {
  readonly name: Aead['name'];
  private readonly real: Aead;
  private readonly keys: number[] = [];

  constructor(real: Aead) {
    this.real = real;
    this.name = real.name;
  }

  prepareKey(...[algorithm, direction, keyAndSalt]: Parameters<Aead['prepareKey']>): number {
    if (direction === 'seal') return 0;
    const key = this.real.prepareKey(algorithm, direction, keyAndSalt);
    this.keys.push(key);
    return key;
  }

  dropKey(): void {
    // close() drops them all.
  }

  seal(): void {
    // What would be ciphertext stays as it is, and nobody sees it.
  }

  open(columns: AeadColumns, first: number, count: number): void {
    this.real.open(columns, first, count);
  }

  close(): void {
    for (const key of this.keys.splice(0)) this.real.dropKey(key);
  }
}
