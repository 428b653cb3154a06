import { describe, expect, it } from 'vitest';
import type { OutboundSa, ProtectionState, TunnelSettings } from '../../dataplane/commands.ts';
import {
  PATH_MTU_LIFE_MS,
  PathMtus,
  parseTooBig,
  RECENT_SEQUENCES,
  type SentPackets,
} from '../../dataplane/path-mtu.ts';
import { tunnelSettings } from './encap/tunnel-settings.ts';

const LOCAL = [192, 0, 2, 1];
const REMOTE = [192, 0, 2, 2];
const SPI = 0xc0ffee01;
const LAST = 100_000;

/** ICMP of a router about an IPv4 packet of ours with this payload. */
function icmp4(
  mtu: number,
  protocol: number,
  payload: readonly number[],
  { length = 1500, local = LOCAL, remote = REMOTE } = {},
): Uint8Array {
  const quoted = [
    0x45,
    0,
    length >> 8,
    length & 255,
    0,
    0,
    0x40,
    0,
    60,
    protocol,
    0,
    0,
    ...local,
    ...remote,
    ...payload,
  ];
  return Uint8Array.of(
    0x45,
    0,
    0,
    28 + quoted.length,
    0,
    0,
    0,
    0,
    64,
    1,
    0,
    0,
    203,
    0,
    113,
    9,
    ...local,
    3,
    4,
    0,
    0,
    0,
    0,
    mtu >> 8,
    mtu & 255,
    ...quoted,
  );
}

const NET = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

function icmp6(mtu: number, protocol: number, payload: readonly number[]): Uint8Array {
  const quoted = [0x60, 0, 0, 0, 1460 >> 8, 1460 & 255, protocol, 60, ...NET, 1, ...NET, 2, ...payload];
  return Uint8Array.of(2, 0, 0, 0, 0, 0, mtu >> 8, mtu & 255, ...quoted);
}

const word = (value: number): number[] => [value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255];
const esp = (sequence: number, spi = SPI): number[] => [...word(spi), ...word(sequence)];
const ports = (source: number, destination: number): number[] => [
  source >> 8,
  source & 255,
  destination >> 8,
  destination & 255,
  0,
  0,
  0,
  0,
];

function sent(change: Partial<{ state: ProtectionState; sa: Partial<OutboundSa> }> = {}): SentPackets {
  const sa = { slot: 3, spi: SPI, local: '192.0.2.1', remote: '192.0.2.2', ...change.sa } as OutboundSa;
  return {
    outboundSas: (spi) => (spi === sa.spi ? [sa] : []),
    lastSequence: () => LAST,
    protectionState: () => change.state ?? 'protected',
  };
}

function paths(...tunnels: readonly TunnelSettings[]): PathMtus {
  const result = new PathMtus();
  for (const [port, tunnel] of tunnels.entries()) result.setUplink(port, tunnel, 1500);
  return result;
}

const believed = (path: PathMtus, message: Uint8Array, view = sent(), family: 4 | 6 = 4): boolean => {
  const told = parseTooBig(family, message);
  return told !== undefined && path.learn(told, view, 0).length > 0;
};

describe('an ICMP message "too big"', () => {
  it('is read whole, and not at all when it is cut anywhere or is another message', () => {
    const message = icmp4(1400, 50, esp(7));
    expect(parseTooBig(4, message)).toMatchObject({
      mtu: 1400,
      local: '192.0.2.1',
      remote: '192.0.2.2',
      protocol: 50,
      length: 1500,
    });
    for (let length = 0; length < message.length; length++)
      expect(parseTooBig(4, message.subarray(0, length))).toBeUndefined();
    for (const [at, value] of [
      [20, 11],
      [21, 3],
      [28, 0x65],
    ] as const) {
      const other = message.slice();
      other[at] = value;
      expect(parseTooBig(4, other)).toBeUndefined();
    }
    const six = icmp6(1400, 50, esp(7));
    expect(parseTooBig(6, six)).toMatchObject({ mtu: 1400, local: '2001:db8::1', remote: '2001:db8::2', length: 1500 });
    for (let length = 0; length < six.length; length++) expect(parseTooBig(6, six.subarray(0, length))).toBeUndefined();
  });

  it('without an MTU means the next likely one below the packet (RFC 1191 section 7)', () => {
    expect(parseTooBig(4, icmp4(0, 50, esp(1)))?.mtu).toBe(1492);
    expect(parseTooBig(4, icmp4(0, 50, esp(1), { length: 1400 }))?.mtu).toBe(1006);
    expect(parseTooBig(4, icmp4(0, 50, esp(1), { length: 900 }))?.mtu).toBe(576);
  });
});

