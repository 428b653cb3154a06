/** What an operator, or a program, may put into the database: each thing gets its reason and leaves the rest alone. */
import { describe, expect, it } from 'vitest';
import { type TunnelView, tunnelsShow } from '../../../control/tunnels-show.ts';
import { stateOf, type TunnelRow, tunnelOf, withRemote } from './rows.ts';

const GOOD: TunnelRow = { name: 'good', options: { remote_ip: '10.0.0.50', psk: 'swordfish' } };

/** The reason of a tunnel beside a good one, which stays as it is. */
function reasonOf(tunnel: TunnelRow, ...others: TunnelRow[]): string | undefined {
  const { tunnels } = stateOf([GOOD, ...others, tunnel]);
  expect(tunnels.find(({ name }) => name === 'good')).toMatchObject({ state: 'CONFIGURED', reason: undefined });
  return tunnels.find(({ name }) => name !== 'good' && !others.some((other) => other.name === name))?.reason;
}

describe('names of interfaces', () => {
  it.each(['tun\nInterface name: fake v1 (CONFIGURED)', 'a\tb', '\u001b[2J', 'left\u202eright'])(
    'with control characters make a tunnel INVALID and no line of their own: %j',
    (name) => {
      const { tunnels, issues } = stateOf([{ name, options: withRemote({ psk: 'x', colour: 'blue' }) }]);
      expect(tunnels[0]).toMatchObject({
        state: 'INVALID',
        reason: expect.stringMatching(/^the name ".*" has control characters, expected none; choose another$/),
        wantsIpsec: true,
        settings: expect.objectContaining({ remote: '10.0.0.2' }),
      });
      for (const text of [tunnels[0]!.name, tunnels[0]!.reason!, ...issues.map(({ subject }) => subject)])
        expect(text).not.toMatch(/\p{Cc}|\u202e/u);
    },
  );

  it.each(['-x', '"q"', "it's", '$(reboot)', '../../etc', 'ü', ' ', '%s', 'x'.repeat(200)])(
    'that are only odd are names like others: %j',
    (name) => expect(reasonOf({ name, options: withRemote({ psk: 'x' }) })).toBeUndefined(),
  );

  it('and texts of options cannot forge a field of tunnels/show', () => {
    const view: TunnelView = {
      ...{ name: 'tun', version: 1, state: 'INVALID', reason: 'none', type: 'gre', localIp: undefined },
      remoteIp: '10.0.0.2\n  PSK:            swordfish',
      ...{ family: undefined, skbMark: '0/1\n', certificates: {}, pskSet: true, customOptions: { ike: 'a\nb' } },
      ...{ ofport: undefined, cfmFault: undefined, policies: [], saState: 'none', lastFailure: undefined },
      ...{ ike: [], children: [], drops: {}, traffic: { rxPackets: 0, rxBytes: 0, txPackets: 0, txBytes: 0 } },
    };
    const lines = tunnelsShow([view]).split('\n');
    expect(lines.filter((line) => line.includes('PSK:'))).toEqual([
      '  Remote IP:      10.0.0.2\\n  PSK:            swordfish',
      '  PSK:            (set)',
    ]);
    expect(lines).toContain("  Custom Options: {'ike': 'a\\nb'}");
  });
});

describe('tunnels that lead nowhere', () => {
  it.each(['10.0.0.1', '10.0.0.99'])('to an address of this host: %s', (remote_ip) => {
    expect(reasonOf({ name: 'self', options: { remote_ip, psk: 'x' } })).toBe(
      `options:remote_ip is "${remote_ip}", expected an address of another host; this one is ours; a tunnel to oneself leads nowhere: set it to the address of the other end`,
    );
  });

  it('with IPsec and the same key and peer as another, which keeps what it has', () => {
    const first = { name: 'first', options: withRemote({ psk: 'x', key: '7' }) };
    expect(reasonOf({ name: 'second', options: withRemote({ psk: 'x', key: '7' }) }, first)).toBe(
      'same type, addresses, key and port as interface first: give one of them another options:key',
    );
  });
});

describe('settings that contradict each other', () => {
  it.each([
    [{ psk: 'x', remote_cert: '/c.pem' }, /must be unset with PSK|remote_cert/],
    [{ psk: 'x', remote_name: 'host' }, /remote_name/],
    [{ psk: 'x', local_ip: '2001:db8::1' }, /^options:local_ip is "2001:db8::1", expected an IPv4 address/],
    [{ psk: '' }, /must choose a authentication method/],
    [
      { psk: 'x', ipsec_salifetime: '10s', ipsec_margintime: '9s', ipsec_rekeyfuzz: '100%' },
      /^options:ipsec_margintime/,
    ],
  ])('are refused in one line that names the key: %j', (options, reason) => {
    const tunnel = tunnelOf('gre', options);
    expect(tunnel.state).toBe('INVALID');
    expect(tunnel.reason).toMatch(reason);
    expect(tunnel.reason).not.toContain('\n');
  });
});

it('one wrong tunnel among 5,000 is the only one that is INVALID', () => {
  const rows = Array.from({ length: 5000 }, (_, index): TunnelRow => {
    const remote_ip = `10.${1 + (index >> 8)}.${index & 255}.9`;
    return { name: `tun${index}`, options: { remote_ip, psk: 'x', ...(index === 4321 ? { ttl: '900' } : {}) } };
  });
  const { tunnels, connections } = stateOf(rows);
  expect(tunnels.filter(({ state }) => state === 'INVALID').map(({ name }) => name)).toEqual(['tun4321']);
  expect(connections).toHaveLength(4999);
});
