/** AUTH with a shared key (RFC 7296 §2.15), computed a second time with noble straight from the formula. */

import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';
import { pskAuth, signedOctets, verifyPskAuth } from '../../../ike/crypto/auth-psk.ts';
import { concatBytes } from '../../../ike/wire/bytes.ts';
import { emitMessage } from '../../../ike/wire/message.ts';
import { idBody } from '../../../ike/wire/payloads/id.ts';
import { INIT_HEADER, INIT_PAYLOADS } from '../wire/samples.ts';
import { patternKey } from '../wire/suites.ts';

const SECRET = new TextEncoder().encode('swordfish');
const KEY_PAD = new TextEncoder().encode('Key Pad for IKEv2');

describe.each([
  { id: 5, noble: sha256 },
  { id: 6, noble: sha384 },
  { id: 7, noble: sha512 },
])('AUTH with PRF $id', ({ id, noble }) => {
  const prf = { type: 'PRF', id } as const;
  const initMessage = emitMessage(INIT_HEADER, INIT_PAYLOADS);
  const peerNonce = patternKey(32, 1);
  const skP = patternKey(noble.outputLen, 2);
  const body = idBody({ type: 'IDi', idType: 1, data: Uint8Array.of(10, 0, 0, 1) });
  const octets = signedOctets({ prf, initMessage, peerNonce, skP, idBody: body, intAuth: undefined });

  it('signs the IKE_SA_INIT message, the nonce of the other side and the maced identity', () => {
    expect(octets).toEqual(concatBytes(initMessage, peerNonce, hmac(noble, skP, body)));
  });

  it('is prf(prf(secret, "Key Pad for IKEv2"), signed octets)', () => {
    const expected = hmac(noble, hmac(noble, SECRET, KEY_PAD), octets);
    expect(pskAuth(prf, SECRET, octets)).toEqual(expected);
    expect(verifyPskAuth(prf, SECRET, octets, expected)).toBe(true);
  });

  it('is refused with another secret, other octets, a bit changed, or another length', () => {
    const auth = pskAuth(prf, SECRET, octets);
    expect(verifyPskAuth(prf, new TextEncoder().encode('swordfish2'), octets, auth)).toBe(false);
    expect(verifyPskAuth(prf, SECRET, octets.subarray(1), auth)).toBe(false);
    for (let at = 0; at < auth.length; at++) {
      const changed = auth.slice();
      changed[at] ^= 0x80;
      expect(verifyPskAuth(prf, SECRET, octets, changed)).toBe(false);
    }
    for (const wrong of [new Uint8Array(0), auth.subarray(1), concatBytes(auth, Uint8Array.of(0))]) {
      expect(verifyPskAuth(prf, SECRET, octets, wrong)).toBe(false);
    }
  });

  it('differs between the two directions, whose SK_p and nonces differ', () => {
    const other = signedOctets({
      prf,
      initMessage,
      peerNonce,
      skP: patternKey(noble.outputLen, 3),
      idBody: body,
      intAuth: undefined,
    });
    expect(pskAuth(prf, SECRET, other)).not.toEqual(pskAuth(prf, SECRET, octets));
  });
});
