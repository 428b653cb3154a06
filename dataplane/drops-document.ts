/**
 * docs/drops.md, made from the table of drop reasons: `node dist/dataplane/drops-document.js >docs/drops.md`.
 */

import { fileURLToPath } from 'node:url';
import { DROP_REASONS } from './drops.ts';

export function dropsDocument(): string {
  const rows = DROP_REASONS.slice(1).map((reason) => `| \`${reason.name}\` | ${reason.sentence} |`);
  return [
    '# Why packets are dropped',
    '',
    'Each reason has a counter: `ovs-appctl -t ovs-espd coverage/show` prints those that are not zero, `tunnels/show` those of a tunnel.',
    'In the order of the packet’s way. This file is generated from `dataplane/drops.ts`.',
    '',
    '| reason | what happened |',
    '| --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(dropsDocument());
