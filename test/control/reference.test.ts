import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { referenceText } from '../../control/reference.ts';
import { ROOT } from '../rig/root.ts';

it('docs/reference.md is what the tables give (else: node dist/control/reference.js >docs/reference.md)', () => {
  expect(readFileSync(join(ROOT, 'docs/reference.md'), 'utf8')).toBe(referenceText());
});
