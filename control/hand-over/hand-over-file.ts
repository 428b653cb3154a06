/**
 * The file through which a daemon hands its SAs to its successor. It holds keys, so:
 *
 * - it lies on a tmpfs, in OVS_RUNDIR or else in /dev/shm, and is never written where there is none;
 * - it is new (O_EXCL), of mode 0600, and written when no thread sends any more;
 * - whoever takes it removes its name before reading it: two cannot take it, and nobody can take it twice;
 * - it is believed only if it is a regular file of our own user that nobody else can open or has another name of, of the
 *   same boot, and not older than a restart takes.
 *
 * Nobody but root could open it in between; what swaps a tmpfs out, or copies a running virtual machine, is beyond this.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { PROGRAM } from '../version.ts';

const TMPFS = 0x01021994;
/** A successor that comes later negotiates anew. */
export const LONGEST_MS = 120_000;
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

export interface HandOverClock {
  /** Monotonic, of the whole host. */
  nowMs(): number;
}

interface Envelope {
  readonly bootId: string;
  readonly writtenAtMs: number;
  readonly content: unknown;
}

/** Undefined: there is no tmpfs to write keys to. */
export function handOverPath(runDirectory: string, shared = '/dev/shm'): string | undefined {
  if (isTmpfs(runDirectory)) return `${runDirectory}/${PROGRAM}.hand-over`;
  const name = createHash('sha256').update(runDirectory).digest('hex').slice(0, 16);
  return isTmpfs(shared) ? `${shared}/${PROGRAM}-${name}.hand-over` : undefined;
}

function isTmpfs(directory: string): boolean {
  try {
    return statfsSync(directory).type === TMPFS;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** `content`: plain data and Uint8Arrays. @throws what the system says when it can't be written */
export function writeHandOver(path: string, content: unknown, { nowMs }: HandOverClock): void {
  rmSync(path, { force: true });
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    const envelope: Envelope = { bootId: bootId(), writtenAtMs: nowMs(), content };
    writeFileSync(fd, JSON.stringify(envelope, bytesToHex));
  } finally {
    closeSync(fd);
  }
}

export type Taken = { readonly content: unknown } | { readonly refused: string } | undefined;

/** What a predecessor left: undefined if nothing, or why it is not believed. The file is gone afterwards in any case. */
export function takeHandOver(path: string, { nowMs }: HandOverClock): Taken {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (isMissing(error)) return undefined;
    rmSync(path, { force: true });
    return { refused: 'it cannot be opened' };
  }
  try {
    const facts = fstatSync(fd);
    try {
      unlinkSync(path);
    } catch (error) {
      if (isMissing(error)) return { refused: 'another daemon has taken it' };
      throw error;
    }
    if (!facts.isFile() || facts.nlink !== 1) return { refused: 'it is no file of its own' };
    if (facts.uid !== process.geteuid?.()) return { refused: `it belongs to user ${facts.uid}` };
    if ((facts.mode & 0o777) !== 0o600) return { refused: `its mode is ${(facts.mode & 0o777).toString(8)}, not 600` };
    const envelope = JSON.parse(readFileSync(fd, 'utf8'), hexToBytes) as Envelope;
    if (envelope.bootId !== bootId()) return { refused: 'it is of another boot' };
    const ageMs = nowMs() - envelope.writtenAtMs;
    if (!(ageMs >= 0 && ageMs <= LONGEST_MS)) return { refused: `it is ${Math.round(ageMs / 1000)} s old` };
    return { content: envelope.content };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { refused: 'it is not complete' };
  } finally {
    closeSync(fd);
  }
}

const bootId = (): string => readFileSync(BOOT_ID, 'utf8').trim();

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

/** JSON knows no bytes. */
function bytesToHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array
    ? { hex: Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex') }
    : value;
}

function hexToBytes(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('hex' in value) || typeof value.hex !== 'string') return value;
  return Uint8Array.from(Buffer.from(value.hex, 'hex'));
}
