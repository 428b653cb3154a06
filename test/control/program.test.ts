/** Runs of other programs (control/program.ts), with real ones. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { outputOf, runProgram } from '../../control/program.ts';

describe('a run of another program', () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'program-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const shell = (script: string, input?: string) =>
    runProgram('sh', ['-c', script], input === undefined ? {} : { input });

  it('gives status and output, and the program its input', async () => {
    expect(await shell('cat; echo aside >&2; exit 3', 'in')).toEqual({ status: 3, stdout: 'in', stderr: 'aside\n' });
  });

  it('is in a process group of its own, so that who ends the daemon by its group does not end it', async () => {
    const { stdout } = await shell("cut -d' ' -f5 /proc/self/stat; echo $$");
    const [group, itself] = stdout.trim().split('\n');
    expect(group).toBe(itself);
  });

  it('is started anew when a signal has ended it', async () => {
    const marker = join(directory, 'once');
    const { status, stdout } = await shell(`test -e ${marker} || { touch ${marker}; kill -TERM $$; }; echo whole`);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'whole\n' });
  });

  it('fails when signals end it again and again: silence is no answer', async () => {
    const tries = join(directory, 'tries');
    await expect(shell(`echo . >> ${tries}; kill -KILL $$`)).rejects.toThrow(/^sh -c .*: SIGKILL ended it$/);
    expect((await shell(`cat ${tries}`)).stdout).toBe('.\n.\n.\n');
  });

  it('is killed when it takes longer than it may, and not started anew', async () => {
    const slow = join(directory, 'slow');
    await expect(runProgram('sh', ['-c', `echo . >> ${slow}; exec sleep 60`], { timeout: 300 })).rejects.toThrow(
      'it did not end within 300 ms',
    );
    expect((await shell(`cat ${slow}`)).stdout).toBe('.\n');
  });

  it('says of a failure the first line of what the program said, and which package has one that is not there', async () => {
    await expect(outputOf('sh', ['-c', 'echo why >&2; echo more >&2; exit 1'])).rejects.toThrow(/^sh -c .*: why$/);
    await expect(outputOf('sh', ['-c', 'exit 7'])).rejects.toThrow(/: exit status 7$/);
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      await expect(runProgram('ip', ['link'])).rejects.toThrow(
        'ip cannot be run: spawn ip ENOENT; it is in the package iproute2',
      );
    } finally {
      process.env.PATH = path;
    }
  });
});
