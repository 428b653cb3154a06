/** Whole messages, in the clear and sealed: there and back, tampered with, cut at every byte, and random (RFC 7296 §3). */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIvSource, sealBody, skSizes } from '../../../ike/crypto/sk-cipher.ts';
import type { SkKeys } from '../../../ike/crypto/sk-keys.ts';
import { PARSE_FAILURES } from '../../../ike/wire/failures.ts';
import { emitHeader, HEADER_SIZE, type MessageHeader } from '../../../ike/wire/header.ts';
import { emitMessage, openMessage, type ParsedMessage, parseMessage, sealMessage } from '../../../ike/wire/message.ts';
import { PAYLOAD } from '../../../ike/wire/names.ts';
import { emitChain, emitGenericHeader, payloadTypeOf, sizeOfChain } from '../../../ike/wire/payload-chain.ts';
import type { Payload } from '../../../ike/wire/payloads.ts';
import { header as anyHeader, payloads as anyPayloads } from './arbitraries.ts';
import { AUTH_HEADER, AUTH_PAYLOADS, INIT_HEADER, INIT_PAYLOADS } from './samples.ts';
import { allSuites, patternKey } from './suites.ts';

const random = (bytes: number) => patternKey(bytes, 77);
const ivSource = (keys: SkKeys) => createIvSource(keys.encryption, random);
const GCM = allSuites()[0];

function parsed(bytes: Uint8Array): ParsedMessage {
  const result = parseMessage(bytes);
  if (!result.ok) throw new Error(`not parsed: ${result.reason}`);
  return result.message;
}

function reasonOf(bytes: Uint8Array): string {
  const result = parseMessage(bytes);
  return result.ok ? 'accepted' : result.reason;
}

/** Payloads inside, or the reason. */
function open(bytes: Uint8Array, keys: SkKeys): readonly Payload[] | string {
  const result = openMessage(bytes, parsed(bytes), keys);
  return result.ok ? result.payloads : result.reason;
}

