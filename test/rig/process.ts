/**
 * Programs that a rig runs: to their end (`run`), or beside the test (`start`), in a network namespace or not.
 *
 * A started program leads a process group of its own and is registered with its rig before anything can fail.
 * `ip netns exec` and `unshare` replace themselves, so the pid is the program's own. All waiting is for a condition,
 * with a deadline, and a failure shows the end of the program's output.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { killGroup, type Rig } from './rig.ts';

const TAIL_LINES = 25;
/** A condition is asked again after so long at first, and the longer it was waited for the longer, as most of them start a program. */
const POLL_MS = { first: 20, most: 100, share: 0.1 };
/** Limits are for what will never come, not for a machine that others keep busy: each is stretched by this. */
const PATIENCE = 3;

/** How to run a program. */
export type Command = {
  readonly command: string;
  readonly args?: readonly string[];
  /** Name of a network namespace to run it in. */
  readonly namespace?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What failures call it; default: the command. */
  readonly name?: string;
};

/** What a program that ran to its end gave. */
export type Outcome = { readonly status: number; readonly stdout: string; readonly stderr: string };

/** A program that runs beside the test. */
export type Running = {
  readonly name: string;
  readonly pid: number;
  /** Standard output and standard error as they came, mixed. */
  output(): string;
  /** Standard output alone. */
  stdout(): string;
  /** True until the program has ended. */
  isRunning(): boolean;
  /** Resolves with the exit status (128 + n would be a signal's; here its name) when the program has ended. */
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null }>;
  /** Resolves with the first match of `pattern` in the output; rejects if the program ends or `ms` pass before. */
  waitForOutput(pattern: RegExp, ms?: number): Promise<RegExpExecArray>;
  /** Resolves when `condition` gives something truthy; rejects if the program ends or `ms` pass before. */
  waitUntil<T>(what: string, condition: () => Promise<T> | T, ms?: number): Promise<NonNullable<T>>;
  /** TERM to the group, KILL after `ms`; resolves when it has ended. */
  stop(ms?: number): Promise<void>;
  /** KILL to the group; resolves when it has ended. */
  kill(): Promise<void>;
};

const tail = (text: string) => text.trimEnd().split('\n').slice(-TAIL_LINES).join('\n');

function launch(command: Command, stdin: 'ignore' | 'pipe'): ChildProcess {
  const inside = command.namespace === undefined ? [] : ['ip', 'netns', 'exec', command.namespace];
  const [file, ...args] = [...inside, command.command, ...(command.args ?? [])];
  return spawn(file as string, args, {
    stdio: [stdin, 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...command.env },
    detached: true,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
  });
}

/**
 * Resolves with what `condition` gives as soon as that is truthy. Rejects after `ms` with `what` and, if the last
 * attempt threw, its message.
 */
export async function until<T>(what: string, condition: () => Promise<T> | T, ms = 10_000): Promise<NonNullable<T>> {
  const began = performance.now();
  let last = '';
  for (;;) {
    try {
      const value = await condition();
      if (value) return value as NonNullable<T>;
      last = '';
    } catch (error) {
      last = `: ${(error as Error).message}`;
    }
    const waited = performance.now() - began;
    if (waited > ms * PATIENCE) throw new Error(`${what}: not within ${ms * PATIENCE} ms${last}`);
    const pause = Math.min(POLL_MS.most, Math.max(POLL_MS.first, waited * POLL_MS.share));
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/**
 * Runs a program to its end.
 * @throws if it cannot be started, takes longer than `ms`, or ends with another status than `expect`
 *   (default 0; `any` accepts all), with the end of its output.
 */
export async function run(
  command: Command,
  { ms = 20_000, expect = 0, input }: { ms?: number; expect?: number | 'any'; input?: string } = {},
): Promise<Outcome> {
  const name = command.name ?? [command.command, ...(command.args ?? [])].join(' ');
  const child = launch(command, input === undefined ? 'ignore' : 'pipe');
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    if (child.pid !== undefined) killGroup(child.pid, 'SIGKILL');
  }, ms * PATIENCE);
  // A program that ends before it has read its input is judged by its status, not by the broken pipe.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.on('error', (error) => reject(new Error(`cannot run ${name}: ${error.message}`)));
      child.on('close', (code, signal) => (signal === null ? resolve(code ?? 0) : resolve(-1)));
    });
    if (late) throw new Error(`${name}: not ended within ${ms * PATIENCE} ms\n${tail(stdout + stderr)}`);
    if (expect !== 'any' && status !== expect) {
      throw new Error(`${name}: ended with ${status}, expected ${expect}\n${tail(stdout + stderr)}`);
    }
    return { status, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}

/** Starts a program beside the test; the rig stops it at the latest in `close`. */
export function start(rig: Rig, command: Command): Running {
  const name = command.name ?? command.command;
  const child = launch(command, 'ignore');
  const pid = child.pid ?? -1;
  const disown = pid > 0 ? rig.ownProcessGroup(pid) : () => undefined;
  let mixed = '';
  let stdout = '';
  let drained = false;
  let failure: Error | undefined;
  let end: { status: number | null; signal: NodeJS.Signals | null } | undefined;
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    mixed += text;
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    mixed += text;
  });
  const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.on('error', (error) => {
      failure = new Error(`cannot start ${name}: ${error.message}`);
      end ??= { status: null, signal: null };
      resolve(end);
    });
    child.on('close', () => {
      drained = true;
    });
    child.on('exit', (status, signal) => {
      end = { status, signal };
      disown();
      resolve(end);
    });
  });
  /** The error of its end, after its last words have come through the pipes (a child of its may hold them open). */
  const describeEnd = async () => {
    await until('the end of its output', () => drained, 500).catch(() => undefined);
    return failure ?? new Error(`${name} ended with ${end?.signal ?? `status ${end?.status}`}\n${tail(mixed)}`);
  };
  const waitUntil = async <T>(what: string, condition: () => Promise<T> | T, ms = 10_000) => {
    // Asked before the condition: what came out before the end may still satisfy it.
    const attempt = async () => {
      const over = end !== undefined;
      try {
        const value = await condition();
        if (value || !over) return value;
      } catch (error) {
        if (!over) throw error;
      }
      return ENDED;
    };
    const value = await until(what, attempt, ms).catch((error: Error) => {
      throw new Error(`${name}: ${error.message}\n${tail(mixed)}`);
    });
    if (value === ENDED) throw await describeEnd();
    return value as NonNullable<T>;
  };
  const stopWith = async (signal: NodeJS.Signals, ms: number) => {
    if (end !== undefined) return forget();
    killGroup(pid, signal);
    const timer = setTimeout(() => killGroup(pid, 'SIGKILL'), ms * PATIENCE);
    await ended;
    clearTimeout(timer);
    // Children of the program that outlived it.
    killGroup(pid, 'SIGKILL');
    forget();
  };
  const forget = rig.defer(`process ${name}`, () => stopWith('SIGTERM', 5_000));
  return {
    name,
    pid,
    ended,
    output: () => mixed,
    stdout: () => stdout,
    isRunning: () => end === undefined,
    waitForOutput: (pattern, ms) => waitUntil(`output matching ${pattern}`, () => pattern.exec(mixed), ms),
    waitUntil,
    stop: (ms = 5_000) => stopWith('SIGTERM', ms),
    kill: () => stopWith('SIGKILL', 5_000),
  };
}

const ENDED = Symbol('ended');
