/** The walls of the house: who may import whom, and how long a file may be (design: modules and who may import whom). */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from './rig/root.ts';

/** Top-level folders and those they may import, beside themselves. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'native-shims': [],
  dataplane: ['native-shims'],
  ike: [],
  control: ['native-shims', 'dataplane', 'ike'],
  bench: ['native-shims', 'dataplane', 'ike', 'control', 'test'],
};
/** Wire formats know nothing of the engine. */
const LEAVES = ['dataplane/wire', 'ike/wire'];
const MAY_LEAVES_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'dataplane/wire': ['dataplane/wire', 'dataplane/drops.ts', 'native-shims/types.ts'],
  'ike/wire': ['ike/wire', 'ike/types.ts', 'ike/crypto'],
};
const LINES = 400;

function sources(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !file.includes('build/'))
    .map((file) => join(folder, file));
}

/** Paths that a file imports of ours, from the root. */
function imports(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/from '(\.[^']+)'|import\('(\.[^']+)'\)/g)].map(([, statik, dynamic]) =>
    relative(ROOT, resolve(ROOT, dirname(file), statik ?? dynamic!)),
  );
}

describe('the packages', () => {
  it.each(Object.entries(MAY_IMPORT))('%s imports nothing but itself and what the design allows', (folder, allowed) => {
    const files = sources(folder);
    expect(files.length).toBeGreaterThan(0);
    const wrong = files.flatMap((file) =>
      imports(file)
        .filter((target) => ![folder, ...allowed].includes(target.split('/')[0]!))
        .map((target) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it.each(LEAVES)('%s holds wire formats only: it imports nothing of the engine', (folder) => {
    const allowed = MAY_LEAVES_IMPORT[folder]!;
    const wrong = sources(folder).flatMap((file) =>
      imports(file)
        .filter((target) => !allowed.some((place) => target === place || target.startsWith(`${place}/`)))
        .map((target) => `${file} imports ${target}`),
    );
    expect(wrong).toEqual([]);
  });

  it(`keep every file below ${LINES} lines`, () => {
    const long = Object.keys(MAY_IMPORT)
      .flatMap(sources)
      .map((file) => [file, readFileSync(join(ROOT, file), 'utf8').split('\n').length] as const)
      .filter(([, lines]) => lines > LINES);
    expect(long).toEqual([]);
  });
});
