/** The thread that starts the daemon's programs (program-pool.ts): several may run at once, only their starts follow each other. */
import { type ProgramCall, type ProgramRun, runHere } from './program.ts';

/** What came of a program; a text: why it could not be run. */
export default async function program(call: ProgramCall): Promise<ProgramRun | string> {
  try {
    return await runHere(call);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error.message;
  }
}
