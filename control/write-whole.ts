/** Writing all bytes to a descriptor: write(2) may take a part only, of a full disk or a pipe for instance. */
import { writeSync } from 'node:fs';

/** How many of the bytes were written, and what ended it early. */
export interface Written {
  readonly written: number;
  readonly failure: NodeJS.ErrnoException | undefined;
}

/** Waits as long as write(2) does; a descriptor that does not block may refuse (EAGAIN), and nothing is tried again. */
export function writeWhole(fd: number, bytes: Uint8Array): Written {
  let written = 0;
  try {
    while (written < bytes.length) written += writeSync(fd, bytes, written);
    return { written, failure: undefined };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { written, failure: error };
  }
}
