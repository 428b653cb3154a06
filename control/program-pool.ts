/**
 * A thread that starts the daemon's programs (program.ts), so that the main thread does not stand still meanwhile: a pool of
 * one. It is not one of those that do key exchanges (compute-pool.ts): peers may flood those, and `ip` and `ovs-ofctl`
 * close tunnels.
 */
import { type ProgramCall, type ProgramRun, runHere, runProgramsBy } from './program.ts';
import { startThreadPool } from './thread-pool.ts';
import type { Logger } from './vlog.ts';

/** Programs that run at once: one that waits for an ovs-vswitchd holds up no other. */
const AT_ONCE = 16;

export interface ProgramThread {
  /** Programs are started by the main thread again. Who waits for one that still runs waits no more: the process is about to end. */
  stop(): Promise<void>;
}

export function startProgramThread(log: Logger): ProgramThread {
  const what = 'the thread that starts programs';
  const pool = startThreadPool(log, { file: 'program-thread', what, most: 1, atOnce: AT_ONCE });
  runProgramsBy(async (call: ProgramCall): Promise<ProgramRun> => {
    let came: ProgramRun | string;
    try {
      came = (await pool.run(call)) as ProgramRun | string;
    } catch {
      return pool.isStopped ? new Promise(() => {}) : runHere(call);
    }
    if (typeof came === 'string') throw new Error(came);
    return came;
  });
  return {
    stop: async () => {
      runProgramsBy(undefined);
      await pool.stop();
    },
  };
}
