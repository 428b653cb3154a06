/**
 * A batch, SA memory and the SAs of one worker for tests, and ESP packets by an independent hand: node:crypto and
 * the text of RFC 4303 and 4106.
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { Arena } from '../../../dataplane/arena.ts';
import type { EspAlgorithm, InboundSa, OutboundSa, Selector } from '../../../dataplane/commands.ts';
import type { Aead } from '../../../dataplane/esp/aead.ts';
import { createNodeAead } from '../../../dataplane/esp/aead-node.ts';
import { ESP_ALGORITHMS } from '../../../dataplane/esp/algorithms.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { SaMemory } from '../../../dataplane/esp/sa-memory.ts';
import { InboundSas, OutboundSas } from '../../../dataplane/esp/sa-table.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { ipv4FromText } from '../../../dataplane/wire/ipv4.ts';

export const ALICE = '192.0.2.1';
export const BOB = '192.0.2.2';
export const SLOT = 3;
/** An inbound SPI that names SLOT (steering.ts). */
export const SPI = 0x00410000 | SLOT;

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
  readonly outbound: OutboundSas;
  readonly inbound: InboundSas;

  constructor(
    aead: Aead = createNodeAead(),
    memory = new SaMemory({ inboundSlots: 8, outboundSlots: 8, workers: 2 }),
    worker = 0,
  ) {
    this.memory = memory;
    this.outbound = new OutboundSas(memory, worker, aead);
    this.inbound = new InboundSas(memory, aead);
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
      batch.source[row] = ipv4FromText(ALICE);
      batch.destination[row] = ipv4FromText(BOB);
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
    openBatch(this.batch, this.list, this.inbound);
    return this.result();
  }
}

export interface Reference {
  readonly algorithm: EspAlgorithm;
  readonly keyAndSalt: Uint8Array;
  readonly spi: number;
  readonly sequenceLow: number;
  /** undefined: no ESN. */
  readonly sequenceHigh: number | undefined;
}

function additionalData(reference: Reference): Buffer {
  const words = [reference.spi];
  if (reference.sequenceHigh !== undefined) words.push(reference.sequenceHigh);
  words.push(reference.sequenceLow);
  const data = Buffer.alloc(words.length * 4);
  for (const [i, word] of words.entries()) data.writeUInt32BE(word >>> 0, i * 4);
  return data;
}

function nonce(reference: Reference, iv: Uint8Array): Buffer {
  return Buffer.concat([reference.keyAndSalt.subarray(ESP_ALGORITHMS[reference.algorithm].keyLength), iv]);
}

/** An ESP packet around `plaintext`, which is payload, padding and trailer. */
export function referenceSeal(reference: Reference, iv: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const { keyLength, openssl } = ESP_ALGORITHMS[reference.algorithm];
  const key = reference.keyAndSalt.subarray(0, keyLength);
  const cipher = createCipheriv(openssl as 'aes-128-gcm', key, nonce(reference, iv), { authTagLength: 16 });
  cipher.setAAD(additionalData(reference));
  const header = Buffer.alloc(8);
  header.writeUInt32BE(reference.spi >>> 0, 0);
  header.writeUInt32BE(reference.sequenceLow >>> 0, 4);
  return Uint8Array.from(Buffer.concat([header, iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
}

/** Payload, padding and trailer of an ESP packet; throws if its ICV is wrong. */
export function referenceOpen(reference: Reference, packet: Uint8Array): Uint8Array {
  const { keyLength, openssl } = ESP_ALGORITHMS[reference.algorithm];
  const key = reference.keyAndSalt.subarray(0, keyLength);
  const decipher = createDecipheriv(openssl as 'aes-128-gcm', key, nonce(reference, packet.subarray(8, 16)), {
    authTagLength: 16,
  });
  decipher.setAAD(additionalData(reference));
  decipher.setAuthTag(packet.subarray(packet.length - 16));
  return Uint8Array.from(Buffer.concat([decipher.update(packet.subarray(16, packet.length - 16)), decipher.final()]));
}

/** Payload with padding 1, 2, 3 … and trailer, as RFC 4303 §2.4 has it. */
export function withTrailer(payload: Uint8Array, nextHeader: number): Uint8Array {
  const padding = Array.from({ length: (4 - ((payload.length + 2) % 4)) % 4 }, (_, i) => i + 1);
  return Uint8Array.of(...payload, ...padding, padding.length, nextHeader);
}
