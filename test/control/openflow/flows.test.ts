/** The flows of espd=port as text, and what ovs-ofctl is told when they change; what they do is proved in test/e2e. */
import { describe, expect, it } from 'vitest';
import { type FlowPlan, flowCommands, flowsOf } from '../../../control/openflow/flows.ts';
import { COOKIE } from '../../../control/openflow/matches.ts';

const LOCAL = { name: 'br-phy', ofport: 65_534, mac: '02:00:00:00:00:01', tag: undefined };
const VLAN_PORT = { name: 'under10', ofport: 7, mac: '02:00:00:00:00:07', tag: 10 };
const GENEVE = { type: 'geneve', local: '10.1.0.1', remote: '10.1.0.2', port: 6081 } as const;
const PLAN: FlowPlan = {
  tap: 2,
  hostPorts: [LOCAL],
  led: [GENEVE],
  flowTunnels: [],
  addresses: ['10.1.0.1'],
  drop: undefined,
  normal: false,
};

/** "priority match actions" of each flow. */
const lines = (plan: Partial<FlowPlan>): string[] =>
  flowsOf({ ...PLAN, ...plan }).map((line) =>
    line.replace(`table=0,cookie=${COOKIE},priority=`, '').replace(',actions=', ' -> '),
  );
const at = (priority: number, all: readonly string[]): string[] =>
  all.filter((line) => line.startsWith(`${61_440 + priority}`));

describe('the flows of a bridge with a port of ours', () => {
  it('lead tunnel packets of a peer to the TAP, both ways, and back from there', () => {
    const all = lines({});
    expect(at(6, all)[0]).toBe(
      '61446,in_port=LOCAL,reg15=0,udp,tp_dst=6081,nw_src=10.1.0.1,nw_dst=10.1.0.2 -> output:2',
    );
    expect(at(5, all).every((line) => line.includes('nw_src=10.1.0.2,nw_dst=10.1.0.1'))).toBe(true);
    expect(at(5, all)).toHaveLength(3);
    expect(at(9, all)).toEqual([
      '61449,in_port=2,ip,nw_src=10.1.0.1,nw_dst=10.1.0.2 -> load:65534->NXM_OF_IN_PORT[],load:0x65737064->NXM_NX_REG15[],resubmit(,0)',
      '61449,in_port=2,ip,nw_src=10.1.0.2,nw_dst=10.1.0.1,vlan_tci=0x0000/0x1fff -> LOCAL',
    ]);
    expect(at(8, all)).toEqual(['61448,in_port=2 -> drop']);
  });

  it('drop what they would lead to the TAP while it is no port yet', () => {
    const all = lines({ tap: undefined });
    expect(all.length).toBeGreaterThan(0);
    expect(all.every((line) => line.endsWith('-> drop'))).toBe(true);
  });

  it('tell the engine of a packet to a peer with IPsec that ipsec_skb_mark names it, and drop one to another', () => {
    const all = lines({ drop: { value: 3, mask: 1 } });
    expect(at(7, all)).toEqual([
      '61447,in_port=LOCAL,reg15=0,udp,tp_dst=6081,nw_src=10.1.0.1,nw_dst=10.1.0.2,pkt_mark=0x1/0x1 -> load:1->NXM_OF_ETH_SRC[40],output:2',
    ]);
    expect(at(3, all)).toContain('61443,in_port=LOCAL,reg15=0,udp,tp_dst=4789,pkt_mark=0x1/0x1 -> drop');
    expect(at(3, all)).toContain('61443,in_port=LOCAL,reg15=0,ipv6,nw_proto=47,pkt_mark=0x1/0x1 -> drop');
  });

  it('tell the packets of several host ports by their MAC addresses, and take the tag off for one that is tagged', () => {
    const all = at(9, lines({ hostPorts: [LOCAL, VLAN_PORT] }));
    expect(all).toContain(
      '61449,in_port=2,dl_dst=02:00:00:00:00:07,ip,nw_src=10.1.0.2,nw_dst=10.1.0.1,vlan_tci=0x1000/0x1000 -> strip_vlan,output:7',
    );
    expect(all.every((line) => /dl_(src|dst)=02:/.test(line))).toBe(true);
  });

  it('give nothing back to anybody for two tunnels that mirror each other', () => {
    const mirrored = { ...GENEVE, local: GENEVE.remote, remote: GENEVE.local };
    expect(at(9, lines({ led: [GENEVE, mirrored] }))).toEqual([]);
  });

  it('drop a flow-based tunnel that asks for IPsec to and from whoever has no tunnel of its own', () => {
    const flowBased = { type: 'vxlan', destinationPort: 4790, closed: true, egressMark: undefined } as const;
    const all = lines({ flowTunnels: [flowBased] });
    expect(at(4, all)).toContain('61444,in_port=LOCAL,reg15=0,udp,tp_dst=4790 -> drop');
    expect(at(4, all)).toContain('61444,udp,tp_dst=4790,nw_dst=10.1.0.1 -> drop');
    expect(at(4, lines({ flowTunnels: [{ ...flowBased, closed: false }] }))).toEqual([]);
  });

  it('lead GRE over IPv6, and forward the rest only where the bridge does not by itself', () => {
    const gre = { type: 'gre', local: 'fd00::1', remote: 'fd00::2', port: 0 } as const;
    const all = lines({ led: [gre], normal: true });
    expect(at(6, all)).toEqual([
      '61446,in_port=LOCAL,reg15=0,ipv6,nw_proto=47,ipv6_src=fd00::1,ipv6_dst=fd00::2 -> output:2',
    ]);
    expect(all).toContain('0 -> NORMAL');
  });
});

describe('a change of flows', () => {
  const before = new Set(flowsOf(PLAN));

  it('from an unknown state takes away whatever is ours first', () => {
    const commands = flowCommands(undefined, before);
    expect(commands[0]).toBe(`delete cookie=${COOKIE}/-1`);
    expect(commands.slice(1).every((command) => command.startsWith('add '))).toBe(true);
  });

  it('to the same flows is none', () => {
    expect(flowCommands(before, new Set(flowsOf(PLAN)))).toEqual([]);
  });

  it('takes away what is gone, and replaces in place what has other actions', () => {
    const tapless = new Set(flowsOf({ ...PLAN, tap: undefined }));
    const commands = flowCommands(before, tapless);
    const deleted = commands.filter((command) => command.startsWith('delete_strict '));
    expect(deleted).toHaveLength(3);
    expect(deleted.every((command) => command.includes('in_port=2') && command.includes(`${COOKIE}/-1`))).toBe(true);
    expect(commands.filter((command) => command.startsWith('add '))).toHaveLength(4);
  });
});
