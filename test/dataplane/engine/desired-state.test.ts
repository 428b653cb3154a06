import { describe, expect, it } from 'vitest';
import type { EngineCommand, OutboundSa } from '../../../dataplane/commands.ts';
import { DesiredState } from '../../../dataplane/desired-state.ts';
import { TEST_LIMITS, tunnelSettings } from './pair.ts';

const sa = (slot: number): OutboundSa => ({
  slot,
  spi: 0x10000 + slot,
  protection: 1,
  local: '192.0.2.1',
  remote: '192.0.2.2',
  algorithm: 'aes128gcm16',
  keyAndSalt: new Uint8Array(20).fill(slot),
  esn: true,
  tsLocal: [],
  tsRemote: [],
  softPackets: 0,
  softBytes: 0,
  lastSequence: 0,
});

const BRIDGE: EngineCommand = { op: 'set-bridge', bridge: 0, name: 'br', ageingMs: 1, fdbSize: 1 };
const PROTECTION: EngineCommand = { op: 'set-protection', protection: 1, state: 'never-up' };
const tunnel = (port: number, change: object = {}): EngineCommand => ({
  op: 'set-tunnel-port',
  port,
  bridge: 0,
  name: `t${port}`,
  tunnel: { ...tunnelSettings('gre', '192.0.2.1', '192.0.2.2'), ...change },
});

function stateAfter(...commands: readonly EngineCommand[]): DesiredState {
  const state = new DesiredState(TEST_LIMITS);
  for (const command of commands) state.record(command);
  return state;
}

const ops = (state: DesiredState): string[] => state.commands().map((command) => command.op);

describe('the state that a fresh worker gets', () => {
  it('closes before it opens: mark rule, protections and SAs come before the tunnels', () => {
    const state = stateAfter(
      BRIDGE,
      PROTECTION,
      tunnel(2, { protection: 1 }),
      { op: 'add-outbound-sa', sa: sa(3) },
      {
        op: 'use-outbound-sa',
        protection: 1,
        slot: 3,
      },
    );
    expect(ops(state)).toEqual([
      'set-mark-policy',
      'set-bridge',
      'set-protection',
      'add-outbound-sa',
      'use-outbound-sa',
      'set-tunnel-port',
    ]);
    expect(state.commands()).toContainEqual({ op: 'set-protection', protection: 1, state: 'protected' });
  });

  it('says protected for what was once protected, whatever came of its SA', () => {
    const state = stateAfter(
      BRIDGE,
      PROTECTION,
      { op: 'add-outbound-sa', sa: sa(3) },
      { op: 'use-outbound-sa', protection: 1, slot: 3 },
      { op: 'remove-outbound-sa', slot: 3 },
    );
    expect(state.commands()).toContainEqual({ op: 'set-protection', protection: 1, state: 'protected' });
    expect(ops(state)).not.toContain('use-outbound-sa');
    expect(() => state.record({ op: 'set-protection', protection: 1, state: 'never-up' })).toThrow(
      /cannot become never-up/,
    );
    state.record({ op: 'set-protection', protection: 1, state: 'invalid' });
    expect(() => state.record({ op: 'set-protection', protection: 1, state: 'never-up' })).toThrow(
      /cannot become never-up/,
    );
  });

  it('forgets what is removed', () => {
    const state = stateAfter(
      BRIDGE,
      PROTECTION,
      tunnel(2),
      { op: 'add-outbound-sa', sa: sa(3) },
      { op: 'remove-outbound-sa', slot: 3 },
      { op: 'remove-port', port: 2 },
      { op: 'remove-protection', protection: 1 },
      { op: 'remove-bridge', bridge: 0 },
    );
    expect(ops(state)).toEqual(['set-mark-policy']);
  });

  it('sends on one SA with all workers and on others with single ones, each until that SA goes', () => {
    const use = (slot: number, worker?: number): EngineCommand => ({
      op: 'use-outbound-sa',
      protection: 1,
      slot,
      worker,
    });
    const state = stateAfter(
      BRIDGE,
      PROTECTION,
      ...[3, 4, 5].map((slot): EngineCommand => ({ op: 'add-outbound-sa', sa: sa(slot) })),
      use(3),
      use(4, 0),
      use(5, 1),
    );
    const used = () => state.commands().flatMap((command) => (command.op === 'use-outbound-sa' ? [command] : []));
    expect(used()).toMatchObject([{ slot: 3 }, { slot: 4, worker: 0 }, { slot: 5, worker: 1 }]);
    expect(() => state.record(use(6, 1))).toThrow(/slot 6 is no SA of protection 1/);
    state.record({ op: 'remove-outbound-sa', slot: 3 });
    state.record({ ...use(5, 1), slot: undefined } as EngineCommand);
    expect(used()).toMatchObject([{ slot: 4, worker: 0 }]);
    state.record({ op: 'remove-protection', protection: 1 });
    expect(used()).toEqual([]);
  });

  it('has keys of its own, which it wipes with the SA', () => {
    const theirs = sa(3);
    const state = stateAfter(PROTECTION, { op: 'add-outbound-sa', sa: theirs });
    const kept = state.commands().find((command) => command.op === 'add-outbound-sa')!;
    theirs.keyAndSalt.fill(0);
    expect(kept.sa.keyAndSalt).toEqual(new Uint8Array(20).fill(3));
    state.record({ op: 'remove-outbound-sa', slot: 3 });
    expect(kept.sa.keyAndSalt).toEqual(new Uint8Array(20));
  });
});

it('takes as many TAPs as one poll can watch, and any number of tunnels beside them', () => {
  const state = new DesiredState({ ...TEST_LIMITS, ports: 2000 });
  state.record(BRIDGE);
  const tap = (port: number): EngineCommand => ({ op: 'set-tap-port', port, bridge: 0, name: `p${port}`, fds: [port] });
  for (let port = 0; port < 1000; port++) state.record(tap(port));
  expect(() => state.record(tap(1000))).toThrow(/port p1000: there are 1000 TAP and device ports/);
  state.record(tap(999));
  state.record(tunnel(1000));
});

describe('what the uplink is asked for', () => {
  it('is nothing but ESP without tunnels', () => {
    expect(stateAfter(BRIDGE).demand()).toEqual({
      ipv4: { esp: true, espInUdp: false, gre: false, udpPorts: [], tcpPorts: [] },
      ipv6: undefined,
      marks: [0],
    });
  });

  it('is what the tunnels there are can receive and send with, each once', () => {
    const state = stateAfter(
      BRIDGE,
      { op: 'set-mark-policy', drop: undefined, uplinkMark: 9 },
      tunnel(2),
      tunnel(3, { type: 'vxlan', destinationPort: 4789, egressMark: 0xffffffff }),
      tunnel(4, { type: 'vxlan', destinationPort: 4789, egressMark: 9 }),
      tunnel(5, { type: 'geneve', destinationPort: 6081 }),
    );
    expect(state.demand()).toEqual({
      ipv4: { esp: true, espInUdp: false, gre: true, udpPorts: [4789, 6081], tcpPorts: [] },
      ipv6: undefined,
      marks: [9, 0xffffffff],
    });
    for (const port of [2, 3, 4]) state.record({ op: 'remove-port', port });
    expect(state.demand()).toEqual({
      ipv4: { esp: true, espInUdp: false, gre: false, udpPorts: [6081], tcpPorts: [] },
      ipv6: undefined,
      marks: [9],
    });
  });
});
