/** Traffic selectors as numbers: which ports and protocols they hold, and where a packet has its ports. */
import { describe, expect, it } from 'vitest';
import {
  compileSelectors,
  matchesSelectors,
  NO_PORT,
  selectorDestinationPort,
  selectorSourcePort,
} from '../../../dataplane/esp/selectors.ts';
import { ALICE } from './sa-rig.ts';

const GRE = 47;
const UDP = 17;
const TCP = 6;
const ICMP = 1;
const selector = (protocol: number, startPort: number, endPort: number) => ({
  ...{ protocol, startPort, endPort },
  ...{ startAddress: ALICE, endAddress: ALICE },
});

describe('a list of traffic selectors', () => {
  it.each([
    ['any protocol and port', [selector(0, 0, 65535)], GRE, NO_PORT, true],
    ['any protocol and port', [selector(0, 0, 65535)], UDP, 65535, true],
    ['another protocol', [selector(UDP, 0, 65535)], TCP, 80, false],
    ['the first port of a range', [selector(UDP, 10, 20)], UDP, 10, true],
    ['the last port of a range', [selector(UDP, 10, 20)], UDP, 20, true],
    ['a port below', [selector(UDP, 10, 20)], UDP, 9, false],
    ['a port above', [selector(UDP, 10, 20)], UDP, 21, false],
    ['no port where every port is asked for', [selector(UDP, 0, 65535)], UDP, NO_PORT, true],
    ['no port where some ports are asked for', [selector(UDP, 10, 20)], UDP, NO_PORT, false],
    ['no port where all but the first are', [selector(UDP, 1, 65535)], UDP, NO_PORT, false],
    ['no port where all but the last are', [selector(UDP, 0, 65534)], UDP, NO_PORT, false],
    ['no port where port 1 is', [selector(UDP, 1, 1)], UDP, NO_PORT, false],
    ['what the second one holds', [selector(TCP, 1, 9), selector(UDP, 5, 5)], UDP, 5, true],
    ['what each holds a half of', [selector(TCP, 5, 5), selector(UDP, 6, 6)], UDP, 5, false],
    ['OPAQUE ports, start above end', [selector(UDP, 65535, 0)], UDP, 7, false],
    ['an empty list', [], UDP, 5, false],
  ])('as to %s', (_what, selectors, protocol, port, expected) => {
    expect(matchesSelectors(compileSelectors(selectors, ALICE), protocol, port)).toBe(expected);
  });

  it('keeps those that hold the address of their end, and of its family', () => {
    const range = (startAddress: string, endAddress: string) => ({
      ...selector(0, 0, 65535),
      startAddress,
      endAddress,
    });
    const kept = (start: string, end: string, address: string): boolean =>
      compileSelectors([range(start, end)], address).length > 0;
    expect(kept('192.0.2.0', '192.0.2.255', ALICE)).toBe(true);
    expect(kept(ALICE, ALICE, ALICE)).toBe(true);
    expect(kept('192.0.2.2', '192.0.2.255', ALICE)).toBe(false);
    expect(kept('0.0.0.0', '192.0.2.0', ALICE)).toBe(false);
    expect(kept('::', 'ffff::', ALICE)).toBe(false);
    expect(kept('2001:db8:0:1::', '2001:db8:0:2::', '2001:db8:0:1::ffff')).toBe(true);
    expect(kept('2001:db8:0:1::', '2001:db8:0:2::', '2001:db8:0:2::1')).toBe(false);
  });
});

describe('the ports of a packet', () => {
  const bytes = Uint8Array.of(9, 9, 0x12, 0xb5, 0x17, 0xc1, 9);

  it.each([UDP, TCP])('are in its first four bytes with protocol %i, as far as it has them', (protocol) => {
    const ports = (length: number): number[] => [
      selectorSourcePort(bytes, 2, length, protocol),
      selectorDestinationPort(bytes, 2, length, protocol),
    ];
    expect([0, 1, 2, 3, 4].map(ports)).toEqual([
      [NO_PORT, NO_PORT],
      [NO_PORT, NO_PORT],
      [4789, NO_PORT],
      [4789, NO_PORT],
      [4789, 6081],
    ]);
  });

  it.each([GRE, ICMP, 0])('are not known with protocol %i', (protocol) => {
    expect(selectorSourcePort(bytes, 2, 4, protocol)).toBe(NO_PORT);
    expect(selectorDestinationPort(bytes, 2, 4, protocol)).toBe(NO_PORT);
  });

  it('that are not known cannot be taken for one', () => {
    expect(NO_PORT).toBeLessThan(0);
  });
});
