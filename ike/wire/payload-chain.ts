/**
 * The chain of payloads: generic payload headers (RFC 7296 §3.2) and, by type, the codec of each.
 *
 * The chain in the clear and the one inside SK read alike. A payload type without codec becomes UNKNOWN, with its critical
 * bit; SK and SKF end the chain and are message.ts's. Adding a payload is adding a file in payloads/ and a case in the
 * three switches here.
 */

import { readU16, writeU16 } from './bytes.ts';
import { isFailure, type Parsed, type ParseFailure } from './failures.ts';
import { PAYLOAD } from './names.ts';
import { emitAuth, parseAuth, sizeOfAuth } from './payloads/auth.ts';
import { emitCert, parseCert, parseCertReq, sizeOfCert } from './payloads/cert.ts';
import { emitDelete, parseDelete, sizeOfDelete } from './payloads/delete.ts';
import { emitId, parseId, sizeOfId } from './payloads/id.ts';
import { emitKe, parseKe, sizeOfKe } from './payloads/ke.ts';
import { emitNonce, parseNonce, sizeOfNonce } from './payloads/nonce.ts';
import { emitNotify, parseNotify, sizeOfNotify } from './payloads/notify.ts';
import { emitSa, parseSa, sizeOfSa } from './payloads/sa.ts';
import { emitTs, parseTs, sizeOfTs } from './payloads/ts.ts';
import { emitVendor, parseVendor, sizeOfVendor } from './payloads/vendor.ts';
import type { Payload } from './payloads.ts';

/** Next payload, critical bit with 7 reserved bits, length. */
export const GENERIC_HEADER = 4;
const CRITICAL = 0x80;

/** Bounds for what one message may cost; IKE_AUTH of charon has about 20 payloads. */
export const MAX_PAYLOADS = 64;
export const MAX_NOTIFIES = 48;

/** Where an SK or SKF payload ends the chain. */
export interface ChainEnd {
  readonly payloadType: number;
  /** Offset of its generic header. */
  readonly offset: number;
  /** Type of the first payload inside. */
  readonly firstPayload: number;
  /** The octet of the critical bit and RESERVED in the generic header. */
  readonly flags: number;
}

export interface Chain {
  readonly payloads: readonly Payload[];
  readonly encrypted: ChainEnd | undefined;
}

/** Reads the payloads from `start` to `end` exactly, the first of type `firstPayload`. */
export function parseChain(bytes: Uint8Array, start: number, end: number, firstPayload: number): Parsed<Chain> {
  const payloads: Payload[] = [];
  let notifies = 0;
  let offset = start;
  let payloadType = firstPayload;
  while (payloadType !== PAYLOAD.NO_NEXT) {
    if (payloads.length === MAX_PAYLOADS) return 'too-many-payloads';
    if (end - offset < GENERIC_HEADER) return 'payload-overrun';
    const nextType = bytes[offset];
    const length = readU16(bytes, offset + 2);
    const payloadEnd = offset + length;
    if (length < GENERIC_HEADER || payloadEnd > end) return 'payload-overrun';
    if (payloadType === PAYLOAD.SK || payloadType === PAYLOAD.SKF) {
      if (payloadEnd !== end) return 'encrypted-not-last';
      return { payloads, encrypted: { payloadType, offset, firstPayload: nextType, flags: bytes[offset + 1] } };
    }
    if (payloadType === PAYLOAD.N && ++notifies > MAX_NOTIFIES) return 'too-many-notifies';
    const critical = (bytes[offset + 1] & CRITICAL) !== 0;
    const payload = parsePayload(bytes, offset + GENERIC_HEADER, payloadEnd, payloadType, critical);
    if (isFailure(payload)) return payload;
    payloads.push(payload);
    offset = payloadEnd;
    payloadType = nextType;
  }
  return offset === end ? { payloads, encrypted: undefined } : 'trailing-bytes';
}

