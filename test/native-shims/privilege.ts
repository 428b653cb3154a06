/** Tests that need root, and are skipped by name where there is none. */

import { accessSync, constants } from 'node:fs';
import { it } from 'vitest';

function reasonToSkip(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return 'needs /dev/net/tun';
  }
  return undefined;
}

const reason = reasonToSkip();

/** it(), for what needs root and /dev/net/tun. */
export function itAsRoot(name: string, test: () => void | Promise<void>): void {
  if (reason === undefined) it(name, test);
  else it.skip(`${name} (skipped: ${reason})`, test);
}
