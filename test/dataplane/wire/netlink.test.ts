import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  asksForProtocol,
  NLMSG_ERROR,
  neighbourRequest,
  RTM_DELNEIGH,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTM_NEWRULE,
  readMessages,
  readNeighbour,
  readRoute,
  routeRequest,
  rulesRequest,
  saysNoTable,
  tablesRequest,
} from '../../../dataplane/wire/netlink.ts';

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Answers of Linux 6.18: the route to 10.1.0.2 (of device 2), and the same behind a gateway of device 3. */
const ON_LINK = bytesOf(
  '68000000 1800 0000 00000000 373e0000 02202000 fe000001 00020000 08000f00fe000000 080001000a010002 080002000a010001' +
    '0800040002000000 0800190000000000 24000c00 0200000063480000000000000000000000000000000000000000000000000000',
);
const BEHIND_GATEWAY = bytesOf(
  '3c000000 1800 0000 00000000 01000000 02202000 fe000001 00020000 08000100c0000201 080005000a0100fe 0800040003000000 0800190000000000',
);

/** A neighbour message: device 2, 10.1.0.2, of a state, with an Ethernet address. */
function neighbour(type: number, state: number, linkAddress = '0a00 0200 5228 15d5 3865 0000'): Uint8Array {
  const body = bytesOf(
    `02000000 02000000 ${state.toString(16).padStart(2, '0')}00 00 01 08000100 0a010002 ${linkAddress}`,
  );
  const bytes = new Uint8Array(16 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint16(4, type, true);
  bytes.set(body, 16);
  return bytes;
}

describe('netlink', () => {
  it('asks for a route, a neighbour, rules and tables byte for byte as the kernel expects', () => {
    expect(hexOf(routeRequest(Uint8Array.of(10, 1, 0, 1), Uint8Array.of(10, 1, 0, 2)))).toBe(
      '2c0000001a0001000000000000000000022020000000000000000000080001000a010002080002000a010001',
    );
    expect(hexOf(neighbourRequest(2, Uint8Array.of(10, 1, 0, 2)))).toBe(
      '240000001e0001000000000000000000020000000200000000000000080001000a010002',
    );
    expect(hexOf(neighbourRequest(2, new Uint8Array(16))).slice(32, 34)).toBe('0a');
    expect(hexOf(rulesRequest()).slice(0, 24)).toBe('1c0000002200010300000000');
    expect(hexOf(tablesRequest()).slice(0, 24)).toBe('14000000010a010300000000');
  });

  it('reads a route on the link and one behind a gateway', () => {
    const [onLink] = readMessages(ON_LINK, ON_LINK.length);
    expect(onLink!.type).toBe(RTM_NEWROUTE);
    expect(readRoute(ON_LINK, onLink!)).toEqual({ device: 2, gateway: undefined });
    const [behind] = readMessages(BEHIND_GATEWAY, BEHIND_GATEWAY.length);
    expect(readRoute(BEHIND_GATEWAY, behind!)).toEqual({ device: 3, gateway: Uint8Array.of(10, 1, 0, 254) });
  });

  it('takes no route that is not unicast, that encapsulates, or that has a gateway of the other family', () => {
    const local = ON_LINK.slice();
    local[16 + 7] = 2;
    expect(readRoute(local, readMessages(local, local.length)[0]!)).toBeUndefined();
    for (const attribute of [18, 22]) {
      const other = BEHIND_GATEWAY.slice();
      other[16 + 12 + 8 + 2] = attribute;
      expect(readRoute(other, readMessages(other, other.length)[0]!)).toBeUndefined();
    }
  });

  it('reads neighbours, which have an address in the states in which the kernel sends to it', () => {
    const read = (bytes: Uint8Array) => readNeighbour(bytes, readMessages(bytes, bytes.length)[0]!);
    const linkAddress = bytesOf('522815d53865');
    for (const state of [0x02, 0x04, 0x08, 0x10, 0x80])
      expect(read(neighbour(RTM_NEWNEIGH, state))).toEqual({
        device: 2,
        address: Uint8Array.of(10, 1, 0, 2),
        linkAddress,
        isStale: state === 0x04,
      });
    for (const bytes of [
      neighbour(RTM_NEWNEIGH, 0x01),
      neighbour(RTM_NEWNEIGH, 0x20),
      neighbour(RTM_NEWNEIGH, 0x40),
      neighbour(RTM_DELNEIGH, 0x02),
      neighbour(RTM_NEWNEIGH, 0x02, '08000200 52281500'),
    ])
      expect(read(bytes)!.linkAddress).toBeUndefined();
  });

  it('sees a rule that asks for a protocol', () => {
    const rule = bytesOf('24000000 2000 0000 00000000 00000000 02000000 00000000 00000000 05001600 06000000');
    const [message] = readMessages(rule, rule.length);
    expect(message!.type).toBe(RTM_NEWRULE);
    expect(asksForProtocol(rule, message!)).toBe(true);
    rule[16 + 12 + 2] = 15;
    expect(asksForProtocol(rule, message!)).toBe(false);
  });

  it('reads several messages of one datagram, and none of what is cut or random', () => {
    const two = new Uint8Array([...neighbour(NLMSG_ERROR, 0), ...ON_LINK]);
    expect(readMessages(two, two.length).map(({ type }) => type)).toEqual([NLMSG_ERROR, RTM_NEWROUTE]);
    for (let length = 0; length < ON_LINK.length; length++) expect(readMessages(ON_LINK, length)).toEqual([]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const message of readMessages(bytes, bytes.length)) {
          expect(message.end).toBeLessThanOrEqual(bytes.length);
          readRoute(bytes, message);
          readNeighbour(bytes, message);
          asksForProtocol(bytes, message);
        }
      }),
    );
  });

  it('believes that there is no nftables table only when the kernel has said so', () => {
    const done = '14000000 0300 0200 01000000 86010000 00000000';
    const error = (errno: number) =>
      `24000000 0200 0000 00000000 00000000 ${(256 - errno).toString(16)}ffffff 14000000010a0103 0000000000000000`;
    const table = '14000000 000a 0200 01000000 86010000 02000000';
    const says = (hex: string) => saysNoTable(bytesOf(hex), bytesOf(hex).length);
    expect(says(done)).toBe(true);
    expect(says(error(22))).toBe(true);
    for (const hex of [error(1), table, `${table}${done}`, '', done.slice(0, 20)]) expect(says(hex)).toBe(false);
  });
});
