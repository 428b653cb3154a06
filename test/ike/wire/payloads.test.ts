/** Payload codecs: every payload comes back as it was written, and single ones byte for byte as RFC 7296 §3 draws them. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFailure } from '../../../ike/wire/failures.ts';
import { PAYLOAD } from '../../../ike/wire/names.ts';
import {
  emitChain,
  MAX_NOTIFIES,
  MAX_PAYLOADS,
  parseChain,
  payloadTypeOf,
  sizeOfChain,
  unsupportedCriticalPayload,
} from '../../../ike/wire/payload-chain.ts';
import { idBody } from '../../../ike/wire/payloads/id.ts';
import { hasUnknownTransformType, MAX_PROPOSALS, MAX_TRANSFORMS } from '../../../ike/wire/payloads/sa.ts';
import { MAX_SELECTORS } from '../../../ike/wire/payloads/ts.ts';
import type { Payload, Proposal } from '../../../ike/wire/payloads.ts';
import { PAYLOADS } from './arbitraries.ts';

const NO_BYTES = new Uint8Array(0);

function emit(payloads: readonly Payload[]): Uint8Array {
  // Filled with ones: whatever a codec forgets to write shows.
  const out = new Uint8Array(sizeOfChain(payloads)).fill(0xff);
  expect(emitChain(payloads, out, 0, PAYLOAD.NO_NEXT)).toBe(out.length);
  return out;
}

/** Payloads of the bytes, or the reason why there are none. */
function parse(bytes: Uint8Array, firstType: number): readonly Payload[] | string {
  const chain = parseChain(bytes, 0, bytes.length, firstType);
  return isFailure(chain) ? chain : chain.payloads;
}

/** A chain of one payload of this type around the given body. */
function parseBody(type: keyof typeof PAYLOAD, bodyHex: string): readonly Payload[] | string {
  const body = Buffer.from(bodyHex.replaceAll(' ', ''), 'hex');
  const length = 4 + body.length;
  return parse(Uint8Array.from([0, 0, length >> 8, length & 0xff, ...body]), PAYLOAD[type]);
}

function bodyHex(payload: Payload): string {
  return Buffer.from(emit([payload]).subarray(4)).toString('hex');
}

describe.each(Object.entries(PAYLOADS))('%s payload', (_type, arbitrary) => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(arbitrary, (payload) => {
        expect(parse(emit([payload]), payloadTypeOf(payload))).toEqual([payload]);
      }),
      { numRuns: 300 },
    );
  });

  it('cut short or grown by a byte is a reason or another payload, never an exception', () => {
    fc.assert(
      fc.property(arbitrary, fc.nat(), (payload, at) => {
        const whole = emit([payload]);
        const cut = whole.slice(0, at % whole.length);
        expect(parse(cut, payloadTypeOf(payload))).toBe('payload-overrun');
        // With a length that fits the cut, the body itself is too short, or means something else.
        if (cut.length >= 4) {
          cut[2] = cut.length >> 8;
          cut[3] = cut.length;
          const result = parse(cut, payloadTypeOf(payload));
          expect(typeof result === 'string' || result.length === 1).toBe(true);
        }
        expect(parse(Uint8Array.from([...whole, 0]), payloadTypeOf(payload))).toBe('trailing-bytes');
      }),
      { numRuns: 200 },
    );
  });
});

