/** The arguments of `pcap/start`, read and checked: file, points, limits. */
import { isAbsolute } from 'node:path';
import type { CapturePoint } from '../../dataplane/index.ts';
import { integer } from '../config/value-formats.ts';
import { CommandError } from '../unixctl/command.ts';

export interface CaptureRequest {
  /** Absolute: the daemon has another working directory than its caller. */
  readonly file: string;
  readonly points: readonly CapturePoint[];
  readonly dropsOnly: boolean;
  /** The file ends before it is longer than this. */
  readonly megabytes: number;
  /** Of each worker. */
  readonly packetsPerSecond: number;
  /** Where keys of ESP SAs are written, in Wireshark's form; undefined: nowhere. */
  readonly keylog: string | undefined;
}

export const PCAP_USAGE = 'file [inside|outside] [--drops] [--size=MB] [--rate=PACKETS] [--keylog=FILE]';
export const PCAP_MOST_ARGUMENTS = 6;

const DEFAULT_MEGABYTES = 100;
const DEFAULT_RATE = 10_000;

/** @throws CommandError with one line. */
export function readCaptureRequest(args: readonly string[]): CaptureRequest {
  const [file = '', ...rest] = args;
  let points: readonly CapturePoint[] = ['inside', 'outside'];
  let dropsOnly = false;
  let [megabytes, packetsPerSecond] = [DEFAULT_MEGABYTES, DEFAULT_RATE];
  let keylog: string | undefined;
  checkPath('file', file);
  for (const word of rest) {
    const [name, value = ''] = word.split(/=(.*)/s);
    if (word === 'inside' || word === 'outside') points = [word];
    else if (word === '--drops') dropsOnly = true;
    else if (name === '--size') megabytes = bounded(name, value, 1, 10_000);
    else if (name === '--rate') packetsPerSecond = bounded(name, value, 1, 1_000_000);
    else if (name === '--keylog') {
      checkPath(name, value);
      keylog = value;
    } else throw new CommandError(`${JSON.stringify(word)} is not known, expected: ${PCAP_USAGE}`);
  }
  return { file, points, dropsOnly, megabytes, packetsPerSecond, keylog };
}

function checkPath(name: string, path: string): void {
  if (!isAbsolute(path))
    throw new CommandError(
      `${name} is ${JSON.stringify(path)}, expected an absolute path; for instance "$PWD/${path}"`,
    );
}

function bounded(name: string, text: string, first: number, last: number): number {
  const value = integer(first, last)(text);
  if (value === undefined) throw new CommandError(`${name} is ${JSON.stringify(text)}, expected ${first} to ${last}`);
  return value;
}
