/**
 * ESP outbound, transport and tunnel mode (RFC 4303 §3.3, with the AEADs of RFC 4106 and RFC 7634), over a batch.
 *
 * A row that is to be sealed has its SA in `sa`, the tunnel packet (GRE or UDP header first) at `offset`, its
 * protocol in `protocol` and the outer addresses in `pair`. The steps, each over the whole batch:
 *
 *   1. choose: the SA is there, the packet fits its selectors and an IPv4 packet; count packets for each SA
 *   2. number: one atomic add for each SA reserves a block of sequence numbers (RFC 4303 §3.3.3)
 *   3. build: header and IV in front, padding and trailer behind, additional data (RFC 4106 §5)
 *   4. seal: one AEAD call
 *   5. count, and leave the row as an ESP packet
 *
 * The IV is the sequence number, so it is unique by construction; its high half is 0 like that of the sequence
 * number (sa-memory.ts). The outer IP header is written by a later stage; opening is the mirror, open.ts.
 */

import type { AeadList, Batch } from '../batch.ts';
import { DROP } from '../drops.ts';
import {
  ESP_AAD_LENGTH,
  ESP_AAD_LENGTH_ESN,
  ESP_HEADER_LENGTH,
  ESP_ICV_LENGTH,
  ESP_IV,
  ESP_TRAILER_LENGTH,
  espPadLength,
  writeEspHeader,
  writeEspTrailer,
} from '../wire/esp.ts';
import { IPV4_MAX_PAYLOAD, PROTOCOL_ESP } from '../wire/ipv4.ts';
import { writeInt32 } from '../wire/octets.ts';
import { UDP_HEADER_LENGTH } from '../wire/udp.ts';
import { type OutboundSas, RESERVE_EXHAUSTED, RESERVED } from './sa-table.ts';
import { matchesSelectors, selectorDestinationPort, selectorSourcePort } from './selectors.ts';
import { innerHeaderLength, pushInnerHeader } from './tunnel-mode.ts';

const NO_SA = DROP['policy-no-sa'];
const EXHAUSTED = DROP['esp-sequence-exhausted'];
const OUTSIDE_SELECTORS = DROP['esp-selector-out'];
const TOO_LONG = DROP['esp-too-long'];

/** The high half of every sequence number and IV we send. */
const SEQUENCE_HIGH = 0;

/** Seals every row with `sa` >= 0 and no verdict; rows that cannot be sealed get one. */
export function sealBatch(batch: Batch, list: AeadList, sas: OutboundSas): void {
  const touched = choose(batch, sas);
  if (touched === 0) return;
  number(sas, touched);
  build(batch, list, sas);
  if (list.count > 0) sas.aead.seal(list, 0, list.count);
  finish(batch, list, sas, touched);
}

/** Step 1. Returns how many SAs the batch uses; they stand in sas.touched, with their packets in sas.wanted. */
function choose(batch: Batch, sas: OutboundSas): number {
  let touched = 0;
  for (let row = 0; row < batch.count; row++) {
    const slot = batch.sa[row];
    if (slot < 0 || batch.verdict[row] !== 0) continue;
    if (slot >= sas.key.length || sas.key[slot] < 0) {
      batch.verdict[row] = NO_SA;
      continue;
    }
    const text = batch.length[row] + (sas.tunnel[slot] === 0 ? 0 : innerHeaderLength(sas.pairs.family[sas.pair[slot]]));
    const length = ESP_HEADER_LENGTH + text + espPadLength(text) + ESP_TRAILER_LENGTH + ESP_ICV_LENGTH;
    if (length > (sas.remotePort[slot] === 0 ? IPV4_MAX_PAYLOAD : IPV4_MAX_PAYLOAD - UDP_HEADER_LENGTH)) {
      batch.verdict[row] = TOO_LONG;
      continue;
    }
    if (!isSelected(batch, sas, row, slot)) {
      batch.verdict[row] = OUTSIDE_SELECTORS;
      continue;
    }
    if (sas.wanted[slot] === 0) sas.touched[touched++] = slot;
    sas.wanted[slot]++;
  }
  return touched;
}

