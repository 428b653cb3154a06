import { expect, it } from 'vitest';
import { innerMtu } from '../../control/mtu.ts';
import { espOverhead } from '../../dataplane/index.ts';

const IP = { 4: 20, 6: 40 } as const;
const ETHERNET = 14;

it.each([4, 6] as const)(
  'the inner MTU fills an underlay over IPv%i as far as ESP padding lets it, and never beyond',
  (family) => {
    for (let underlay = 1400; underlay < 1420; underlay++) {
      for (const header of [4, 8, 16, 20]) {
        const size = (mtu: number): number =>
          IP[family] + espOverhead(header + ETHERNET + mtu) + header + ETHERNET + mtu;
        const mtu = innerMtu(underlay, header, true, family);
        expect(size(mtu)).toBeLessThanOrEqual(underlay);
        expect(size(mtu + 1)).toBeGreaterThan(underlay);
        expect(innerMtu(underlay, header, false, family)).toBe(underlay - IP[family] - header - ETHERNET);
      }
    }
  },
);
