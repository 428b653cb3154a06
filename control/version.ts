/** Name and version of the program, as logs, `version` and OVSDB give them. */
import { readFileSync } from 'node:fs';

export const PROGRAM = 'ovs-espd';

/** From package.json, which stands above both control/ and dist/control/. */
export const VERSION = readVersion();

function readVersion(): string {
  for (const relative of ['../package.json', '../../package.json']) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(relative, import.meta.url), 'utf8'));
      if (name === PROGRAM) return version;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
  throw new Error(`package.json of ${PROGRAM} was not found above ${import.meta.url}: the installation is incomplete`);
}
