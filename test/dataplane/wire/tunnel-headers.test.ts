import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DROP, type DropName } from '../../../dataplane/drops.ts';
import { checkGeneve, geneveVni, writeGeneve } from '../../../dataplane/wire/geneve.ts';
import {
  checkGre,
  GRE_FLAG_CHECKSUM,
  GRE_FLAG_KEY,
  GRE_FLAG_SEQUENCE,
  greFlags,
  greHeaderLength,
  greKey,
  writeGre,
} from '../../../dataplane/wire/gre.ts';
import { checkVxlan, hasGroupPolicy, vxlanVni, writeVxlan } from '../../../dataplane/wire/vxlan.ts';

const bytesOf = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const refused = (reason: DropName): number => -DROP[reason];

describe('the GRE header', () => {
  it.each([
    [0, '0000 6558'],
    [GRE_FLAG_KEY, '2000 6558 89abcdef'],
    [GRE_FLAG_CHECKSUM, '8000 6558 0000 0000'],
    [GRE_FLAG_CHECKSUM | GRE_FLAG_KEY, 'a000 6558 0000 0000 89abcdef'],
  ])('with flags %i has the layout of RFC 2890 section 2', (flags, layout) => {
    const expected = bytesOf(layout);
    const bytes = new Uint8Array(expected.length).fill(0xaa);
    expect(greHeaderLength(flags)).toBe(expected.length);
    writeGre(bytes, 0, flags, 0x89abcdef | 0);
    expect(hexOf(bytes)).toBe(hexOf(expected));
  });

  it('is read as it was written, over all keys', () => {
    fc.assert(
      fc.property(fc.constantFrom(0, GRE_FLAG_CHECKSUM), fc.integer(), (flags, key) => {
        const bytes = new Uint8Array(12);
        writeGre(bytes, 0, flags | GRE_FLAG_KEY, key);
        expect(checkGre(bytes, 0, 12)).toBe(greHeaderLength(flags | GRE_FLAG_KEY));
        expect(greFlags(bytes, 0)).toBe(flags | GRE_FLAG_KEY);
        expect(greKey(bytes, 0)).toBe(key | 0);
      }),
    );
  });

  it('may have a sequence number, which is passed over', () => {
    expect(checkGre(bytesOf('b000 6558 1111 0000 00000007 22222222'), 0, 16)).toBe(16);
    expect(greKey(bytesOf('b000 6558 1111 0000 00000007 22222222'), 0)).toBe(7);
  });

  it('is refused when cut anywhere', () => {
    for (const flags of [0, GRE_FLAG_KEY, GRE_FLAG_CHECKSUM | GRE_FLAG_KEY | GRE_FLAG_SEQUENCE]) {
      const bytes = new Uint8Array(16);
      writeGre(bytes, 0, flags, 0);
      for (let length = 0; length < greHeaderLength(flags); length++) {
        expect(checkGre(bytes, 0, length)).toBe(refused('gre-too-short'));
      }
    }
  });

  it('is refused with every other flag, reserved bit and version', () => {
    const known = GRE_FLAG_CHECKSUM | GRE_FLAG_KEY | GRE_FLAG_SEQUENCE;
    for (let bit = 1; bit < 0x10000; bit <<= 1) {
      const bytes = new Uint8Array(16);
      writeGre(bytes, 0, bit, 0);
      expect(checkGre(bytes, 0, 16), `bit ${bit}`).toBe((bit & known) !== 0 ? 8 : refused('gre-flags'));
    }
  });

  it('is refused with another protocol than Ethernet', () => {
    expect(checkGre(bytesOf('0000 0800 45000000'), 0, 8)).toBe(refused('gre-protocol'));
  });
});

