import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadNative, NativeError } from '../../native-shims/index.ts';
import { type Compiled, compileShims, runProcess } from './compiled.ts';

const native = loadNative();
let directory: string;
let compiled: Compiled;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'pidfile-'));
  compiled = compileShims(true);
});

afterEach(() => {
  rmSync(directory, { recursive: true });
  compiled.remove();
});

describe('lockPidfile', () => {
  it('writes the text over what was there', () => {
    const path = join(directory, 'd.pid');
    writeFileSync(path, 'something longer than the new text\n');
    const fd = native.lockPidfile(path, `${process.pid}\n`);
    native.close(fd);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
  });

  it('refuses another process and names the holder, until the holder lets go', () => {
    const path = join(directory, 'd.pid');
    const attempt = `try { loadNative().lockPidfile(${JSON.stringify(path)}, '1\\n'); console.log('locked'); }
      catch (error) { console.log(error instanceof NativeError, error.code, error.holder, error.message); }`;
    const fd = native.lockPidfile(path, `${process.pid}\n`);
    expect(runProcess(compiled, attempt).stdout).toMatch(
      new RegExp(
        `^true (EAGAIN|EACCES) ${process.pid} lock pidfile ${path}: .*, held by process ${process.pid}; .*\n$`,
      ),
    );
    native.close(fd);
    expect(runProcess(compiled, attempt).stdout).toBe('locked\n');
    expect(readFileSync(path, 'utf8')).toBe('1\n');
  });

  it('says which file cannot be opened', () => {
    const path = join(directory, 'missing/d.pid');
    expect(() => native.lockPidfile(path, '1\n')).toThrow(NativeError);
    expect(() => native.lockPidfile(path, '1\n')).toThrow(`open pidfile ${path}: No such file or directory (ENOENT)`);
  });

  it('refuses a path or text with NUL, or too long', () => {
    expect(() => native.lockPidfile('a\0b', '1\n')).toThrow(TypeError);
    expect(() => native.lockPidfile('a'.repeat(5000), '1\n')).toThrow(RangeError);
    expect(() => native.lockPidfile(join(directory, 'd.pid'), 'x'.repeat(64))).toThrow(RangeError);
  });
});
