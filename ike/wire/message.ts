/**
 * Whole IKE messages: bytes to header and payloads and back (RFC 7296 §3.1-§3.2, §3.14).
 *
 * The way in: `parseMessage` reads what stands in the clear; `openMessage` verifies and decrypts the SK payload and
 * reads the chain in it. The way out mirrors it: `emitMessage` for IKE_SA_INIT, `sealMessage` for all else. Neither
 * way in throws, whatever came; each refusal is a ParseFailure, which is a counter. Whether the payloads fit their
 * exchange is rules.ts, what they mean is the engine's.
 */

import type { SkKeys } from '../crypto/sk-keys.ts';
import type { ParseFailure } from './failures.ts';
import type { IkeHeader, MessageHeader } from './header.ts';
import type { Payload } from './payloads.ts';

/** Where the SK payload stands in the datagram; its content is known after `openMessage`. */
export interface EncryptedPart {
  /** Offset of the generic header of the SK payload, which ends with the message. */
  readonly offset: number;
  /** Type of the first payload inside. */
  readonly firstPayload: number;
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
      readonly reason: ParseFailure /** Set once the fixed header could be read. */;
      readonly header: IkeHeader | undefined;
    };

export type OpenResult =
  | { readonly ok: true; readonly payloads: readonly Payload[] }
  | { readonly ok: false; readonly reason: ParseFailure };

/** Gives a fresh IV of so many bytes: never the same twice for one key (AEAD), unpredictable (CBC). */
export type IvSource = (bytes: number) => Uint8Array;

export type ParseMessage = (bytes: Uint8Array) => ParseResult;
export type OpenMessage = (bytes: Uint8Array, message: ParsedMessage, keys: SkKeys) => OpenResult;
export type EmitMessage = (header: MessageHeader, payloads: readonly Payload[]) => Uint8Array;
export type SealMessage = (
  header: MessageHeader,
  payloads: readonly Payload[],
  keys: SkKeys,
  iv: IvSource,
) => Uint8Array;
