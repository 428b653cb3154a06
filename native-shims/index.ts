/**
 * native-shims: system calls, AEAD over a batch and checksums, from one N-API addon in C (src/, README.md).
 *
 * loadNative() finds the built addon next to this package, be it run from source or from dist. Each thread (main or
 * worker) loads its own; descriptors are plain numbers and may be passed between threads, AEAD keys may not.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { type Addon, faceOf } from './face.ts';
import { NativeError } from './native-error.ts';
import type { Native } from './types.ts';

export { NativeError } from './native-error.ts';
export * from './types.ts';

const BUILT = 'build/Release/ovs_espd_native.node';

/** Relative to this file: in the source tree, and in dist/native-shims/. */
const PLACES: readonly string[] = [`./${BUILT}`, `../../native-shims/${BUILT}`];

let loaded: Native | undefined;

/**
 * The addon of this thread. Throws an Error of one line if it isn't built or does not fit this Node.
 */
export function loadNative(): Native {
  if (loaded !== undefined) return loaded;
  const places = PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)));
  const path = places.find((place) => existsSync(place));
  if (path === undefined)
    throw new Error(
      `native addon not found (looked at ${places.join(' and ')}): it has not been built; build it with \`npm run build\``,
    );
  loaded = faceOf(open(path));
  return loaded;
}

function open(path: string): Addon {
  let exported: { create(errorClass: typeof NativeError): Addon };
  try {
    exported = createRequire(import.meta.url)(path);
  } catch (error) {
    const [reason] = String(error instanceof Error ? error.message : error).split('\n');
    throw new Error(`native addon ${path} does not load: ${reason}; build it anew with \`npm run build\``, {
      cause: error,
    });
  }
  return exported.create(NativeError);
}
