/** What the suites work on: a batch of 64 frames in an arena, and SAs with fixed keys that no peer has. */

import { Arena } from '../../dataplane/arena.ts';
import type { Batch } from '../../dataplane/batch.ts';
import type { OutboundSa, Selector } from '../../dataplane/commands.ts';
import type { EspAlgorithm } from '../../dataplane/index.ts';
import { ESP_ALGORITHMS } from '../../dataplane/index.ts';

export const BATCH = 64;
/** Inner frames: what a full TCP segment over a 1500-byte underlay leaves, and the smallest. */
export const FRAME_LENGTHS = [60, 1400] as const;
export const HERE = '192.0.2.1';
export const PEER = '192.0.2.2';
/** The same as int32 in network order. */
export const HERE_NUMBER = 0xc0000201 | 0;
export const PEER_NUMBER = 0xc0000202 | 0;

/** An arena with `BATCH` TCP frames of one flow each in the first rows. */
export function arenaOfFrames(length: number): Arena {
  const arena = new Arena();
  arena.reset();
  const { batch } = arena;
  for (let row = 0; row < BATCH; row++) writeFrame(batch, row, length);
  batch.count = BATCH;
  return arena;
}

function writeFrame(batch: Batch, row: number, length: number): void {
  const at = batch.offset[row];
  batch.arena.fill(row, at, at + length);
  batch.arena.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, length - 14], at);
  batch.arena.set([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x80, row, 0x14, 0x51], at + 18);
  batch.length[row] = length;
}

/** Puts every row back as it was before a stage pushed or popped headers. */
export function rewind(arena: Arena, length: number, protocol: number): void {
  const { batch } = arena;
  arena.reset();
  batch.count = BATCH;
  for (let row = 0; row < BATCH; row++) {
    batch.length[row] = length;
    batch.verdict[row] = 0;
    batch.protocol[row] = protocol;
    batch.pair[row] = 0;
    batch.sa[row] = 0;
  }
}

const any = (address: string): Selector[] => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65535 },
];

/** An SA from here to the peer in slot 0. */
export function sampleSa(algorithm: EspAlgorithm): OutboundSa {
  const { keyLength, saltLength } = ESP_ALGORITHMS[algorithm];
  return {
    slot: 0,
    spi: 0x10000,
    protection: 0,
    local: HERE,
    remote: PEER,
    algorithm,
    keyAndSalt: Uint8Array.from({ length: keyLength + saltLength }, (_, index) => index),
    esn: true,
    tsLocal: any(HERE),
    tsRemote: any(PEER),
    softPackets: 0,
    softBytes: 0,
    lastSequence: 0,
  };
}