describe('the VXLAN header', () => {
  it('has the layout of RFC 7348 section 5', () => {
    const bytes = new Uint8Array(8).fill(0xaa);
    writeVxlan(bytes, 0, 0xabcdef);
    expect(hexOf(bytes)).toBe('08000000abcdef00');
  });

  it('is read as it was written, over all VNIs', () => {
    fc.assert(
      fc.property(fc.nat(0xffffff), (vni) => {
        const bytes = new Uint8Array(8);
        writeVxlan(bytes, 0, vni);
        expect(checkVxlan(bytes, 0, 8)).toBe(8);
        expect(vxlanVni(bytes, 0)).toBe(vni);
      }),
    );
  });

  it('is refused when cut anywhere', () => {
    for (let length = 0; length < 8; length++) {
      expect(checkVxlan(bytesOf('0800000000000100'), 0, length)).toBe(refused('vxlan-too-short'));
    }
  });

  it('may carry a group policy: the G flag, then D, A and the id of the group', () => {
    for (const header of ['8800000000000100', '8848ffff00000100', '8808000100000100']) {
      expect(checkVxlan(bytesOf(header), 0, 8)).toBe(8);
      expect(hasGroupPolicy(bytesOf(header), 0)).toBe(true);
    }
    expect(hasGroupPolicy(bytesOf('0800000000000100'), 0)).toBe(false);
    for (const header of ['8000000000000100', '8880000000000100', '8c00000000000100', '8801000000000100'])
      expect(checkVxlan(bytesOf(header), 0, 8), header).toBe(refused('vxlan-flags'));
  });

  it('is refused without the I flag, and with any other bit beside the VNI', () => {
    expect(checkVxlan(bytesOf('0000000000000100'), 0, 8)).toBe(refused('vxlan-flags'));
    for (let bit = 1; bit < 64; bit++) {
      if (bit === 4 || (bit >= 32 && bit < 56)) continue;
      const bytes = bytesOf('0800000000000100');
      bytes[bit >> 3] |= 0x80 >> (bit & 7);
      expect(checkVxlan(bytes, 0, 8), `bit ${bit}`).toBe(refused('vxlan-flags'));
    }
  });
});

describe('the Geneve header', () => {
  it('has the layout of RFC 8926 section 3.4', () => {
    const bytes = new Uint8Array(8).fill(0xaa);
    writeGeneve(bytes, 0, 0xabcdef);
    expect(hexOf(bytes)).toBe('00006558abcdef00');
  });

  it('is read as it was written, over all VNIs', () => {
    fc.assert(
      fc.property(fc.nat(0xffffff), (vni) => {
        const bytes = new Uint8Array(8);
        writeGeneve(bytes, 0, vni);
        expect(checkGeneve(bytes, 0, 8)).toBe(8);
        expect(geneveVni(bytes, 0)).toBe(vni);
      }),
    );
  });

  it('is refused when cut anywhere, options included', () => {
    const bytes = bytesOf('03006558 00000100 01020101 deadbeef 01020200');
    expect(checkGeneve(bytes, 0, 20)).toBe(20);
    for (let length = 0; length < 20; length++) {
      expect(checkGeneve(bytes, 0, length)).toBe(refused('geneve-too-short'));
    }
  });

  it('passes over unknown options, of any length up to 252 bytes in all', () => {
    // Each option takes 1 to 32 words, its header included; together at most 63 (RFC 8926 §3.5).
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 32 }), { maxLength: 63 }), fc.nat(0x7f), (sizes, type) => {
        const options: number[] = [];
        for (const size of sizes) {
          if (options.length / 4 + size > 63) break;
          options.push(1, 2, type, size - 1, ...new Array<number>((size - 1) * 4).fill(0xff));
        }
        const bytes = Uint8Array.of(options.length / 4, 0, 0x65, 0x58, 0, 0, 1, 0, ...options);
        expect(checkGeneve(bytes, 0, bytes.length)).toBe(bytes.length);
      }),
    );
  });

  it('is refused with an unknown critical option, wherever it stands and whatever the C bit says', () => {
    const critical = refused('geneve-critical-option');
    expect(checkGeneve(bytesOf('01406558 00000100 01028000'), 0, 12)).toBe(critical);
    expect(checkGeneve(bytesOf('01006558 00000100 01028000'), 0, 12)).toBe(critical);
    expect(checkGeneve(bytesOf('03406558 00000100 01020101 deadbeef 01028000'), 0, 20)).toBe(critical);
    expect(checkGeneve(bytesOf('02406558 00000100 01028001 00000000'), 0, 16)).toBe(critical);
  });

  it('is refused with options that do not add up', () => {
    expect(checkGeneve(bytesOf('01006558 00000100 01020001 00000000'), 0, 16)).toBe(refused('geneve-options'));
    expect(checkGeneve(bytesOf('02006558 00000100 01020000 0102001f'), 0, 16)).toBe(refused('geneve-options'));
  });

  it('is refused with another version, the O bit, or another protocol', () => {
    expect(checkGeneve(bytesOf('40006558 00000100'), 0, 8)).toBe(refused('geneve-version'));
    expect(checkGeneve(bytesOf('c0006558 00000100'), 0, 8)).toBe(refused('geneve-version'));
    expect(checkGeneve(bytesOf('00806558 00000100'), 0, 8)).toBe(refused('geneve-oam'));
    expect(checkGeneve(bytesOf('00000800 00000100'), 0, 8)).toBe(refused('geneve-protocol'));
  });

  it('may have reserved bits set, which a receiver ignores', () => {
    expect(checkGeneve(bytesOf('003f6558 000001ff'), 0, 8)).toBe(8);
  });
});