describe('bytes of single payloads', () => {
  it('has an SA payload as RFC 7296 §3.3 draws it', () => {
    const sa: Payload = {
      type: 'SA',
      proposals: [
        {
          number: 1,
          protocol: 'ESP',
          spi: Uint8Array.of(1, 2, 3, 4),
          transforms: [
            { type: 'ENCR', id: 20, keyBits: 256 },
            { type: 'ESN', id: 0 },
          ],
          unknown: [],
        },
        {
          number: 2,
          protocol: 'AH',
          spi: Uint8Array.of(5, 6, 7, 8),
          transforms: [{ type: 'INTEG', id: 12 }],
          unknown: [],
        },
      ],
    };
    expect(bodyHex(sa)).toBe(
      [
        '02000020 01030402 01020304', // more proposals, 32 bytes; 1, ESP, SPI of 4, 2 transforms
        '0300000c 01000014 800e0100', // more transforms, 12 bytes; ENCR, 20; key length 256
        '00000008 05000000', // last, 8 bytes; ESN, 0
        '00000014 02020401 05060708', // last, 20 bytes; 2, AH, SPI of 4, 1 transform
        '00000008 0300000c', // last, 8 bytes; INTEG, 12
      ]
        .join('')
        .replaceAll(' ', ''),
    );
  });

  it.each<[string, Payload, string]>([
    ['KE', { type: 'KE', group: 31, data: Uint8Array.of(9, 8) }, '001f 0000 0908'],
    ['IDi', { type: 'IDi', idType: 2, data: Uint8Array.of(0x61, 0x62) }, '02 000000 6162'],
    ['CERT', { type: 'CERT', encoding: 4, data: Uint8Array.of(0x30) }, '04 30'],
    ['AUTH', { type: 'AUTH', method: 2, data: Uint8Array.of(7) }, '02 000000 07'],
    [
      'N (REKEY_SA)',
      { type: 'N', protocol: 'ESP', spi: Uint8Array.of(1, 2, 3, 4), notify: 16393, data: NO_BYTES },
      '03 04 4009 01020304',
    ],
    [
      'D',
      { type: 'D', protocol: 'ESP', spiSize: 4, spis: [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(5, 6, 7, 8)] },
      '03 04 0002 01020304 05060708',
    ],
    [
      'TSi with IPv4',
      {
        type: 'TSi',
        selectors: [{ protocol: 17, startPort: 0, endPort: 65535, startAddress: '10.0.0.1', endAddress: '10.0.0.9' }],
        unknownSelectors: 0,
      },
      '01 000000 07 11 0010 0000 ffff 0a000001 0a000009',
    ],
    [
      'TSr with IPv6',
      {
        type: 'TSr',
        selectors: [
          { protocol: 47, startPort: 1, endPort: 2, startAddress: '2001:db8::1', endAddress: '2001:db8::ff' },
        ],
        unknownSelectors: 0,
      },
      '01 000000 08 2f 0028 0001 0002 20010db8000000000000000000000001 20010db80000000000000000000000ff',
    ],
  ])('has %s as RFC 7296 draws it', (_name, payload, expected) => {
    expect(bodyHex(payload)).toBe(expected.replaceAll(' ', ''));
  });

  it('puts the type of each next payload, the critical bit and the length into generic headers', () => {
    const payloads: Payload[] = [
      { type: 'V', data: Uint8Array.of(1) },
      { type: 'UNKNOWN', payloadType: 200, critical: true, data: NO_BYTES },
      { type: 'N', protocol: 'NONE', spi: NO_BYTES, notify: 16384, data: NO_BYTES },
    ];
    expect(Buffer.from(emit(payloads)).toString('hex')).toBe('c800000501' + '29800004' + '00000008' + '00004000');
  });

  it('keeps the reserved bits of an identity, which AUTH covers, and ignores those elsewhere', () => {
    expect(parseBody('IDi', '01 abcdef 0a000001')).toEqual([
      { type: 'IDi', idType: 1, data: Uint8Array.of(10, 0, 0, 1), reserved: 0xabcdef },
    ]);
    const body = idBody({ type: 'IDr', idType: 1, data: Uint8Array.of(10, 0, 0, 1), reserved: 0xabcdef });
    expect(Buffer.from(body).toString('hex')).toBe('01abcdef0a000001');
    expect(parseBody('KE', '000e ffff 01')).toEqual([{ type: 'KE', group: 14, data: Uint8Array.of(1) }]);
    expect(parseBody('AUTH', '02 ffffff 01')).toEqual([{ type: 'AUTH', method: 2, data: Uint8Array.of(1) }]);
  });
});

describe('proposals that can not be judged', () => {
  const encr = '00000008 0100000b';

  function proposalsOf(body: string): readonly Proposal[] {
    const [sa] = parseBody('SA', body);
    if (typeof sa === 'string' || sa.type !== 'SA') throw new Error('no SA payload came out');
    return sa.proposals;
  }

  it('keep a transform of an unknown type apart, which makes the proposal unacceptable', () => {
    const [proposal] = proposalsOf(`00000018 01010002 03000008 0d000024 ${encr}`);
    expect(proposal.transforms).toEqual([{ type: 'ENCR', id: 11 }]);
    expect(proposal.unknown).toEqual([{ transformType: 13, id: 36, attributes: new Uint8Array(0) }]);
    expect(hasUnknownTransformType(proposal)).toBe(true);
  });

  it('keep a known transform with an unknown attribute apart, which leaves the rest of the proposal acceptable', () => {
    const [proposal] = proposalsOf(`0000001c 01010002 0300000c 01000014 800f0001 ${encr}`);
    expect(proposal.transforms).toEqual([{ type: 'ENCR', id: 11 }]);
    expect(proposal.unknown).toHaveLength(1);
    expect(hasUnknownTransformType(proposal)).toBe(false);
  });
});

