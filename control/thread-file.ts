/** Where the start of a thread is: Node loads it itself, so it must be JavaScript. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The compiled one beside this, or the bundle when this file runs from source. */
export function threadFile(name: string): string {
  const here = import.meta.url;
  const relative = here.endsWith('.ts') ? `../dist/daemon/${name}.js` : `./${name}.js`;
  const path = fileURLToPath(new URL(relative, here));
  if (!existsSync(path)) throw new Error(`the thread ${path} is not there: build it with \`npm run build\``);
  return path;
}
