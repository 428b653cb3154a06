/** Builds null-sad.c, the preload library that lets an IKE daemon install SAs in a kernel without ESP (sad.ts reads them). */
import { join } from 'node:path';
import { run } from './process.ts';
import type { Rig } from './rig.ts';
import { rigAsset } from './root.ts';

const built = new WeakMap<Rig, Promise<string>>();

/** Compiles it into the rig's directory, once. @throws with the compiler's words, or if there is none. */
export function nullSad(rig: Rig): Promise<string> {
  const known = built.get(rig);
  if (known !== undefined) return known;
  const library = join(rig.directory, 'null-sad.so');
  const args = ['-O2', '-shared', '-fPIC', '-o', library, rigAsset('null-sad.c'), '-ldl'];
  const made = run({ command: 'cc', args }).then(() => library);
  built.set(rig, made);
  return made;
}
