/** The processes of this host's network namespace, as /proc shows them, and who of them owns a UDP port. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface Process {
  readonly pid: number;
  /** Program and arguments; of an interpreter without its own options. */
  readonly words: readonly string[];
}

/** Those that may be looked at; a process that ends meanwhile is left out. */
export function processesOfThisNamespace(): Process[] {
  const ours = linkOf('/proc/self/ns/net');
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  return pids.flatMap((pid) => {
    return linkOf(`/proc/${pid}/ns/net`) === ours ? (processOf(Number(pid)) ?? []) : [];
  });
}

/** Undefined: there is none, or it is the kernel's. */
export function processOf(pid: number): Process | undefined {
  const words = withoutOptions(readOrEmpty(`/proc/${pid}/cmdline`).split('\0').filter(Boolean));
  return words.length === 0 ? undefined : { pid, words };
}

/** Those that run a program of this name, by themselves or by an interpreter. */
export function runningAs(processes: readonly Process[], program: string): Process[] {
  const isIt = (word: string | undefined): boolean => word?.split('/').at(-1) === program;
  return processes.filter(({ words: [first, second] }) => isIt(first) || (isInterpreter(first) && isIt(second)));
}

/** `node --max-semi-space-size=4 PROGRAM …` is `node PROGRAM …`. */
function withoutOptions([first, ...rest]: readonly string[]): string[] {
  if (first === undefined) return [];
  const program = isInterpreter(first) ? rest.findIndex((word) => !word.startsWith('-')) : 0;
  return [first, ...rest.slice(Math.max(program, 0))];
}

const isInterpreter = (word = ''): boolean => /\/?(python3?[\d.]*|node)$/.test(word);

/** The processes that have a UDP socket on this port, on whatever address. */
export function ownersOfUdpPort(port: number, processes: readonly Process[]): Process[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = new Set(
    ['/proc/net/udp', '/proc/net/udp6'].flatMap((table) =>
      readOrEmpty(table)
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .filter((columns) => columns[1]?.endsWith(suffix))
        .map((columns) => `socket:[${columns[9]}]`),
    ),
  );
  if (inodes.size === 0) return [];
  return processes.filter(({ pid }) => descriptorsOf(pid).some((link) => inodes.has(link)));
}

function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  } catch (error) {
    return goneOrHidden(error, []);
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    return goneOrHidden(error, '');
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    return goneOrHidden(error, '');
  }
}

/** A process that has ended, a kernel without IPv6, or one of another user: nothing to see. */
function goneOrHidden<T>(error: unknown, nothing: T): T {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM' || code === 'EINVAL')
    return nothing;
  throw error;
}

export const describeProcess = ({ pid, words }: Process): string =>
  `${words
    .slice(0, 2)
    .map((word) => word.split('/').at(-1))
    .join(' ')
    .replace(/\p{Cc}/gu, '?')} (pid ${pid})`;
