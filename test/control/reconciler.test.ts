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
