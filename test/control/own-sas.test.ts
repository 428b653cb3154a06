/** Child SAs for single packet workers (RFC 9611): from the configuration to what the engine is told. */
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ChildRole, ChildSaInstaller } from '../../control/child-sas.ts';
import { planSteps } from '../../control/connections.ts';
import { Protections } from '../../control/protections.ts';
import { inOneGo } from '../../control/slices.ts';
import type { Logger } from '../../control/vlog.ts';
import type { EngineCommand } from '../../dataplane/index.ts';
import type { ChildSa } from '../../ike/index.ts';
import { stateOf, withRemote } from './config/rows.ts';

const planned = (workers: number, options: Record<string, string>) =>
  inOneGo(
    planSteps(
      stateOf([{ name: 'tun', type: 'geneve', options: withRemote({ psk: 'x', ...options }) }]).connections,
      workers,
    ),
  );

describe('options:ipsec_per_worker_sas', () => {
  it('adds to each child one for every further worker, with the same selectors', () => {
    const [plan] = planned(3, { ipsec_per_worker_sas: 'yes' });
    const { children } = plan!.connection;
    expect(children.map(({ name, resource }) => [name, resource?.id, resource?.fallback])).toEqual([
      ...['tun-in', 'tun-out'].map((name) => [name, undefined, undefined]),
      ...['tun-in', 'tun-out'].flatMap((name) => [1, 2].map((id) => [`${name}#${id}`, id, name])),
    ]);
    expect(children[2]).toMatchObject({ tsLocal: children[0]!.tsLocal, tsRemote: children[0]!.tsRemote });
    expect(plan!.children.map(({ share, sends }) => [share, sends])).toEqual(
      [false, true].flatMap((sends) => [0, 1, 2].map((share) => [share, sends])),
    );
  });

  it('is off by default, and changes nothing where there is one worker', () => {
    const [plain] = planned(1, {});
    expect(planned(4, {})).toEqual([plain]);
    expect(planned(4, { ipsec_per_worker_sas: 'no' })).toEqual([plain]);
    expect(planned(1, { ipsec_per_worker_sas: 'yes' })).toEqual([plain]);
  });
});

