/**
 * ESP inbound, transport and tunnel mode (RFC 4303 §3.4, with the AEADs of RFC 4106 and RFC 7634), over a batch.
 *
 * A row with `protocol` 50 has the ESP header at `offset` and the outer addresses in `pair`.
 * The steps, the mirror of seal.ts:
 *
 *   1. choose: the packet is whole, its SPI has an SA, and its addresses are those of the SA (RFC 4301 §5.2); in UDP
 *      the peer may have moved, and the ICV tells whether it is the peer
 *   2. replay check, before any work on the ciphertext; with ESN it finds the high half (RFC 4303 §3.4.3)
 *   3. additional data (RFC 4106 §5), and open: one AEAD call
 *   4. replay commit: the window moves for authentic packets only, and duplicates within the batch are found
 *   5. padding, trailer, dummy packets (RFC 4303 §2.4, §2.6), the inner header of tunnel mode, the selectors of the SA
 *   6. count, and leave the row as the tunnel packet with its protocol
 *
 * Whether the tunnel accepts it, decapsulation and the IP stage are others' business.
 */

import type { AeadList, Batch } from '../batch.ts';
import { DROP } from '../drops.ts';
import {
  ESP_AAD_LENGTH,
  ESP_AAD_LENGTH_ESN,
  ESP_ALIGNMENT,
  ESP_HEADER_LENGTH,
  ESP_ICV_LENGTH,
  ESP_IV,
  ESP_MINIMUM_LENGTH,
  ESP_TRAILER_LENGTH,
  espSequence,
  espSpi,
  isEspPadding,
} from '../wire/esp.ts';
import { PROTOCOL_ESP, PROTOCOL_NO_NEXT_HEADER } from '../wire/ipv4.ts';
import { writeInt32 } from '../wire/octets.ts';
import { REPLAY_TOP_HIGH, REPLAY_TOP_LOW, replayCheck, replayCommit } from './replay.ts';
import { COUNTER_FORGED, COUNTER_REPLAYED } from './sa-memory.ts';
import type { InboundSas } from './sa-table.ts';
import { matchesSelectors, selectorDestinationPort, selectorSourcePort } from './selectors.ts';
import { popInnerHeader } from './tunnel-mode.ts';

const TOO_SHORT = DROP['esp-too-short'];
const UNALIGNED = DROP['esp-unaligned'];
const UNKNOWN_SPI = DROP['unknown-spi'];
const WRONG_ADDRESS = DROP['sa-address'];
const FORGED = DROP['icv-mismatch'];
const PAD_LENGTH = DROP['esp-pad-length'];
const PADDING = DROP['esp-padding'];
const DUMMY = DROP['esp-dummy'];
const OUTSIDE_SELECTORS = DROP['esp-selector-in'];

/** Opens every row with `protocol` 50 and no verdict; rows that are refused get one. `sa` and `protection` are set. */
export function openBatch(batch: Batch, list: AeadList, sas: InboundSas): void {
  list.count = 0;
  for (let row = 0; row < batch.count; row++) {
    if (batch.protocol[row] !== PROTOCOL_ESP || batch.verdict[row] !== 0) continue;
    const slot = choose(batch, sas, row);
    if (slot < 0) continue;
    const refused = replayCheck(
      sas.memory.inbound,
      sas.memory.replayBase(slot),
      batch.sequenceLow[row],
      batch.sequenceHigh,
      row,
    );
    if (refused === 0) enlist(batch, list, sas, row, slot);
    else refuse(batch, sas, row, slot, refused, COUNTER_REPLAYED);
  }
  if (list.count === 0) return;
  sas.aead.open(list, 0, list.count);
  for (let j = 0; j < list.count; j++) accept(batch, list, sas, j);
}

/** Step 1. Returns the slot of the SA, or -1 with a verdict. */
function choose(batch: Batch, sas: InboundSas, row: number): number {
  const offset = batch.offset[row];
  const length = batch.length[row];
  if (length < ESP_MINIMUM_LENGTH) {
    batch.verdict[row] = TOO_SHORT;
    return -1;
  }
  const slot = sas.slotOf(espSpi(batch.arena, offset));
  if (slot < 0) {
    batch.verdict[row] = UNKNOWN_SPI;
    return -1;
  }
  if (batch.pair[row] !== sas.path[slot] && (batch.udpPort[row] === 0 || sas.remotePort[slot] === 0)) {
    batch.verdict[row] = WRONG_ADDRESS;
    return -1;
  }
  if (((length - ESP_HEADER_LENGTH - ESP_ICV_LENGTH) & (ESP_ALIGNMENT - 1)) !== 0) {
    batch.verdict[row] = UNALIGNED;
    return -1;
  }
  batch.sa[row] = slot;
  batch.protection[row] = sas.protection[slot];
  batch.sequenceLow[row] = espSequence(batch.arena, offset);
  return slot;
}

