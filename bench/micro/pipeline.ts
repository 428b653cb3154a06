/**
 * The engine whole, one direction at a time, without kernel: frames from a port to packets for the uplink (switch, encapsulation, policy,
 * seal, outer header), and packets back to frames. Not by benchmark.js: between passes SAs are renewed, which takes time
 * that must not count. A pass is `PASS` packets; what is reported is the median over the passes.
 */
import { randomBytes } from 'node:crypto';
import type { EngineLimits } from '../../dataplane/limits.ts';
import { type Estimate, estimate } from '../report/statistics.ts';
import { BareEngine, type BareEngineOptions, HERE, remoteOf } from './bare-engine.ts';

const PASS = 2048;
const WARM_UP_PASSES = 20;
const LIMITS: EngineLimits = { ports: 16, bridges: 4, protections: 16, saSlots: 64, fdbCells: 4096 };
export const PIPELINE_LENGTHS = [60, 512, 1400] as const;
export const BATCH_SIZES = [1, 2, 4, 8, 16, 32, 64] as const;

export type PipelineCase = {
  readonly name: string;
  readonly direction: 'out' | 'back';
  readonly protection: 'ESP' | 'clear';
  /** Bytes of the inner frame. */
  readonly length: number;
  /** Packets that one read gives. */
  readonly batch: number;
};

export type PipelineResult = PipelineCase & { readonly nsPerPacket: Estimate };

/** All cases: directions, protections and lengths with full batches, then every batch size. */
export function pipelineCases(): PipelineCase[] {
  const make = (direction: 'out' | 'back', protection: 'ESP' | 'clear', length: number, batch: number) => ({
    name: `${direction}, Geneve, ${protection}, ${length} B${batch === 64 ? '' : `, batches of ${batch}`}`,
    direction,
    protection,
    length,
    batch,
  });
  const directions = ['out', 'back'] as const;
  return [
    ...directions.flatMap((direction) =>
      (['clear', 'ESP'] as const).flatMap((protection) =>
        PIPELINE_LENGTHS.map((length) => make(direction, protection, length, 64)),
      ),
    ),
    ...directions.flatMap((direction) =>
      BATCH_SIZES.filter((batch) => batch !== 64).map((batch) => make(direction, 'ESP', 1400, batch)),
    ),
  ];
}

/** A frame of IPv4 and TCP, to a group address, so that it is flooded to the one tunnel there is. */
export function sampleFrame(length: number): Uint8Array {
  const frame = new Uint8Array(randomBytes(length));
  frame.set([0x01, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, (length - 14) >> 8, (length - 14) & 255]);
  frame.set([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x80, 1, 0x14, 0x51], 18);
  return frame;
}

/** Runs a case for about `seconds`. @throws if not every packet came out at the other side. */
export async function runPipelineCase(one: PipelineCase, seconds: number): Promise<PipelineResult> {
  const options: BareEngineOptions = {
    type: 'geneve',
    algorithm: one.protection === 'ESP' ? 'aes256gcm16' : undefined,
    tunnels: 1,
    limits: LIMITS,
  };
  const sender = await BareEngine.create(options);
  const receiver = await BareEngine.create({ ...options, mirrored: true });
  try {
    const key = receiver.makeKey();
    if (one.protection === 'ESP') await sender.sendWith(0, key);
    const frames = [sampleFrame(one.length)];
    if (one.direction === 'out') {
      sender.port.supply.most = one.batch;
      const pass = () => sender.port.supply.start(frames, PASS);
      return { ...one, nsPerPacket: await timePasses(sender, seconds, pass, () => sender.uplink.taken) };
    }
    sender.uplink.kept = [];
    sender.port.supply.start(frames, PASS);
    sender.run();
    const packets = sender.uplink.kept;
    receiver.uplink.supply.most = one.batch;
    const pass = async () => {
      if (one.protection === 'ESP') await receiver.receiveWith(0, key);
      receiver.uplink.supply.start(packets, packets.length);
    };
    return { ...one, nsPerPacket: await timePasses(receiver, seconds, pass, () => receiver.port.taken) };
  } finally {
    await Promise.all([sender.stop(), receiver.stop()]);
  }
}

async function timePasses(
  engine: BareEngine,
  seconds: number,
  prepare: () => Promise<void> | void,
  taken: () => number,
): Promise<Estimate> {
  const times: number[] = [];
  const before = taken();
  let passes = 0;
  let deadline = Number.POSITIVE_INFINITY;
  while (times.length < 10 || performance.now() < deadline) {
    await prepare();
    const began = performance.now();
    engine.run();
    const ms = performance.now() - began;
    passes += 1;
    if (passes === WARM_UP_PASSES) deadline = performance.now() + seconds * 1000;
    if (passes > WARM_UP_PASSES) times.push((ms * 1e6) / PASS);
  }
  const arrived = taken() - before;
  if (arrived !== passes * PASS)
    throw new Error(
      `${HERE} to ${remoteOf(0)}: ${arrived} of ${passes * PASS} packets, ${JSON.stringify(engine.drops())}`,
    );
  return estimate(times);
}
