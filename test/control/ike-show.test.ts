import { describe, expect, it } from 'vitest';
import { connectionsOf, ikeLog, ikeShow } from '../../control/ike-show.ts';
import { connectedPair, makePair } from '../ike/engine/pair.ts';
import { A, B, connectionOf } from '../ike/simulation/tunnels.ts';

describe('ike/show', () => {
  it('shows SPIs, endpoints, suite and times of what is up', () => {
    const { a, world } = connectedPair();
    world.run(60_000 - world.nowMs);
    const text = ikeShow(a.engine.status(), a.engine.load(), world.nowMs);
    const lines = text.split('\n');
    expect(lines[0]).toBe('10.0.0.1-10.0.0.2:');
    expect(lines[1]).toMatch(
      /^ {2}IKE SA [0-9a-f]{16}_i\* [0-9a-f]{16}_r: established, 60 s old, rekey in \d+ s, end in 10740 s$/,
    );
    expect(lines[2]).toBe('    local 10.0.0.1 at 10.0.0.1[500], remote 10.0.0.2 at 10.0.0.2[500]');
    expect(lines[3]).toBe('    AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519; no NAT');
    expect(lines[4]).toMatch(
      /^ {2}child gre\{1\}: installed, SPIs 00001000_i 00001000_o, 60 s old, rekey in \d+ s, end in 3540 s$/,
    );
    expect(lines[5]).toMatch(/^1 connections, 1 IKE SAs \(0 half open\), 1 child SAs, \d+ timers$/);
  });

  it('shows what is down with its last failure', () => {
    const pair = makePair();
    pair.a.set(connectionOf(A, B));
    pair.world.run(10);
    const text = ikeShow(pair.a.engine.status(), pair.a.engine.load(), pair.world.nowMs);
    expect(text).toContain('connecting');
    expect(text).toContain('last failure: peer refused IKE_SA_INIT (NO_PROPOSAL_CHOSEN)');
  });
});

describe('ike/log', () => {
  it('puts the date in front of each line', () => {
    expect(ikeLog([{ atMs: 1500, text: 'sent' }], Date.UTC(2026, 0, 2, 3, 4, 5))).toBe(
      '2026-01-02T03:04:06.500Z sent\n',
    );
    expect(ikeLog([], 0)).toBe('nothing was said yet\n');
  });

  it('finds a connection by name, by address of the peer, and by tunnel', () => {
    const status = connectedPair().a.engine.status();
    const none = (): undefined => undefined;
    expect(connectionsOf(status, '10.0.0.2', none)).toEqual(['10.0.0.1-10.0.0.2']);
    expect(connectionsOf(status, '10.0.0.1-10.0.0.2', none)).toEqual(['10.0.0.1-10.0.0.2']);
    expect(connectionsOf(status, 'tun', (tunnel) => (tunnel === 'tun' ? '10.0.0.1-10.0.0.2' : undefined))).toHaveLength(
      1,
    );
    expect(connectionsOf(status, '10.0.0.1', none)).toEqual([]);
  });
});
