import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../rig/root.ts';

const isBuilt = existsSync(join(ROOT, 'dist/dataplane/engine.js'));

interface Report {
  readonly packets: number;
  readonly delivered: number;
  readonly scavenges: number;
  readonly others: number;
}

describe.skipIf(!isBuilt)(`the packet path${isBuilt ? '' : ' (skipped: dist is not built)'}`, () => {
  // Node's young generation holds 16 MB. One object of 16 bytes for each of the 2 million packets handled would fill it
  // twice; what is left is a few numbers for each turn.
  it.each(['clear', 'esp', 'offload', 'vlan'])(
    'allocates nothing for a packet: a million frames, %s, and the collector rests',
    { timeout: 240_000 },
    (mode) => {
      const script = join(ROOT, 'test/dataplane/engine/allocation-run.mjs');
      // Without the collections that V8 makes because time has passed: on a busy machine there are more of them.
      const report = JSON.parse(
        execFileSync(process.execPath, ['--no-memory-reducer', script, mode], { encoding: 'utf8' }),
      ) as Report;
      expect(report.delivered).toBe(report.packets);
      expect(report.scavenges).toBeLessThanOrEqual(3);
      expect(report.others).toBeLessThanOrEqual(3);
    },
  );
});