describe('malformed bodies', () => {
  it.each<[string, keyof typeof PAYLOAD, string, string]>([
    ['an SA without proposals', 'SA', '', 'bad-sa'],
    ['a proposal shorter than its header', 'SA', '00000007 01010000', 'bad-sa'],
    ['a proposal longer than the payload', 'SA', '00000009 01010000', 'bad-sa'],
    ['a last proposal with another behind it', 'SA', '00000008 01010000 00000008 02010000', 'bad-sa'],
    ['a proposal that announces another which is missing', 'SA', '02000008 01010000', 'bad-sa'],
    ['a proposal neither last nor followed', 'SA', '01000008 01010000', 'bad-sa'],
    ['an SPI longer than its proposal', 'SA', '00000008 01030400', 'bad-sa'],
    ['more transforms announced than there are', 'SA', '00000010 01010002 03000008 0100000b', 'bad-sa'],
    [
      'fewer transforms announced than there are',
      'SA',
      '00000018 01010001 00000008 0100000b 00000008 0100000b',
      'bad-sa',
    ],
    ['a transform shorter than its header', 'SA', '00000010 01010001 00000007 0100000b', 'bad-sa'],
    ['a transform longer than its proposal', 'SA', '00000010 01010001 00000009 0100000b', 'bad-sa'],
    ['a last transform that announces another', 'SA', '00000010 01010001 03000008 0100000b', 'bad-sa'],
    ['a KE without public value', 'KE', '000e0000', 'bad-ke'],
    ['an identity without type', 'IDi', '010000', 'bad-id'],
    ['a certificate without encoding', 'CERT', '', 'bad-cert'],
    ['a certificate request without encoding', 'CERTREQ', '', 'bad-cert'],
    ['an AUTH without data', 'AUTH', '02000000', 'bad-auth'],
    ['a nonce of 15 bytes', 'NONCE', '00'.repeat(15), 'bad-nonce'],
    ['a nonce of 257 bytes', 'NONCE', '00'.repeat(257), 'bad-nonce'],
    ['a notify shorter than its header', 'N', '000040', 'bad-notify'],
    ['a notify with an SPI longer than itself', 'N', '03044009 010203', 'bad-notify'],
    ['a delete with more SPIs than bytes', 'D', '03040002 01020304', 'bad-delete'],
    ['a delete with bytes behind its SPIs', 'D', '03040001 01020304 05', 'bad-delete'],
    ['a delete of 65535 SPIs without size', 'D', '0300ffff', 'bad-delete'],
    ['selectors without count', 'TSi', '010000', 'bad-ts'],
    ['no selector at all', 'TSi', '00000000', 'bad-ts'],
    ['a selector shorter than its header', 'TSi', '01000000 07000007 0000ffff', 'bad-ts'],
    ['a selector longer than the payload', 'TSi', '01000000 07000010 0000ffff 0a000001 0a0000', 'bad-ts'],
    ['an IPv4 selector of the wrong length', 'TSi', '01000000 07000011 0000ffff 0a000001 0a000001 00', 'bad-ts'],
    ['bytes behind the last selector', 'TSi', '01000000 07000010 0000ffff 0a000001 0a000001 00', 'bad-ts'],
  ])('%s is refused', (_name, type, body, reason) => {
    expect(parseBody(type, body)).toBe(reason);
  });

  it('a selector of an unknown type is counted and left out', () => {
    const ipv4 = '07000010 0000ffff 0a000001 0a000001';
    const [ts] = parseBody('TSi', `02000000 0900000a 0000ffff 1234 ${ipv4}`) as [Payload];
    expect(ts).toMatchObject({ unknownSelectors: 1, selectors: [{ startAddress: '10.0.0.1' }] });
  });
});

