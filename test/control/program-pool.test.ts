// The thread that starts the daemon's programs, for real.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { runProgram } from '../../control/program.ts';
import { type ProgramThread, startProgramThread } from '../../control/program-pool.ts';
import type { Logger } from '../../control/vlog.ts';

/** Programs that this thread starts; the other one has a node:child_process of its own. */
const startedHere = vi.hoisted(() => [] as string[]);
vi.mock('node:child_process', async (original) => {
  const real = await original<typeof import('node:child_process')>();
  const spawn = (...args: Parameters<typeof real.spawn>) => {
    startedHere.push(args[0]);
    return real.spawn(...args);
  };
  return { ...real, spawn };
});

const logged: string[] = [];
const log = { limited: (_topic: string, _level: string, message: string) => logged.push(message) } as unknown as Logger;
const shell = (script: string, timeout?: number) =>
  runProgram('sh', ['-c', script], { input: 'in', ...(timeout === undefined ? {} : { timeout }) });

describe("the thread for the daemon's programs", () => {
  let thread: ProgramThread;
  beforeEach(() => {
    logged.length = 0;
    startedHere.length = 0;
    thread = startProgramThread(log);
  });
  afterEach(() => thread.stop());

  it('starts them in place of the main thread, and gives what came of them or why they cannot be run', async () => {
    expect(await shell('cat; echo aside >&2; exit 3')).toEqual({ status: 3, stdout: 'in', stderr: 'aside\n' });
    await expect(runProgram('/nonexistent/ip', [])).rejects.toThrow(/^\/nonexistent\/ip cannot be run: /);
    await expect(shell('exec sleep 60', 200)).rejects.toThrow('it did not end within 200 ms');
    expect(startedHere).toEqual([]);
    expect(logged).toEqual([]);
  });

  it('lets one that takes its time hold up no other', async () => {
    let isOver = false;
    const slow = shell('exec sleep 60', 20_000).catch(() => {
      isOver = true;
    });
    expect((await shell('echo meanwhile')).stdout).toBe('meanwhile\n');
    expect(isOver).toBe(false);
    await thread.stop();
    // Who waited for it is told neither that it failed nor that it did what it should.
    expect(await Promise.race([slow, shell('echo after').then(({ stdout }) => stdout)])).toBe('after\n');
    // By the main thread again.
    expect(startedHere).toEqual(['sh']);
    expect(logged).toEqual([]);
  });
});
