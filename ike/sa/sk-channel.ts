/**
 * The protected channel of one IKE SA (RFC 7296 §3.14, RFC 7383): seals messages of ours into one or more datagrams, opens
 * those of the peer's. Knows nothing of exchanges; message ids are judged before a message comes here.
 */

import type { IkeKeys, IkeSuite } from '../crypto/prf.ts';
import { skKeysOf } from '../crypto/prf.ts';
import { createIvSource } from '../crypto/sk-cipher.ts';
import type { SkKeys } from '../crypto/sk-keys.ts';
import type { ParseFailure } from '../wire/failures.ts';
import { sealFragments } from '../wire/fragments.ts';
import type { MessageHeader } from '../wire/header.ts';
import type { InnerPart } from '../wire/intermediate.ts';
import {
  type EncryptedPart,
  type IvSource,
  openPart,
  type ParsedMessage,
  parseInner,
  sealMessage,
} from '../wire/message.ts';
import type { Payload } from '../wire/payloads.ts';
import { FragmentBuffer } from './fragment-buffer.ts';

/** One message as it goes over the wire: a datagram, or one for each fragment. */
export type Packets = readonly Uint8Array[];

export type Opened =
  /** With the chain of payloads as it stood. */
  | ({ readonly kind: 'message'; readonly payloads: readonly Payload[] } & InnerPart)
  /** A fragment that was kept: more have to come. */
  | { readonly kind: 'incomplete' }
  /** A fragment that is not needed, or not taken. */
  | { readonly kind: 'unneeded'; readonly why: 'duplicate' | 'stale' | 'too-many' }
  | { readonly kind: 'failed'; readonly reason: ParseFailure };

export class SkChannel {
  readonly #sendKeys: SkKeys;
  readonly #receiveKeys: SkKeys;
  readonly #iv: IvSource;
  #ivsUsed: number;
  readonly #requests = new FragmentBuffer();
  readonly #responses = new FragmentBuffer();

  constructor(suite: IkeSuite, keys: IkeKeys, initiator: boolean, random: (bytes: number) => Uint8Array, ivsUsed = 0) {
    this.#sendKeys = skKeysOf(suite, keys, initiator ? 'initiator' : 'responder');
    this.#receiveKeys = skKeysOf(suite, keys, initiator ? 'responder' : 'initiator');
    const source = createIvSource(suite.encryption, random, ivsUsed);
    this.#ivsUsed = ivsUsed;
    this.#iv = (bytes) => {
      this.#ivsUsed++;
      return source(bytes);
    };
  }

  /** IVs that messages of ours have had so far. */
  get ivsUsed(): number {
    return this.#ivsUsed;
  }

  /** `maximumBytes`: of a datagram, if the peer takes fragments; undefined: one datagram, whatever its size. */
  seal(header: MessageHeader, payloads: readonly Payload[], maximumBytes: number | undefined): Packets {
    const whole = sealMessage(header, payloads, this.#sendKeys, this.#iv);
    if (maximumBytes === undefined || whole.length <= maximumBytes) return [whole];
    return sealFragments(header, payloads, this.#sendKeys, this.#iv, maximumBytes);
  }

  open(bytes: Uint8Array, message: ParsedMessage, encrypted: EncryptedPart): Opened {
    const { fragment } = encrypted;
    const { messageId, exchange, responseFlag } = message.header;
    const buffer = responseFlag ? this.#responses : this.#requests;
    const { firstPayload, flags } = encrypted;
    const place = fragment === undefined ? undefined : { messageId, exchange, ...fragment, firstPayload, flags };
    if (place !== undefined) {
      const verdict = buffer.judge(place);
      if (verdict !== 'wanted') return { kind: 'unneeded', why: verdict };
    }
    const part = openPart(bytes, encrypted, this.#receiveKeys);
    if (!part.ok) return { kind: 'failed', reason: part.reason };
    let whole: InnerPart | undefined = { inner: part.inner, firstPayload, flags };
    if (place === undefined) buffer.clear();
    else whole = buffer.add(place, part.inner);
    if (whole === undefined) return { kind: 'incomplete' };
    const parsed = parseInner(whole.inner, whole.firstPayload);
    if (!parsed.ok) return { kind: 'failed', reason: parsed.reason };
    return { kind: 'message', payloads: parsed.payloads, ...whole };
  }

  /** Whether a datagram is authentic; what is in it does not matter. */
  verifies(bytes: Uint8Array, encrypted: EncryptedPart): boolean {
    return openPart(bytes, encrypted, this.#receiveKeys).ok;
  }

  /** Forgets what is half received. The keys are wiped by who gave them. */
  close(): void {
    this.#requests.clear();
    this.#responses.clear();
  }
}