describe('a quoted ESP packet', () => {
  const tunnel = { ...tunnelSettings('geneve'), protection: 1 };

  it.each([LAST, LAST - RECENT_SEQUENCES + 1])('is ours with sequence number %i', (sequence) => {
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(sequence)))).toBe(true);
  });

  it.each([0, LAST + 1, 0xffffffff, LAST - RECENT_SEQUENCES])('is not with sequence number %i', (sequence) => {
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(sequence)))).toBe(false);
  });

  it('is not with an SPI or addresses of nobody, or another SA of that SPI', () => {
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST, SPI + 1)))).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST), { remote: [192, 0, 2, 9] }))).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST), { local: REMOTE, remote: LOCAL }))).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST)), sent({ sa: { remote: '192.0.2.7' } }))).toBe(false);
  });

  it('is not when it was not longer than the MTU', () => {
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST), { length: 1400 }))).toBe(false);
  });

  it('may stand in UDP, if the message quotes enough of it, with the addresses and ports that the NAT sees', () => {
    const local = { address: '192.0.2.1', port: 4500 };
    const remote = { address: '198.51.100.7', port: 61_000 };
    const view = sent({ sa: { udp: { local, remote } } });
    const udp = ports(4500, 61_000);
    const to = { remote: [198, 51, 100, 7] };
    expect(believed(paths(tunnel), icmp4(1400, 17, [...udp, ...esp(LAST)], to), view)).toBe(true);
    expect(believed(paths(tunnel), icmp4(1400, 17, [...udp, ...esp(LAST + 1)], to), view)).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 17, [...ports(4500, 4500), ...esp(LAST)], to), view)).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 17, [...udp, ...esp(LAST)]), view)).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 17, udp, to), view)).toBe(false);
    expect(believed(paths(tunnel), icmp4(1400, 50, esp(LAST), to), view)).toBe(false);
  });

  it('is found over IPv6, however the addresses are spelled', () => {
    const over6 = { ...tunnel, local: '2001:DB8:0::1', remote: '2001:db8::2' };
    const view = sent({ sa: { local: '2001:db8::1', remote: '2001:0db8::2' } });
    expect(believed(paths(over6), icmp6(1400, 50, esp(LAST)), view, 6)).toBe(true);
    expect(believed(paths(over6), icmp6(1400, 50, esp(LAST + 1)), view, 6)).toBe(false);
  });
});

describe('a quoted plaintext packet', () => {
  it('is ours when it has the protocol and ports of a tunnel', () => {
    expect(believed(paths(tunnelSettings('gre')), icmp4(1400, 47, [0x20, 0, 0x65, 0x58, 0, 0, 0, 7]))).toBe(true);
    expect(believed(paths(tunnelSettings('gre')), icmp4(1400, 47, [0x20, 0, 0x08, 0, 0, 0, 0, 7]))).toBe(false);
    const geneve = paths(tunnelSettings('geneve'));
    expect(believed(geneve, icmp4(1400, 17, ports(40_000, 6081)))).toBe(true);
    expect(believed(geneve, icmp4(1400, 17, ports(40_000, 4789)))).toBe(false);
    expect(believed(geneve, icmp4(1400, 17, ports(1000, 6081)))).toBe(false);
    expect(believed(geneve, icmp4(1400, 6, ports(40_000, 6081)))).toBe(false);
    const stt = paths({ ...tunnelSettings('stt'), destinationPort: 7471 });
    expect(believed(stt, icmp4(1400, 6, ports(40_000, 7471)))).toBe(true);
  });

  it.each([
    ['never-up', true],
    ['protected', false],
    ['invalid', false],
  ] as const)('of a tunnel whose protection is %s: %s', (state, ours) => {
    const path = paths({ ...tunnelSettings('gre'), protection: 1 });
    expect(believed(path, icmp4(1400, 47, [0, 0, 0x65, 0x58, 0, 0, 0, 0]), sent({ state }))).toBe(ours);
  });
});

describe('the MTU of a path', () => {
  const told = (mtu: number, family: 4 | 6 = 4) =>
    parseTooBig(family, family === 4 ? icmp4(mtu, 50, esp(LAST)) : icmp6(mtu, 50, esp(LAST)))!;

  it('is that of the uplink, or what a router said if that is less, for all tunnels to the peer', () => {
    const path = paths(tunnelSettings('gre'), tunnelSettings('vxlan'), tunnelSettings('gre', { remote: '192.0.2.3' }));
    expect(path.learn(told(1400), sent(), 0)).toEqual([0, 1]);
    expect([0, 1, 2].map((port) => path.mtuOf(port))).toEqual([1400, 1400, 1500]);
    path.setUplink(1, tunnelSettings('vxlan'), 1300);
    expect(path.mtuOf(1)).toBe(1300);
  });

  it('is never raised by a message, and never below what every path carries', () => {
    const path = paths(tunnelSettings('gre'));
    path.learn(told(1400), sent(), 0);
    expect(path.learn(told(1450), sent(), 1)).toEqual([]);
    expect(path.learn(told(1400), sent(), 1)).toEqual([]);
    expect(path.mtuOf(0)).toBe(1400);
    path.learn(told(68), sent(), 2);
    expect(path.mtuOf(0)).toBe(576);
    const over6 = paths({ ...tunnelSettings('gre'), local: '2001:db8::1', remote: '2001:db8::2' });
    over6.learn(told(600, 6), sent({ sa: { local: '2001:db8::1', remote: '2001:db8::2' } }), 0);
    expect(over6.mtuOf(0)).toBe(1280);
  });

  it('is forgotten after ten minutes', () => {
    const path = paths(tunnelSettings('gre'));
    path.learn(told(1400), sent(), 0);
    expect(path.age(PATH_MTU_LIFE_MS - 1)).toEqual([]);
    expect(path.age(PATH_MTU_LIFE_MS)).toEqual([0]);
    expect(path.mtuOf(0)).toBe(1500);
  });

  it('does not concern tunnels whose packets routers may fragment', () => {
    const path = paths(tunnelSettings('gre', { dontFragment: false }));
    expect(path.learn(told(1400), sent(), 0)).toEqual([]);
    expect(path.mtuOf(0)).toBe(1500);
  });

  it('goes with the last tunnel to the peer', () => {
    const path = paths(tunnelSettings('gre'), tunnelSettings('vxlan'));
    path.learn(told(1400), sent(), 0);
    path.remove(0);
    expect(path.mtuOf(1)).toBe(1400);
    path.remove(1);
    path.setUplink(1, tunnelSettings('vxlan'), 1500);
    expect(path.mtuOf(1)).toBe(1500);
    expect(path.ports()).toEqual([1]);
  });
});
