import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseFlow, parseHexPacket } from '../../../control/trace/flow.ts';
import { traceText } from '../../../control/trace/trace-command.ts';
import { CommandError } from '../../../control/unixctl/command.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('a flow as text', () => {
  it('becomes the frame that has its fields', () => {
    const text =
      'in_port=LOCAL,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,udp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=1,tp_dst=0x35,nw_tos=4';
    const { inPort, frame } = parseFlow(text);
    expect(inPort).toBe('LOCAL');
    expect(hex(frame.subarray(0, 42))).toBe(
      `${'020000000002'}${'020000000001'}0800${'4504005c00000000401100000a0000010a000002'}${'0001003500480000'}`,
    );
    expect(frame).toHaveLength(42 + 64);
  });

  it('takes the protocol from an address, and a VLAN with its priority', () => {
    expect(hex(parseFlow('in_port=1 nw_dst=10.0.0.2').frame.subarray(12, 15))).toBe('080045');
    expect(hex(parseFlow('in_port=1,ipv6_dst=2001:db8::1').frame.subarray(12, 15))).toBe('86dd60');
    expect(hex(parseFlow('in_port=1,arp_tpa=10.0.0.9').frame.subarray(12, 14))).toBe('0806');
    expect(hex(parseFlow('in_port=1,dl_vlan=100,dl_vlan_pcp=5').frame.subarray(12, 16))).toBe('8100a064');
  });

  it.each([
    ['dl_dst=02:00:00:00:00:02', /^in_port is not set, expected a port of the bridge/],
    ['in_port=1,dl_dst=2', /^dl_dst is "2", expected a MAC address/],
    ['in_port=1,tp_dst=70000,udp', /^tp_dst is "70000", expected 0 to 65535/],
    ['in_port=1,tp_dst=53', /^tp_dst has no place in this packet, expected with tcp or udp/],
    ['in_port=1,nw_src=10.0.0.1,dl_type=0x86dd', /^nw_src has no place in this packet/],
    ['in_port=1,sctp', /^sctp is no protocol, expected one of arp, ip/],
    ['in_port=1,toString', /^toString is no protocol, expected one of arp, ip/],
    ['in_port=1,constructor=3', /^constructor is no field here/],
    ['in_port=1,metadata=3', /^metadata is no field here/],
  ])('%s is one line that says what is wrong', (text, expected) => {
    expect(() => parseFlow(text)).toThrow(expected);
    expect(() => parseFlow(text)).toThrow(CommandError);
  });

  it('never fails with anything but a CommandError, whatever is written', () => {
    const part = fc.oneof(
      fc.constantFrom('in_port=1', 'udp', 'tcp6', 'nw_dst=10.0.0.1', 'dl_vlan=5', 'icmp_type=8'),
      fc.string(),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
        try {
          expect(parseFlow(parts.join(',')).frame.length).toBeGreaterThanOrEqual(42);
        } catch (error) {
          expect(error).toBeInstanceOf(CommandError);
        }
      }),
    );
  });
});

describe('a packet in hexadecimal', () => {
  it('may have spaces and colons', () => {
    expect([...parseHexPacket('45:00 1f')]).toEqual([0x45, 0, 0x1f]);
  });

  it.each(['', '4', '0x45', 'zz', 'ab'.repeat(9001)])('refuses %j', (text) => {
    expect(() => parseHexPacket(text)).toThrow(/expected 1 to 9000 bytes in hexadecimal/);
  });
});

it('the text of a trace numbers the stages and ends with what the packet has come to', () => {
  const text = traceText('Frame', [
    { stage: 'switch', text: 'flooded' },
    { stage: 'encapsulate', text: 'a: header' },
    { stage: 'encapsulate', text: 'b: header' },
    { stage: 'send', text: 'b: out', outcome: { kind: 'sent', tunnel: 'b', esp: true } },
    { stage: 'finish', text: 'dropped', outcome: { kind: 'dropped', reason: 'policy-no-sa' } },
  ]);
  expect(text.split('\n')).toEqual([
    'Frame',
    ' 1. switch         flooded',
    ' 2. encapsulate    a: header',
    '                   b: header',
    ' 3. send           b: out',
    ' 4. finish         dropped',
    'Final: sent through b as ESP; dropped, policy-no-sa',
    '',
  ]);
});
