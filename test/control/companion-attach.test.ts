/**
 * What the engine is told, and when, beside a real ovs-vswitchd: never is there a moment in which packets of a tunnel that asks for
 * IPsec are nobody's and may leave in the clear.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CompanionAttach } from '../../control/companion-attach.ts';
import { desiredState } from '../../control/config/config.ts';
import { OwnedTaps } from '../../control/owned-taps.ts';
import { Protections } from '../../control/protections.ts';
import { Reconciler } from '../../control/reconciler.ts';
import type { EngineCommand } from '../../dataplane/index.ts';
import { replicaOf, SURROUNDINGS, type TunnelRow } from './config/rows.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'espd-companion-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const CLOSED = 'mark closed';
const tunnel = (name: string, options = {}): TunnelRow => ({
  name,
  type: 'geneve',
  options: { remote_ip: '10.0.0.2', psk: 'x', ...options },
});

function desiredOf(tunnels: readonly TunnelRow[]) {
  const place = { name: 'up0', external_ids: { espd: 'uplink', 'espd-nic': 'eth0' } };
  return desiredState(
    replicaOf({
      Bridge: [{ name: 'br0', ports: ['up0', ...tunnels.map(({ name }) => name)] }],
      Interface: [place, ...tunnels.map(({ name, type, options }) => ({ name, type, options }))],
    }),
    SURROUNDINGS,
  );
}

/** A reconciler and a companion attach on an engine that notes its commands, and refuses tunnels whose TTL is 13. */
function startCompanion() {
  const told: string[] = [];
  const engine = {
    openTap: () => [1],
    openDevice: () => [2],
    apply: async (command: EngineCommand) => {
      if (command.op === 'set-mark-policy') told.push(command.drop?.mask === 0 ? CLOSED : 'mark open');
      if (command.op === 'set-bump-port') told.push('uplink');
      if (command.op === 'remove-port') told.push(`remove ${command.port}`);
      if (command.op !== 'set-tunnel-port') return;
      if (command.tunnel.ttl === 13) throw new Error('refused');
      told.push(`set ${command.port} ${command.name}`);
    },
  };
  const log = { info: () => {}, warn: () => {} };
  const facts = { index: 2, mac: '02:00:00:00:00:01', mtu: 1500, up: true, carrier: true, addresses: [] };
  const underlay = { link: () => facts, routeTo: () => undefined };
  const protections = new Protections(join(directory, 'protected'));
  const attach = new CompanionAttach({
    ...{ engine, log, protections, native: {}, links: { setLink: async () => {}, linkFacts: async () => undefined } },
    ...{ taps: new OwnedTaps(join(directory, 'taps')), runDirectory: directory, timers: {} },
    routing: { entries: async () => [], apply: async () => {} },
  } as never);
  const reconciler = new Reconciler({ engine, protections, log, ike: { command: () => {} } } as never);
  const apply = (...tunnels: TunnelRow[]) =>
    reconciler.apply(desiredOf(tunnels), underlay as never, attach, () => undefined);
  return { told: () => told.splice(0), apply, attach };
}

it('the mark rule is closed before the first frame can cross, when the engine refuses a tunnel that asks for IPsec', async () => {
  const { told, apply } = startCompanion();
  await apply(tunnel('bad', { ttl: '13' }));
  const order = told();
  expect(order).toContain(CLOSED);
  expect(order.indexOf(CLOSED)).toBeLessThan(order.indexOf('uplink'));
});

it('the mark rule is closed before a tunnel goes whose new settings the engine refuses, and opens when they are mended', async () => {
  const { told, apply } = startCompanion();
  await apply(tunnel('tun'));
  told();
  await apply(tunnel('tun', { ttl: '13' }));
  expect(told()).toEqual([CLOSED, 'remove 0']);
  await apply(tunnel('tun', { ttl: '14' }));
  expect(told()).toEqual([expect.stringMatching(/^set \d tun$/), 'mark open']);
});

it('a tunnel takes the place of another to the same peer without a moment in which there is neither', async () => {
  const { told, apply } = startCompanion();
  await apply(tunnel('old'));
  told();
  await apply(tunnel('new'));
  const order = told();
  expect(order[0]).toMatch(/^set \d new$/);
  expect(order.slice(1)).toEqual(['remove 0']);
});
