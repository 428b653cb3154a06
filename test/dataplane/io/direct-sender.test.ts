/** Sending past the IP stack, over a veth between two namespaces (direct-sender.mjs sends). */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, startCapture } from '../../rig/capture.ts';
import { createLan, ip, type Lan } from '../../rig/namespace.ts';
import { run } from '../../rig/process.ts';
import { canMakeNamespaces, createRig, missingPrograms, type Rig } from '../../rig/rig.ts';
import { ROOT } from '../../rig/root.ts';

const SENDER = join(ROOT, 'test/dataplane/io/direct-sender.mjs');
const missing = missingPrograms('ip', 'tcpdump');
const reason = !canMakeNamespaces()
  ? 'cannot make namespaces'
  : !existsSync(join(ROOT, 'dist/daemon/worker.js'))
    ? 'dist is not built'
    : missing.length > 0
      ? `missing: ${missing.join(', ')}`
      : '';

type Step =
  | { readonly ip: readonly string[] }
  | { readonly table: 'add' | 'delete' }
  | { readonly send: number; readonly as?: object; readonly until?: string };
interface Sent {
  readonly number: number;
  readonly way: string;
  readonly errno: number;
}

/** The neighbour has answered, so all goes the short way. */
const SETTLED: Step = { send: 1, until: 'direct' };
const EMSGSIZE = 90;
const OTHER_MAC = '02:00:00:00:00:99';

describe.skipIf(reason !== '')(`ESP past the IP stack${reason === '' ? '' : ` (skipped: ${reason})`}`, () => {
  let rig: Rig;
  let lan: Lan;
  let wire: Capture;

  beforeEach(async () => {
    rig = createRig();
    lan = await createLan(rig, { ipv6: true });
    wire = await startCapture(rig, lan.b);
  });
  afterEach(() => rig.close());

  async function walk(steps: readonly Step[], from = lan.a.address, to = lan.b.address): Promise<Sent[]> {
    const { stdout } = await run({
      command: process.execPath,
      args: [SENDER, JSON.stringify({ steps, from, to })],
      namespace: lan.a.namespace,
    });
    return stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  }
  const ways = (sent: readonly Sent[]) => sent.map(({ way }) => way);
  const arrived = (number: number) => wire.waitFor((packet) => packet.kind === 'esp' && packet.sequence === number);

  it('goes through the stack until the neighbour is known, then straight to it, and arrives as it was', async () => {
    const sent = await walk([{ send: 1 }, { send: 2, until: 'direct' }, { send: 3 }]);
    expect(ways(sent)).toEqual(['stack', 'direct', 'direct']);
    await arrived(1);
    const [packet] = await arrived(3);
    const header = packet!.frame.subarray(14, 34);
    // Id 0 (RFC 6864 §4.1): the stack has not touched it.
    expect(header.readUInt16BE(4)).toBe(0);
    expect(header.readUInt16BE(6)).toBe(0x4000);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += header.readUInt16BE(at);
    expect((sum & 0xffff) + (sum >>> 16)).toBe(0xffff);
  });

  it('does the same over IPv6', async () => {
    expect(ways(await walk([{ send: 1, until: 'direct' }, { send: 2 }], 'fd00:1::1', 'fd00:1::2'))).toEqual([
      'direct',
      'direct',
    ]);
    await arrived(2);
  });

  it('is for ESP without a mark that is not to be fragmented, and for nothing else', async () => {
    const others = [{ protocol: 17 }, { protocol: 47 }, { mark: 7 }, { fragment: 0 }];
    const sent = await walk([SETTLED, ...others.map((as) => ({ send: 2, as })), { send: 3 }]);
    expect(ways(sent)).toEqual(['direct', 'stack', 'stack', 'stack', 'stack', 'direct']);
  });

  it('says that a packet is too big for the device', async () => {
    const [, big, small] = await walk([SETTLED, { send: 2, as: { length: 1481 } }, { send: 3, as: { length: 1480 } }]);
    expect(big).toEqual({ number: 2, way: 'direct', errno: EMSGSIZE });
    expect(small).toEqual({ number: 3, way: 'direct', errno: 0 });
    await arrived(3);
  });

  it('heeds a change of routes within a millisecond or so', async () => {
    const blackhole = ['blackhole', `${lan.b.address}/32`];
    const sent = await walk([
      SETTLED,
      { ip: ['route', 'add', ...blackhole] },
      { send: 2, until: 'stack' },
      { ip: ['route', 'del', ...blackhole] },
      { send: 3, until: 'direct' },
    ]);
    expect(sent[1]).toMatchObject({ way: 'stack' });
    expect(sent[1]!.errno).not.toBe(0);
    await arrived(3);
  });

  it('heeds a change of policy routing, and leaves to the stack what a rule for a protocol may concern', async () => {
    const sent = await walk([
      SETTLED,
      { ip: ['rule', 'add', 'to', lan.b.address, 'blackhole'] },
      { send: 2, until: 'stack' },
      { ip: ['rule', 'del', 'to', lan.b.address, 'blackhole'] },
      { send: 3, until: 'direct' },
      { ip: ['rule', 'add', 'ipproto', 'tcp', 'lookup', 'main'] },
      { send: 4, until: 'stack' },
      { send: 5 },
    ]);
    expect(ways(sent)).toEqual(['direct', 'stack', 'direct', 'stack', 'stack']);
    expect(sent.map(({ errno }) => errno !== 0)).toEqual([false, true, false, false, false]);
  });

  it('sends to the new address when a neighbour has moved, and through the stack when it has gone', async () => {
    const change = (...words: string[]): Step => ({
      ip: ['neigh', 'replace', lan.b.address, 'dev', 'eth0', ...words],
    });
    const sent = await walk([
      SETTLED,
      change('lladdr', OTHER_MAC, 'nud', 'permanent'),
      { send: 2 },
      { ip: ['neigh', 'del', lan.b.address, 'dev', 'eth0'] },
      { send: 3 },
    ]);
    expect(ways(sent)).toEqual(['direct', 'direct', 'stack']);
    const [moved] = await arrived(2);
    expect(moved!.frame.subarray(0, 6).toString('hex')).toBe(OTHER_MAC.replaceAll(':', ''));
    await arrived(3);
  });

  it('sends one packet through the stack when a neighbour has become stale, so that the kernel makes sure of it', async () => {
    const stale: Step = { ip: ['neigh', 'change', lan.b.address, 'dev', 'eth0', 'nud', 'stale'] };
    expect(ways(await walk([SETTLED, stale, { send: 2 }, { send: 3 }]))).toEqual(['direct', 'stack', 'direct']);
    const { stdout } = await ip(lan.a.namespace, 'neigh', 'show', lan.b.address);
    expect(stdout).toMatch(/DELAY|PROBE|REACHABLE/);
  });

  it('leaves everything to the stack while there is an nftables table', async () => {
    const sent = await walk([
      SETTLED,
      { table: 'add' },
      { send: 2, until: 'stack' },
      { send: 3 },
      { table: 'delete' },
      { send: 4, until: 'direct' },
    ]);
    expect(ways(sent)).toEqual(['direct', 'stack', 'stack', 'direct']);
  });
});
