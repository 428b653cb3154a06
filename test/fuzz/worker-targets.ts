/**
 * What the guided fuzzer runs of the packet path: two workers as in fuzz.ts, with packets as they come from the wire, with
 * what a peer that has the keys may put into them, and with frames of a host; and the offloads of a TAP there and back.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { largeFrames, segmentsOf, withVnetHeader } from '../dataplane/offload/large-frames.ts';
import { coalesce, openAndCut } from '../dataplane/offload/segmenting.ts';
import { joined } from './damage.ts';
import { compare, compareFrames, twins } from './fuzz.ts';
import type { Target } from './guided.ts';
import { Packets } from './packets.ts';
import type { Random } from './random.ts';

const SEEDS = 200;
const VNET = 10;
const ETHERNET = 14;
/** Frames that one input of `gro` may hold. */
const MOST_FRAMES = 40;

const several = (make: () => Uint8Array): Uint8Array[] => Array.from({ length: SEEDS }, make);

/** A target that is two workers; `put` gives them one input. */
function workers(
  name: string,
  seed: (packets: Packets) => Uint8Array,
  put: (input: Uint8Array, packets: Packets) => { readonly packet?: Uint8Array; readonly frame?: Uint8Array },
): (random: Random) => Target {
  return (random) => {
    const victims = twins();
    const packets = new Packets(random);
    const frame = new Uint8Array(65_536);
    const other = new Uint8Array(65_536);
    for (const greeting of packets.greetings()) for (const victim of victims) victim.port.put(greeting);
    return {
      name,
      seeds: () => several(() => seed(packets)),
      run: (input) => {
        const given = put(input, packets);
        for (const victim of victims) {
          if (given.packet !== undefined) victim.incoming.push(given.packet);
          if (given.frame !== undefined) victim.port.put(given.frame);
          victim.run();
        }
        compareFrames(victims, frame, other);
      },
      check: () => compare(victims),
    };
  };
}

/** Vnet headers: what is cut holds the bytes of the whole, in order, whatever lies around it. */
function vnet(random: Random): Target {
  const frames = fc.sample(largeFrames(), { seed: random.word() | 0, numRuns: SEEDS });
  return {
    name: 'vnet',
    seeds: () => frames.map(({ frame, size }) => withVnetHeader(frame, size)),
    run: (input) => {
      // The kernel never hands over less than the header.
      if (input.length < VNET) return;
      const one = openAndCut(input, 0);
      if (!isDeepStrictEqual(one, openAndCut(input, 0xff))) throw new Error('depends on what lies around the frame');
      if (one.verdict !== 0 || one.segments.length === 0) return;
      const { length } = one.segments;
      const whole = input.subarray(VNET);
      const sum = one.segments.reduce((bytes, segment) => bytes + segment.length, 0);
      // All segments have the same headers: what there is more than the frame is the headers of all but the first.
      const headers = length === 1 ? whole.length : (sum - whole.length) / (length - 1);
      const payload = Buffer.concat(one.segments.map((segment) => segment.subarray(headers)));
      if (!Number.isInteger(headers) || Buffer.compare(payload, whole.subarray(headers)) !== 0)
        throw new Error('segments do not hold the bytes of the frame');
    },
  };
}

/** Frames in one input, each behind two bytes of length. */
function framesOf(input: Uint8Array): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (let at = 0; at + 2 + ETHERNET <= input.length && frames.length < MOST_FRAMES; ) {
    const length = Math.max(ETHERNET, Math.min(1600, (input[at]! << 8) | input[at + 1]!, input.length - at - 2));
    frames.push(input.slice(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return frames;
}

/** A frame but for what coalescing may choose: the id of IPv4, and so its checksum. */
function withoutId(frame: Uint8Array): string {
  const copy = Buffer.from(frame);
  for (const at of [12, 16, 20])
    if (copy.length >= at + 22 && copy[at] === 8 && copy[at + 1] === 0 && copy[at + 2]! === 0x45) {
      copy.fill(0, at + 6, at + 8);
      copy.fill(0, at + 12, at + 14);
    }
  return copy.toString('hex');
}

/** Coalescing: what it writes is, cut again, what it was given. */
function gro(random: Random): Target {
  const samples = fc.sample(largeFrames(3000), { seed: random.word() | 0, numRuns: SEEDS });
  return {
    name: 'gro',
    seeds: () =>
      samples.map(({ frame, size }) =>
        joined(
          ...segmentsOf(frame, Math.max(size, 100))
            .slice(0, MOST_FRAMES)
            .flatMap((segment) => [[segment.length >> 8, segment.length], segment]),
        ),
      ),
    run: (input) => {
      const frames = framesOf(input);
      const back = coalesce(frames).flatMap((written) => {
        const { verdict, frame, segments } = openAndCut(written);
        if (verdict !== 0) throw new Error(`what was coalesced is refused for ${verdict}`);
        return segments.length > 0 ? segments : [frame];
      });
      const [given, got] = [frames, back].map((list) => list.map(withoutId).sort());
      if (!isDeepStrictEqual(given, got)) throw new Error(`${frames.length} frames became other ${back.length}`);
    },
  };
}

/** By name; each is made with the random numbers of its run. */
export const WORKER_TARGETS: Readonly<Record<string, (random: Random) => Target>> = {
  packet: workers(
    'packet',
    (packets) => packets.next(),
    (packet) => ({ packet }),
  ),
  inside: workers(
    'inside',
    (packets) => packets.content(),
    (content, packets) => ({ packet: packets.carry(content) }),
  ),
  frame: workers(
    'frame',
    (packets) => packets.frame(),
    (frame) => ({ frame }),
  ),
  vnet,
  gro,
};
