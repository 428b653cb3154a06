/**
 * A thread that starts the daemon's programs (program.ts), so that the main thread does not stand still meanwhile: a piscina pool
 * of one. It is not one of those that do key exchanges (compute-pool.ts): peers may flood those, and `ip` and `ovs-ofctl`
 * close tunnels.
 */
import { Piscina } from 'piscina';
import { messageOf } from './message-of.ts';
import { type ProgramCall, type ProgramRun, runHere, runProgramsBy } from './program.ts';
import { threadFile } from './thread-file.ts';
import type { Logger } from './vlog.ts';

/** Programs that run at once: one that waits for an ovs-vswitchd holds up no other. */
const AT_ONCE = 16;
/** V8 would keep 48 MB for what is read of a program and gone at once. */
const YOUNG_MEGABYTES = 4;

export interface ProgramThread {
  /** Programs are started by the main thread again. Who waits for one that still runs waits no more: the process is about to end. */
  stop(): Promise<void>;
}

export function startProgramThread(log: Logger): ProgramThread {
  const piscina = new Piscina({
    filename: threadFile('program-thread'),
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: AT_ONCE,
    recordTiming: false,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_MEGABYTES },
  });
  let stopped = false;
  const failed = (error: unknown): void => {
    if (!stopped) log.limited('programs', 'err', `the thread that starts programs failed: ${messageOf(error)}`);
  };
  piscina.on('error', failed);
  runProgramsBy(async (call: ProgramCall): Promise<ProgramRun> => {
    let came: ProgramRun | string;
    try {
      came = (await piscina.run(call)) as ProgramRun | string;
    } catch (error) {
      if (stopped) return new Promise(() => {});
      failed(error);
      return runHere(call);
    }
    if (typeof came === 'string') throw new Error(came);
    return came;
  });
  return {
    stop: async () => {
      stopped = true;
      runProgramsBy(undefined);
      await piscina.destroy();
    },
  };
}
