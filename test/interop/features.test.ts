// docs/interop.md lists the features of IKE, each with a test; this keeps the list true when tests are renamed.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../rig/root.ts';

const ROW = /^\| ([^|]+) \| [^|]* \| `(test\/[^`]+)`: (.+) \|$/gm;
const page = readFileSync(join(ROOT, 'docs/interop.md'), 'utf8');
const rows = [...page.matchAll(ROW)].map(([, feature, file, title]) => [feature!, file!, title!] as const);

describe('the table of features in docs/interop.md', () => {
  it('is there', () => {
    expect(rows.length).toBeGreaterThan(30);
  });

  it.each(rows)('names for "%s" a test that exists in %s: %s', (_, file, title) => {
    expect(existsSync(join(ROOT, file))).toBe(true);
    expect(readFileSync(join(ROOT, file), 'utf8')).toContain(title);
  });
});
