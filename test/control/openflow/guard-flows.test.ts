/** The flows that keep tunnel packets to the uplinks, as text; what they do is proved in test/e2e/beside-uplink.test.ts. */
import { describe, expect, it } from 'vitest';
import type { CompanionBridge, CompanionPort, PatchPort } from '../../../control/config/desired-state.ts';
import { type GuardPlan, guardFlows } from '../../../control/openflow/guard-flows.ts';
import { COOKIE } from '../../../control/openflow/matches.ts';
import { type BridgeWays, waysOut } from '../../../control/openflow/ways-out.ts';

const TRUNK = { untagged: undefined, isAccess: false };
const ACCESS_10 = { untagged: 10, isAccess: true };
const LOCAL = { name: 'br-phy', ofport: 65_534, mac: '02:00:00:00:00:01', tag: undefined };
const GENEVE = { type: 'geneve', local: '10.1.0.1', remote: '10.1.0.2', port: 6081 } as const;
const PLAN: GuardPlan = {
  led: [GENEVE],
  flowTunnels: [],
  drop: undefined,
  ends: [{ address: '10.1.0.1', mac: LOCAL.mac }],
};

const bridge = (name: string, change: Partial<CompanionBridge> = {}): CompanionBridge => ({
  ...{ name, isUserspace: true, isSecure: false, hasController: false },
  ...{ hostPorts: [{ ...LOCAL, name }], others: [], patches: [], ...change },
});
const uplink = (
  of: CompanionBridge,
  ofport: number | undefined,
  change: Partial<CompanionPort> = {},
): CompanionPort => ({
  ...{ uuid: `u${ofport}`, portUuid: `p${ofport}`, name: `up${ofport}`, attach: 'uplink', bridge: of, hosts: [] },
  ...{ ofport, nic: 'eth0', mark: 0, reason: undefined, ...TRUNK, ...change },
});
const patch = (name: string, peer: string, ofport: number): PatchPort => ({ name, peer, ofport, ...TRUNK });

/** "step match -> actions" of each flow. */
function lines(around: BridgeWays, plan: Partial<GuardPlan> = {}): string[] {
  return guardFlows(around, { ...PLAN, ...plan }).map((line) => {
    const [, priority = '', rest = ''] = /^table=0,cookie=\w+,priority=(\d+),?(.*)$/.exec(line) ?? [];
    expect(line).toContain(COOKIE);
    return `${priority === '0' ? 0 : (Number(priority) - 61_440) / 2} ${rest.replace(/,?actions=/, ' -> ')}`;
  });
}
const at = (step: number, all: readonly string[]): string[] => all.filter((line) => line.startsWith(`${step} `));
const only = (ways: readonly BridgeWays[], name: string): BridgeWays => ways.find((each) => each.bridge.name === name)!;
const around = (of: CompanionBridge, ...uplinks: CompanionPort[]) => waysOut([of], uplinks, () => true)[0]!;

const OUT = 'in_port=LOCAL,reg15=0,udp,tp_dst=6081,nw_src=10.1.0.1,nw_dst=10.1.0.2';
const IN = 'reg15=0,udp,tp_dst=6081,nw_src=10.1.0.2,nw_dst=10.1.0.1';

