/** What chance makes of bytes that were right: mostly in the headers at the beginning and the trailers at the end. */
import type { Random } from './random.ts';

const EDGES = [0, 1, 2, 3, 4, 7, 8, 13, 14, 17, 18, 19, 20, 27, 28, 39, 40, 63, 64, 127, 128, 252, 255];

/** One to three of: a bit, a byte, an edge value, a word, bytes taken out or put in, the end cut off, a part again. */
export function damage(random: Random, packet: Uint8Array): Uint8Array {
  let result = packet.slice();
  for (let times = 1 + random.below(3); times > 0 && result.length > 0; times--) {
    // The headers are at the beginning, and the trailers at the end.
    const at = random.once(4)
      ? random.below(result.length)
      : random.once(4)
        ? result.length - 1 - random.below(Math.min(40, result.length))
        : random.below(Math.min(60, result.length));
    switch (random.below(8)) {
      case 0:
        result[at]! ^= 1 << random.below(8);
        break;
      case 1:
        result[at] = random.below(256);
        break;
      case 2:
        result[at] = random.pick(EDGES);
        break;
      case 3:
        result.set([random.pick([0, 0xff, random.below(256)]), random.below(256)].slice(0, result.length - at), at);
        break;
      case 4:
        result = result.slice(0, at);
        break;
      case 5: {
        const out = 1 + random.below(8);
        result = joined(result.subarray(0, at), result.subarray(at + out));
        break;
      }
      case 6: {
        const more = Uint8Array.from({ length: 1 + random.below(16) }, () => random.below(256));
        result = joined(result.subarray(0, at), more, result.subarray(at));
        break;
      }
      default:
        result.copyWithin(at, random.below(result.length), result.length);
    }
  }
  return result;
}

export function joined(...parts: readonly ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}
