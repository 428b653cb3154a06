import {
  chmodSync,
  existsSync,
  linkSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { handOverPath, LONGEST_MS, takeHandOver, writeHandOver } from '../../../control/hand-over/hand-over-file.ts';

const at = (nowMs: number) => ({ nowMs: () => nowMs });

describe('the file that hands SAs over', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-hand-over-'));
    path = join(directory, 'file');
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('is for its owner alone, gives what was put in, bytes too, and only once', () => {
    writeFileSync(path, 'of somebody else', { mode: 0o666 });
    const content = { sas: [{ keys: Uint8Array.of(0, 1, 254, 255), name: 'tun', none: undefined, list: [[1], []] }] };
    writeHandOver(path, content, at(1000));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const taken = takeHandOver(path, at(1000 + LONGEST_MS));
    expect(taken).toEqual({
      content: { sas: [{ keys: Uint8Array.of(0, 1, 254, 255), name: 'tun', list: [[1], []] }] },
    });
    expect(existsSync(path)).toBe(false);
    expect(takeHandOver(path, at(1001))).toBeUndefined();
  });

  it.each<[string, () => void, RegExp]>([
    ['others could read', () => chmodSync(path, 0o640), /^its mode is 640, not 600$/],
    ['has another name too', () => linkSync(path, `${path}.copy`), /^it is no file of its own$/],
    ['is cut', () => writeFileSync(path, readFileSync(path).subarray(0, 40)), /^it is not complete$/],
    [
      'is of another boot',
      () => writeFileSync(path, readFileSync(path, 'utf8').replace(/"bootId":"[^"]+"/, '"bootId":"00000000"')),
      /^it is of another boot$/,
    ],
  ])('is refused and removed when it %s', (_, spoil, why) => {
    writeHandOver(path, { keys: 1 }, at(1000));
    spoil();
    expect(takeHandOver(path, at(1001))).toEqual({ refused: expect.stringMatching(why) });
    expect(existsSync(path)).toBe(false);
  });

  it('is refused when it is old, or of a time to come', () => {
    for (const now of [999, 1001 + LONGEST_MS]) {
      writeHandOver(path, {}, at(1000));
      expect(takeHandOver(path, at(now))).toEqual({ refused: expect.stringMatching(/^it is -?\d+ s old$/) });
    }
  });

  it('is not followed to where a symbolic link leads', () => {
    const elsewhere = join(directory, 'elsewhere');
    writeHandOver(elsewhere, {}, at(1000));
    symlinkSync(elsewhere, path);
    expect(takeHandOver(path, at(1001))).toEqual({ refused: 'it cannot be opened' });
    writeHandOver(path, {}, at(1000));
    expect(statSync(elsewhere).size).toBeGreaterThan(0);
  });

  it('lies in memory, in the run directory or beside it, or nowhere', () => {
    expect(handOverPath('/dev/shm')).toBe('/dev/shm/ovs-espd.hand-over');
    expect(handOverPath('/proc', '/dev/shm')).toMatch(/^\/dev\/shm\/ovs-espd-[0-9a-f]{16}\.hand-over$/);
    expect(handOverPath('/proc', '/nowhere')).toBeUndefined();
  });
});
