/**
 * Where dear steps of key exchanges and dear signatures are made (IkeAction `compute`): a pool beside the packet workers, so that
 * the main thread stays responsive. One thread always waits, as starting it takes longer than a handshake; others are started when
 * there is work for them and end when there has been none for a while. How much may wait is the engine's setting. What
 * a thread fails to do is given back undone.
 */
import { availableParallelism } from 'node:os';
import { buffersOf, type Job, type JobResult, wipeJob } from '../ike/index.ts';
import { startThreadPool } from './thread-pool.ts';
import type { Logger } from './vlog.ts';

/** Threads end when they have had nothing to do for so long. */
const IDLE_MS = 30_000;
/** More would take the processor from the packet workers. */
const MOST_THREADS = 4;

export interface Computer {
  /** Undefined: it could not be done. The job's buffers are taken over. */
  compute(job: Job): Promise<JobResult | undefined>;
  /** Ends the threads; what they had to do comes back undone. */
  stop(): Promise<void>;
}

export function startComputePool(log: Logger): Computer {
  const pool = startThreadPool(log, {
    file: 'compute-thread',
    what: 'a thread for key exchanges and signatures',
    most: Math.min(MOST_THREADS, availableParallelism()),
    atOnce: 1,
    idleMs: IDLE_MS,
  });
  return {
    compute: async (job) => {
      try {
        return (await pool.run(job, buffersOf(job))) as JobResult;
      } catch {
        wipeJob(job);
        return undefined;
      }
    },
    stop: () => pool.stop(),
  };
}
