/** IKE fragments on the wire (RFC 7383 §2.5): there and back for any size, tampered with, cut at every byte. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createIvSource } from '../../../ike/crypto/sk-cipher.ts';
import type { SkKeys } from '../../../ike/crypto/sk-keys.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import { sealFragments } from '../../../ike/wire/fragments.ts';
import { openMessage, openPart, parseInner, parseMessage } from '../../../ike/wire/message.ts';
import { PAYLOAD } from '../../../ike/wire/names.ts';
import { payloads as anyPayloads } from './arbitraries.ts';
import { AUTH_HEADER, AUTH_PAYLOADS } from './samples.ts';
import { allSuites, patternKey } from './suites.ts';

const iv = (keys: SkKeys) => createIvSource(keys.encryption, (bytes) => patternKey(bytes, 77));

function partOf(bytes: Uint8Array) {
  const parsed = parseMessage(bytes);
  if (!parsed.ok || parsed.message.encrypted === undefined) throw new Error('not a protected message');
  return parsed.message.encrypted;
}

describe.each(allSuites())('fragments with $name', (keys) => {
  it('hold the payloads that went in, in order, none larger than asked for', () => {
    fc.assert(
      fc.property(anyPayloads, fc.integer({ min: 150, max: 1500 }), (payloads, maximum) => {
        const datagrams = sealFragments(AUTH_HEADER, payloads, keys, iv(keys), maximum);
        const parts = datagrams.map((bytes, index) => {
          expect(bytes.length).toBeLessThanOrEqual(maximum);
          const encrypted = partOf(bytes);
          expect(encrypted.fragment).toEqual({ number: index + 1, total: datagrams.length });
          if (index > 0) expect(encrypted.firstPayload).toBe(PAYLOAD.NO_NEXT);
          const part = openPart(bytes, encrypted, keys);
          if (!part.ok) throw new Error(part.reason);
          return part.inner;
        });
        expect(parseInner(concatBytes(...parts), partOf(datagrams[0]).firstPayload)).toEqual({ ok: true, payloads });
      }),
      { numRuns: 20 },
    );
  });

  it('are refused when any byte is changed, their numbers included', () => {
    const [, second] = sealFragments(AUTH_HEADER, AUTH_PAYLOADS, keys, iv(keys), 200);
    for (let at = 32; at < second.length; at++) {
      const changed = second.slice();
      changed[at] ^= 0x01;
      const parsed = parseMessage(changed);
      if (!parsed.ok) continue;
      expect(openMessage(changed, parsed.message, keys), `byte ${at}`).toEqual({ ok: false, reason: 'bad-integrity' });
    }
  });
});

describe('a fragment', () => {
  const keys = allSuites()[0];

  it('cut anywhere is refused, however its length fields are put right', () => {
    const [first] = sealFragments(AUTH_HEADER, AUTH_PAYLOADS, keys, iv(keys), 200);
    for (let size = 0; size < first.length; size++) {
      const cut = first.slice(0, size);
      expect(parseMessage(cut).ok).toBe(false);
      if (size < 32) continue;
      new DataView(cut.buffer).setUint32(24, size);
      new DataView(cut.buffer).setUint16(30, size - 28);
      const parsed = parseMessage(cut);
      if (parsed.ok) expect(openMessage(cut, parsed.message, keys).ok).toBe(false);
    }
  });

  it('needs room: too small a size is refused', () => {
    expect(() => sealFragments(AUTH_HEADER, AUTH_PAYLOADS, keys, iv(keys), 60)).toThrow(RangeError);
  });
});
