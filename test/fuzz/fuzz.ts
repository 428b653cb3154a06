/**
 * Fuzzes the whole packet path: two workers that differ in nothing but the bytes that lie around in their slots get the same packets.
 *
 *   - nothing throws
 *   - every packet that came in is a frame of a tunnel, kept for its others (STT), or counted as a drop
 *   - both do and send the same: so neither has read what it was not given
 */
import { commands, Packets } from './packets.ts';
import { Random } from './random.ts';
import { BATCH, Victim } from './victim.ts';

export interface FuzzReport {
  readonly packets: number;
  readonly drops: string;
  /** Frames that came out of a tunnel all the same. */
  readonly delivered: number;
}

/** How often all counters are compared, in batches. */
const COMPARE = 64;
export type Twins = readonly [Victim, Victim];

/** In memory 0, 0, 0, 77: whoever reads a key or a VNI beyond its packet finds the right one. */
const RIGHT_KEYS = 0x4d000000;
const GREETING = 512;

/** Two workers with the same configuration, and different bytes lying around. */
export function twins(): Twins {
  const rows = commands();
  return [new Victim(rows, 0), new Victim(rows, RIGHT_KEYS)];
}

/** @throws Error that names seed and batch. */
export function fuzz(seed: number, packets: number, progress: (done: number) => void = () => {}): FuzzReport {
  const random = new Random(seed);
  const source = new Packets(random);
  const victims = twins();
  const frame = new Uint8Array(65_536);
  const other = new Uint8Array(65_536);
  let delivered = 0;
  let done = 0;
  for (let batch = 0; done < packets; batch++) {
    const count = Math.min(1 + random.below(BATCH), packets - done);
    try {
      for (let i = 0; i < count; i++) {
        const packet = source.next();
        for (const victim of victims) victim.incoming.push(packet);
      }
      if (batch % GREETING === 0)
        for (const bytes of source.greetings()) for (const victim of victims) victim.port.put(bytes);
      if (random.once(16)) {
        const bytes = source.frame();
        for (const victim of victims) victim.port.put(bytes);
      }
      const jump = random.once(500) ? 3000 : 0;
      for (const victim of victims) {
        victim.now += jump;
        victim.run();
      }
      delivered += compareFrames(victims, frame, other);
      if (batch % COMPARE === 0) compare(victims);
    } catch (error) {
      throw new Error(
        `seed ${seed}, batch ${batch}, packets ${done} to ${done + count - 1}: ${(error as Error).stack}`,
      );
    }
    done += count;
    if (batch % 1000 === 0) progress(done);
  }
  compare(victims);
  return { packets: done, drops: victims[0].drops(), delivered };
}

/** Takes what both have delivered and gives the number of frames. @throws if they differ */
export function compareFrames([a, b]: Twins, frame: Uint8Array, other: Uint8Array): number {
  let frames = 0;
  for (;;) {
    const length = a.port.takeInto(frame);
    if (length !== b.port.takeInto(other)) throw new Error(`a frame of ${length} bytes was delivered by one only`);
    if (length === 0) return frames;
    frames++;
    for (let i = 0; i < length; i++)
      if (frame[i] !== other[i]) throw new Error(`a frame depends on what lay in the slot, at byte ${i} of ${length}`);
  }
}

/** @throws if the two have counted or sent something else, or a packet is unaccounted for */
export function compare([a, b]: Twins): void {
  if (a.drops() !== b.drops()) throw new Error(`drops depend on what lay in the slots: ${a.drops()} / ${b.drops()}`);
  if (a.sent !== b.sent || a.sentPackets !== b.sentPackets)
    throw new Error('what was sent depends on what lay in the slots');
  const { received, explained } = a.account();
  if (received !== explained)
    throw new Error(`${received} packets received, ${explained} of them delivered, kept or counted: ${a.drops()}`);
}
