/**
 * Whole IKE messages: bytes to header and payloads and back (RFC 7296 §3.1-§3.2, §3.14).
 *
 * The way in: `parseMessage` reads what stands in the clear; `openMessage` verifies and decrypts the SK payload and
 * reads the chain in it (in two steps where it may be a fragment: `openPart`, then, of the whole, `parseInner`). The way out
 * mirrors it: `emitMessage` for IKE_SA_INIT, `sealMessage` for all else, or fragments.ts where that is too large. Neither way in throws, whatever came; each refusal is a ParseFailure, which is a counter. Whether the payloads fit their
 * exchange is rules.ts, what they mean is the engine's.
 */

import { type IvSource, openBody, sealBody, skSizes } from '../crypto/sk-cipher.ts';
import type { SkKeys } from '../crypto/sk-keys.ts';
import { isFailure, type ParseFailure } from './failures.ts';
import { FRAGMENT_HEADER, type FragmentPlace, parseFragmentPlace } from './fragments.ts';
import {
  emitHeader,
  HEADER_SIZE,
  type IkeHeader,
  MAJOR_VERSION,
  type MessageHeader,
  parseHeader,
  ZERO_SPI,
} from './header.ts';
import { PAYLOAD } from './names.ts';
import {
  emitChain,
  emitGenericHeader,
  GENERIC_HEADER,
  parseChain,
  payloadTypeOf,
  sizeOfChain,
} from './payload-chain.ts';
import type { Payload } from './payloads.ts';

/** Where the SK payload stands in the datagram; its content is known after `openMessage`. */
export interface EncryptedPart {
  /** Offset of the generic header of the SK payload, which ends with the message. */
  readonly offset: number;
  /** Type of the first payload inside. */
  readonly firstPayload: number;
  /** The octet of the critical bit and RESERVED in the generic header. */
  readonly flags: number;
  /** Set if it is an SKF payload (RFC 7383): one part of the message only. */
  readonly fragment: FragmentPlace | undefined;
}

export interface ParsedMessage {
  readonly header: IkeHeader;
  /** The payloads in the clear, in order. */
  readonly payloads: readonly Payload[];
  readonly encrypted: EncryptedPart | undefined;
}

export type ParseResult =
  | { readonly ok: true; readonly message: ParsedMessage }
  | {
      readonly ok: false;
      readonly reason: ParseFailure;
      /** Set if the fixed header could be read. */
      readonly header: IkeHeader | undefined;
    };

export type OpenResult =
  | { readonly ok: true; readonly payloads: readonly Payload[] }
  | { readonly ok: false; readonly reason: ParseFailure };

export type { IvSource };

/** Pad Length, the last byte of the plaintext (RFC 7296 §3.14). */
const PAD_LENGTH = 1;

/** Reads a datagram (on port 4500 without its non-ESP marker). Never throws; time grows with its length only. */
export function parseMessage(bytes: Uint8Array): ParseResult {
  if (bytes.length < HEADER_SIZE) return { ok: false, reason: 'short-header', header: undefined };
  const { header, nextPayload } = parseHeader(bytes);
  const refuse = (reason: ParseFailure): ParseResult => ({ ok: false, reason, header });
  // The version stands first: a later one may count its length otherwise (§2.5).
  if (header.majorVersion > MAJOR_VERSION) return refuse('newer-version');
  if (header.majorVersion < MAJOR_VERSION) return refuse('older-version');
  if (header.length !== bytes.length) return refuse('bad-length');
  if (header.initiatorSpi === ZERO_SPI) return refuse('zero-initiator-spi');
  const chain = parseChain(bytes, HEADER_SIZE, bytes.length, nextPayload);
  if (isFailure(chain)) return refuse(chain);
  const { payloads, encrypted } = chain;
  if (encrypted === undefined) return { ok: true, message: { header, payloads, encrypted } };
  const { payloadType, offset, firstPayload, flags } = encrypted;
  const fragment = payloadType === PAYLOAD.SKF ? parseFragmentPlace(bytes, offset) : undefined;
  if (payloadType === PAYLOAD.SKF && fragment === undefined) return refuse('bad-fragment');
  return { ok: true, message: { header, payloads, encrypted: { offset, firstPayload, flags, fragment } } };
}

