/** What an IKE SA keeps of a key exchange while the peer has not answered (ike/sa/key-exchanges.ts). */
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Computations } from '../../../ike/computations.ts';
import { answerKeyExchange } from '../../../ike/crypto/key-exchange.ts';
import { HeldMessages } from '../../../ike/sa/held-messages.ts';
import { KeyExchanges } from '../../../ike/sa/key-exchanges.ts';

const random = (bytes: number): Uint8Array => randomBytes(bytes);
/** Dear ones: MODP 2048, ECP 384, ML-KEM-768. */
const METHODS = [14, 20, 36];

describe.each(METHODS)('a key exchange by method %i that was begun in place', (method) => {
  const computations = new Computations(0, () => {});
  const begin = () => new KeyExchanges(computations, new HeldMessages(computations), random).begin(method);

  it('has a private key of bytes, which are overwritten when there will be no answer', () => {
    const exchange = begin();
    expect(exchange.privateKey?.().some((byte) => byte !== 0)).toBe(true);
    exchange.wipe();
    expect(exchange.privateKey?.().every((byte) => byte === 0)).toBe(true);
  });

  it('comes to the secret of the peer', () => {
    const exchange = begin();
    const answer = answerKeyExchange(method, exchange.publicValue, random);
    expect(Buffer.from(exchange.computeShared(answer.publicValue))).toEqual(Buffer.from(answer.sharedSecret));
  });
});
