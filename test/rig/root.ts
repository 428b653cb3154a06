/** Where the project is: this code runs from test/rig under vitest and from dist/test/rig when it was compiled. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'ovs-espd') return folder;
  }
  throw new Error('no package.json of ovs-espd above this file: run it from its repository');
}

/** The project's root directory. */
export const ROOT = findRoot();

/** The path of a file of the rig that is no TypeScript (C, Python). */
export function rigAsset(name: string): string {
  return join(ROOT, 'test/rig', name);
}
