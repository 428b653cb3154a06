/** What IKE_INTERMEDIATE adds to AUTH (RFC 9242 §3.3.2), written out once more with noble. */
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { signedOctets } from '../../../ike/crypto/auth-psk.ts';
import { IntAuth } from '../../../ike/crypto/int-auth.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import { patternKey } from '../wire/suites.ts';

const idOf = (messageId: number): Uint8Array => Uint8Array.of(0, 0, 0, messageId);

describe.each([
  { id: 5, noble: sha256 },
  { id: 7, noble: sha512 },
])('IntAuth with PRF $id', ({ id, noble }) => {
  const [skPi, skPr, newSkPi, newSkPr] = [1, 2, 3, 4].map((seed) => patternKey(noble.outputLen, seed));
  const messages = [10, 11, 12, 13].map((seed) => patternKey(80, seed));

  it('of one exchange is a MAC of each message, and the message id that IKE_AUTH has then', () => {
    const intAuth = new IntAuth(id);
    intAuth.addRequest(skPi, messages[0]);
    intAuth.addResponse(skPr, messages[1]);
    const expected = concatBytes(hmac(noble, skPi, messages[0]), hmac(noble, skPr, messages[1]), idOf(2));
    expect(intAuth.octets()).toEqual(expected);
  });

  it('of two exchanges has the MACs of the first in those of the second, each with the keys of its time', () => {
    const intAuth = new IntAuth(id);
    intAuth.addRequest(skPi, messages[0]);
    intAuth.addResponse(skPr, messages[1]);
    intAuth.addRequest(newSkPi, messages[2]);
    intAuth.addResponse(newSkPr, messages[3]);
    const first = [hmac(noble, skPi, messages[0]), hmac(noble, skPr, messages[1])];
    const second = [
      hmac(noble, newSkPi, concatBytes(first[0], messages[2])),
      hmac(noble, newSkPr, concatBytes(first[1], messages[3])),
    ];
    expect(intAuth.octets()).toEqual(concatBytes(...second, idOf(3)));
  });

  it('ends the signed octets of AUTH', () => {
    const input = {
      prf: { type: 'PRF', id },
      initMessage: messages[0],
      peerNonce: patternKey(32, 5),
      skP: skPi,
      idBody: patternKey(8, 6),
    } as const;
    const intAuth = patternKey(68, 7);
    const without = signedOctets({ ...input, intAuth: undefined });
    expect(signedOctets({ ...input, intAuth })).toEqual(concatBytes(without, intAuth));
  });
});