/** Step 3. */
function enlist(batch: Batch, list: AeadList, sas: InboundSas, row: number, slot: number): void {
  const { arena } = batch;
  const header = batch.offset[row];
  const j = list.count++;
  list.row[j] = row;
  list.key[j] = sas.key[slot];
  list.ivOffset[j] = header + ESP_IV;
  list.textOffset[j] = header + ESP_HEADER_LENGTH;
  list.textLength[j] = batch.length[row] - ESP_HEADER_LENGTH - ESP_ICV_LENGTH;
  if (sas.esn[slot] === 0) {
    list.aadOffset[j] = header;
    list.aadLength[j] = ESP_AAD_LENGTH;
    return;
  }
  const aad = list.scratchOffset[j];
  writeInt32(arena, aad, sas.spi[slot]);
  writeInt32(arena, aad + 4, batch.sequenceHigh[row]);
  writeInt32(arena, aad + 8, batch.sequenceLow[row]);
  list.aadOffset[j] = aad;
  list.aadLength[j] = ESP_AAD_LENGTH_ESN;
}

/** Steps 4 to 6 for entry j of the opened list. */
function accept(batch: Batch, list: AeadList, sas: InboundSas, j: number): void {
  const { arena } = batch;
  const row = list.row[j];
  const slot = batch.sa[row];
  if (list.result[j] !== 1) {
    refuse(batch, sas, row, slot, FORGED, COUNTER_FORGED);
    return;
  }
  const replayed = replayCommit(
    sas.memory.inbound,
    sas.memory.replayBase(slot),
    batch.sequenceLow[row],
    batch.sequenceHigh[row],
  );
  if (replayed !== 0) {
    refuse(batch, sas, row, slot, replayed, COUNTER_REPLAYED);
    return;
  }

  if (sas.remotePort[slot] !== 0) noteMove(batch, sas, row, slot);
  batch.pair[row] = sas.pair[slot];
  batch.addressSum[row] = sas.pairs.addressSum[sas.pair[slot]];

  const text = list.textOffset[j];
  const trailer = text + list.textLength[j] - ESP_TRAILER_LENGTH;
  const padLength = arena[trailer];
  const protocol = arena[trailer + 1];
  const length = list.textLength[j] - ESP_TRAILER_LENGTH - padLength;
  sas.count(slot, Math.max(length, 0));
  if (length < 0) {
    batch.verdict[row] = PAD_LENGTH;
  } else if (protocol === PROTOCOL_NO_NEXT_HEADER) {
    batch.verdict[row] = DUMMY;
  } else if (!isEspPadding(arena, trailer - padLength, padLength)) {
    batch.verdict[row] = PADDING;
  } else {
    batch.offset[row] = text;
    batch.length[row] = length;
    batch.protocol[row] = protocol;
    if (sas.tunnel[slot] !== 0) takeOffInnerHeader(batch, sas, row, slot);
    if (batch.verdict[row] === 0 && !isSelected(batch, sas, row, slot)) batch.verdict[row] = OUTSIDE_SELECTORS;
  }
}

/** Only the newest packet moves a peer: one that was held up on the way says where the peer once was. */
function noteMove(batch: Batch, sas: InboundSas, row: number, slot: number): void {
  const { memory } = sas;
  const port = batch.udpPort[row];
  if (port === 0 || (port === sas.remotePort[slot] && batch.pair[row] === sas.path[slot])) return;
  const base = memory.replayBase(slot);
  if (
    memory.inbound[base + REPLAY_TOP_LOW] === batch.sequenceLow[row] &&
    memory.inbound[base + REPLAY_TOP_HIGH] === batch.sequenceHigh[row]
  )
    sas.movedRow = row;
}

function takeOffInnerHeader(batch: Batch, sas: InboundSas, row: number, slot: number): void {
  const end = batch.offset[row] + batch.length[row];
  const refused = popInnerHeader(batch, row, batch.protocol[row], sas.pair[slot], sas.pairs);
  if (refused !== 0) batch.verdict[row] = refused;
  else if (batch.offset[row] + batch.length[row] < end) sas.padded++;
}

function isSelected(batch: Batch, sas: InboundSas, row: number, slot: number): boolean {
  const offset = batch.offset[row];
  const length = batch.length[row];
  const protocol = batch.protocol[row];
  const sourcePort = selectorSourcePort(batch.arena, offset, length, protocol);
  const destinationPort = selectorDestinationPort(batch.arena, offset, length, protocol);
  return (
    matchesSelectors(sas.tsRemote[slot], protocol, sourcePort) &&
    matchesSelectors(sas.tsLocal[slot], protocol, destinationPort)
  );
}

function refuse(
  batch: Batch,
  sas: InboundSas,
  row: number,
  slot: number,
  reason: number,
  counter: typeof COUNTER_FORGED | typeof COUNTER_REPLAYED,
): void {
  batch.verdict[row] = reason;
  sas.memory.inboundCounters[sas.memory.inboundCounter(slot) + counter]++;
}
