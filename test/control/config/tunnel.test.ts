import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { formatIssue } from '../../../control/config/issue.ts';
import { ALL_KEYS } from '../../../control/config/keys.ts';
import { secretOf, stateOf, tunnelOf, withRemote } from './rows.ts';

const PSK = { psk: 'swordfish' };
const PKI = { certificate: '/c.pem', private_key: '/k.pem' };

describe('a well configured tunnel', () => {
  it('of the tutorial is CONFIGURED with the defaults of OVS', () => {
    const tunnel = tunnelOf('gre', { ...PSK, local_ip: '10.0.0.9' });
    expect(tunnel).toMatchObject({
      name: 'tun',
      bridge: 'br0',
      state: 'CONFIGURED',
      reason: undefined,
      wantsIpsec: true,
      pskSet: true,
      connection: 'gre:10.0.0.9-10.0.0.2',
      settings: {
        type: 'gre',
        local: '10.0.0.9',
        remote: '10.0.0.2',
        inKey: { kind: 'none' },
        outKey: { kind: 'none' },
        checksum: false,
        destinationPort: 0,
        ttl: 64,
        tos: 0,
        dontFragment: true,
        egressMark: undefined,
      },
    });
    expect(Buffer.from(secretOf(tunnel.ipsec!.auth)).toString()).toBe('swordfish');
    expect(tunnel.ipsec!.options).toEqual({
      ikeProposals: undefined,
      espProposals: undefined,
      ikeSeconds: 10_800,
      childSeconds: 3600,
      marginSeconds: 360,
      fuzzPercent: 100,
      dpdSeconds: 30,
      replayWindow: 1024,
      pfs: true,
      perWorker: false,
      encapsulation: 'auto',
      mode: 'transport',
      fragmentation: true,
      reauthenticate: false,
      localId: undefined,
      remoteId: undefined,
      ppk: undefined,
    });
  });

  it.each([
    ['gre', undefined, false],
    ['vxlan', undefined, true],
    ['geneve', undefined, true],
    ['geneve', 'false', false],
    ['gre', 'true', true],
    ['stt', undefined, false],
  ])('of type %s over IPv6 with csum %s sends checksums: %s', (type, csum, checksum) => {
    const ends = { local_ip: '2001:DB8:0:0:0::1', remote_ip: '2001:db8::0002' };
    const tunnel = tunnelOf(type, { ...PSK, ...ends, ...(csum === undefined ? {} : { csum }) });
    expect(tunnel).toMatchObject({
      state: 'CONFIGURED',
      settings: { local: '2001:db8::1', remote: '2001:db8::2', checksum },
    });
    expect(tunnel.connection).toMatch(/^[a-z]+:2001:db8::1-2001:db8::2/);
  });

  it('without psk, remote_cert and remote_name wants no IPsec', () => {
    expect(tunnelOf('vxlan', {})).toMatchObject({
      state: 'CONFIGURED',
      wantsIpsec: false,
      ipsec: undefined,
      connection: undefined,
    });
  });

  it.each([
    ['geneve', 6081],
    ['vxlan', 4789],
    ['stt', 7471],
  ])('of type %s uses port %i unless dst_port says otherwise, and its policy follows the port', (type, port) => {
    expect(tunnelOf(type, PSK).settings?.destinationPort).toBe(port);
    expect(tunnelOf(type, PSK).connection).toBe(`${type}:10.0.0.1-10.0.0.2:${port}`);
    expect(tunnelOf(type, { ...PSK, dst_port: '12345' }).connection).toBe(`${type}:10.0.0.1-10.0.0.2:12345`);
  });

  it.each([
    [{ key: '100' }, { kind: 'fixed', key: 100 }, { kind: 'fixed', key: 100 }],
    [
      { key: '0x64', in_key: '7' },
      { kind: 'fixed', key: 7 },
      { kind: 'fixed', key: 100 },
    ],
    [{ key: 'flow' }, { kind: 'flow' }, { kind: 'flow' }],
    [{ out_key: '0' }, { kind: 'none' }, { kind: 'fixed', key: 0 }],
    [{ key: '4294967295' }, { kind: 'fixed', key: 0xffffffff }, { kind: 'fixed', key: 0xffffffff }],
  ])('reads the keys %j', (options, inKey, outKey) => {
    expect(tunnelOf('gre', options as unknown as Record<string, string>).settings).toMatchObject({ inKey, outKey });
  });

  it('reads the details of the outer header', () => {
    const options = { csum: 'true', df_default: 'false', tos: '0x28', ttl: '10', egress_pkt_mark: '0xffffffff' };
    expect(tunnelOf('vxlan', options).settings).toMatchObject({
      checksum: true,
      dontFragment: false,
      tos: 0x28,
      ttl: 10,
      egressMark: 0xffffffff,
    });
  });

  it.each([
    [{}, 'auto', 'transport'],
    [{ ipsec_encapsulation: 'yes', ipsec_type: 'tunnel' }, 'yes', 'tunnel'],
    [{ ipsec_encapsulation: 'no' }, 'no', 'transport'],
    [{ ipsec_forceencaps: 'true' }, 'yes', 'transport'],
    [{ ipsec_forceencaps: 'false' }, 'auto', 'transport'],
  ] as const)('with %o has UDP encapsulation %s and %s mode', (options, encapsulation, mode) => {
    expect(tunnelOf('gre', { ...PSK, ...options }).ipsec!.options).toMatchObject({ encapsulation, mode });
  });

  it('reads ipsec_* options in the spellings of strongSwan and Libreswan', () => {
    const options = {
      ...PSK,
      ipsec_ike: 'aes256',
      ipsec_esp: 'aes128gcm16',
      ipsec_ikelifetime: '8h',
      ipsec_lifetime: '30m',
      ipsec_rekeymargin: '90s',
      ipsec_rekeyfuzz: '50%',
      'ipsec_dpd-delay': '5',
      'ipsec_replay-window': '128',
      ipsec_pfs: 'no',
      ipsec_per_worker_sas: 'yes',
      ipsec_type: 'transport',
      ipsec_encapsulation: 'auto',
      ipsec_fragmentation: 'no',
      ipsec_reauth: 'yes',
      ipsec_leftid: '@host1',
      ipsec_rightid: '10.9.9.9',
    };
    const tunnel = tunnelOf('gre', options);
    expect(tunnel.reason).toBeUndefined();
    expect(tunnel.ipsec!.options).toEqual({
      ikeProposals: [{ transforms: [] }],
      espProposals: [{ transforms: [] }],
      ikeSeconds: 28_800,
      childSeconds: 1800,
      marginSeconds: 90,
      fuzzPercent: 50,
      dpdSeconds: 5,
      replayWindow: 128,
      pfs: false,
      perWorker: true,
      encapsulation: 'auto',
      mode: 'transport',
      fragmentation: false,
      reauthenticate: true,
      localId: { type: 'fqdn', value: 'host1' },
      remoteId: { type: 'ipv4', value: '10.9.9.9' },
      ppk: undefined,
    });
    expect(tunnel.customOptions.get('rekeymargin')).toBe('90s');
  });

  it('reads a post-quantum preshared key, which nothing shows: no option listed, no reason, no issue, no JSON', () => {
    const secret = 'correct horse battery staple';
    const good = { ...PSK, ipsec_ppk: secret, ipsec_ppk_id: 'a-b', ipsec_ppk_required: 'yes' };
    const wrong: Record<string, string>[] = [
      { ...PSK, ipsec_ppk: secret },
      { ...PSK, ipsec_ppk: secret, ipsec_ppk_id: 'x'.repeat(129) },
      { ...PSK, ipsec_ppk: secret, ipsec_ppk_id: 'a-b', ipsec_ppk_required: 'maybe' },
      { ...PSK, ipsec_ppkk: secret, ipsec_ppk_id: 'a-b' },
    ];
    for (const options of [good, ...wrong]) {
      const state = stateOf([{ name: 'tun', options: withRemote(options) }]);
      expect(state.tunnels[0]!.state).toBe(options === good ? 'CONFIGURED' : 'INVALID');
      expect(inspect(state, { depth: 20 }) + JSON.stringify(state)).not.toContain('horse');
      expect([...state.tunnels[0]!.customOptions.values()].join()).not.toContain('horse');
    }
    const { ppk } = tunnelOf('gre', good).ipsec!.options;
    expect(ppk).toMatchObject({ id: 'a-b', required: true });
    expect(Buffer.from(ppk!.secret.reveal()).toString()).toBe(secret);
    expect(tunnelOf('gre', { ...PSK, ipsec_ppk: secret, ipsec_ppk_id: 'a' }).ipsec!.options.ppk!.required).toBe(false);
  });

  it.each([
    [{ ipsec_ppk: 'x' }, /ipsec_ppk_id is not set, expected a name of at most 128 bytes with options:ipsec_ppk/],
    [{ ipsec_ppk_id: 'x' }, /ipsec_ppk is not set, expected .* with options:ipsec_ppk_id/],
    [{ ipsec_ppk_required: 'yes' }, /ipsec_ppk is not set, expected .* with options:ipsec_ppk_required/],
    [{ ipsec_ppk: '', ipsec_ppk_id: 'x' }, /options:ipsec_ppk is "\(set\)", expected a post-quantum preshared key/],
  ])('with %j is INVALID: half a post-quantum preshared key protects nothing', (options, reason) => {
    expect(tunnelOf('gre', { ...PSK, ...options } as Record<string, string>).reason).toMatch(reason);
  });

  it('with another post-quantum preshared key than the tunnel whose connection it shares is told of', () => {
    const of = (name: string, ppk: string, port: string) => ({
      name,
      type: 'gre' as const,
      options: withRemote({ ...PSK, key: port, ipsec_ppk: ppk, ipsec_ppk_id: 'a' }),
    });
    expect(stateOf([of('t1', 'one', '1'), of('t2', 'one', '2')]).issues).toEqual([]);
    expect(stateOf([of('t1', 'one', '1'), of('t2', 'two', '2')]).issues).toHaveLength(1);
  });

  it('is not CONFIGURED less for an option nobody knows, which is told without its value', () => {
    const state = stateOf([{ name: 'tun', options: withRemote({ ...PSK, pskk: 'secret1', ipsec_mobike: 'secret2' }) }]);
    expect(state.tunnels[0]!.state).toBe('CONFIGURED');
    const lines = state.issues.map(formatIssue);
    expect(lines).toHaveLength(2);
    expect(lines[0]).toBe(
      'interface tun: options:pskk is "(ignored)", expected an option of gre tunnels; check its spelling or remove it: ovs-vsctl remove interface tun options pskk',
    );
    expect(lines.join()).not.toMatch(/secret/);
  });

  it.each(['ttl', 'tos'])('takes %s=inherit', (key) => {
    const state = stateOf([{ name: 'tun', options: withRemote({ [key]: 'inherit' }) }]);
    expect(state.tunnels[0]!.settings).toMatchObject({ [key]: 'inherit' });
    expect(state.issues).toEqual([]);
  });

  it('takes exts=gbp of VXLAN', () => {
    expect(tunnelOf('vxlan', { exts: 'gbp' }).settings).toMatchObject({ gbp: true });
    expect(tunnelOf('vxlan', {}).settings).toMatchObject({ gbp: false });
  });

  it('has a rekey margin that fits into a short lifetime', () => {
    const { options } = tunnelOf('gre', { ...PSK, ipsec_salifetime: '10s', ipsec_rekeyfuzz: '1000%' }).ipsec!;
    expect(options.marginSeconds * (1 + options.fuzzPercent / 100)).toBeLessThan(10);
  });
});

