/**
 * Where the dear steps of key exchanges are done (IkeAction `compute`): a piscina pool beside the packet workers, so that the
 * main thread stays responsive. One thread always waits, as starting it takes longer than a handshake; others are started when
 * there is work for them and end when there has been none for a while. How much may wait is the engine's setting. A step that
 * a thread fails to do is given back undone.
 */
import { availableParallelism } from 'node:os';
import { Piscina } from 'piscina';
import { buffersOf, type Job, type JobResult, wipeJob } from '../ike/index.ts';
import { messageOf } from './message-of.ts';
import { threadFile } from './thread-file.ts';
import type { Logger } from './vlog.ts';

/** Threads end when they have had nothing to do for so long. */
const IDLE_MS = 30_000;
/** More would take the processor from the packet workers. */
const MOST_THREADS = 4;
/** V8 would keep 48 MB in each thread for what a step leaves behind at once. */
const YOUNG_MEGABYTES = 4;

export interface Computer {
  /** Undefined: it could not be done. The job's buffers are taken over. */
  compute(job: Job): Promise<JobResult | undefined>;
  /** Ends the threads; what they had to do comes back undone. */
  stop(): Promise<void>;
}

export function startComputePool(log: Logger): Computer {
  const piscina = new Piscina({
    filename: threadFile('compute-thread'),
    minThreads: 1,
    maxThreads: Math.min(MOST_THREADS, availableParallelism()),
    idleTimeout: IDLE_MS,
    concurrentTasksPerWorker: 1,
    recordTiming: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
  });
  let stopped = false;
  const failed = (error: unknown): void => {
    if (!stopped) log.limited('compute', 'err', `a thread for key exchanges failed: ${messageOf(error)}`);
  };
  piscina.on('error', failed);
  return {
    compute: async (job) => {
      try {
        return (await piscina.run(job, { transferList: buffersOf(job) })) as JobResult;
      } catch (error) {
        wipeJob(job);
        failed(error);
        return undefined;
      }
    },
    stop: async () => {
      stopped = true;
      await piscina.destroy();
    },
  };
}
