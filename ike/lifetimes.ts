/**
 * When an SA is rekeyed and when it ends (RFC 7296 §2.8: each end has lifetimes of its own and nothing is negotiated).
 * The margin is jittered so that the two ends seldom rekey at the same moment.
 */

import type { Lifetimes } from './types.ts';

export interface LifeSpan {
  /** Monotonic milliseconds. */
  readonly rekeyAtMs: number;
  readonly expiresAtMs: number;
}

/**
 * The life of an SA that begins at nowMs. `fraction` is a random number in [0, 1). A margin that would leave less
 * than half of the lifetime is cut, so a mistaken setting cannot make an SA rekey without pause.
 */
export function lifeSpan(
  nowMs: number,
  seconds: number,
  lifetimes: Pick<Lifetimes, 'marginSeconds' | 'fuzzPercent'>,
  fraction: number,
): LifeSpan {
  const lifeMs = seconds * 1000;
  const fuzzed = lifetimes.marginSeconds * 1000 * (1 + (fraction * lifetimes.fuzzPercent) / 100);
  const cutMargin = (lifeMs / 2) * (1 - fraction * 0.2);
  const marginMs = Math.max(0, Math.min(fuzzed, cutMargin));
  return { rekeyAtMs: nowMs + Math.round(lifeMs - marginMs), expiresAtMs: nowMs + lifeMs };
}

/**
 * The pause before attempt number `failures` + 1, in ms: doubling from firstMs to maximumMs, shortened by up to a
 * quarter at random so that two ends, or a hundred tunnels, do not move in step.
 */
export function backOffMs(failures: number, firstMs: number, maximumMs: number, fraction: number): number {
  const full = Math.min(maximumMs, firstMs * 2 ** Math.min(30, Math.max(0, failures - 1)));
  return Math.round(full * (1 - 0.25 * fraction));
}