describe('bounds', () => {
  const repeat = (count: number, hex: (index: number) => string) =>
    Array.from({ length: count }, (_, i) => hex(i)).join('');

  it(`takes ${MAX_PROPOSALS} proposals and no more`, () => {
    const sa = (count: number) => repeat(count, (i) => `${i + 1 === count ? '00' : '02'}00000801010000`);
    expect(parseBody('SA', sa(MAX_PROPOSALS))).toHaveLength(1);
    expect(parseBody('SA', sa(MAX_PROPOSALS + 1))).toBe('too-many-proposals');
  });

  it(`takes ${MAX_TRANSFORMS} transforms in a proposal and no more`, () => {
    const sa = (count: number) => {
      const transforms = repeat(count, (i) => `${i + 1 === count ? '00' : '03'}0000080100000b`);
      const length = (8 + 8 * count).toString(16).padStart(4, '0');
      return `0000${length}010100${count.toString(16)}${transforms}`;
    };
    expect(parseBody('SA', sa(MAX_TRANSFORMS))).toHaveLength(1);
    expect(parseBody('SA', sa(MAX_TRANSFORMS + 1))).toBe('too-many-transforms');
  });

  it(`takes ${MAX_SELECTORS} selectors and no more`, () => {
    const ts = (count: number) =>
      `${count.toString(16)}000000${repeat(count, () => '070000100000ffff0a0000010a000001')}`;
    expect(parseBody('TSi', ts(MAX_SELECTORS))).toHaveLength(1);
    expect(parseBody('TSi', ts(MAX_SELECTORS + 1))).toBe('too-many-selectors');
  });

  it(`takes ${MAX_PAYLOADS} payloads, ${MAX_NOTIFIES} of them notifies, and no more`, () => {
    const vendor: Payload = { type: 'V', data: NO_BYTES };
    const notify: Payload = { type: 'N', protocol: 'NONE', spi: NO_BYTES, notify: 1, data: NO_BYTES };
    const chain = (payloads: Payload[]) => parse(emit(payloads), payloadTypeOf(payloads[0]));
    expect(chain(Array(MAX_PAYLOADS).fill(vendor))).toHaveLength(MAX_PAYLOADS);
    expect(chain(Array(MAX_PAYLOADS + 1).fill(vendor))).toBe('too-many-payloads');
    expect(chain(Array(MAX_NOTIFIES).fill(notify))).toHaveLength(MAX_NOTIFIES);
    expect(chain(Array(MAX_NOTIFIES + 1).fill(notify))).toBe('too-many-notifies');
  });
});

describe('what can not be written', () => {
  it('a payload longer than 65535 bytes is a RangeError', () => {
    expect(() => emit([{ type: 'V', data: new Uint8Array(65532) }])).toThrow(RangeError);
  });

  it('an SPI of another size than the delete payload says is a RangeError', () => {
    expect(() => emit([{ type: 'D', protocol: 'ESP', spiSize: 4, spis: [Uint8Array.of(1)] }])).toThrow(
      /1 bytes, expected 4/,
    );
  });

  it('a selector with text that is no address, or of two families, is a RangeError', () => {
    const ts = (startAddress: string, endAddress: string): Payload => ({
      type: 'TSi',
      selectors: [{ protocol: 0, startPort: 0, endPort: 65535, startAddress, endAddress }],
      unknownSelectors: 0,
    });
    expect(() => emit([ts('10.0.0.256', '10.0.0.1')])).toThrow(/10\.0\.0\.256/);
    expect(() => emit([ts('10.0.0.1', '::1')])).toThrow(RangeError);
  });
});

describe('unsupported critical payloads', () => {
  const unknown = (payloadType: number, critical: boolean): Payload => ({
    type: 'UNKNOWN',
    payloadType,
    critical,
    data: NO_BYTES,
  });

  it('are found by the critical bit alone', () => {
    expect(unsupportedCriticalPayload([unknown(200, false), { type: 'V', data: NO_BYTES }])).toBeUndefined();
    expect(unsupportedCriticalPayload([unknown(200, false), unknown(201, true), unknown(202, true)])).toBe(201);
  });

  it('are not the payloads of RFC 7296 that are known and not used', () => {
    expect(unsupportedCriticalPayload([unknown(PAYLOAD.CP, true), unknown(PAYLOAD.EAP, true)])).toBeUndefined();
  });
});