function isSelected(batch: Batch, sas: OutboundSas, row: number, slot: number): boolean {
  const offset = batch.offset[row];
  const length = batch.length[row];
  const protocol = batch.protocol[row];
  const sourcePort = selectorSourcePort(batch.arena, offset, length, protocol);
  const destinationPort = selectorDestinationPort(batch.arena, offset, length, protocol);
  return (
    batch.pair[row] === sas.pair[slot] &&
    matchesSelectors(sas.tsLocal[slot], protocol, sourcePort) &&
    matchesSelectors(sas.tsRemote[slot], protocol, destinationPort)
  );
}

/** Step 2. From here on sas.wanted of a slot holds what its rows get: RESERVED, or why not. */
function number(sas: OutboundSas, touched: number): void {
  for (let i = 0; i < touched; i++) {
    const slot = sas.touched[i];
    sas.wanted[slot] = sas.reserve(slot, sas.wanted[slot]);
  }
}

/** Step 3. */
function build(batch: Batch, list: AeadList, sas: OutboundSas): void {
  const { arena } = batch;
  let j = 0;
  for (let row = 0; row < batch.count; row++) {
    const slot = batch.sa[row];
    if (slot < 0 || batch.verdict[row] !== 0) continue;
    if (sas.wanted[slot] !== RESERVED) {
      batch.verdict[row] = sas.wanted[slot] === RESERVE_EXHAUSTED ? EXHAUSTED : NO_SA;
      continue;
    }
    const sequence = sas.next[slot];
    sas.next[slot] = sequence + 1;

    const nextHeader = sas.tunnel[slot] === 0 ? batch.protocol[row] : pushInnerHeader(batch, row, sas.pairs);
    const text = batch.offset[row];
    const length = batch.length[row];
    const header = text - ESP_HEADER_LENGTH;
    writeEspHeader(arena, header, sas.spi[slot], sequence, SEQUENCE_HIGH, sequence);
    const trailer = writeEspTrailer(arena, text + length, espPadLength(length), nextHeader);

    list.row[j] = row;
    list.key[j] = sas.key[slot];
    list.ivOffset[j] = header + ESP_IV;
    list.textOffset[j] = text;
    list.textLength[j] = length + trailer;
    if (sas.esn[slot] === 0) {
      list.aadOffset[j] = header;
      list.aadLength[j] = ESP_AAD_LENGTH;
    } else {
      const aad = list.scratchOffset[j];
      writeInt32(arena, aad, sas.spi[slot]);
      writeInt32(arena, aad + 4, SEQUENCE_HIGH);
      writeInt32(arena, aad + 8, sequence);
      list.aadOffset[j] = aad;
      list.aadLength[j] = ESP_AAD_LENGTH_ESN;
    }
    batch.sequenceLow[row] = sequence;
    batch.sequenceHigh[row] = SEQUENCE_HIGH;
    j++;
  }
  list.count = j;
}

/** Step 5. Leaves sas.wanted as it was found: all 0. */
function finish(batch: Batch, list: AeadList, sas: OutboundSas, touched: number): void {
  for (let j = 0; j < list.count; j++) {
    const row = list.row[j];
    sas.count(batch.sa[row], 1, batch.length[row]);
    batch.offset[row] -= ESP_HEADER_LENGTH;
    batch.length[row] = ESP_HEADER_LENGTH + list.textLength[j] + ESP_ICV_LENGTH;
    batch.protocol[row] = PROTOCOL_ESP;
    batch.pair[row] = sas.path[batch.sa[row]];
  }
  for (let i = 0; i < touched; i++) sas.wanted[sas.touched[i]] = 0;
}
