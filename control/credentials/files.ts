/**
 * Credential files as they are now: read when they change, parsed once for all tunnels. The last good content of a file
 * stays in force while the new one is unreadable, so that a certificate that is being replaced takes no tunnel down.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { ContentError } from './pem.ts';

/** A bundle of certificates or a key has some KiB; revocation lists of large authorities have some MiB. */
const BYTES_LIMIT = 32 * 1024 * 1024;

export interface FileContent<T> {
  /** The newest content that could be read. */
  readonly value: T | undefined;
  /** Why the present content could not be read, as the end of a sentence. */
  readonly problem: string | undefined;
  /** Permission bits. */
  readonly mode: number;
}

interface Entry<T> extends FileContent<T> {
  /** Changes with every change of the file. */
  readonly stamp: string;
}

/** Files of one kind, by path. */
export class CredentialFiles<T> {
  readonly #parse: (content: Buffer) => T;
  readonly #entries = new Map<string, Entry<T>>();

  /** @param parse throws ContentError */
  constructor(parse: (content: Buffer) => T) {
    this.#parse = parse;
  }

  /** Reads what changed of these paths, forgets all others. Gives whether anything changed. */
  async read(paths: ReadonlySet<string>): Promise<boolean> {
    for (const path of [...this.#entries.keys()]) if (!paths.has(path)) this.#entries.delete(path);
    const changes = await Promise.all([...paths].map((path) => this.#readOne(path)));
    return changes.includes(true);
  }

  /** Of a path that the last `read` named. */
  get(path: string): FileContent<T> {
    return this.#entries.get(path) ?? { value: undefined, problem: 'it has not been read yet', mode: 0 };
  }

  async #readOne(path: string): Promise<boolean> {
    const before = this.#entries.get(path);
    const found = await this.#load(path, before);
    if (found.stamp === before?.stamp) return false;
    this.#entries.set(path, found);
    return true;
  }

  async #load(path: string, before: Entry<T> | undefined): Promise<Entry<T>> {
    let mode = 0;
    const failed = (stamp: string, problem: string): Entry<T> => ({ value: before?.value, problem, mode, stamp });
    try {
      // Without O_NONBLOCK, opening a FIFO would wait for its writer.
      const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      try {
        const facts = await file.stat({ bigint: true });
        mode = Number(facts.mode) & 0o777;
        const stamp = [facts.dev, facts.ino, facts.size, facts.mtimeNs, facts.ctimeNs].join(' ');
        if (stamp === before?.stamp) return before;
        if (!facts.isFile()) return failed(stamp, 'it is not a regular file');
        if (facts.size > BYTES_LIMIT)
          return failed(stamp, `it has ${facts.size} bytes, expected at most ${BYTES_LIMIT}`);
        const content = await file.readFile();
        try {
          return { value: this.#parse(content), problem: undefined, mode, stamp };
        } catch (error) {
          if (!(error instanceof ContentError)) throw error;
          return failed(stamp, error.message);
        } finally {
          content.fill(0);
        }
      } finally {
        await file.close();
      }
    } catch (error) {
      const words = reasonOf(error);
      if (words === undefined) throw error;
      return failed(words, words);
    }
  }
}

/** What the system says, as an operator would; undefined: it was not the system. */
function reasonOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such file: correct the path, or make it, for instance with ovs-pki';
    case 'EACCES':
    case 'EPERM':
      return 'ovs-espd may not read it: give it to the user that the daemon runs as';
    default:
      return typeof error.code === 'string' ? `it cannot be read (${error.code})` : undefined;
  }
}
