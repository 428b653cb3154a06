import { mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Pidfile } from '../../control/pidfile.ts';

/** Stands in for the addon: writes, and lets the test say who holds the lock. */
function native(failure?: object) {
  return {
    lockPidfile(path: string, text: string): number {
      if (failure !== undefined) throw Object.assign(new Error('lock'), failure);
      writeFileSync(path, text);
      return openSync(path, 'r');
    },
  };
}

describe('the pidfile', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-pid-'));
    path = join(directory, 'run', 'ovs-espd.pid');
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it('holds the pid and a line end, in a directory that is made if need be', () => {
    Pidfile.take(path, native(), false, 42);
    expect(readFileSync(path, 'utf8')).toBe('42\n');
  });

  it('is removed once, and only while it is the one that was written', () => {
    const pidfile = Pidfile.take(path, native(), false);
    pidfile.remove();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
    pidfile.remove();
    const again = Pidfile.take(path, native(), false);
    const other = Pidfile.take(path, native(), true);
    again.remove();
    expect(statSync(path, { throwIfNoEntry: false })).toBeDefined();
    other.remove();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  it('says who holds it', () => {
    expect(() => Pidfile.take(path, native({ code: 'EAGAIN', holder: 4711 }), false)).toThrow(
      new Error(`${path}: already running as pid 4711, aborting; stop it first, or give --overwrite-pidfile`),
    );
  });

  it('says in one line that it can not be written', () => {
    expect(() => Pidfile.take(path, native({ code: 'EROFS' }), false)).toThrow(
      new Error(`${path}: cannot write the pidfile (EROFS); give a writable one with --pidfile=FILE or OVS_RUNDIR`),
    );
  });
});
