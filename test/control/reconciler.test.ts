/** The order in which a configuration is carried out, against an engine and an attach that only note what they are told. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Attach } from '../../control/attach.ts';
import { DROP_ALL } from '../../control/mark-policy.ts';
import { Protections } from '../../control/protections.ts';
import { Reconciler } from '../../control/reconciler.ts';
import type { EngineCommand } from '../../dataplane/index.ts';
import { stateOf } from './config/rows.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'espd-reconciler-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

it('keeps the mark rule closed while the attach says that a tunnel is missing, until it has carried out one that has it', async () => {
  const told: string[] = [];
  let isMissing = false;
  let willMiss = true;
  const attach = {
    apply: async () => {
      told.push('attach');
      isMissing = willMiss;
    },
    closesAll: () => isMissing,
  };
  const reconciler = new Reconciler({
    engine: {
      apply: async (command: EngineCommand) => {
        if (command.op === 'set-mark-policy')
          told.push(command.drop === undefined ? 'open' : JSON.stringify(command.drop));
      },
    },
    protections: new Protections(join(directory, 'protected')),
    ike: { command: () => {} },
    log: { info: () => {}, warn: () => {} },
  } as never);
  const desired = stateOf([{ name: 'tun', options: { remote_ip: '10.0.0.2', psk: 'x' } }]);
  const apply = () => reconciler.apply(desired, {} as never, attach as unknown as Attach, () => undefined);
  const closed = JSON.stringify(DROP_ALL);

  await apply();
  expect(told.splice(0)).toEqual(['open', 'attach', closed]);
  await apply();
  expect(told.splice(0)).toEqual(['attach']);
  willMiss = false;
  await apply();
  expect(told.splice(0)).toEqual(['attach', 'open']);
});

/** A reconciler of two tunnels, and what it tells IKE. */
function withIke(attach: () => Promise<void>, told: (command: string, known?: boolean) => void) {
  const reconciler = new Reconciler({
    engine: { apply: async () => {} },
    protections: new Protections(join(directory, 'protected')),
    ike: { command: ({ command, known }: { command: string; known?: boolean }) => told(command, known) },
    log: { info: () => {}, warn: () => {} },
  } as never);
  const desired = stateOf(
    ['10.0.0.2', '10.0.0.3'].map((remote) => ({ name: `to ${remote}`, options: { remote_ip: remote, psk: 'x' } })),
  );
  const place = { apply: attach, closesAll: () => false } as unknown as Attach;
  return { reconciler, apply: () => reconciler.apply(desired, {} as never, place, () => undefined) };
}

it('gives IKE no connection when it was told to stand by while it carried out a configuration', async () => {
  const told: string[] = [];
  const { reconciler, apply } = withIke(
    async () => reconciler.standBy(),
    (command) => told.push(command),
  );
  await apply();
  expect(told).toEqual(['configuration-known']);
  expect(reconciler.plans).toEqual([]);
});

it('tells IKE that it knows the configuration when every connection is set, and that it no longer does when it stands by', async () => {
  const told: string[] = [];
  const { reconciler, apply } = withIke(
    async () => {},
    (command, known) => told.push(known === undefined ? command : `known: ${known}`),
  );
  await apply();
  expect(told.splice(0)).toEqual(['set-connection', 'set-connection', 'known: true']);
  reconciler.standBy();
  expect(told).toEqual(['known: false', 'remove-connection', 'remove-connection']);
});

it('lets events have their turn between connections, and stops there when one of them is to stand by', async () => {
  const told: string[] = [];
  const { reconciler, apply } = withIke(
    async () => {},
    (command, known) => {
      told.push(known === undefined ? command : `known: ${known}`);
      if (told.length > 1) return;
      setImmediate(() => reconciler.standBy());
      // Longer than a slice.
      const until = performance.now() + 30;
      while (performance.now() < until);
    },
  );
  await apply();
  expect(told[0]).toBe('set-connection');
  expect(told.slice(1)).toEqual(['known: false', 'remove-connection', 'remove-connection']);
  expect(reconciler.plans).toEqual([]);
});

it('sets no connection any more when it was told to stand by while it took others away', async () => {
  const told: string[] = [];
  let isRemoving = false;
  const reconciler = new Reconciler({
    engine: { apply: async () => {} },
    protections: new Protections(join(directory, 'protected')),
    ike: {
      command: ({ command }: { command: string }) => {
        told.push(command);
        if (isRemoving || command !== 'remove-connection') return;
        isRemoving = true;
        setImmediate(() => reconciler.standBy());
        // Longer than a slice.
        const until = performance.now() + 30;
        while (performance.now() < until);
      },
    },
    log: { info: () => {}, warn: () => {} },
  } as never);
  const place = { apply: async () => {}, closesAll: () => false } as unknown as Attach;
  const apply = (remote: string) =>
    reconciler.apply(
      stateOf([{ name: 'tun', options: { remote_ip: remote, psk: 'x' } }]),
      {} as never,
      place,
      () => undefined,
    );
  await apply('10.0.0.2');
  told.length = 0;
  await apply('10.0.0.3');
  expect(told.slice(0, 2)).toEqual(['remove-connection', 'configuration-known']);
  expect(told).not.toContain('set-connection');
});