describe('the rules of ovs-monitor-ipsec, in its order and words', () => {
  const UNSET_WITH_PSK =
    "'certificate', 'private_key', 'ca_cert', 'remote_cert', and 'remote_name' must be unset with PSK";
  it.each([
    ["'remote_ip' is not set", { ...PSK, remote_ip: '', remote_name: 'x' }, {}],
    ["'remote_ip' is not set", { remote_ip: '' }, {}],
    [UNSET_WITH_PSK, { ...PSK, remote_name: 'x' }, {}],
    [UNSET_WITH_PSK, { ...PSK, remote_cert: '/x' }, {}],
    [UNSET_WITH_PSK, PSK, PKI],
    [UNSET_WITH_PSK, PSK, { ca_cert: '/ca' }],
    ['must choose a authentication method', { psk: '' }, {}],
    ['must choose a authentication method', { remote_name: '' }, PKI],
    [
      "must set 'certificate' as local certificate when using CA-signed certificate or self-signed certificate to authenticate peers",
      { remote_name: 'x' },
      {},
    ],
    [
      "must set 'private_key' as local private key when using CA-signed certificate or self-signed certificate to authenticate peers",
      { remote_name: 'x' },
      { certificate: '/c' },
    ],
    [
      "must set 'remote_cert' when using self-signed certificate authentication or 'ca_cert' when using CA-signed certificate authentication",
      { remote_name: 'x' },
      PKI,
    ],
  ])('%s', (reason, options, otherConfig) => {
    expect(
      tunnelOf('gre', options as unknown as Record<string, string>, otherConfig as unknown as Record<string, string>),
    ).toMatchObject({
      state: 'INVALID',
      reason,
      ipsec: undefined,
      connection: undefined,
    });
  });

  it('keeps the settings of a tunnel that is INVALID for its authentication, so that its packets can be dropped', () => {
    expect(tunnelOf('gre', { psk: '' }).settings).toMatchObject({ local: '10.0.0.1', remote: '10.0.0.2' });
  });
});

