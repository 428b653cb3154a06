import { describe, expect, it } from 'vitest';
import { hostsBehind, type JoinedBridge } from '../../../control/config/bridge-hosts.ts';

const MAC = '02:00:00:00:00:01';
const OTHER = '02:00:00:00:00:02';
const host = (mac: string | undefined, tag?: number) => ({ name: 'p', ofport: 1, mac, tag });
const bridge = (change: Partial<JoinedBridge> = {}): JoinedBridge => ({
  ...{ hostPorts: [host(MAC)], patches: [] },
  ...change,
});

describe('what was opened may go', () => {
  it('to an untagged port of the host without a tag, where the uplink is a trunk', () => {
    expect(hostsBehind(bridge(), [], undefined)).toEqual([{ mac: MAC, vlan: 0 }]);
  });

  it('to a port of the host in its VLAN, and without a tag only by an uplink of that VLAN', () => {
    const tagged = bridge({ hostPorts: [host(MAC, 10)] });
    expect(hostsBehind(tagged, [], undefined)).toEqual([{ mac: MAC, vlan: 10 }]);
    expect(hostsBehind(tagged, [], 10)).toEqual([
      { mac: MAC, vlan: 10 },
      { mac: MAC, vlan: 0 },
    ]);
    expect(hostsBehind(bridge(), [], 10)).toEqual([]);
  });

  it('to ports of bridges that patches join, however many are in between, and of no others', () => {
    const first = bridge({ patches: [{ name: 'a', peer: 'b' }] });
    const second = bridge({
      hostPorts: [],
      patches: [
        { name: 'b', peer: 'a' },
        { name: 'c', peer: 'd' },
      ],
    });
    const third = bridge({ hostPorts: [host(OTHER)], patches: [{ name: 'd', peer: 'c' }] });
    const apart = bridge({ hostPorts: [host('02:00:00:00:00:03')] });
    expect(hostsBehind(first, [first, second, third, apart], undefined)).toEqual([
      { mac: MAC, vlan: 0 },
      { mac: OTHER, vlan: undefined },
    ]);
  });

  it('nowhere while ovs-vswitchd has not said which address a port has', () => {
    expect(hostsBehind(bridge({ hostPorts: [host(undefined)] }), [], undefined)).toEqual([]);
  });
});