/**
 * Verifies the SK payload of `message`, parsed of `bytes`, with the sender's keys, and reads the payloads inside:
 * 1. integrity, before anything else is believed (RFC 7296 §3.14),
 * 2. decryption, 3. padding, 4. the inner chain, in which no SK may stand.
 */
export function openMessage(bytes: Uint8Array, message: ParsedMessage, keys: SkKeys): OpenResult {
  if (message.encrypted === undefined) return { ok: false, reason: 'not-encrypted' };
  const part = openPart(bytes, message.encrypted, keys);
  return part.ok ? parseInner(part.inner, message.encrypted.firstPayload) : part;
}

/** Steps 1 to 3 of `openMessage`, for an SK payload or one fragment: gives the bytes of the payloads inside, unread. */
export function openPart(
  bytes: Uint8Array,
  encrypted: EncryptedPart,
  keys: SkKeys,
): { readonly ok: true; readonly inner: Uint8Array } | { readonly ok: false; readonly reason: ParseFailure } {
  const bodyOffset = encrypted.offset + GENERIC_HEADER + (encrypted.fragment === undefined ? 0 : FRAGMENT_HEADER);
  const { iv, icv, block } = skSizes(keys);
  const ciphertextBytes = bytes.length - bodyOffset - iv - icv;
  if (ciphertextBytes < Math.max(block, PAD_LENGTH) || ciphertextBytes % block !== 0) {
    return { ok: false, reason: 'bad-encrypted' };
  }
  const plaintext = openBody(bytes, bodyOffset, keys);
  if (plaintext === undefined) return { ok: false, reason: 'bad-integrity' };
  const innerEnd = plaintext.length - PAD_LENGTH - plaintext[plaintext.length - PAD_LENGTH];
  if (innerEnd < 0) return { ok: false, reason: 'bad-padding' };
  return { ok: true, inner: plaintext.subarray(0, innerEnd) };
}

/** Step 4 of `openMessage`: the payloads of an SK payload, or of all fragments together. */
export function parseInner(inner: Uint8Array, firstPayload: number): OpenResult {
  const chain = parseChain(inner, 0, inner.length, firstPayload);
  if (isFailure(chain)) return { ok: false, reason: chain };
  if (chain.encrypted !== undefined) return { ok: false, reason: 'bad-encrypted' };
  return { ok: true, payloads: chain.payloads };
}

/** A message in the clear: IKE_SA_INIT, and the few errors that have no SA. Throws RangeError on what can't be written. */
export function emitMessage(header: MessageHeader, payloads: readonly Payload[]): Uint8Array {
  const out = new Uint8Array(HEADER_SIZE + sizeOfChain(payloads));
  emitHeader(header, firstTypeOf(payloads), out.length, out);
  emitChain(payloads, out, HEADER_SIZE, PAYLOAD.NO_NEXT);
  return out;
}

/**
 * A message with all payloads inside one SK payload, under the keys of the sender. `nextIv` is the IV source of that
 * SK_e (`createIvSource`). Throws RangeError on what can't be written.
 */
export function sealMessage(
  header: MessageHeader,
  payloads: readonly Payload[],
  keys: SkKeys,
  nextIv: IvSource,
): Uint8Array {
  const { iv, icv, block } = skSizes(keys);
  const inner = sizeOfChain(payloads);
  const padding = (block - ((inner + PAD_LENGTH) % block)) % block;
  const skLength = GENERIC_HEADER + iv + inner + padding + PAD_LENGTH + icv;
  const out = new Uint8Array(HEADER_SIZE + skLength);
  emitHeader(header, PAYLOAD.SK, out.length, out);
  emitGenericHeader(firstTypeOf(payloads), false, skLength, out, HEADER_SIZE);
  const bodyOffset = HEADER_SIZE + GENERIC_HEADER;
  out.set(nextIv(iv), bodyOffset);
  const innerEnd = emitChain(payloads, out, bodyOffset + iv, PAYLOAD.NO_NEXT);
  // Padding itself stays zero: any value is allowed (§3.14).
  out[innerEnd + padding] = padding;
  sealBody(out, bodyOffset, keys);
  return out;
}

function firstTypeOf(payloads: readonly Payload[]): number {
  return payloads.length === 0 ? PAYLOAD.NO_NEXT : payloadTypeOf(payloads[0]);
}
