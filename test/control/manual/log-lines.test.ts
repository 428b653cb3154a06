import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { LOG_LINES } from '../../../control/manual/log-lines.ts';
import { ROOT } from '../../rig/root.ts';

/** The source of a folder with template expressions as …, and strings that were cut in two whole again. */
function sourceOf(folder: string): string {
  const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
  const text = files
    .filter((name) => name.endsWith('.ts') && !name.endsWith('log-lines.ts'))
    .map((name) => readFileSync(join(ROOT, folder, name), 'utf8'))
    .join('\n');
  return text.replaceAll(/\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}/g, '…').replaceAll(/[`'] \+\n +[`']/g, '');
}

const source = ['control', 'ike'].map(sourceOf).join('\n');

it.each(LOG_LINES.map(({ line }) => line))('the documented line “%s” is one that the code says', (line) => {
  // A connection's name is put before its lines where they are written.
  expect(source.includes(line.replace(/^…: (?=initiating)/, ''))).toBe(true);
});

it('each of them is of a module that there is', () => {
  const modules = new Set([...source.matchAll(/\blogger\('(\w+)'\)/g)].map(([, name]) => name));
  expect(LOG_LINES.filter(({ module }) => !modules.has(module))).toEqual([]);
});
