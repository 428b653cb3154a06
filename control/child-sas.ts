/**
 * Carries child SAs from IKE to the packet engine: slots, order of installation, draining.
 *
 * A UDP tunnel has two children (design: selectors as OVS's daemons make them). Only the one whose selectors
 * cover what we send — remote port fixed, local port any — may carry outbound packets; a peer would drop
 * the others. Make before break: a new SA is installed in both directions before anything moves to it, and the
 * old inbound one stays until its drain time is over.
 */

import type { EngineCommand, InboundSa } from '../dataplane/index.ts';
import type { ChildSa, UdpPath } from '../ike/index.ts';
import type { Resumption } from './hand-over/inheritance.ts';
import type { ChildSaSink } from './ike-runner.ts';
import type { Timers } from './ovsdb/timers.ts';
import { ProtectionFileError } from './protection-file.ts';
import type { Protection, Protections } from './protections.ts';
import type { Logger } from './vlog.ts';

/** What the configuration says of one child of a connection. */
export interface ChildRole {
  readonly protection: number;
  /** Its selectors cover the packets that we send. */
  readonly sends: boolean;
  readonly replayWindow: number;
  readonly softPackets: number;
  readonly softBytes: number;
  /** The packet worker that opens what comes in on it, and that sends on it if it has no other; undefined: it does not matter. */
  readonly worker: number | undefined;
  /** Every worker sends on it that has none of its own; else only `worker` does (RFC 9611). */
  readonly isFallback: boolean;
}

export interface ChildSaInstallerOptions {
  readonly apply: (command: EngineCommand) => void;
  readonly releaseSpi: (spi: number) => void;
  readonly protections: Protections;
  /** The role of a child, by connection and child name; undefined if the configuration no longer has it. */
  readonly roleOf: (connection: string, child: string) => ChildRole | undefined;
  /** Where an SA of the process before ours stood, by its inbound SPI. */
  readonly resumptionOf?: ((inboundSpi: number) => Resumption | undefined) | undefined;
  /** A child is not installed and will not be; the reason is a sentence for operators. */
  readonly onRefused: (id: number, reason: string) => void;
  readonly log: Logger;
  readonly onChange: () => void;
  readonly timers: Timers;
}

/** The inbound slot of an SPI of ours: its low 16 bits (dataplane/steering.ts). */
export function slotOfSpi(spi: number): number {
  return spi & 0xffff;
}

export interface InstalledChild {
  readonly sa: ChildSa;
  readonly protection: number;
  readonly sends: boolean;
  readonly inboundSlot: number;
  readonly outboundSlot: number;
  /** The only worker that sends on it; undefined: all do that have none of their own. */
  readonly worker: number | undefined;
}

/** How many outbound slots there are; as many as inbound SPIs can name. */
const OUTBOUND_SLOTS = 0x10000;
/** The id of no child. */
const NOBODY = -1;

export class ChildSaInstaller implements ChildSaSink {
  readonly #options: ChildSaInstallerOptions;
  readonly #installed = new Map<number, InstalledChild>();
  /** Ids of the installed children: by their slots, and in the order of installation those that a protection may send on. */
  readonly #inInbound = new Map<number, number>();
  readonly #inOutbound = new Map<number, number>();
  readonly #senders = new Map<number, Set<number>>();
  /** By what calls the end of their drain time off. */
  readonly #draining = new Map<() => void, InstalledChild>();
  /** Which child each protection sends on, by worker; undefined: all workers that have none of their own. */
  readonly #sending = new Map<number, Map<number | undefined, number>>();
  readonly #outboundInUse = new Set<number>();
  #nextOutbound = 0;

  constructor(options: ChildSaInstallerOptions) {
    this.#options = options;
  }

  /** Begins what has to be on disk before it is installed; undefined: nothing. */
  prepare(sa: ChildSa): Promise<void> | undefined {
    const role = this.#options.roleOf(sa.connection, sa.child);
    return role === undefined ? undefined : this.#options.protections.remember(role.protection);
  }