describe('the flows of a bridge with an uplink', () => {
  const phy = bridge('br-phy', { others: ['up2', 'eth9'] });

  it('send tunnel packets of a peer out by the uplink only, and take them from there only', () => {
    const all = lines(around(phy, uplink(phy, 2)));
    expect(at(7, all)[0]).toBe(`7 ${OUT} -> output:2`);
    expect(at(9, all)).toEqual([`9 in_port=2,${IN} -> load:0x65737064->NXM_NX_REG15[],resubmit(,0)`]);
    expect(at(8, all)).toEqual([`8 ${IN} -> drop`]);
    expect(at(6, all)).toEqual(['6 reg15=0,udp,tp_dst=6081,nw_src=10.1.0.1,nw_dst=10.1.0.2 -> drop']);
    expect(at(0, all)).toEqual([]);
  });

  it('drop them while the uplink has no port yet, and forward the rest where the bridge does not by itself', () => {
    const secure = bridge('br-phy', { isSecure: true });
    const all = lines(around(secure, uplink(secure, undefined)));
    expect(at(7, all)[0]).toBe(`7 ${OUT} -> drop`);
    expect(at(9, all)).toEqual([]);
    expect(at(0, all)).toEqual(['0  -> NORMAL']);
  });

  it('give the frames the tag that they have behind the uplink, and none to an uplink of another VLAN', () => {
    const v10 = bridge('br-phy', { hostPorts: [{ ...LOCAL, ofport: 5, tag: 10 }], others: ['eth9'] });
    const out = (...uplinks: CompanionPort[]) => at(7, lines(around(v10, ...uplinks)))[0]!.split(' -> ')[1];
    expect(out(uplink(v10, 2))).toBe('mod_vlan_vid:10,output:2');
    expect(out(uplink(v10, 2, ACCESS_10))).toBe('output:2');
    expect(out(uplink(v10, 2, { untagged: 20, isAccess: true }))).toBe('drop');
    expect(out(uplink(v10, 2, ACCESS_10), uplink(v10, 3))).toBe('output:2,mod_vlan_vid:10,output:3');
  });

  it('let out of a trunk by an access uplink what is of its VLAN, untagged, and nothing else', () => {
    const all = lines(around(phy, uplink(phy, 2, ACCESS_10)));
    expect(all).toContain(`7.5 ${OUT},vlan_tci=0x100a/0x1fff -> strip_vlan,output:2`);
    expect(at(7, all)[0]).toBe(`7 ${OUT} -> drop`);
  });

  it('send by one member of a bond, and a copy by each of several uplinks beside other ports', () => {
    const bond = { portUuid: 'bond' };
    const [first] = at(7, lines(around(phy, uplink(phy, 2, bond), uplink(phy, 3, bond))));
    expect(first).toMatch(/ -> bundle\(symmetric_l4,0,hrw,ofport,members:2,3\)$/);
    expect(at(7, lines(around(phy, uplink(phy, 2), uplink(phy, 3))))[0]).toMatch(/ -> output:2,output:3$/);
  });

  it('leave the choice between several uplinks to others where there is nothing beside them', () => {
    const two = bridge('br-phy', { others: ['up2', 'up3'] });
    const all = lines(around(two, uplink(two, 2), uplink(two, 3)), { drop: { value: 1, mask: 1 } });
    expect([...at(7, all), ...at(6, all), ...at(2, all)]).toEqual([]);
    expect(at(9, all)).toHaveLength(2);
    expect(at(8, all)).toHaveLength(1);
  });

  it('bring what ipsec_skb_mark names to the engine, which compares the mark', () => {
    const all = at(2, lines(around(phy, uplink(phy, 2)), { drop: { value: 1, mask: 1 } }));
    expect(all).toContain('2 in_port=LOCAL,reg15=0,udp,tp_dst=4789,pkt_mark=0x1/0x1 -> output:2');
    expect(all).toContain('2 in_port=LOCAL,reg15=0,ipv6,nw_proto=47,pkt_mark=0x1/0x1 -> output:2');
  });

  it('keep packets of a flow-based tunnel that asks for IPsec to the uplink, both ways', () => {
    const flowBased = { type: 'vxlan', destinationPort: 4790, closed: true, egressMark: undefined } as const;
    const all = lines(around(phy, uplink(phy, 2)), { flowTunnels: [flowBased] });
    expect(at(5, all)[0]).toContain('5 in_port=2,reg15=0,udp,tp_dst=4790,nw_dst=10.1.0.1 -> load:');
    expect(at(4, all)).toEqual(['4 reg15=0,udp,tp_dst=4790,nw_dst=10.1.0.1 -> drop']);
    expect(at(3, all)).toContain('3 in_port=LOCAL,reg15=0,udp,tp_dst=4790 -> output:2');
    const open = lines(around(phy, uplink(phy, 2)), { flowTunnels: [{ ...flowBased, closed: false }] });
    expect([...at(5, open), ...at(4, open), ...at(3, open)]).toEqual([]);
  });
});

describe('the flows of a bridge without an uplink', () => {
  it('drop tunnel packets to a peer, and those from it that OVS would take from there: for the MAC address of the host', () => {
    const all = lines(around(bridge('br-int')));
    expect(at(7, all)[0]).toBe(`7 ${OUT} -> drop`);
    expect(at(8, all)).toEqual([`8 dl_dst=${LOCAL.mac},${IN} -> drop`]);
    expect([...at(9, all), ...at(6, all)]).toEqual([]);
  });

  it('send them to the uplink by the patch port that leads there, over another bridge too, and take them from it', () => {
    const phy = bridge('br-phy', { hostPorts: [], patches: [patch('a', 'b', 11)], others: ['a'] });
    const mid = bridge('br-mid', { hostPorts: [], patches: [patch('b', 'a', 12), patch('c', 'd', 13)] });
    const end = bridge('br-end', { patches: [patch('d', 'c', 14)] });
    const ways = waysOut([end, mid, phy], [uplink(phy, 2)], (device) => device === 'br-end');
    expect(at(7, lines(only(ways, 'br-end')))[0]).toBe(`7 ${OUT} -> output:14`);
    expect(at(7, lines(only(ways, 'br-mid')))[0]).toBe(`7 ${OUT.replace('LOCAL', '13')} -> output:12`);
    expect(at(7, lines(only(ways, 'br-phy')))[0]).toBe(`7 ${OUT.replace('LOCAL', '11')} -> output:2`);
    expect(at(9, lines(only(ways, 'br-end')))[0]).toContain('9 in_port=14,');
    // Nobody behind the patch has an address: what claims to be the host's is not.
    const guests = waysOut([end, mid, phy], [uplink(phy, 2)], () => false);
    expect(at(7, lines(only(guests, 'br-phy')))).toEqual([]);
    expect(at(6, lines(only(guests, 'br-phy')))).toHaveLength(1);
  });
});
