/**
 * A piscina pool of threads of ours, as those of compute-pool.ts and program-pool.ts are: threads that are small, a line in the log
 * when one fails, and none any more once the pool is stopped, as then all that is under way fails.
 */
import { Piscina } from 'piscina';
import { messageOf } from './message-of.ts';
import { threadFile } from './thread-file.ts';
import type { Logger } from './vlog.ts';

/** V8 would keep 48 MB in each thread for what a task leaves behind at once. */
const YOUNG_MEGABYTES = 4;

export interface ThreadPoolOptions {
  /** Of the file that the threads run. */
  readonly file: string;
  /** For the log, such as `a thread for key exchanges`. */
  readonly what: string;
  readonly most: number;
  /** Tasks that one thread does at a time. */
  readonly atOnce: number;
  /** All but one end when they have had nothing to do for so long. */
  readonly idleMs?: number;
}

export interface ThreadPool {
  /** Rejects if a thread failed, which then is in the log, and if the pool is stopped. */
  run(task: unknown, transfer?: readonly ArrayBuffer[]): Promise<unknown>;
  readonly isStopped: boolean;
  stop(): Promise<void>;
}

export function startThreadPool(log: Logger, { file, what, most, atOnce, idleMs }: ThreadPoolOptions): ThreadPool {
  const piscina = new Piscina({
    filename: threadFile(file),
    minThreads: 1,
    maxThreads: most,
    concurrentTasksPerWorker: atOnce,
    recordTiming: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
    ...(idleMs !== undefined && { idleTimeout: idleMs }),
  });
  let isStopped = false;
  const failed = (error: unknown): void => {
    if (!isStopped) log.limited(file, 'err', `${what} failed: ${messageOf(error)}`);
  };
  piscina.on('error', failed);
  return {
    run: async (task, transfer = []) => {
      try {
        return await piscina.run(task, { transferList: [...transfer] });
      } catch (error) {
        failed(error);
        throw error;
      }
    },
    get isStopped() {
      return isStopped;
    },
    stop: async () => {
      isStopped = true;
      await piscina.destroy();
    },
  };
}
