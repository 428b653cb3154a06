/** The AEAD backends, and ESP seal and open around them, a batch of 64 packets at a time. */

import { AddressPairs } from '../../dataplane/address-pairs.ts';
import { AeadList } from '../../dataplane/batch.ts';
import type { Aead } from '../../dataplane/esp/aead.ts';
import { createNativeAead } from '../../dataplane/esp/aead-native.ts';
import { createNobleAead } from '../../dataplane/esp/aead-noble.ts';
import { createNodeAead } from '../../dataplane/esp/aead-node.ts';
import { openBatch } from '../../dataplane/esp/open.ts';
import { SaMemory } from '../../dataplane/esp/sa-memory.ts';
import { InboundSas, OutboundSas } from '../../dataplane/esp/sa-table.ts';
import { sealBatch } from '../../dataplane/esp/seal.ts';
import { ESP_ALGORITHMS, type EspAlgorithm } from '../../dataplane/index.ts';
import { PROTOCOL_ESP, PROTOCOL_GRE } from '../../dataplane/wire/ipv4.ts';
import type { Native } from '../../native-shims/types.ts';
import { arenaOfFrames, BATCH, FRAME_LENGTHS, HERE, PEER, rewind, sampleSa } from './packets.ts';
import type { Case, Suite } from './suite.ts';

const ICV = 16;

/** Seals, and opens what was sealed, again and again: the sealed text is kept aside and put back before each open. */
function aeadCases(aead: Aead, algorithm: EspAlgorithm, length: number): Case[] {
  const { batch } = arenaOfFrames(length);
  const list = new AeadList(batch.arena, BATCH, 0);
  const { keyAndSalt } = sampleSa(algorithm);
  const name = `${algorithm} ${length} B, ${aead.name}`;
  const fill = (key: number): void => {
    for (let j = 0; j < BATCH; j++) {
      list.key[j] = key;
      list.aadOffset[j] = batch.offset[j] - 16;
      list.aadLength[j] = 8;
      list.ivOffset[j] = batch.offset[j] - 8;
      list.textOffset[j] = batch.offset[j];
      list.textLength[j] = length;
    }
  };
  const seal = aead.prepareKey(algorithm, 'seal', keyAndSalt.slice());
  const open = aead.prepareKey(algorithm, 'open', keyAndSalt.slice());
  fill(seal);
  aead.seal(list, 0, BATCH);
  const sealed = list.textOffset.slice(0, BATCH);
  const kept = batch.arena.slice();
  return [
    {
      name: `seal ${name}`,
      packets: BATCH,
      run: () => {
        fill(seal);
        aead.seal(list, 0, BATCH);
        return batch.arena[list.textOffset[0]];
      },
    },
    {
      name: `open ${name}`,
      packets: BATCH,
      run: () => {
        for (let j = 0; j < BATCH; j++) {
          const at = sealed[j];
          batch.arena.set(kept.subarray(at, at + length + ICV), at);
        }
        fill(open);
        aead.open(list, 0, BATCH);
        if (list.result[BATCH - 1] !== 1) throw new Error('the tag was wrong');
        return list.result[0];
      },
    },
  ];
}

/** The whole ESP stage outbound, native AEAD. */
function sealStage(native: Native, length: number): Case {
  const memory = new SaMemory({ inboundSlots: 1, outboundSlots: 1, workers: 1 });
  const sas = new OutboundSas(memory, 0, createNativeAead(native), new AddressPairs());
  memory.resetOutbound(0, 0);
  sas.add(sampleSa('aes256gcm16'));
  const arena = arenaOfFrames(length);
  return {
    name: `ESP seal stage, aes256gcm16 ${length} B`,
    packets: BATCH,
    run: () => {
      rewind(arena, length, PROTOCOL_GRE);
      if (memory.outboundStatus(0).sequence > 2 ** 31) memory.resetOutbound(0, 0);
      sealBatch(arena.batch, arena.aead, sas);
      return arena.batch.length[0];
    },
  };
}

/** The whole ESP stage inbound, native AEAD: the same batch again and again, its text put back and the replay window emptied. */
function openStage(native: Native, length: number): Case {
  const memory = new SaMemory({ inboundSlots: 1, outboundSlots: 1, workers: 1 });
  const aead = createNativeAead(native);
  const outbound = new OutboundSas(memory, 0, aead, new AddressPairs());
  const inbound = new InboundSas(memory, aead, new AddressPairs());
  memory.resetOutbound(0, 0);
  const sa = sampleSa('aes256gcm16');
  outbound.add(sa);
  inbound.add({ ...sa, local: PEER, remote: HERE, tsLocal: sa.tsRemote, tsRemote: sa.tsLocal, replayWindow: 1024 });
  const arena = arenaOfFrames(length);
  const { batch } = arena;
  rewind(arena, length, PROTOCOL_GRE);
  sealBatch(batch, arena.aead, outbound);
  const kept = arena.bytes.slice();
  const [offsets, lengths] = [batch.offset.slice(), batch.length.slice()];
  return {
    name: `ESP open stage, aes256gcm16 ${length} B`,
    packets: BATCH,
    run: () => {
      memory.resetInbound(0, 1024, true);
      for (let row = 0; row < BATCH; row++) {
        const at = offsets[row];
        arena.bytes.set(kept.subarray(at, at + lengths[row]), at);
        batch.offset[row] = at;
        batch.length[row] = lengths[row];
        batch.protocol[row] = PROTOCOL_ESP;
        batch.verdict[row] = 0;
        batch.pair[row] = 0;
      }
      openBatch(batch, arena.aead, inbound);
      if (batch.verdict[BATCH - 1] !== 0)
        throw new Error(`a packet was dropped for reason ${batch.verdict[BATCH - 1]}`);
      return batch.length[0];
    },
  };
}

export function aeadSuite(native: Native): Suite {
  const backends = [createNativeAead(native), createNodeAead(), createNobleAead()];
  const algorithms = Object.keys(ESP_ALGORITHMS) as EspAlgorithm[];
  return {
    name: 'aead',
    cases: [
      ...backends.flatMap((aead) =>
        FRAME_LENGTHS.flatMap((length) =>
          (aead.name === 'native' ? algorithms : (['aes256gcm16', 'chacha20poly1305'] as const)).flatMap((algorithm) =>
            aeadCases(aead, algorithm, length),
          ),
        ),
      ),
      ...FRAME_LENGTHS.flatMap((length) => [sealStage(native, length), openStage(native, length)]),
    ],
  };
}
