/**
 * The daemon's start: command line, detaching, the checks that make a start impossible, signals, exit status.
 *
 * Exit 0 after `exit`, SIGTERM or SIGINT; 1 with one clear line on a start that can't work. What the daemon
 * does while it runs is daemon.ts's.
 */
import { spawn } from 'node:child_process';
import { setFlagsFromString } from 'node:v8';
import { type CommandLine, parseCommandLine } from './command-line.ts';
import { Daemon } from './daemon.ts';
import { doctor } from './doctor/doctor.ts';
import { messageOf } from './message-of.ts';
import { top } from './top.ts';
import { PROGRAM } from './version.ts';

/** Set in the process that stays behind after --detach. */
const DETACHED = 'OVS_ESPD_DETACHED';

/** V8 lets the heap grow to a multiple of what is alive before it clears it; with thousands of tunnels that is most of the memory. */
const HEAP_GROWTH = '--heap-growing-percent=25';

export async function run(argv: readonly string[]): Promise<void> {
  try {
    if (argv[0] === 'top') {
      await top(argv.slice(1), process.env);
      return;
    }
    if (argv[0] === 'doctor') {
      process.exitCode = await doctor(argv.slice(1), process.env);
      return;
    }
    const options = parseCommandLine(argv, process.env);
    if (options.kind === 'text') {
      process.stdout.write(options.text);
      return;
    }
    if (options.detach && process.env[DETACHED] === undefined) {
      process.exitCode = await detach(argv);
      return;
    }
    await serve(options);
  } catch (error) {
    const line = messageOf(error);
    process.stderr.write(line.startsWith(`${PROGRAM}: `) ? `${line}\n` : `${PROGRAM}: ${line}\n`);
    process.exit(1);
  }
}

async function serve(options: CommandLine): Promise<void> {
  setFlagsFromString(HEAP_GROWTH);
  const daemon = await Daemon.start(options);
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => daemon.stop({ cleanup: false, handOver: false, why: signal }));
  process.once('uncaughtException', (error) => daemon.fail(error));
  // The parent of a detached start waits for this: from here on the daemon runs by itself.
  if (process.env[DETACHED] !== undefined) {
    await Promise.race([daemon.first.awaited, daemon.stopped]);
    process.send?.('ready', () => process.disconnect());
  }
  process.exitCode = await daemon.stopped;
  process.exit();
}

/** Starts this program again in the background and waits until it runs. Returns the exit status. */
async function detach(argv: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...argv], {
    detached: true,
    env: { ...process.env, [DETACHED]: '1' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  child.stderr?.pipe(process.stderr, { end: false });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
    child.once('message', () => {
      child.stderr?.destroy();
      child.unref();
      resolve(0);
    });
  });
}
