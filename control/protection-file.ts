/**
 * What was ever protected, on disk: keys of SPD rows and names of tunnels (protections.ts), in OVS_RUNDIR.
 *
 * The file begins with one line of JSON that is replaced as a whole; each protection that comes up appends a line to
 * it, so that a thousand tunnels that come up do not write a thousand lists. Either write is on disk before it returns. A
 * line that a crash has cut off is one that nobody waited for: its SA was not in use yet, and it is left out.
 */
import { closeSync, fdatasyncSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';

export interface Remembered {
  readonly keys: readonly string[];
  readonly tunnels: readonly string[];
}

export class ProtectionFile {
  readonly #path: string;
  /** Of the file that this process has written: what it found may end in the middle of a line. */
  #appending: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws Error naming the file when it cannot be read or is not ours */
  read(): Remembered {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { keys: [], tunnels: [] };
      throw error;
    }
    const [first = '', ...appended] = text.split('\n');
    // What stands behind the last newline is nothing, or was cut off.
    const parts = [first, ...appended.slice(0, -1)].map((line) => this.#parse(line));
    return { keys: parts.flatMap(({ keys }) => keys), tunnels: parts.flatMap(({ tunnels }) => tunnels) };
  }

  /** Puts this in place of all that was remembered. */
  replace(remembered: Remembered): void {
    const temporary = `${this.#path}.new`;
    const fd = openSync(temporary, 'w', 0o600);
    writeSync(fd, lineOf(remembered));
    fsyncSync(fd);
    renameSync(temporary, this.#path);
    this.close();
    this.#appending = fd;
  }

  /** Adds to what is remembered. `all` is what there is then, for a file that is not of this process. */
  add(more: Remembered, all: () => Remembered): void {
    if (this.#appending === undefined) {
      this.replace(all());
      return;
    }
    writeSync(this.#appending, lineOf(more));
    fdatasyncSync(this.#appending);
  }

  close(): void {
    if (this.#appending !== undefined) closeSync(this.#appending);
    this.#appending = undefined;
  }

  #parse(line: string): Remembered {
    const mend = `${this.#path} lists the tunnels that must never send plaintext again and cannot be read; look at it, and remove it only if plaintext is acceptable`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      throw new Error(mend);
    }
    if (typeof value !== 'object' || value === null || !('protected' in value) || !isTexts(value.protected))
      throw new Error(mend);
    // Files of the first version have no names.
    const tunnels = 'tunnels' in value ? value.tunnels : [];
    if (!isTexts(tunnels)) throw new Error(mend);
    return { keys: value.protected, tunnels };
  }
}

function lineOf({ keys, tunnels }: Remembered): string {
  return `${JSON.stringify({ protected: keys, tunnels })}\n`;
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
