/**
 * Two hosts with a bad wire between them:
 *
 *     a 10.1.0.1 ──veth── eth0 │ faulty-wire.mjs │ eth1 ──veth── 10.1.0.2 b
 *
 * All four ends are without offloads, so the wire sees every packet as a NIC would send it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLan, type Host, ip } from '../rig/namespace.ts';
import { type Running, run, start } from '../rig/process.ts';
import type { Rig } from '../rig/rig.ts';
import { ROOT } from '../rig/root.ts';
import { PROFILES, type Profile } from './profiles.ts';

/** What the wire has done to frames since it began. */
export type WireCounts = Readonly<
  Record<'passed' | 'lost' | 'duplicated' | 'reordered' | 'corrupted' | 'overflowed', number>
>;

export interface FaultyWire {
  readonly a: Host;
  readonly b: Host;
  /** Resolves when the wire behaves so. */
  become(profile: Profile): Promise<void>;
  counts(): Promise<WireCounts>;
}

/** The wire begins sound. `seed` draws its faults. */
export async function createFaultyWire(rig: Rig, seed: number): Promise<FaultyWire> {
  const left = await createLan(rig, { labels: ['a', 'wire'], offloads: false });
  const right = await createLan(rig, { labels: ['away', 'b'], offloads: false });
  const wire = left.b.namespace;
  await ip(right.a.namespace, 'link', 'set', 'eth0', 'name', 'eth1', 'netns', wire);
  for (const device of ['eth0', 'eth1']) {
    await ip(wire, 'addr', 'flush', 'dev', device);
    await ip(wire, 'link', 'set', device, 'up');
  }
  // A veth leaves checksums to its other end; behind the wire nobody would know.
  for (const { namespace } of [left.a, right.b])
    await run({ command: 'ethtool', args: ['-K', 'eth0', 'tx', 'off'], namespace });
  const file = join(rig.directory, 'wire-profile.json');
  const write = (profile: Profile): void => writeFileSync(file, JSON.stringify(profile));
  write(PROFILES.sound);
  const running: Running = start(rig, {
    name: 'faulty wire',
    command: process.execPath,
    args: [join(ROOT, 'test/faults/faulty-wire.mjs'), 'eth0', 'eth1', file, String(seed)],
    namespace: wire,
  });
  await running.waitForOutput(/^ready$/m);
  let asked = 0;
  const answers = (pattern: RegExp): readonly RegExpMatchArray[] => [...running.stdout().matchAll(pattern)];
  let profiles = 0;
  return {
    a: left.a,
    b: right.b,
    async become(profile) {
      write(profile);
      profiles++;
      process.kill(running.pid, 'SIGHUP');
      await running.waitUntil(`profile ${profile.name}`, () => answers(/^profile /gm).length >= profiles);
    },
    async counts() {
      asked++;
      process.kill(running.pid, 'SIGUSR1');
      const all = await running.waitUntil('its counts', () => {
        const lines = answers(/^done (.*)$/gm);
        return lines.length >= asked ? lines : undefined;
      });
      return JSON.parse(all.at(-1)![1]!) as WireCounts;
    },
  };
}
