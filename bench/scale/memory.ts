/**
 * The engine with many tunnels, in memory: what a look-up costs (tunnel by address, SA by SPI, address by FDB), what a
 * packet costs that leaves through any of them, what a tunnel costs in memory, and how long it takes to add one.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { AddressPairs } from '../../dataplane/address-pairs.ts';
import { createNativeAead } from '../../dataplane/esp/aead-native.ts';
import { SaMemory } from '../../dataplane/esp/sa-memory.ts';
import { InboundSas } from '../../dataplane/esp/sa-table.ts';
import { makeSpi } from '../../dataplane/steering.ts';
import { Fdb } from '../../dataplane/switch/fdb.ts';
import { PROTOCOL_UDP, writeIpv4 } from '../../dataplane/wire/ipv4.ts';
import { loadNative } from '../../native-shims/index.ts';
import { BareEngine, HERE, remoteOf } from '../micro/bare-engine.ts';
import { BATCH, sampleSa } from '../micro/packets.ts';
import { sampleFrame } from '../micro/pipeline.ts';
import { lookupCase } from '../micro/stages.ts';
import { type Case, runSuite } from '../micro/suite.ts';
import { type Estimate, estimate } from '../report/statistics.ts';

/** What was found with a number of tunnels. */
export type MemoryPoint = {
  readonly tunnels: number;
  /** ns of each look-up. */
  readonly tunnelLookup: Estimate;
  readonly saLookup: Estimate;
  readonly fdbLookup: Estimate;
  /** ns of a packet of 1400 bytes that leaves in ESP through a tunnel chosen evenly. */
  readonly send: Estimate;
  /** Resident memory that the tunnels and their two SAs each took, in bytes. */
  readonly bytes: number;
  /** Mean ms to add a tunnel and its two SAs. */
  readonly setUpMs: number;
};

const FRAME = 1400;
const GENEVE_PORT = 6081;
const IPV4 = 20;
const UDP = 8;
const GENEVE = 8;
/** Slots of SAs and FDB cells are the same for all, so that only the number in use differs. */
const ROOM = 65_536;
const PASSES = 40;

/** An even spread over the tunnels that no cache can foresee: a step coprime to their number. */
const spread = (index: number, count: number) => (index * 7919) % count;

function saLookupCase(count: number): Case {
  const memory = new SaMemory({ inboundSlots: ROOM, outboundSlots: 1, workers: 1 });
  const sas = new InboundSas(memory, createNativeAead(loadNative()), new AddressPairs());
  const spis = Int32Array.from({ length: count }, (_, slot) => makeSpi(0, 1, slot));
  for (let slot = 0; slot < count; slot++) {
    memory.resetInbound(slot, 1024, true);
    sas.add({ ...sampleSa('aes256gcm16'), slot, spi: makeSpi(0, 1, slot), replayWindow: 1024 });
  }
  let next = 0;
  return {
    name: `SA by SPI, ${count}`,
    packets: BATCH,
    run: () => {
      let sum = 0;
      for (let row = 0; row < BATCH; row++) {
        next = next + 1 === count ? 0 : next + 1;
        sum += sas.slotOf(spis[next]!);
      }
      return sum;
    },
  };
}

function fdbLookupCase(count: number): Case {
  const fdb = new Fdb({ cells: ROOM, bridges: 1 });
  fdb.setBridge(0, 300_000, ROOM / 2);
  for (let low = 0; low < count; low++) fdb.learn(0, 0x0200, low, low & 0xfff, 0);
  let next = 0;
  return {
    name: `FDB, ${count}`,
    packets: BATCH,
    run: () => {
      let sum = 0;
      for (let row = 0; row < BATCH; row++) {
        next = next + 1 === count ? 0 : next + 1;
        sum += fdb.lookup(0, 0x0200, next, 1);
      }
      return sum;
    },
  };
}

/** ns of the three look-ups with `count` things to be found. */
export function lookups(count: number, seconds: number): [tunnel: Estimate, sa: Estimate, fdb: Estimate] {
  const cases = [lookupCase(Math.max(2, count)), saLookupCase(count), fdbLookupCase(count)];
  const [tunnel, sa, fdb] = runSuite({ name: 'scale', cases }, seconds, () => undefined);
  return [tunnel!.nsPerPacket, sa!.nsPerPacket, fdb!.nsPerPacket];
}

