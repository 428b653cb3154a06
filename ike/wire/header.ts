/**
 * The IKE header (RFC 7296 §3.1): 28 bytes before the first payload.
 *
 * SPIs are strings of 16 hex digits, so they serve as keys of maps and in logs. The version is judged by
 * message.ts; the rest of the message is the payload chain's (payload-chain.ts).
 */

import { readHex, readU32, writeHex, writeU32 } from './bytes.ts';
import { EXCHANGE_NAMES, EXCHANGE_NUMBERS, type ExchangeName } from './names.ts';

/** Field offsets (RFC 7296 §3.1, figure 4). */
const INITIATOR_SPI = 0;
const RESPONDER_SPI = 8;
const NEXT_PAYLOAD = 16;
const VERSION = 17;
const EXCHANGE = 18;
const FLAGS = 19;
const MESSAGE_ID = 20;
const LENGTH = 24;

export const HEADER_SIZE = 28;

const FLAG_INITIATOR = 0x08;
const FLAG_RESPONSE = 0x20;
export const MAJOR_VERSION = 2;
const MINOR_VERSION = 0;

/** The responder's SPI in the first message of an IKE SA. */
export const ZERO_SPI = '0000000000000000';

export type Exchange = ExchangeName | number;

/** What a sender chooses of the header; version and length are the codec's. */
export interface MessageHeader {
  /** 16 hex digits, lower case. */
  readonly initiatorSpi: string;
  readonly responderSpi: string;
  readonly exchange: Exchange;
  /** Sent by the original initiator of this IKE SA (flag I). */
  readonly initiatorFlag: boolean;
  /** Answers the request with this message id (flag R). */
  readonly responseFlag: boolean;
  readonly messageId: number;
}

export interface IkeHeader extends MessageHeader {
  readonly majorVersion: number;
  readonly minorVersion: number;
  /** Of the whole message in bytes, header included. */
  readonly length: number;
}

/** The header and the type of the first payload. The caller has checked that there are HEADER_SIZE bytes. */
export function parseHeader(bytes: Uint8Array): { readonly header: IkeHeader; readonly nextPayload: number } {
  const exchange = bytes[EXCHANGE];
  return {
    header: {
      initiatorSpi: readHex(bytes, INITIATOR_SPI, 8),
      responderSpi: readHex(bytes, RESPONDER_SPI, 8),
      majorVersion: bytes[VERSION] >> 4,
      minorVersion: bytes[VERSION] & 0x0f,
      exchange: EXCHANGE_NAMES.get(exchange) ?? exchange,
      initiatorFlag: (bytes[FLAGS] & FLAG_INITIATOR) !== 0,
      responseFlag: (bytes[FLAGS] & FLAG_RESPONSE) !== 0,
      messageId: readU32(bytes, MESSAGE_ID),
      length: readU32(bytes, LENGTH),
    },
    nextPayload: bytes[NEXT_PAYLOAD],
  };
}

/** Writes the 28 bytes at the start of `out`; `length` is that of the whole message. */
export function emitHeader(header: MessageHeader, nextPayload: number, length: number, out: Uint8Array): void {
  writeHex(header.initiatorSpi, out, INITIATOR_SPI, 8);
  writeHex(header.responderSpi, out, RESPONDER_SPI, 8);
  out[NEXT_PAYLOAD] = nextPayload;
  out[VERSION] = (MAJOR_VERSION << 4) | MINOR_VERSION;
  out[EXCHANGE] = typeof header.exchange === 'number' ? header.exchange : EXCHANGE_NUMBERS[header.exchange];
  out[FLAGS] = (header.initiatorFlag ? FLAG_INITIATOR : 0) | (header.responseFlag ? FLAG_RESPONSE : 0);
  writeU32(header.messageId, out, MESSAGE_ID);
  writeU32(length, out, LENGTH);
}
