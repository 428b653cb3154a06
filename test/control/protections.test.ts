/** What was ever protected is remembered on disk, by tunnel and by SPD row, until IPsec is taken out of the configuration. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Protections, type WantedProtection } from '../../control/protections.ts';

describe('the protections', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-protections-'));
    path = join(directory, 'ovs-espd.protected');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const row = (...tunnels: string[]): WantedProtection => ({
    type: 'gre',
    local: '10.0.0.1',
    remote: '10.0.0.2',
    port: 0,
    tunnels,
  });

  function set(protections: Protections, rows: Record<string, WantedProtection>, alsoAsking: readonly string[] = []) {
    const asking = new Set([...Object.values(rows).flatMap(({ tunnels }) => tunnels), ...alsoAsking]);
    return protections.set(new Map(Object.entries(rows)), asking, () => false);
  }

  it('begin never up, become protected with the first SA, and are so again after a restart', () => {
    const first = new Protections(path);
    expect(set(first, { k: row('tun') })).toEqual([{ op: 'set-protection', protection: 1, state: 'never-up' }]);
    expect(first.markProtected(1)).toEqual([{ op: 'set-protection', protection: 1, state: 'protected' }]);
    expect(first.markProtected(1)).toEqual([]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(set(new Protections(path), { k: row('tun') })).toMatchObject([{ state: 'protected' }]);
  });

  it('follow their tunnel to other addresses, and are shared by those who share its SA', () => {
    const protections = new Protections(path);
    set(protections, { k: row('a', 'b') });
    protections.markProtected(1);
    expect(set(protections, { l: row('a'), m: row('b'), n: row('c') })).toMatchObject([
      { op: 'remove-protection', protection: 1 },
      { op: 'set-protection', protection: 2, state: 'protected' },
      { op: 'set-protection', protection: 3, state: 'protected' },
      { op: 'set-protection', protection: 4, state: 'never-up' },
    ]);
  });

  it('close a row that was never up when a protected tunnel joins it', () => {
    const protections = new Protections(path);
    set(protections, { k: row('a'), l: row('b') });
    protections.markProtected(1);
    expect(set(protections, { l: row('a', 'b') })).toContainEqual({
      op: 'set-protection',
      protection: 2,
      state: 'protected',
    });
  });

  it('are remembered while the tunnel is INVALID, and forgotten with its IPsec', () => {
    const protections = new Protections(path);
    set(protections, { k: row('tun') });
    protections.markProtected(1);
    set(protections, {}, ['tun']);
    expect(set(protections, { l: row('tun') })).toMatchObject([{ state: 'protected' }]);
    set(protections, {});
    expect(readFileSync(path, 'utf8')).toBe('{"protected":[],"tunnels":[]}\n');
    expect(set(protections, { l: row('tun') })).toMatchObject([{ state: 'never-up' }]);
  });

  it('append a line for each that comes up, which the next change of the configuration joins into one', () => {
    const rows = Object.fromEntries(['k', 'l', 'm'].map((key) => [key, row(`tun-${key}`)]));
    const protections = new Protections(path);
    set(protections, rows);
    const sizes: number[] = [];
    for (const id of [1, 2, 3]) {
      protections.markProtected(id);
      sizes.push(statSync(path).size);
    }
    // As much for the third as for the second, though there are more by then.
    expect(sizes[2]! - sizes[1]!).toBe(sizes[1]! - sizes[0]!);
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(4);
    const states = (of: Protections) => set(of, rows).map((command) => 'state' in command && command.state);
    expect(states(new Protections(path))).toEqual(['protected', 'protected', 'protected']);
    set(protections, { k: row('tun-k') });
    expect(readFileSync(path, 'utf8')).toBe('{"protected":["k"],"tunnels":["tun-k"]}\n');
    protections.close();
  });

  it('leave out a line that a crash has cut off, and never write behind it', () => {
    const rows = { k: row('tun-k'), l: row('tun-l') };
    const crashed = new Protections(path);
    set(crashed, rows);
    crashed.markProtected(1);
    crashed.close();
    writeFileSync(path, `${readFileSync(path, 'utf8')}{"protected":["l"],"tu`);
    const next = new Protections(path);
    expect(set(next, rows)).toMatchObject([{ state: 'protected' }, { state: 'never-up' }]);
    next.markProtected(2);
    next.close();
    expect(set(new Protections(path), rows)).toMatchObject([{ state: 'protected' }, { state: 'protected' }]);
    // A whole line that is none of ours is not left out: nobody knows what it was to say.
    writeFileSync(path, '{"protected":[],"tunnels":[]}\nx\n');
    expect(() => new Protections(path)).toThrow(/lists the tunnels that must never/);
  });

  it('read the file of the first version, which has no names, and refuse one that is none', () => {
    writeFileSync(path, '{"protected":["k"]}');
    expect(set(new Protections(path), { k: row('tun') })).toMatchObject([{ state: 'protected' }]);
    for (const text of ['', '[]', '{"protected":[1]}', '{"protected":[],"tunnels":"x"}']) {
      writeFileSync(path, text);
      expect(() => new Protections(path)).toThrow(/ovs-espd\.protected lists the tunnels that must never/);
    }
  });

  it('give the number of one that went only after the engine has forgotten it', () => {
    const protections = new Protections(path, 3);
    set(protections, { k: row('a'), l: row('b') });
    expect(set(protections, { l: row('b') })).toEqual([{ op: 'remove-protection', protection: 1 }]);
    expect(set(protections, { l: row('b'), m: row('c') })).toEqual([
      { op: 'set-protection', protection: 1, state: 'never-up' },
    ]);
  });

  describe('written ahead', () => {
    const rows = (...keys: string[]) => Object.fromEntries(keys.map((key) => [key, row(`tun-${key}`)]));
    /** A disk that is busy until it is told that it has written. */
    function slowDisk(...keys: string[]) {
      const syncs: (() => void)[] = [];
      const protections = new Protections(path, undefined, () => new Promise((resolve) => syncs.push(resolve)));
      set(protections, rows('first', ...keys));
      // The first writes the file as a whole.
      protections.markProtected(1);
      const written: number[] = [];
      const remember = (id: number): void => {
        void protections.remember(id)?.then(() => written.push(id));
      };
      const onDisk = async (): Promise<void> => {
        await nextTurn();
        syncs.shift()?.();
        await nextTurn();
      };
      return { protections, syncs, written, remember, onDisk };
    }
    const statesOf = (...keys: string[]) =>
      set(new Protections(path), rows(...keys)).map((command) => 'state' in command && command.state);

    it('is what many SAs of one turn need, by one wait for the disk; those that come meanwhile share the next', async () => {
      const { protections, syncs, written, remember, onDisk } = slowDisk('a', 'b', 'c', 'd');
      remember(2);
      remember(3);
      await nextTurn();
      await nextTurn();
      expect(syncs).toHaveLength(1);
      remember(4);
      remember(5);
      remember(5);
      await nextTurn();
      expect(syncs).toHaveLength(1);
      expect(written).toEqual([]);
      await onDisk();
      expect(written).toEqual([2, 3]);
      await onDisk();
      expect(written.sort()).toEqual([2, 3, 4, 5, 5]);
      expect(syncs).toHaveLength(0);
      const { size } = statSync(path);
      for (const id of [2, 3, 4, 5])
        expect(protections.markProtected(id)).toEqual([{ op: 'set-protection', protection: id, state: 'protected' }]);
      // Nothing more had to be written, and nothing more has to be waited for.
      expect(statSync(path).size).toBe(size);
      expect(protections.remember(2)).toBeUndefined();
      expect(statesOf('a', 'b', 'c', 'd')).toEqual(['protected', 'protected', 'protected', 'protected']);
    });

    it('does not open or close anything by itself, and an SA that does not wait is on disk before it is used', async () => {
      const { protections, remember, onDisk } = slowDisk('a');
      remember(2);
      expect(protections.byId(2)?.state).toBe('never-up');
      protections.markProtected(2);
      expect(statesOf('a')).toEqual(['protected']);
      await onDisk();
      expect(protections.byId(2)?.state).toBe('protected');
    });

    it('stays in the file when the configuration changes meanwhile, and goes with its tunnel', async () => {
      const { protections, remember, onDisk } = slowDisk('a', 'b');
      remember(2);
      remember(3);
      await nextTurn();
      // tun-first goes, so the file is written anew, and so does tun-b.
      set(protections, rows('a'));
      expect(statesOf('a', 'b')).toEqual(['protected', 'never-up']);
      await onDisk();
      expect(protections.byId(2)?.state).toBe('never-up');
      protections.markProtected(2);
      expect(readFileSync(path, 'utf8')).not.toContain('tun-b');
      expect(statesOf('a', 'b')).toEqual(['protected', 'never-up']);
    });

    it('is written again when its tunnel has another name by then', async () => {
      const { protections, remember, onDisk } = slowDisk('a');
      remember(2);
      await onDisk();
      set(protections, { ...rows('first'), a: row('renamed') });
      protections.markProtected(2);
      // Known by its name alone.
      expect(set(new Protections(path), { elsewhere: row('renamed') })).toMatchObject([{ state: 'protected' }]);
    });

    it('is refused when the disk fails, alone or together with others, and nothing is appended to half a line', async () => {
      const syncs = [() => Promise.resolve(), () => Promise.reject(failure('EIO'))];
      const failing = new Protections(path, undefined, () => syncs.shift()?.() ?? Promise.resolve());
      set(failing, rows('first', 'a', 'b', 'c'));
      failing.markProtected(1);
      await failing.remember(2);
      failing.markProtected(2);
      await Promise.all([failing.remember(3), failing.remember(4)]);
      for (const id of [3, 4]) {
        expect(() => failing.markProtected(id)).toThrow(
          `${path}: cannot be written (EIO); look at the disk of ${directory}`,
        );
        expect(failing.byId(id)?.state).toBe('never-up');
      }
      // As a write that was cut off.
      writeFileSync(path, `${readFileSync(path, 'utf8')}{"protected":["b"`);
      await failing.remember(3);
      expect(failing.markProtected(3)).toEqual([{ op: 'set-protection', protection: 3, state: 'protected' }]);
      expect(readFileSync(path, 'utf8')).toBe(
        '{"protected":["a","b","first"],"tunnels":["tun-a","tun-b","tun-first"]}\n',
      );
      failing.close();
    });

    it('is refused to those too that wait behind one that fails, and to whoever cannot wait', async () => {
      const { protections, remember, syncs, written } = slowDisk('a', 'b');
      remember(2);
      await nextTurn();
      remember(3);
      expect(syncs).toHaveLength(1);
      const { restore } = noMoreFiles();
      // Whatever the configuration forgets is not worth the end of the daemon, nor is it lost.
      set(protections, rows('a', 'b'));
      await nextTurn();
      expect(written).toEqual([3]);
      expect(() => protections.markProtected(3)).toThrow(/: cannot be written \(EISDIR\)/);
      restore();
      protections.writeBehind();
      expect(statesOf('first', 'a', 'b')).toEqual(['never-up', 'protected', 'never-up']);
      protections.close();
    });
  });

  const failure = (code: string): Error => Object.assign(new Error(code), { code });

  /** A directory is in the way of the new file. */
  function noMoreFiles(): { restore(): void } {
    mkdirSync(`${path}.new`);
    return { restore: () => rmdirSync(`${path}.new`) };
  }

  it('are in force when the disk cannot take what the configuration changes, which is written as soon as it can', () => {
    const errors: string[] = [];
    const protections = new Protections(path, undefined, undefined, ({ message }) => errors.push(message));
    set(protections, { k: row('tun'), l: row('other') });
    protections.markProtected(1);
    const { restore } = noMoreFiles();
    expect(set(protections, { m: row('tun') })).toContainEqual({
      op: 'set-protection',
      protection: 3,
      state: 'protected',
    });
    protections.writeBehind();
    expect(errors).toHaveLength(2);
    // A crash now: the tunnel is known by its name.
    expect(set(new Protections(path), { m: row('tun') })).toMatchObject([{ state: 'protected' }]);
    restore();
    protections.writeBehind();
    expect(readFileSync(path, 'utf8')).toBe('{"protected":["m"],"tunnels":["tun"]}\n');
    rmSync(path);
    protections.writeBehind();
    expect(existsSync(path)).toBe(false);
    protections.close();
  });

  it('that cannot be written down are as they were, and are tried anew', () => {
    const { restore } = noMoreFiles();
    const protections = new Protections(path);
    set(protections, { k: row('tun') });
    expect(() => protections.markProtected(1)).toThrow(`${path}: cannot be written (EISDIR)`);
    expect(protections.byId(1)?.state).toBe('never-up');
    // Nor does a change of the configuration make it so.
    expect(set(protections, { k: row('tun'), l: row('other') })).toMatchObject([{ protection: 2, state: 'never-up' }]);
    restore();
    expect(protections.markProtected(2)).toMatchObject([{ state: 'protected' }]);
    expect(readFileSync(path, 'utf8')).toBe('{"protected":["l"],"tunnels":["other"]}\n');
    protections.close();
  });
});