/** Whom the lessons are for. The switch knows where that is, else it would flood each of them to all tunnels. */
const PORT_MAC = [2, 2, 0, 0, 0, 1] as const;

function macOf(index: number): readonly number[] {
  return [2, 1, 0, (index >> 16) & 255, (index >> 8) & 255, index & 255];
}

/** A plaintext Geneve packet from the far end of tunnel `index`, from which the switch learns who is behind it. */
function lesson(index: number): Uint8Array {
  const frame = sampleFrame(60);
  frame.set(PORT_MAC, 0);
  frame.set(macOf(index), 6);
  const packet = new Uint8Array(IPV4 + UDP + GENEVE + frame.length);
  const udpLength = packet.length - IPV4;
  const numberOf = (address: string) => address.split('.').reduce((sum, byte) => (sum << 8) | Number(byte), 0);
  writeIpv4(packet, 0, packet.length, 0, 0, 0x4000, 64, PROTOCOL_UDP, numberOf(remoteOf(index)), numberOf(HERE));
  packet.set([0xc0, 0, GENEVE_PORT >> 8, GENEVE_PORT & 255, udpLength >> 8, udpLength & 255, 0, 0], IPV4);
  packet.set([0, 0, 0x65, 0x58, 0, 0, 0, 0], IPV4 + UDP);
  packet.set(frame, IPV4 + UDP + GENEVE);
  return packet;
}

function residentBytes(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage.rss();
}

/** The engine with `count` tunnels, each with an SA in both directions. @throws if a packet did not leave, sealed. */
async function throughTunnels(count: number): Promise<Pick<MemoryPoint, 'send' | 'bytes' | 'setUpMs'>> {
  const limits = { ports: count + 16, bridges: 4, protections: count + 16, saSlots: ROOM, fdbCells: ROOM };
  const before = residentBytes();
  const began = performance.now();
  const bare = await BareEngine.create({ type: 'geneve', algorithm: 'aes256gcm16', tunnels: count, limits });
  try {
    const learning = performance.now();
    const hello = sampleFrame(60);
    hello.set(PORT_MAC, 6);
    bare.port.supply.start([hello], 1);
    bare.run();
    bare.uplink.supply.start(
      Array.from({ length: count }, (_, index) => lesson(index)),
      count,
    );
    bare.run();
    const learned = performance.now() - learning;
    for (let index = 0; index < count; index++) {
      const key = bare.makeKey();
      await bare.sendWith(index, key);
      await bare.receiveWith(index, key);
    }
    const setUpMs = (performance.now() - began - learned) / count;
    const bytes = (residentBytes() - before) / count;
    const frames = Array.from({ length: Math.max(count, 1024) }, (_, index) => {
      const frame = sampleFrame(FRAME);
      frame.set(macOf(spread(index, count)), 0);
      return frame;
    });
    const times: number[] = [];
    const sentBefore = bare.uplink.taken;
    for (let pass = 0; pass < PASSES; pass++) {
      bare.port.supply.start(frames, frames.length);
      const start = performance.now();
      bare.run();
      times.push(((performance.now() - start) * 1e6) / frames.length);
    }
    const sent = bare.uplink.taken - sentBefore;
    // Each to one tunnel: a flooded frame would be counted once for each of them.
    if (sent !== PASSES * frames.length)
      throw new Error(`${sent} of ${PASSES * frames.length} packets left: ${JSON.stringify(bare.drops())}`);
    return { send: estimate(times.slice(PASSES / 4)), bytes, setUpMs };
  } finally {
    await bare.stop();
  }
}

/** Everything about one number of tunnels; `seconds` for each look-up. */
export async function measureInMemory(tunnels: number, seconds: number): Promise<MemoryPoint> {
  const [tunnelLookup, saLookup, fdbLookup] = lookups(tunnels, seconds);
  return { tunnels, tunnelLookup, saLookup, fdbLookup, ...(await throughTunnels(tunnels)) };
}