describe('a wrong value', () => {
  const set = 'for instance: ovs-vsctl set interface tun options:';
  it.each([
    [
      'gre',
      { remote_ip: '10.0.0.300' },
      `options:remote_ip is "10.0.0.300", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { remote_ip: 'host.example' },
      `options:remote_ip is "host.example", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { remote_ip: '224.0.0.5' },
      `options:remote_ip is "224.0.0.5", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { remote_ip: '255.255.255.255' },
      `options:remote_ip is "255.255.255.255", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { remote_ip: 'flow' },
      'options:remote_ip is "flow", expected a unicast IPv4 or IPv6 address; flow-based tunnels are supported beside a real ovs-vswitchd only',
    ],
    [
      'gre',
      { remote_ip: 'fd00::2', local_ip: '10.0.0.1' },
      'options:local_ip is "10.0.0.1", expected an IPv6 address, as remote_ip fd00::2 is one; give both ends addresses of one family',
    ],
    [
      'gre',
      { remote_ip: 'fe80::2' },
      `options:remote_ip is "fe80::2", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { remote_ip: '::ffff:10.0.0.2' },
      `options:remote_ip is "::ffff:10.0.0.2", expected a unicast IPv4 or IPv6 address; ${set}remote_ip=10.0.0.2`,
    ],
    [
      'gre',
      { local_ip: 'fd00::1' },
      'options:local_ip is "fd00::1", expected an IPv4 address, as remote_ip 10.0.0.2 is one; give both ends addresses of one family',
    ],
    [
      'gre',
      { local_ip: '0.0.0.0' },
      `options:local_ip is "0.0.0.0", expected a unicast IPv4 or IPv6 address of this host; ${set}local_ip=10.0.0.1`,
    ],
    [
      'gre',
      { local_ip: '10.0.0.2' },
      'options:remote_ip is "10.0.0.2", expected an address of another host; this one is ours; a tunnel to oneself leads nowhere: set it to the address of the other end',
    ],
    ['gre', { key: '4294967296' }, `options:key is "4294967296", expected 0 to 4294967295, or flow; ${set}key=100`],
    ['gre', { in_key: '-1' }, `options:in_key is "-1", expected 0 to 4294967295, or flow; ${set}in_key=100`],
    [
      'vxlan',
      { key: '16777216' },
      `options:key is "16777216", expected 0 to 16777215 for vxlan, or flow; ${set}key=100`,
    ],
    [
      'geneve',
      { out_key: '16777216' },
      `options:out_key is "16777216", expected 0 to 16777215 for geneve, or flow; ${set}out_key=100`,
    ],
    ['gre', { csum: 'yes' }, `options:csum is "yes", expected true or false; ${set}csum=true`],
    ['gre', { df_default: '1' }, `options:df_default is "1", expected true or false; ${set}df_default=false`],
    ['gre', { ttl: '256' }, `options:ttl is "256", expected 1 to 255, 0 for the default, or inherit; ${set}ttl=64`],
    [
      'gre',
      { tos: '0x29' },
      `options:tos is "0x29", expected 0 to 252 with the two ECN bits zero, or inherit; ${set}tos=0x28`,
    ],
    ['vxlan', { dst_port: '0' }, `options:dst_port is "0", expected 1 to 65535; ${set}dst_port=6081`],
    ['vxlan', { exts: 'gpe' }, `options:exts is "gpe", expected gbp (VXLAN-GPE is not supported); ${set}exts=gbp`],
    [
      'gre',
      { packet_type: 'legacy_l3' },
      `options:packet_type is "legacy_l3", expected legacy_l2; ${set}packet_type=legacy_l2`,
    ],
    [
      'gre',
      { egress_pkt_mark: '1/1' },
      `options:egress_pkt_mark is "1/1", expected 0 to 4294967295; ${set}egress_pkt_mark=1`,
    ],
    ['stt', { key: '4294967296' }, `options:key is "4294967296", expected 0 to 4294967295, or flow; ${set}key=100`],
    [
      'gre',
      { ...PSK, ipsec_type: 'x' },
      `options:ipsec_type is "x", expected transport or tunnel; ${set}ipsec_type=transport`,
    ],
    [
      'gre',
      { ...PSK, ipsec_encapsulation: 'maybe' },
      `options:ipsec_encapsulation is "maybe", expected yes, no or auto; ${set}ipsec_encapsulation=auto`,
    ],
    [
      'gre',
      { ...PSK, ipsec_replay_window: '63' },
      `options:ipsec_replay_window is "63", expected 64 to 4096 packets; ${set}ipsec_replay_window=1024`,
    ],
    [
      'gre',
      { ...PSK, ipsec_salifetime: '9s' },
      `options:ipsec_salifetime is "9s", expected 10s to 7d; ${set}ipsec_salifetime=1h`,
    ],
    [
      'gre',
      { ...PSK, ipsec_ikelifetime: '1w' },
      `options:ipsec_ikelifetime is "1w", expected 10s to 7d; ${set}ipsec_ikelifetime=3h`,
    ],
    [
      'gre',
      { ...PSK, ipsec_dpddelay: 'never' },
      `options:ipsec_dpddelay is "never", expected 0s (never) to 1d; ${set}ipsec_dpddelay=30s`,
    ],
    ['gre', { ...PSK, ipsec_pfs: 'maybe' }, `options:ipsec_pfs is "maybe", expected yes or no; ${set}ipsec_pfs=yes`],
    [
      'gre',
      { ...PSK, ipsec_rekeyfuzz: '1001%' },
      `options:ipsec_rekeyfuzz is "1001%", expected 0% to 1000%; ${set}ipsec_rekeyfuzz=100%`,
    ],
    [
      'gre',
      { ...PSK, ipsec_margintime: '30m' },
      `options:ipsec_margintime is "1800s", expected less than the shorter lifetime (3600s) when stretched by ipsec_rekeyfuzz (to 3600s); ${set}ipsec_margintime=9m`,
    ],
    [
      'gre',
      { ...PSK, ipsec_ike: 'rot13' },
      `options:ipsec_ike is "rot13", expected IKE proposals like aes256gcm16-prfsha256-modp2048 (unknown algorithm in ike); ${set}ipsec_ike=aes256gcm16-prfsha256-modp2048`,
    ],
    [
      'gre',
      { ...PSK, ipsec_esp: 'rot13' },
      `options:ipsec_esp is "rot13", expected ESP proposals like aes256gcm16 (unknown algorithm in esp); ${set}ipsec_esp=aes256gcm16`,
    ],
  ])('makes a %s tunnel with %j INVALID, saying what, why and how to mend it', (type, options, reason) => {
    const tunnel = tunnelOf(type, options as unknown as Record<string, string>);
    expect(tunnel.reason).toBe(reason);
    expect(tunnel.state).toBe('INVALID');
    expect(tunnel.ipsec).toBeUndefined();
  });

  it('leaves every other tunnel as it is', () => {
    const state = stateOf([
      { name: 'bad', options: { remote_ip: 'x', ...PSK } },
      { name: 'good', options: { remote_ip: '10.0.0.3', ...PSK } },
    ]);
    expect(state.tunnels.map(({ name, state: is }) => [name, is])).toEqual([
      ['bad', 'INVALID'],
      ['good', 'CONFIGURED'],
    ]);
  });

  it('cannot break the line it is told in', () => {
    const { reason } = tunnelOf('gre', { key: `1\nERROR forged ${'x'.repeat(500)}` });
    expect(reason).toMatch(/^options:key is "1\\nERROR forged x+…", expected/);
    expect(reason!.length).toBeLessThan(300);
  });

  it('is told when there is neither local_ip nor a route', () => {
    const state = stateOf([{ name: 'tun', options: withRemote(PSK) }], {}, { defaultLocalAddress: () => undefined });
    expect(state.tunnels[0]!.reason).toBe(
      'options:local_ip is not set, expected one while there is no route to remote_ip 10.0.0.2; for instance: ovs-vsctl set interface tun options:local_ip=10.0.0.1',
    );
  });
});

describe('a pre-shared key', () => {
  it('shows itself neither in JSON nor in inspect nor in any reason', () => {
    const options = { ...PSK, psk: 'sw0rdf1sh', ttl: '900' };
    const state = stateOf([
      { name: 'a', options: withRemote({ ...PSK, psk: 'sw0rdf1sh' }) },
      { name: 'b', options: withRemote(options) },
      { name: 'c', options: withRemote({ psk: 'sw0rdf1sh2', key: '5' }) },
      { name: 'd', options: withRemote({ psk: 'sw0rdf1sh', remote_cert: '/x' }) },
    ]);
    expect(state.connections).toHaveLength(1);
    expect(inspect(state, { depth: 20, showHidden: true })).not.toContain('sw0rdf1sh');
    expect(JSON.stringify(state)).not.toContain('sw0rdf1sh');
    expect(`${(state.tunnels[0]!.ipsec!.auth as { secret?: unknown }).secret}`).toBe('(set)');
  });
});

describe('the table of keys', () => {
  it('has an example that its own check takes, for each key that takes any', () => {
    for (const key of ALL_KEYS) {
      if (key.example === '') continue;
      expect(key.parse(key.example), `${key.column}:${key.key}=${key.example}`).toBeDefined();
    }
  });

  it('has each key once, and a sentence about it', () => {
    const names = ALL_KEYS.flatMap((key) => [key.key, ...(key.aliases ?? [])].map((name) => `${key.table} ${name}`));
    expect(new Set(names).size).toBe(names.length);
    for (const key of ALL_KEYS) expect(key.documentation).toMatch(/^[A-Z`in_].*\.$/);
  });
});
