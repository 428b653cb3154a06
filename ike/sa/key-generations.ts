/**
 * The keys of one IKE SA. There is one generation, unless additional key exchanges come before IKE_AUTH: each of them makes
 * the next one (RFC 9370 §2.2.2). A responder keeps the channel before that until the next request has come, because the
 * request that it answered under it may be repeated. Keys are wiped when their generation is over.
 */

import { type IkeKeys, wipeIkeKeys } from '../crypto/prf.ts';
import type { IkeProtection } from './ike-sa-parts.ts';
import { SkChannel } from './sk-channel.ts';

export class KeyGenerations {
  readonly #initiator: boolean;
  readonly #random: (bytes: number) => Uint8Array;
  #protection: IkeProtection | undefined;
  #channel: SkChannel | undefined;
  #former: { readonly channel: SkChannel; readonly keys: IkeKeys } | undefined;

  constructor(initiator: boolean, random: (bytes: number) => Uint8Array) {
    this.#initiator = initiator;
    this.#random = random;
  }

  get protection(): IkeProtection | undefined {
    return this.#protection;
  }

  get channel(): SkChannel | undefined {
    return this.#channel;
  }

  /** The channel that the last request came through. */
  get channelOfLastRequest(): SkChannel | undefined {
    return this.#former?.channel ?? this.#channel;
  }

  /** Takes the keys of the next generation over. `ivsUsed`: by whoever had the IKE SA before us. */
  begin(protection: IkeProtection, ivsUsed = 0): void {
    this.dropFormer();
    if (this.#protection !== undefined && this.#channel !== undefined) {
      this.#former = { channel: this.#channel, keys: this.#protection.keys };
    }
    // An initiator waits for responses only, and those come under the new keys.
    if (this.#initiator) this.dropFormer();
    this.#protection = protection;
    this.#channel = new SkChannel(protection.suite, protection.keys, this.#initiator, this.#random, ivsUsed);
  }

  /** A request under the present keys has come: the one before is history. */
  dropFormer(): void {
    if (this.#former === undefined) return;
    this.#former.channel.close();
    wipeIkeKeys(this.#former.keys);
    this.#former = undefined;
  }

  /** The protection stays, of zeros, for who asks what the suite was. */
  wipe(): void {
    this.dropFormer();
    if (this.#protection !== undefined) wipeIkeKeys(this.#protection.keys);
    this.#channel?.close();
    this.#channel = undefined;
  }
}