  install(sa: ChildSa, sendNow: boolean): void {
    const role = this.#options.roleOf(sa.connection, sa.child);
    const protection = role === undefined ? undefined : this.#options.protections.byId(role.protection);
    if (role === undefined || protection === undefined) {
      this.#options.log.warn(
        `${sa.connection}: child ${sa.child} was negotiated, but its tunnel is gone; its SAs are not installed`,
      );
      this.#options.releaseSpi(sa.inboundSpi);
      return;
    }
    const protect = this.#protect(role.protection);
    if (protect instanceof ProtectionFileError) {
      this.#discard(sa);
      const why = 'a crash would open the tunnel again';
      this.#options.onRefused(sa.id, `SAs of child ${sa.child} are not installed, as ${why}: ${protect.message}`);
      return;
    }
    const child: InstalledChild = {
      sa,
      protection: role.protection,
      sends: role.sends,
      inboundSlot: slotOfSpi(sa.inboundSpi),
      outboundSlot: this.#takeOutboundSlot(),
      worker: role.isFallback ? undefined : role.worker,
    };
    this.#enter(child);
    // Plaintext ends before the first SA can be used: a crash in between leaves the tunnel closed, not open.
    for (const command of protect) this.#options.apply(command);
    const inbound = inboundOf(child, role, protection);
    const resumption = this.#options.resumptionOf?.(sa.inboundSpi);
    this.#options.apply({ op: 'add-inbound-sa', sa: { ...inbound, replay: resumption?.replay } });
    this.#options.apply({
      op: 'add-outbound-sa',
      sa: {
        ...inbound,
        slot: child.outboundSlot,
        spi: sa.outboundSpi,
        keyAndSalt: sa.outboundKey,
        lastSequence: resumption?.lastSequence ?? 0,
      },
    });
    if (sendNow || this.#sending.get(child.protection)?.has(child.worker) !== true) this.send(sa.id);
    this.#options.onChange();
  }

  /** The commands that end plaintext, or why it could not be seen to that it stays ended. */
  #protect(protection: number): readonly EngineCommand[] | ProtectionFileError {
    try {
      return this.#options.protections.markProtected(protection);
    } catch (error) {
      if (!(error instanceof ProtectionFileError)) throw error;
      return error;
    }
  }

  send(id: number): void {
    const child = this.#installed.get(id);
    if (child === undefined || !child.sends) return;
    this.#use(child, child.worker);
    if (this.#sending.get(child.protection)?.has(undefined) !== true) this.#use(child, undefined);
    this.#options.onChange();
  }

  #use(child: InstalledChild, worker: number | undefined): void {
    const { protection, outboundSlot: slot, sa } = child;
    const sending = this.#sending.get(protection);
    if (sending === undefined) this.#sending.set(protection, new Map([[worker, sa.id]]));
    else sending.set(worker, sa.id);
    this.#options.apply({ op: 'use-outbound-sa', protection, slot, worker });
  }

  move(id: number, udpEncapsulation: UdpPath): void {
    const child = this.#installed.get(id);
    if (child === undefined) return;
    this.#installed.set(id, { ...child, sa: { ...child.sa, udpEncapsulation } });
    for (const [direction, slot] of [
      ['in', child.inboundSlot],
      ['out', child.outboundSlot],
    ] as const)
      this.#options.apply({ op: 'move-sa', direction, slot, udp: udpEncapsulation });
    this.#options.onChange();
  }

  remove(id: number, drainMs: number, reason: string): void {
    const child = this.#installed.get(id);
    if (child === undefined) return;
    this.#leave(child);
    this.#options.log.dbg(
      `${child.sa.connection}: child ${child.sa.child} (SPI ${hex(child.sa.inboundSpi)}) removed: ${reason}`,
    );
    for (const [worker, sending] of [...(this.#sending.get(child.protection) ?? [])])
      if (sending === id) this.#stopSending(child.protection, worker);
    this.#options.apply({ op: 'remove-outbound-sa', slot: child.outboundSlot });
    this.#outboundInUse.delete(child.outboundSlot);
    if (drainMs <= 0) {
      this.#removeInbound(child);
    } else {
      const cancel = this.#options.timers.after(drainMs, () => {
        this.#draining.delete(cancel);
        this.#removeInbound(child);
      });
      this.#draining.set(cancel, child);
    }
    this.#options.onChange();
  }

  #enter(child: InstalledChild): void {
    const { id } = child.sa;
    this.#installed.set(id, child);
    this.#inInbound.set(child.inboundSlot, id);
    this.#inOutbound.set(child.outboundSlot, id);
    if (!child.sends) return;
    const senders = this.#senders.get(child.protection);
    if (senders === undefined) this.#senders.set(child.protection, new Set([id]));
    else senders.add(id);
  }

  #leave({ sa, protection, inboundSlot, outboundSlot }: InstalledChild): void {
    this.#installed.delete(sa.id);
    this.#inInbound.delete(inboundSlot);
    this.#inOutbound.delete(outboundSlot);
    const senders = this.#senders.get(protection);
    senders?.delete(sa.id);
    if (senders?.size === 0) this.#senders.delete(protection);
  }

  /**
   * Another installed child takes over if there is one, one of the same worker's first. Else that worker does as all others; and if
   * nothing is left for those, their packets are dropped.
   */
  #stopSending(protection: number, worker: number | undefined): void {
    const others = [...(this.#senders.get(protection) ?? [])].map((id) => this.#installed.get(id)!);
    const other =
      others.findLast((child) => child.worker === worker) ?? (worker === undefined ? others.at(-1) : undefined);
    if (other !== undefined) {
      this.#use(other, worker);
      return;
    }
    const sending = this.#sending.get(protection);
    sending?.delete(worker);
    if (sending?.size === 0) this.#sending.delete(protection);
    if (this.#options.protections.byId(protection) !== undefined)
      this.#options.apply({ op: 'use-outbound-sa', protection, slot: undefined, worker });
  }

  #removeInbound(child: InstalledChild): void {
    this.#options.apply({ op: 'remove-inbound-sa', slot: child.inboundSlot });
    this.#discard(child.sa);
  }

  #discard({ inboundSpi, inboundKey, outboundKey }: ChildSa): void {
    this.#options.releaseSpi(inboundSpi);
    inboundKey.fill(0);
    outboundKey.fill(0);
  }

  #takeOutboundSlot(): number {
    for (let tried = 0; tried < OUTBOUND_SLOTS; tried++) {
      const slot = this.#nextOutbound;
      this.#nextOutbound = (this.#nextOutbound + 1) % OUTBOUND_SLOTS;
      if (!this.#outboundInUse.has(slot)) {
        this.#outboundInUse.add(slot);
        return slot;
      }
    }
    throw new Error(`all ${OUTBOUND_SLOTS} outbound SA slots are in use`);
  }

  installed(): IterableIterator<InstalledChild> {
    return this.#installed.values();
  }

  /** The child a protection sends on where a worker has none of its own, or undefined: none, its packets are dropped. */
  sendingChild(protection: number): InstalledChild | undefined {
    return this.#installed.get(this.#sending.get(protection)?.get(undefined) ?? NOBODY);
  }

  /** Whether some worker sends on it. */
  isSending({ protection, sa }: InstalledChild): boolean {
    return [...(this.#sending.get(protection)?.values() ?? [])].includes(sa.id);
  }

  byInboundSlot(slot: number): InstalledChild | undefined {
    return this.#installed.get(this.#inInbound.get(slot) ?? NOBODY);
  }

  byOutboundSlot(slot: number): InstalledChild | undefined {
    return this.#installed.get(this.#inOutbound.get(slot) ?? NOBODY);
  }

  stop(): void {
    for (const cancel of this.#draining.keys()) cancel();
    this.#draining.clear();
  }
}

/** The addresses are the tunnel's; where ESP goes is the path's to say. */
function inboundOf(child: InstalledChild, role: ChildRole, { local, remote }: Protection): InboundSa {
  const { sa } = child;
  return {
    slot: child.inboundSlot,
    spi: sa.inboundSpi,
    protection: child.protection,
    local,
    remote,
    mode: sa.mode,
    udp: sa.udpEncapsulation,
    algorithm: sa.algorithm,
    keyAndSalt: sa.inboundKey,
    esn: sa.esn,
    replayWindow: role.replayWindow,
    tsLocal: sa.tsLocal,
    tsRemote: sa.tsRemote,
    softPackets: role.softPackets,
    softBytes: role.softBytes,
  };
}

function hex(spi: number): string {
  return `0x${spi.toString(16).padStart(8, '0')}`;
}
