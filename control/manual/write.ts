/** Writes the manual pages and the bash completion to docs/man: `node dist/control/manual/write.js`. A test fails when they are stale. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { completionText } from './completion.ts';
import { configurationPage, daemonPage } from './pages.ts';
import { pageText } from './roff.ts';

/** What stands in docs/man, by file name. */
export function manualFiles(): Readonly<Record<string, string>> {
  return {
    'ovs-espd.8': pageText(daemonPage()),
    'ovs-espd.conf.5': pageText(configurationPage()),
    'ovs-espd.bash-completion': completionText(),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const directory = new URL('../../../docs/man/', import.meta.url);
  for (const [name, text] of Object.entries(manualFiles())) writeFileSync(new URL(name, directory), text);
}
