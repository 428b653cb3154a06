/**
 * Where the packet's way can be watched: after each stage, a batch at a time. `trace` tells what it sees there,
 * a capture copies packets out, a stage meter counts what they cost. Nobody watches by default, and a stage then costs one
 * comparison a batch.
 *
 * An observer reads the batch and changes nothing. Rows and verdicts are as batch.ts says; what has not been done yet
 * at a stage is undefined in its columns.
 */

import type { WorkerState } from './worker-state.ts';

/**
 * Out: read, switch, segment, write, encapsulate, policy-out, seal, outer-header, send. In: receive, take-off, open, policy-in,
 * decapsulate, switch and what follows it. `finish` ends both, when all verdicts are known but those of flooded
 * copies, whose last stage is `send`.
 */
export const STAGES = [
  'read',
  'receive',
  'take-off',
  'open',
  'policy-in',
  'decapsulate',
  'switch',
  'segment',
  'write',
  'encapsulate',
  'policy-out',
  'seal',
  'outer-header',
  'send',
  'finish',
] as const;
export type Stage = (typeof STAGES)[number];

export interface StageObserver {
  /** Before packets are asked for: what has happened since the last stage is no part of the next one. */
  begin?(): void;
  after(stage: Stage, state: WorkerState): void;
}
