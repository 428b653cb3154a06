import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { dropsDocument } from '../../../dataplane/drops-document.ts';
import { ROOT } from '../../rig/root.ts';

it('docs/drops.md is what the table of drop reasons gives (else: node dist/dataplane/drops-document.js >docs/drops.md)', () => {
  expect(readFileSync(join(ROOT, 'docs/drops.md'), 'utf8')).toBe(dropsDocument());
});