function parsePayload(
  bytes: Uint8Array,
  start: number,
  end: number,
  payloadType: number,
  critical: boolean,
): Payload | ParseFailure {
  switch (payloadType) {
    case PAYLOAD.SA:
      return parseSa(bytes, start, end);
    case PAYLOAD.KE:
      return parseKe(bytes, start, end);
    case PAYLOAD.IDi:
      return parseId(bytes, start, end, 'IDi');
    case PAYLOAD.IDr:
      return parseId(bytes, start, end, 'IDr');
    case PAYLOAD.CERT:
      return parseCert(bytes, start, end);
    case PAYLOAD.CERTREQ:
      return parseCertReq(bytes, start, end);
    case PAYLOAD.AUTH:
      return parseAuth(bytes, start, end);
    case PAYLOAD.NONCE:
      return parseNonce(bytes, start, end);
    case PAYLOAD.N:
      return parseNotify(bytes, start, end);
    case PAYLOAD.D:
      return parseDelete(bytes, start, end);
    case PAYLOAD.V:
      return parseVendor(bytes, start, end);
    case PAYLOAD.TSi:
      return parseTs(bytes, start, end, 'TSi');
    case PAYLOAD.TSr:
      return parseTs(bytes, start, end, 'TSr');
    default:
      return { type: 'UNKNOWN', payloadType, critical, data: bytes.subarray(start, end) };
  }
}

/** Bytes of the chain, generic headers included. */
export function sizeOfChain(payloads: readonly Payload[]): number {
  return payloads.reduce((sum, payload) => sum + GENERIC_HEADER + sizeOfPayload(payload), 0);
}

function sizeOfPayload(payload: Payload): number {
  switch (payload.type) {
    case 'SA':
      return sizeOfSa(payload);
    case 'KE':
      return sizeOfKe(payload);
    case 'IDi':
    case 'IDr':
      return sizeOfId(payload);
    case 'CERT':
    case 'CERTREQ':
      return sizeOfCert(payload);
    case 'AUTH':
      return sizeOfAuth(payload);
    case 'NONCE':
      return sizeOfNonce(payload);
    case 'N':
      return sizeOfNotify(payload);
    case 'D':
      return sizeOfDelete(payload);
    case 'V':
      return sizeOfVendor(payload);
    case 'TSi':
    case 'TSr':
      return sizeOfTs(payload);
    case 'UNKNOWN':
      return payload.data.length;
  }
}

/** Writes the chain at `start`; the last generic header names `after`. Gives the offset behind it. */
export function emitChain(payloads: readonly Payload[], out: Uint8Array, start: number, after: number): number {
  let offset = start;
  payloads.forEach((payload, index) => {
    const length = GENERIC_HEADER + sizeOfPayload(payload);
    const next = index + 1 < payloads.length ? payloadTypeOf(payloads[index + 1]) : after;
    emitGenericHeader(next, payload.type === 'UNKNOWN' && payload.critical, length, out, offset);
    emitPayload(payload, out, offset + GENERIC_HEADER);
    offset += length;
  });
  return offset;
}

/** The critical bit is never set on the payloads of RFC 7296 itself (§2.5). */
export function emitGenericHeader(next: number, critical: boolean, length: number, out: Uint8Array, at: number): void {
  if (length > 0xffff) throw new RangeError(`a payload has ${length} bytes, expected at most 65535`);
  out[at] = next;
  out[at + 1] = critical ? CRITICAL : 0;
  writeU16(length, out, at + 2);
}

function emitPayload(payload: Payload, out: Uint8Array, start: number): void {
  switch (payload.type) {
    case 'SA':
      emitSa(payload, out, start);
      break;
    case 'KE':
      emitKe(payload, out, start);
      break;
    case 'IDi':
    case 'IDr':
      emitId(payload, out, start);
      break;
    case 'CERT':
    case 'CERTREQ':
      emitCert(payload, out, start);
      break;
    case 'AUTH':
      emitAuth(payload, out, start);
      break;
    case 'NONCE':
      emitNonce(payload, out, start);
      break;
    case 'N':
      emitNotify(payload, out, start);
      break;
    case 'D':
      emitDelete(payload, out, start);
      break;
    case 'V':
      emitVendor(payload, out, start);
      break;
    case 'TSi':
    case 'TSr':
      emitTs(payload, out, start);
      break;
    case 'UNKNOWN':
      out.set(payload.data, start);
      break;
  }
}

/** The number of a payload's type. */
export function payloadTypeOf(payload: Payload): number {
  return payload.type === 'UNKNOWN' ? payload.payloadType : PAYLOAD[payload.type];
}

/** Type of the first payload that the sender holds critical and this implementation doesn't know (RFC 7296 §2.5). */
export function unsupportedCriticalPayload(payloads: readonly Payload[]): number | undefined {
  for (const payload of payloads) {
    // CP and EAP are of RFC 7296: known, though not used, so their critical bit is ignored.
    if (payload.type !== 'UNKNOWN' || !payload.critical) continue;
    if (payload.payloadType !== PAYLOAD.CP && payload.payloadType !== PAYLOAD.EAP) return payload.payloadType;
  }
  return undefined;
}