describe('child SAs of single workers', () => {
  const PROTECTION_KEY = 'gre';
  let directory: string;
  let told: EngineCommand[];
  let refused: [number, string][];
  let released: number[];
  let installer: ChildSaInstaller;
  let protection: number;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'own-sas-'));
    const protections = new Protections(join(directory, 'protected'));
    const target = { type: 'gre', local: '10.0.0.1', remote: '10.0.0.2', port: 0, tunnels: ['tun'] } as const;
    protections.set(new Map([[PROTECTION_KEY, target]]), new Set(['tun']), () => true);
    protection = protections.get(PROTECTION_KEY)!.id;
    told = [];
    refused = [];
    released = [];
    const role = (child: string): ChildRole => {
      const worker = Number(child.split('#')[1] ?? 0);
      const limits = { replayWindow: 64, softPackets: 0, softBytes: 0 };
      return { protection, sends: true, ...limits, worker, isFallback: worker === 0 };
    };
    installer = new ChildSaInstaller({
      apply: (command) => told.push(command),
      onRefused: (id, reason) => refused.push([id, reason]),
      releaseSpi: (spi) => released.push(spi),
      protections,
      roleOf: (_, child) => role(child),
      log: { warn: () => {}, dbg: () => {} } as unknown as Logger,
      onChange: () => {},
      timers: { after: () => () => {} },
    });
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const install = (id: number, child: string, sendNow = true) => {
    const keys = { inboundKey: new Uint8Array(36).fill(1), outboundKey: new Uint8Array(36).fill(2) };
    const spis = { inboundSpi: 0x1000_0000 + id, outboundSpi: 0x2000_0000 + id };
    installer.install(
      { id, connection: 'c', child, ...keys, ...spis, tsLocal: [], tsRemote: [] } as unknown as ChildSa,
      sendNow,
    );
    return keys;
  };
  /** What the engine was told to send on since the last look: worker, and the id of the child. */
  const uses = (): string[] => {
    const slots = new Map([...installer.installed()].map((child) => [child.outboundSlot, child.sa.id]));
    return told
      .splice(0)
      .flatMap((command) =>
        command.op === 'use-outbound-sa'
          ? [`${command.worker ?? 'all'}: ${command.slot === undefined ? 'none' : slots.get(command.slot)}`]
          : [],
      );
  };

  it('are sent on by their worker alone, and the others go on with the first', () => {
    install(1, 'tun');
    install(2, 'tun#1');
    expect(uses()).toEqual(['all: 1', '1: 2']);
    expect([...installer.installed()].map((child) => [child.worker, installer.isSending(child)])).toEqual([
      [undefined, true],
      [1, true],
    ]);
    expect(installer.sendingChild(protection)?.sa.id).toBe(1);
  });

  it('are replaced and removed each on its own: a worker that has lost its own goes back to the first', () => {
    install(1, 'tun');
    install(2, 'tun#1');
    install(3, 'tun#1', false);
    uses();
    installer.send(3);
    installer.remove(2, 0, 'rekeyed');
    expect(uses()).toEqual(['1: 3']);
    installer.remove(3, 0, 'deleted');
    expect(uses()).toEqual(['1: none']);
    expect(installer.sendingChild(protection)?.sa.id).toBe(1);
  });

  it('stand in for the first one when that goes, until there is another: traffic does not stop', () => {
    install(1, 'tun');
    install(2, 'tun#1');
    uses();
    installer.remove(1, 0, 'expired');
    expect(uses()).toEqual(['all: 2']);
    install(3, 'tun');
    expect(uses()).toEqual(['all: 3']);
    installer.remove(3, 0, 'deleted');
    expect(uses()).toEqual(['all: 2']);
    installer.remove(2, 0, 'deleted');
    expect(uses().toSorted()).toEqual(['1: none', 'all: none']);
    expect(installer.sendingChild(protection)).toBeUndefined();
  });

  it('a new one beside its predecessor takes nothing over before it is told to', () => {
    install(1, 'tun');
    install(2, 'tun#1');
    uses();
    install(3, 'tun', false);
    install(4, 'tun#1', false);
    expect(uses()).toEqual([]);
  });

  it('are followed by another one of the same worker, if there is one, and not by the youngest of all', () => {
    install(1, 'tun');
    install(2, 'tun', false);
    install(3, 'tun#1');
    install(4, 'tun#1', false);
    install(5, 'tun#2');
    uses();
    installer.remove(3, 0, 'deleted');
    installer.remove(1, 0, 'deleted');
    expect(uses()).toEqual(['1: 4', 'all: 2']);
  });

  it('serve all workers as long as there is no first one', () => {
    install(1, 'tun#1');
    install(2, 'tun#2');
    expect(uses()).toEqual(['1: 1', 'all: 1', '2: 2']);
  });

  it('are not used when it cannot be written down that their tunnel is protected, nor are their keys kept', () => {
    mkdirSync(join(directory, 'protected.new'));
    const keys = install(1, 'tun');
    expect(told).toEqual([]);
    expect([...installer.installed()]).toEqual([]);
    expect(refused).toEqual([
      [1, expect.stringMatching(/^SAs of child tun are not installed, .*\/protected: cannot be/)],
    ]);
    expect(released).toEqual([0x1000_0001]);
    expect([...keys.inboundKey, ...keys.outboundKey].every((byte) => byte === 0)).toBe(true);
    // What IKE says of it afterwards is of no child.
    installer.send(1);
    installer.remove(1, 0, 'not installed');
    expect(told).toEqual([]);
    expect(released).toHaveLength(1);
    rmdirSync(join(directory, 'protected.new'));
    install(2, 'tun');
    expect(uses()).toEqual(['all: 2']);
  });
});
