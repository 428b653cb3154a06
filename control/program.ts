/**
 * Short runs of other programs, `ip` (iproute2) and `ovs-ofctl`: what they are given, what they say and how they end.
 *
 * They are in a process group of their own: a signal to the daemon's group, by which shells, test rigs and old service managers
 * end it, would end them halfway, and their silence would be taken for an answer. Nothing goes through a shell. Programs
 * that keep running are for those who start them.
 *
 * Starting a program stops the thread that does it until the kernel has copied its page tables and the new process runs: 100 ms
 * of a busy daemon with some hundred megabytes. So the daemon lends another thread for it (program-pool.ts).
 */
import { spawn } from 'node:child_process';

/** How often a program is started anew that a signal has ended, by someone who is short of memory, say. */
const ATTEMPTS = 3;

/** The Debian packages that have them, for who lacks one. */
const PACKAGES: Readonly<Record<string, string>> = { ip: 'iproute2', 'ovs-ofctl': 'openvswitch-switch' };

export interface ProgramRun {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  /** What it reads from its standard input. */
  readonly input?: string;
  /** Milliseconds, after which it is killed; without, it may take as long as it likes. */
  readonly timeout?: number;
}

export interface ProgramCall {
  readonly program: string;
  readonly words: readonly string[];
  readonly options: ProgramOptions;
}

let elsewhere: ((call: ProgramCall) => Promise<ProgramRun>) | undefined;

/** From now on programs are run by this; undefined: by the thread that asks. */
export function runProgramsBy(run: ((call: ProgramCall) => Promise<ProgramRun>) | undefined): void {
  elsewhere = run;
}

/**
 * Runs a program to its end.
 * @throws Error that it can't be started, or that signals end it again and again
 */
export async function runProgram(
  program: string,
  words: readonly string[],
  options: ProgramOptions = {},
): Promise<ProgramRun> {
  return elsewhere === undefined ? runHere({ program, words, options }) : elsewhere({ program, words, options });
}

/** By this very thread. */
export async function runHere({ program, words, options }: ProgramCall): Promise<ProgramRun> {
  for (let attempt = 1; ; attempt++) {
    const { signal, timedOut, ...run } = await runOnce(program, words, options);
    if (signal === null) return run;
    const why = timedOut ? `it did not end within ${options.timeout} ms` : `${signal} ended it`;
    if (timedOut || attempt === ATTEMPTS) throw new Error(`${program} ${words.join(' ')}: ${why}`);
  }
}

interface Ended extends ProgramRun {
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
}

function runOnce(program: string, words: readonly string[], { input, timeout }: ProgramOptions): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, words, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    let timedOut = false;
    const timer = timeout === undefined ? undefined : setTimeout(stop, timeout);
    function stop(): void {
      timedOut = true;
      child.kill('SIGKILL');
    }
    const said: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].on('data', (chunk: Buffer) => said[stream].push(chunk));
    child.once('error', (error) => {
      clearTimeout(timer);
      const mend = PACKAGES[program] === undefined ? '' : `; it is in the package ${PACKAGES[program]}`;
      reject(new Error(`${program} cannot be run: ${error.message}${mend}`));
    });
    // It ends before it has read everything only if it fails, and then its status says so.
    child.stdin.on('error', () => {});
    child.once('close', (status, signal) => {
      clearTimeout(timer);
      const [stdout, stderr] = [said.stdout, said.stderr].map((chunks) => Buffer.concat(chunks).toString('utf8'));
      resolve({ status: status ?? -1, signal, timedOut, stdout: stdout!, stderr: stderr! });
    });
    child.stdin.end(input ?? '');
  });
}

/** What it printed. @throws Error with what it said, if it failed */
export async function outputOf(
  program: string,
  words: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const { status, stdout, stderr } = await runProgram(program, words, options);
  if (status === 0) return stdout;
  const first = stderr.trim().split('\n')[0];
  throw new Error(`${program} ${words.join(' ')}: ${first || `exit status ${status}`}`);
}
