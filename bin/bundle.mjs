/**
 * The program as it runs: what `npm run build` puts into dist/daemon/, one file for each thread's start, without one that they share.
 *
 * A start that reads 350 modules one by one costs three times as much processor time as one that reads a single file, and the
 * threads read theirs again. Each file is whole in itself, so that a daemon which runs while another version is installed
 * never reads a part of that. Names stay as they are written, a comment says which file code comes from, and there is a source
 * map (NODE_OPTIONS=--enable-source-maps), so that traces of calls can be read.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** Files of dist/daemon/ and the module that each starts with. */
const ENTRIES = {
  'privileges.js': 'control/privileges.ts',
  'main.js': 'control/main.ts',
  'compute-thread.js': 'control/compute-thread.ts',
  'program-thread.js': 'control/program-thread.ts',
  'worker.js': 'dataplane/worker.ts',
};
/** Packages that are not taken in: piscina gives its threads a file of its own, raw-socket is an addon and may be missing. */
export const EXTERNAL = ['piscina', 'raw-socket'];

export async function bundle() {
  for (const [name, start] of Object.entries(ENTRIES)) {
    const build = await rolldown({
      input: join(ROOT, start),
      cwd: ROOT,
      platform: 'node',
      external: EXTERNAL,
      // Packages that have both forms: of modules only what is used is taken in.
      resolve: { mainFields: ['module', 'main'] },
    });
    await build.write({
      file: join(ROOT, 'dist/daemon', name),
      format: 'esm',
      codeSplitting: false,
      comments: { legal: true, annotation: false, jsdoc: false },
      sourcemap: true,
    });
    await build.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await bundle();
