/** A batch, SA memory and the SAs of one worker for tests: Alice seals, Bob opens. */

import { AddressPairs } from '../../../dataplane/address-pairs.ts';
import { Arena } from '../../../dataplane/arena.ts';
import type { EspAlgorithm, InboundSa, OutboundSa, Selector } from '../../../dataplane/commands.ts';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import type { Aead } from '../../../dataplane/esp/aead.ts';
import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { SaMemory } from '../../../dataplane/esp/sa-memory.ts';
import { InboundSas, OutboundSas, type SaEvents } from '../../../dataplane/esp/sa-table.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';

export const ALICE = '192.0.2.1';
export const BOB = '192.0.2.2';
export const SLOT = 3;
/** An inbound SPI that names SLOT (steering.ts). */
export const SPI = 0x00410000 | SLOT;

/** Spelled out: of what a table has, tests for a row that is gone would be gone too. */
export const ALGORITHMS: readonly EspAlgorithm[] = ['aes128gcm16', 'aes192gcm16', 'aes256gcm16', 'chacha20poly1305'];

export const anything = (address: string): Selector[] => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 },
];

export function keyFor(algorithm: EspAlgorithm): Uint8Array {
  return Uint8Array.from({ length: ESP_ALGORITHMS[algorithm].keyLength + 4 }, (_, i) => i + 1);
}

/** Alice sends to Bob. */
export function outboundSa(changes: Partial<OutboundSa> = {}): OutboundSa {
  const algorithm = changes.algorithm ?? 'aes256gcm16';
  return {
    slot: SLOT,
    spi: SPI,
    protection: 7,
    local: ALICE,
    remote: BOB,
    algorithm,
    keyAndSalt: keyFor(algorithm),
    esn: false,
    tsLocal: anything(ALICE),
    tsRemote: anything(BOB),
    softPackets: 0,
    softBytes: 0,
    lastSequence: 0,
    ...changes,
  };
}

/** Bob receives from Alice. */
export function inboundSa(changes: Partial<InboundSa> = {}): InboundSa {
  const { lastSequence: _, ...sa } = outboundSa();
  const algorithm = changes.algorithm ?? sa.algorithm;
  return {
    ...sa,
    local: BOB,
    remote: ALICE,
    tsLocal: anything(BOB),
    tsRemote: anything(ALICE),
    replayWindow: 64,
    keyAndSalt: keyFor(algorithm),
    ...changes,
  };
}

export interface Packet {
  readonly bytes: Uint8Array;
  readonly protocol: number;
  readonly verdict: number;
}

export class SaRig {
  readonly arena = new Arena({ rows: 64, reads: 64, frameBytes: 2048 });
  readonly batch = this.arena.batch;
  readonly list = this.arena.aead;
  readonly memory: SaMemory;
  readonly pairs = new AddressPairs();
  /** The addresses of the packets. */
  readonly pair = this.pairs.take(ALICE, BOB);
  /** The same as Bob receives them. */
  readonly backPair = this.pairs.take(BOB, ALICE);
  readonly outbound: OutboundSas;
  readonly inbound: InboundSas;

  constructor(
    aead: Aead = createNodeAead(),
    memory = new SaMemory({ inboundSlots: 8, outboundSlots: 8, workers: 2 }),
    worker = 0,
  ) {
    this.memory = memory;
    this.outbound = new OutboundSas(memory, worker, aead, this.pairs);
    this.inbound = new InboundSas(memory, aead, this.pairs);
  }

  addOutbound(changes: Partial<OutboundSa> = {}): OutboundSa {
    const sa = outboundSa(changes);
    this.memory.resetOutbound(sa.slot, sa.lastSequence);
    this.outbound.add(sa);
    return sa;
  }

  addInbound(changes: Partial<InboundSa> = {}): InboundSa {
    const sa = inboundSa(changes);
    this.memory.resetInbound(sa.slot, sa.replayWindow, sa.esn);
    this.inbound.add(sa);
    return sa;
  }

  /** Puts packets from Alice to Bob into the batch. */
  load(packets: readonly Uint8Array[], protocol: number, slot = SLOT): void {
    this.arena.reset();
    const { batch } = this;
    batch.count = packets.length;
    packets.forEach((packet, row) => {
      batch.arena.fill(0xaa, batch.offset[row] - 64, batch.offset[row] + 2048);
      batch.arena.set(packet, batch.offset[row]);
      batch.length[row] = packet.length;
      batch.protocol[row] = protocol;
      batch.pair[row] = this.pair;
      batch.verdict[row] = 0;
      batch.sa[row] = slot;
      batch.protection[row] = -1;
    });
  }

  result(): Packet[] {
    const { batch } = this;
    return Array.from({ length: batch.count }, (_, row) => ({
      bytes: batch.arena.slice(batch.offset[row], batch.offset[row] + batch.length[row]),
      protocol: batch.protocol[row],
      verdict: batch.verdict[row],
    }));
  }

  seal(packets: readonly Uint8Array[], protocol = 47): Packet[] {
    this.load(packets, protocol);
    sealBatch(this.batch, this.list, this.outbound);
    return this.result();
  }

  open(packets: readonly Uint8Array[]): Packet[] {
    this.load(packets, 50, -1);
    this.batch.pair.fill(this.backPair, 0, packets.length);
    openBatch(this.batch, this.list, this.inbound);
    return this.result();
  }
}

export const GRE = 47;
export const UDP = 17;

export const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
export const payload = (length: number, fill = 1): Uint8Array => new Uint8Array(length).fill(fill);

/** The verdicts of a result, and the same as drop reasons. */
export const verdicts = (packets: readonly Packet[]): number[] => packets.map((packet) => packet.verdict);
export const reasons = (...names: DropName[]): number[] => names.map((name) => DROP[name]);

/** Events as [slot, flag]. */
export function eventsOf(events: SaEvents): number[][] {
  return Array.from({ length: events.count }, (_, i) => [events.slot[i], events.flag[i]]);
}
