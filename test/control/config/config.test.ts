import { describe, expect, it } from 'vitest';
import { desiredState } from '../../../control/config/config.ts';
import { formatIssue } from '../../../control/config/issue.ts';
import { replicaOf, SURROUNDINGS, secretOf, stateOf, withRemote } from './rows.ts';

const PSK = { psk: 'swordfish' };

describe('bridges and ports', () => {
  it('are read with their defaults', () => {
    const state = desiredState(replicaOf({ Bridge: [{ name: 'br0', ports: ['eth1'] }] }), SURROUNDINGS);
    expect(state.bridges).toMatchObject([
      { name: 'br0', ageingMs: 300_000, fdbSize: 8192, hwaddr: undefined, datapathId: undefined, datapathType: '' },
    ]);
    expect(state.ports.map(({ name, kind }) => [name, kind])).toEqual([
      ['br0', 'local'],
      ['eth1', 'system'],
    ]);
    expect(state.rootUuid).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('are read with what is set', () => {
    const state = desiredState(
      replicaOf({
        Open_vSwitch: { next_cfg: 7 },
        Bridge: [
          {
            name: 'br0',
            ports: ['i0', 't0'],
            datapath_type: 'netdev',
            other_config: {
              'mac-aging-time': '15',
              'mac-table-size': '10',
              hwaddr: '02:AA:00:00:00:01',
              'datapath-id': '00000000000000AB',
            },
          },
        ],
        Interface: [
          { name: 'i0', type: 'internal', mac: '02:00:00:00:00:09', mtu_request: 1400, ofport_request: 3 },
          { name: 't0', type: 'tap' },
        ],
      }),
      SURROUNDINGS,
    );
    expect(state.nextCfg).toBe(7);
    expect(state.bridges).toMatchObject([
      {
        ageingMs: 15_000,
        fdbSize: 10,
        hwaddr: '02:aa:00:00:00:01',
        datapathId: '00000000000000ab',
        datapathType: 'netdev',
      },
    ]);
    expect(state.ports.map(({ name, kind, mac, mtu, ofportRequest }) => [name, kind, mac, mtu, ofportRequest])).toEqual(
      [
        ['br0', 'local', undefined, undefined, undefined],
        ['i0', 'internal', '02:00:00:00:00:09', 1400, 3],
        ['t0', 'tap', undefined, undefined, undefined],
      ],
    );
  });

  it('warn of wrong bridge settings and use the default', () => {
    const file = { Bridge: [{ name: 'br0', other_config: { 'mac-aging-time': '5', hwaddr: '01:00:00:00:00:01' } }] };
    const state = desiredState(replicaOf(file), SURROUNDINGS);
    expect(state.bridges[0]).toMatchObject({ ageingMs: 300_000, hwaddr: undefined });
    expect(state.issues.map(formatIssue)).toEqual([
      'bridge br0: other_config:mac-aging-time is "5", expected 15 to 3600 seconds; the default (300) is used; for instance: ovs-vsctl set bridge br0 other_config:mac-aging-time=300',
      `bridge br0: other_config:hwaddr is "01:00:00:00:00:01", expected a unicast MAC address; the default (the device's own) is used; for instance: ovs-vsctl set bridge br0 other_config:hwaddr=02:00:00:00:00:01`,
    ]);
  });

  it('that can not be are unsupported with a reason, and say so', () => {
    const state = desiredState(
      replicaOf({
        Bridge: [{ name: 'br0', ports: ['patch0', 'bond0'] }],
        Port: [{ name: 'bond0', interfaces: ['e1', 'e2'] }],
        Interface: [{ name: 'patch0', type: 'patch' }],
      }),
      SURROUNDINGS,
    );
    const kinds = Object.fromEntries(state.ports.map(({ name, kind, reason }) => [name, [kind, reason]]));
    expect(kinds.patch0![0]).toBe('unsupported');
    expect(kinds.patch0![1]).toMatch(/^type "patch" is not supported, expected/);
    expect(kinds.e1).toEqual(['system', undefined]);
    expect(kinds.e2).toEqual([
      'unsupported',
      'bonds are not supported yet: only the first interface of a port is used',
    ]);
    expect(state.issues).toEqual([]);
  });

  it('have the VLANs of their Port row, as ovs-vswitchd.conf.db(5) says what is the default', () => {
    const rows: Record<string, object> = {
      none: {},
      access: { tag: 5 },
      trunk: { trunks: [5, 6] },
      native: { vlan_mode: 'native-untagged', tag: 5, trunks: 6 },
      bare: { vlan_mode: 'access' },
      priority: { other_config: { 'priority-tags': 'always' } },
      vague: { vlan_mode: 'trunk', tag: 5 },
      twice: { tag: 5, trunks: [6] },
      'q-in-q': { vlan_mode: 'dot1q-tunnel', tag: 5 },
      far: { tag: 4096 },
      odd: { other_config: { 'priority-tags': 'yes' } },
    };
    const state = desiredState(
      replicaOf({
        Bridge: [{ name: 'br0', ports: Object.keys(rows) }],
        Port: Object.entries(rows).map(([name, row]) => ({ name, ...row })),
        Interface: [{ name: 'access', type: 'gre', options: { remote_ip: '10.0.0.2' } }],
      }),
      SURROUNDINGS,
    );
    const never = { priorityTags: 'never' };
    const read = Object.fromEntries([...state.ports, ...state.tunnels].map(({ name, vlans }) => [name, vlans]));
    const fine = (vlans: object | undefined) => ({ vlans, reason: undefined });
    expect(read).toMatchObject({
      none: fine(undefined),
      access: fine({ mode: 'access', tag: 5, trunks: [], ...never }),
      trunk: fine({ mode: 'trunk', tag: 0, trunks: [5, 6], ...never }),
      native: fine({ mode: 'native-untagged', tag: 5, trunks: [6], ...never }),
      bare: fine({ mode: 'access', tag: 0, trunks: [], ...never }),
      priority: fine({ mode: 'trunk', tag: 0, trunks: [], priorityTags: 'always' }),
      vague: fine(undefined),
      twice: fine({ mode: 'access', tag: 5, trunks: [], ...never }),
      'q-in-q': {
        reason:
          'vlan_mode is "dot1q-tunnel", expected access, trunk, native-tagged, native-untagged (dot1q-tunnel is not supported); the port is left out; ovs-vsctl clear port q-in-q vlan_mode',
      },
      far: { reason: 'tag is "4096", expected 0 to 4095; the port is left out; ovs-vsctl clear port far tag' },
      odd: fine(undefined),
    });
    expect(state.issues.map(formatIssue)).toEqual([
      'port odd: other_config:priority-tags is "yes", expected never, if-nonzero or always; the default (never) is used; for instance: ovs-vsctl set port odd other_config:priority-tags=if-nonzero',
      'port twice: trunks is "6", expected none with vlan_mode access; ignored; ovs-vsctl clear port twice trunks',
      'port vague: tag is "5", expected none with vlan_mode trunk; ignored; ovs-vsctl clear port vague tag',
    ]);
  });

  it('are none in an empty database', () => {
    expect(desiredState(new Map(), SURROUNDINGS)).toMatchObject({
      rootUuid: undefined,
      bridges: [],
      ports: [],
      tunnels: [],
    });
  });
});

describe('ipsec_skb_mark', () => {
  it.each([
    ['', undefined],
    ['0/1', { value: 0, mask: 1 }],
    ['1/1', { value: 1, mask: 1 }],
    ['0x10/0xff', { value: 16, mask: 255 }],
    ['7', { value: 7, mask: 0xffffffff }],
    ['0', { value: 0, mask: 0xffffffff }],
    ['4294967295/0xFFFFFFFF', { value: 0xffffffff, mask: 0xffffffff }],
  ])('%j is read', (text, drop) => {
    const state = stateOf([], { ipsec_skb_mark: text });
    expect(state.markPolicy).toEqual({ drop, error: undefined });
  });

  it.each(['x', '1/', '/1', '1/2/3', '-1/1', '4294967296', '0x1ffffffff/1', '1 /1', '1.5', '01x/1'])(
    '%j, malformed, drops all plaintext when there was no policy before, and says so',
    (text) => {
      const state = stateOf([], { ipsec_skb_mark: text });
      expect(state.markPolicy.drop).toEqual({ value: 0, mask: 0 });
      expect(formatIssue(state.markPolicy.error!)).toBe(
        `Open_vSwitch: other_config:ipsec_skb_mark is ${JSON.stringify(text)}, expected value/mask, each 0 to 4294967295, decimal or 0x; all plaintext tunnel packets are dropped (0/0) until it is set right, for instance: ovs-vsctl set Open_vSwitch . other_config:ipsec_skb_mark=0/1`,
      );
      expect(state.issues).toContain(state.markPolicy.error);
    },
  );

  it('malformed leaves the former policy in force, however often it is read', () => {
    const good = stateOf([], { ipsec_skb_mark: '1/1' });
    const once = stateOf([], { ipsec_skb_mark: 'x' }, { previous: good });
    const twice = stateOf([], { ipsec_skb_mark: 'y' }, { previous: once });
    expect(twice.markPolicy.drop).toEqual({ value: 1, mask: 1 });
    expect(twice.markPolicy.error).toBeDefined();
  });
});

describe('global certificates', () => {
  it('that are incomplete are told', () => {
    expect(formatIssue(stateOf([], { ca_cert: '/ca' }).issues[0]!)).toBe(
      'Open_vSwitch: other_config:certificate is not set, expected both certificate and private_key, or none of the two and no ca_cert; set it or remove the others',
    );
  });
});

describe('tunnels to one peer', () => {
  it('with the same type, addresses and port share one connection', () => {
    const state = stateOf([
      { name: 'a', type: 'geneve', options: withRemote({ ...PSK, key: '1' }) },
      { name: 'b', type: 'geneve', options: withRemote({ ...PSK, key: '2' }) },
      { name: 'c', type: 'gre', options: withRemote(PSK) },
    ]);
    expect(state.connections.map(({ key, tunnels }) => [key, tunnels])).toEqual([
      ['geneve:10.0.0.1-10.0.0.2:6081', ['a', 'b']],
      ['gre:10.0.0.1-10.0.0.2', ['c']],
    ]);
    expect(state.issues).toEqual([]);
  });

  it('with different keys of authentication: the later one is INVALID with a reason that names both', () => {
    const state = stateOf([
      { name: 'a', options: withRemote({ ...PSK, key: '1' }) },
      { name: 'b', type: 'vxlan', options: withRemote({ psk: 'other' }) },
    ]);
    expect(state.tunnels[0]).toMatchObject({ name: 'a', state: 'CONFIGURED' });
    expect(state.tunnels[1]).toMatchObject({
      name: 'b',
      state: 'INVALID',
      reason:
        'options:psk of interface b differs from that of interface a, but 10.0.0.1 and 10.0.0.2 can have one pre-shared key only; set the same on both',
      ipsec: undefined,
      connection: undefined,
    });
    expect(state.tunnels[1]!.settings).toBeDefined();
  });

  it('do not lose what was in force to a new one with another psk or the same key, whatever its name', () => {
    const b = { name: 'b', options: withRemote(PSK) };
    const previous = stateOf([b]);
    const rival = stateOf([{ name: 'a', options: withRemote({ psk: 'other', key: '9' }) }, b], {}, { previous });
    expect(rival.tunnels.map(({ name, state }) => [name, state])).toEqual([
      ['a', 'INVALID'],
      ['b', 'CONFIGURED'],
    ]);
    const twin = stateOf([{ name: 'a', options: withRemote(PSK) }, b], {}, { previous });
    expect(twin.tunnels.map(({ name, state }) => [name, state])).toEqual([
      ['a', 'INVALID'],
      ['b', 'CONFIGURED'],
    ]);
  });

  it('all follow when the psk is changed on one after the other', () => {
    const rows = (a: string, b: string) => [
      { name: 'a', options: withRemote({ psk: a, key: '1' }) },
      { name: 'b', options: withRemote({ psk: b, key: '2' }) },
    ];
    const first = stateOf(rows('old', 'old'));
    const half = stateOf(rows('new', 'old'), {}, { previous: first });
    expect(half.tunnels.map(({ state }) => state)).toEqual(['INVALID', 'CONFIGURED']);
    const done = stateOf(rows('new', 'new'), {}, { previous: half });
    expect(done.tunnels.map(({ state }) => state)).toEqual(['CONFIGURED', 'CONFIGURED']);
    expect(Buffer.from(secretOf(done.connections[0]!.auth)).toString()).toBe('new');
  });

  it('that are the same port twice: the later one is INVALID and has no settings', () => {
    const state = stateOf([
      { name: 'a', type: 'vxlan', options: withRemote({ key: '0' }) },
      { name: 'b', type: 'vxlan', options: withRemote({}) },
      { name: 'c', type: 'vxlan', options: withRemote({ dst_port: '4790' }) },
    ]);
    expect(state.tunnels.map(({ state: is }) => is)).toEqual(['CONFIGURED', 'INVALID', 'CONFIGURED']);
    expect(state.tunnels[1]).toMatchObject({
      settings: undefined,
      reason: 'same type, addresses, key and port as interface a: give one of them another options:key',
    });
  });

  it('travel under the same protection when only one of them asks for IPsec, and it is told', () => {
    const state = stateOf([
      { name: 'plain', options: withRemote({ key: '1' }) },
      { name: 'secure', options: withRemote({ ...PSK, key: '2' }) },
      { name: 'other', type: 'vxlan', options: withRemote({}) },
    ]);
    const connections = Object.fromEntries(state.tunnels.map(({ name, connection }) => [name, connection]));
    expect(connections).toEqual({
      plain: 'gre:10.0.0.1-10.0.0.2',
      secure: 'gre:10.0.0.1-10.0.0.2',
      other: undefined,
    });
    expect(state.connections[0]!.tunnels).toEqual(['secure']);
    expect(state.issues.map(formatIssue)).toEqual([
      'interface plain: options:psk is not set, expected what interface secure has, for both have the same type, addresses and port; its packets are protected together with that one; set the same psk to say so',
    ]);
  });

  it('share the IPsec options of the first, and different ones are told to be ignored', () => {
    const state = stateOf([
      { name: 'a', options: withRemote({ ...PSK, key: '1', ipsec_salifetime: '30m' }) },
      { name: 'b', options: withRemote({ ...PSK, key: '2' }) },
    ]);
    expect(state.tunnels.map(({ ipsec }) => ipsec?.options.childSeconds)).toEqual([1800, 1800]);
    expect(state.issues).toHaveLength(1);
  });

  it('come out the same in whatever order the rows are', () => {
    const rows = [
      { name: 'a', options: withRemote({ ...PSK, key: '1' }) },
      { name: 'b', options: withRemote({ psk: 'x', key: '2' }) },
      { name: 'c', options: withRemote({ psk: 'x', key: '1' }) },
    ];
    const forwards = stateOf(rows);
    const backwards = stateOf([...rows].reverse());
    expect(backwards.tunnels.map(({ name, reason }) => [name, reason])).toEqual(
      forwards.tunnels.map(({ name, reason }) => [name, reason]),
    );
  });
});