describe('a message in the clear', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(anyHeader, anyPayloads, (header, payloads) => {
        const bytes = emitMessage(header, payloads);
        const message = parsed(bytes);
        expect(message.header).toEqual({ ...header, majorVersion: 2, minorVersion: 0, length: bytes.length });
        expect(message.payloads).toEqual(payloads);
        expect(message.encrypted).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  it('has the header of RFC 7296 §3.1 byte for byte', () => {
    const header: MessageHeader = {
      initiatorSpi: '0123456789abcdef',
      responderSpi: 'fedcba9876543210',
      exchange: 'CREATE_CHILD_SA',
      initiatorFlag: true,
      responseFlag: true,
      messageId: 0x01020304,
    };
    expect(Buffer.from(emitMessage(header, [])).toString('hex')).toBe(
      '0123456789abcdef' + 'fedcba9876543210' + '00' + '20' + '24' + '28' + '01020304' + '0000001c',
    );
  });

  it('cut at any byte is refused for its length', () => {
    const bytes = emitMessage(INIT_HEADER, INIT_PAYLOADS);
    for (let length = 0; length < bytes.length; length++) {
      expect(reasonOf(bytes.subarray(0, length))).toBe(length < HEADER_SIZE ? 'short-header' : 'bad-length');
    }
  });

  it('cut at any byte, with a length that says so, is refused by a payload', () => {
    const bytes = emitMessage(INIT_HEADER, INIT_PAYLOADS);
    for (let length = HEADER_SIZE; length < bytes.length; length++) {
      const cut = bytes.slice(0, length);
      new DataView(cut.buffer).setUint32(24, length);
      expect(reasonOf(cut)).toBe('payload-overrun');
    }
  });

  it.each<[string, (bytes: Uint8Array) => void, string]>([
    ['of IKEv1', (bytes) => bytes.fill(0x10, 17, 18), 'older-version'],
    ['of a version to come', (bytes) => bytes.fill(0x30, 17, 18), 'newer-version'],
    ['without initiator SPI', (bytes) => bytes.fill(0, 0, 8), 'zero-initiator-spi'],
    ['with a length that is too large', (bytes) => bytes.fill(0xff, 24, 28), 'bad-length'],
    ['with an SKF payload', (bytes) => bytes.fill(53, 16, 17), 'encrypted-not-last'],
    ['with an SK payload that is not last', (bytes) => bytes.fill(46, 16, 17), 'encrypted-not-last'],
  ])('%s is refused', (_name, change, reason) => {
    const bytes = emitMessage(INIT_HEADER, INIT_PAYLOADS);
    change(bytes);
    expect(reasonOf(bytes)).toBe(reason);
  });

  it('with bytes behind its end is refused for its length', () => {
    const bytes = emitMessage(INIT_HEADER, INIT_PAYLOADS);
    expect(reasonOf(Uint8Array.from([...bytes, 0]))).toBe('bad-length');
  });

  it('with a payload shorter than its generic header is refused at once', () => {
    for (const length of [0, 1, 2, 3]) {
      const bytes = emitMessage(INIT_HEADER, [{ type: 'V', data: new Uint8Array(0) }]);
      bytes[HEADER_SIZE + 3] = length;
      expect(reasonOf(bytes)).toBe('payload-overrun');
    }
  });

  it('of a later minor version, with reserved flags set, is accepted (RFC 7296 §2.5)', () => {
    const bytes = emitMessage(INIT_HEADER, INIT_PAYLOADS);
    bytes[17] = 0x2f;
    bytes[19] |= 0xd7;
    expect(parsed(bytes).header).toMatchObject({ minorVersion: 15, initiatorFlag: true, responseFlag: false });
  });

  it('that is a fragment with impossible numbers is refused', () => {
    const bytes = emitMessage(INIT_HEADER, [{ type: 'V', data: new Uint8Array(40) }]);
    bytes[16] = PAYLOAD.SKF;
    for (const [number, total, reason] of [
      [0, 0, 'bad-fragment'],
      [0, 1, 'bad-fragment'],
      [2, 1, 'bad-fragment'],
      [1, 1, 'accepted'],
      [65535, 65535, 'accepted'],
    ] as const) {
      bytes.set([number >> 8, number & 0xff, total >> 8, total & 0xff], HEADER_SIZE + 4);
      expect(reasonOf(bytes)).toBe(reason);
    }
  });

  it('has nothing to open', () => {
    expect(open(emitMessage(INIT_HEADER, INIT_PAYLOADS), GCM)).toBe('not-encrypted');
  });
});

describe.each(allSuites())('a message sealed with $name', (keys) => {
  it('is opened as it was sealed', () => {
    const iv = ivSource(keys);
    fc.assert(
      fc.property(anyHeader, anyPayloads, (header, payloads) => {
        const bytes = sealMessage(header, payloads, keys, iv);
        const message = parsed(bytes);
        expect(message.header).toMatchObject(header);
        expect(message.payloads).toEqual([]);
        expect(openMessage(bytes, message, keys)).toEqual({ ok: true, payloads });
      }),
      { numRuns: 40 },
    );
  });

  it('may be empty, as a liveness check is', () => {
    expect(open(sealMessage({ ...AUTH_HEADER, exchange: 'INFORMATIONAL' }, [], keys, ivSource(keys)), keys)).toEqual(
      [],
    );
  });

  it('does not open with a bit changed anywhere', () => {
    const bytes = sealMessage(AUTH_HEADER, AUTH_PAYLOADS, keys, ivSource(keys));
    const encrypted = parsed(bytes);
    for (let at = 0; at < bytes.length; at++) {
      const changed = bytes.slice();
      changed[at] ^= 1 << (at & 7);
      // The layout of the honest message: what is tested is the integrity check, not the parser before it.
      expect(openMessage(changed, encrypted, keys)).toEqual({ ok: false, reason: 'bad-integrity' });
    }
  });

  it('does not open with other keys', () => {
    const other = allSuites(2).find(({ name }) => name === keys.name)!;
    const bytes = sealMessage(AUTH_HEADER, AUTH_PAYLOADS, keys, ivSource(keys));
    expect(open(bytes, other)).toBe('bad-integrity');
  });

  it('cut at any byte, with lengths that say so, is refused and never throws', () => {
    const bytes = sealMessage(AUTH_HEADER, AUTH_PAYLOADS, keys, ivSource(keys));
    for (let length = HEADER_SIZE + 4; length < bytes.length; length++) {
      const cut = bytes.slice(0, length);
      const view = new DataView(cut.buffer);
      view.setUint32(24, length);
      view.setUint16(HEADER_SIZE + 2, length - HEADER_SIZE);
      expect(open(cut, keys)).toMatch(/^bad-(encrypted|integrity)$/);
    }
  });

  it('takes any padding that fits, and refuses a pad length beyond the plaintext', () => {
    const { block } = skSizes(keys);
    for (const extra of [0, 1, 3]) {
      expect(open(sealWithPadding(keys, extra * block, undefined), keys)).toEqual(AUTH_PAYLOADS);
    }
    expect(open(sealWithPadding({ ...keys }, 0, 'beyond'), keys)).toBe('bad-padding');
  });
});

/** As sealMessage, with `extra` more bytes of padding, which are not zero, or a pad length that reaches beyond the start. */
function sealWithPadding(keys: SkKeys, extra: number, padLength: 'beyond' | undefined): Uint8Array {
  const { iv, icv, block } = skSizes(keys);
  const payloads = padLength === 'beyond' ? [] : AUTH_PAYLOADS;
  const inner = sizeOfChain(payloads);
  const padding = extra + ((block - ((inner + 1) % block)) % block);
  const skLength = 4 + iv + inner + padding + 1 + icv;
  const out = new Uint8Array(HEADER_SIZE + skLength).fill(0xa5);
  emitHeader(AUTH_HEADER, PAYLOAD.SK, out.length, out);
  emitGenericHeader(payloads.length === 0 ? 0 : payloadTypeOf(payloads[0]), false, skLength, out, HEADER_SIZE);
  const bodyOffset = HEADER_SIZE + 4;
  const end = emitChain(payloads, out, bodyOffset + iv, 0);
  out[end + padding] = padLength === 'beyond' ? padding + 1 : padding;
  sealBody(out, bodyOffset, keys);
  return out;
}

/** Any bytes, well sealed by a peer: the inside of SK is no more to be trusted than what stands in the clear. */
function sealBytes(firstType: number, inner: Uint8Array): Uint8Array {
  const skLength = 4 + 8 + inner.length + 1 + 16;
  const out = new Uint8Array(HEADER_SIZE + skLength);
  emitHeader(AUTH_HEADER, PAYLOAD.SK, out.length, out);
  emitGenericHeader(firstType, false, skLength, out, HEADER_SIZE);
  out.set(inner, HEADER_SIZE + 12);
  sealBody(out, HEADER_SIZE + 4, GCM);
  return out;
}

describe('what was sealed', () => {
  it('is read with the same suspicion: a bad inner payload has its own reason', () => {
    expect(open(sealBytes(PAYLOAD.NONCE, Uint8Array.of(0, 0, 0, 5, 1)), GCM)).toBe('bad-nonce');
    expect(open(sealBytes(PAYLOAD.N, Uint8Array.of(0, 0, 0, 9)), GCM)).toBe('payload-overrun');
    expect(open(sealBytes(0, Uint8Array.of(1)), GCM)).toBe('trailing-bytes');
  });

  it('may not hold another SK payload', () => {
    expect(open(sealBytes(PAYLOAD.SK, Uint8Array.of(0, 0, 0, 4)), GCM)).toBe('bad-encrypted');
  });

  it('keeps payloads in front of SK under the integrity check', () => {
    const outer: Payload = { type: 'V', data: Uint8Array.of(1, 2, 3) };
    const sealed = sealMessage(AUTH_HEADER, [], GCM, ivSource(GCM));
    const skLength = sealed.length - HEADER_SIZE;
    const out = new Uint8Array(sealed.length + 7);
    emitHeader(AUTH_HEADER, PAYLOAD.V, out.length, out);
    emitChain([outer], out, HEADER_SIZE, PAYLOAD.SK);
    emitGenericHeader(0, false, skLength, out, HEADER_SIZE + 7);
    sealBody(out, HEADER_SIZE + 11, GCM);
    expect(parsed(out).payloads).toEqual([outer]);
    expect(open(out, GCM)).toEqual([]);
    out[HEADER_SIZE + 5] ^= 1;
    expect(open(out, GCM)).toBe('bad-integrity');
  });
});

describe('IVs', () => {
  it('of an AEAD never repeat and count on beyond 32 bits', () => {
    const iv = ivSource(GCM);
    const seen = new Set(Array.from({ length: 1000 }, () => Buffer.from(iv(8)).toString('hex')));
    expect(seen.size).toBe(1000);
    expect([...seen][0]).toBe('0000000000000001');
  });

  it('of CBC come from the random source, so that nobody foresees them', () => {
    const cbc = allSuites().find(({ integrity }) => integrity !== undefined)!;
    const drawn: number[] = [];
    const iv = createIvSource(cbc.encryption, (bytes) => {
      drawn.push(bytes);
      return random(bytes);
    });
    const bytes = sealMessage(AUTH_HEADER, [], cbc, iv);
    expect(drawn).toEqual([16]);
    expect(bytes.subarray(HEADER_SIZE + 4, HEADER_SIZE + 20)).toEqual(random(16));
  });
});

describe('hostile bytes', () => {
  it('never throw: random ones, with and without a plausible header', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), fc.nat(63), (bytes, plausible, first) => {
        if (plausible && bytes.length >= HEADER_SIZE) {
          emitHeader(INIT_HEADER, first, bytes.length, bytes);
        }
        const result = parseMessage(bytes);
        if (!result.ok) expect(PARSE_FAILURES).toHaveProperty([result.reason]);
        else if (result.message.encrypted !== undefined) {
          expect(openMessage(bytes, result.message, GCM).ok).toBe(false);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('never throw: honest messages with some bytes changed, in the clear and inside SK', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(anyPayloads, changes, (payloads, list) => {
        const change = (bytes: Uint8Array, from: number) => {
          for (const [at, value] of list) if (bytes.length > from) bytes[from + (at % (bytes.length - from))] = value;
        };
        const clear = emitMessage(INIT_HEADER, payloads);
        change(clear, HEADER_SIZE);
        expect(() => parseMessage(clear)).not.toThrow();

        const inner = new Uint8Array(sizeOfChain(payloads));
        emitChain(payloads, inner, 0, 0);
        change(inner, 0);
        const sealed = sealBytes(payloads.length === 0 ? 0 : payloadTypeOf(payloads[0]), inner);
        expect(() => openMessage(sealed, parsed(sealed), GCM)).not.toThrow();
      }),
      { numRuns: 500 },
    );
  });

  it('of 64 kB cost milliseconds, whatever they repeat', () => {
    const size = 65_000;
    const fillings: readonly (readonly number[])[] = [
      [43, 0, 0, 4], // empty vendor ids
      [41, 0, 0, 8, 0, 0, 0x40, 0], // notifies
      [33, 0, 0, 12, 0, 0, 0, 8, 1, 1, 0, 0], // SAs of one empty proposal
      [44, 0, 0, 8, 1, 0, 0, 0],
      [0xff],
      [0],
    ];
    for (const filling of fillings) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => filling[i % filling.length]);
      emitHeader(INIT_HEADER, filling[0], size, bytes.subarray(0));
      bytes.set(filling, HEADER_SIZE);
      const start = performance.now();
      for (let i = 0; i < 20; i++) parseMessage(bytes);
      expect((performance.now() - start) / 20).toBeLessThan(10);
    }
    // The largest SA that fits its payload: every proposal and transform as small as it can be.
    const transforms = Array.from({ length: 128 }, (_, i) => [i === 127 ? 0 : 3, 0, 0, 8, 1, 0, 0, 20]).flat();
    const proposals = Array.from({ length: 32 }, (_, i) => [
      i === 31 ? 0 : 2,
      0,
      4,
      8,
      1,
      1,
      0,
      128,
      ...transforms,
    ]).flat();
    const sa = Uint8Array.from([0, 0, (proposals.length + 4) >> 8, (proposals.length + 4) & 0xff, ...proposals]);
    const bytes = new Uint8Array(HEADER_SIZE + sa.length);
    emitHeader(INIT_HEADER, PAYLOAD.SA, bytes.length, bytes);
    bytes.set(sa, HEADER_SIZE);
    const start = performance.now();
    expect(reasonOf(bytes)).toBe('accepted');
    expect(performance.now() - start).toBeLessThan(200);
  });
});
