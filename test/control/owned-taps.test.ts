/** Which TAPs are ours is on disk before they exist, and a disk that cannot take it is nobody's end. */
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Links } from '../../control/links.ts';
import { OwnedTaps } from '../../control/owned-taps.ts';
import type { Native } from '../../native-shims/index.ts';

describe('the list of TAPs that are ours', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'espd-taps-'));
    path = join(directory, 'ovs-espd.taps');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  /** Those that a successor would remove, as none is in use and all of them are there. */
  async function listed(): Promise<string[]> {
    const removed: string[] = [];
    const native = {
      openTap: (name: string) => removed.push(name),
      setTapPersistent: () => {},
      close: () => {},
    } as unknown as Native;
    const links = { linkFacts: async () => ({}) } as unknown as Links;
    mkdirSync(`${path}.new`, { recursive: true });
    await new OwnedTaps(path).removeUnused(new Set(), native, links);
    rmdirSync(`${path}.new`);
    return removed;
  }

  it('has a TAP before it is made, and not when that cannot be written, each time that it is tried', async () => {
    const taps = new OwnedTaps(path);
    taps.add('br1');
    mkdirSync(`${path}.new`);
    for (let attempt = 0; attempt < 2; attempt++) expect(() => taps.add('br2')).toThrow(/EISDIR/);
    expect(await listed()).toEqual(['br1']);
    taps.add('br2');
    expect(await listed()).toEqual(['br1', 'br2']);
  });

  it('keeps one that is gone until that can be written', async () => {
    const taps = new OwnedTaps(path);
    for (const name of ['br1', 'br2', 'br3']) taps.add(name);
    mkdirSync(`${path}.new`);
    taps.remove('br1');
    expect(await listed()).toEqual(['br1', 'br2', 'br3']);
    const links = { linkFacts: async () => undefined } as unknown as Links;
    await taps.removeUnused(new Set(['br2', 'br3']), {} as Native, links);
    expect(await listed()).toEqual(['br2', 'br3']);
    taps.remove('br2');
    expect(await listed()).toEqual(['br3']);
  });
});
