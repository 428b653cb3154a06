/**
 * Puts the fragments of one message together (RFC 7383 §2.6), in bounded memory. A fragment is kept only after its own
 * integrity was verified, so a forged one displaces nothing; which message ids are of interest is the window's.
 */

import type { Exchange } from '../wire/header.ts';
import type { InnerPart } from '../wire/intermediate.ts';

/** A message of more fragments, or of more bytes in all, is not taken: our own largest is a chain of certificates. */
export const FRAGMENT_LIMIT = 64;
export const REASSEMBLED_LIMIT = 32_768;

export interface Fragment {
  readonly messageId: number;
  readonly exchange: Exchange;
  readonly number: number;
  readonly total: number;
  /** Type of the first payload and flags of the generic header; they count in the first fragment. */
  readonly firstPayload: number;
  readonly flags: number;
}

export type FragmentVerdict = 'wanted' | 'duplicate' | 'stale' | 'too-many';

export class FragmentBuffer {
  #of: { readonly messageId: number; readonly exchange: Exchange; readonly total: number } | undefined;
  #parts = new Map<number, Uint8Array>();
  #bytes = 0;
  #firstPayload = 0;
  #flags = 0;

  /** What to do with a fragment, before it is verified. Verifying is for those that are wanted. */
  judge({ messageId, exchange, number, total }: Fragment): FragmentVerdict {
    if (total > FRAGMENT_LIMIT) return 'too-many';
    const of = this.#of;
    if (of === undefined || messageId !== of.messageId || total > of.total) return 'wanted';
    // The peer has gone over to smaller fragments, of which there are more (RFC 7383 §2.6): these are of the former.
    if (total < of.total || exchange !== of.exchange) return 'stale';
    return this.#parts.has(number) ? 'duplicate' : 'wanted';
  }

  /** Keeps a verified, wanted fragment. Gives the whole when it was the last one missing; undefined until then. */
  add(fragment: Fragment, part: Uint8Array): InnerPart | undefined {
    const { messageId, exchange, number, total } = fragment;
    if (this.#of?.messageId !== messageId || this.#of.total !== total) {
      this.clear();
      this.#of = { messageId, exchange, total };
    }
    this.#bytes += part.length;
    if (this.#bytes > REASSEMBLED_LIMIT) {
      this.clear();
      return undefined;
    }
    this.#parts.set(number, part);
    if (number === 1) {
      this.#firstPayload = fragment.firstPayload;
      this.#flags = fragment.flags;
    }
    if (this.#parts.size < total) return undefined;
    const inner = new Uint8Array(this.#bytes);
    let offset = 0;
    for (let index = 1; index <= total; index++) {
      const piece = this.#parts.get(index) ?? new Uint8Array(0);
      inner.set(piece, offset);
      offset += piece.length;
    }
    const whole = { inner, firstPayload: this.#firstPayload, flags: this.#flags };
    this.clear();
    return whole;
  }

  /** Bytes that are kept. */
  get size(): number {
    return this.#bytes;
  }

  clear(): void {
    for (const part of this.#parts.values()) part.fill(0);
    this.#parts = new Map();
    this.#of = undefined;
    this.#bytes = 0;
  }
}
