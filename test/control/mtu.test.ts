import { expect, it } from 'vitest';
import { innerMtu } from '../../control/mtu.ts';
import { espOverhead } from '../../dataplane/index.ts';

const IP = { 4: 20, 6: 40 } as const;
const ETHERNET = 14;

const LAYERS = [4, 6].flatMap((family) =>
  [false, true].flatMap((tunnelMode) => [false, true].map((inUdp) => ({ family: family as 4 | 6, tunnelMode, inUdp }))),
);

it.each(LAYERS)(
  'the inner MTU fills an underlay as far as ESP padding lets it, and never beyond: %o',
  ({ family, tunnelMode, inUdp }) => {
    for (let underlay = 1400; underlay < 1420; underlay++) {
      for (const header of [4, 8, 16, 20]) {
        const size = (mtu: number): number => {
          const text = (tunnelMode ? IP[family] : 0) + header + ETHERNET + mtu;
          return IP[family] + (inUdp ? 8 : 0) + espOverhead(text) + text;
        };
        const mtu = innerMtu(underlay, header, { tunnelMode, inUdp }, family);
        expect(size(mtu)).toBeLessThanOrEqual(underlay);
        expect(size(mtu + 1)).toBeGreaterThan(underlay);
        expect(innerMtu(underlay, header, undefined, family)).toBe(underlay - IP[family] - header - ETHERNET);
      }
    }
  },
);
