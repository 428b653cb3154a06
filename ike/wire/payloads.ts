/**
 * IKEv2 payloads as plain data (RFC 7296 §3.2-§3.13): the types that the codecs of payloads/ give and take.
 *
 * A payload is a readonly object told apart by `type`. Byte fields are views of the datagram they came from:
 * copy what must outlive it. Nothing here judges meaning (an acceptable proposal, a known notify): that is
 * the engine's. Which payload may stand in which exchange is rules.ts.
 */

import type { TrafficSelector, Transform } from '../types.ts';

/** Security protocol ids (RFC 7296 §3.3.1); `NONE` is 0, used by notifies. Other ids stay numbers. */
export type Protocol = 'NONE' | 'IKE' | 'ESP' | 'AH' | number;

/**
 * A transform that this implementation can't judge: its type is none of RFC 7296's (then the whole proposal is
 * unacceptable, §3.3.6), or it has an attribute other than one Key Length (then only the transform is).
 */
export interface UnknownTransform {
  readonly transformType: number;
  readonly id: number;
  /** The attributes as they stood. */
  readonly attributes: Uint8Array;
}

/** One proposal of an SA payload (RFC 7296 §3.3.1). */
export interface Proposal {
  /** From 1, rising by 1 in an offer. */
  readonly number: number;
  readonly protocol: Protocol;
  /** 0 or 8 bytes for IKE, 4 for ESP and AH. */
  readonly spi: Uint8Array;
  readonly transforms: readonly Transform[];
  readonly unknown: readonly UnknownTransform[];
}

export interface SaPayload {
  readonly type: 'SA';
  readonly proposals: readonly Proposal[];
}

export interface KePayload {
  readonly type: 'KE';
  /** Transform id of the group (RFC 7296 §3.4). */
  readonly group: number;
  readonly data: Uint8Array;
}

export interface IdPayload<T extends 'IDi' | 'IDr' = 'IDi' | 'IDr'> {
  readonly type: T;
  /** RFC 7296 §3.5; names in names.ts. */
  readonly idType: number;
  readonly data: Uint8Array;
  /** The 24 RESERVED bits where a peer set any: they are part of what AUTH covers (§2.15). */
  readonly reserved?: number;
}

export interface CertPayload {
  readonly type: 'CERT';
  readonly encoding: number;
  readonly data: Uint8Array;
}

export interface CertReqPayload {
  readonly type: 'CERTREQ';
  readonly encoding: number;
  readonly data: Uint8Array;
}

export interface AuthPayload {
  readonly type: 'AUTH';
  /** RFC 7296 §3.8; 2 is the shared key MIC. */
  readonly method: number;
  readonly data: Uint8Array;
}

export interface NoncePayload {
  readonly type: 'NONCE';
  /** 16 to 256 bytes. */
  readonly data: Uint8Array;
}

export interface NotifyPayload {
  readonly type: 'N';
  readonly protocol: Protocol;
  readonly spi: Uint8Array;
  /** Notify message type; numbers by name in names.ts NOTIFY. */
  readonly notify: number;
  readonly data: Uint8Array;
}

export interface DeletePayload {
  readonly type: 'D';
  readonly protocol: Protocol;
  /** 0 for the IKE SA, 4 for ESP and AH. */
  readonly spiSize: number;
  readonly spis: readonly Uint8Array[];
}

export interface VendorPayload {
  readonly type: 'V';
  readonly data: Uint8Array;
}

export interface TsPayload<T extends 'TSi' | 'TSr' = 'TSi' | 'TSr'> {
  readonly type: T;
  readonly selectors: readonly TrafficSelector[];
  /** Selectors of types other than IPv4 and IPv6 ranges, which were left out (RFC 7296 §3.13.1). */
  readonly unknownSelectors: number;
}

/** A payload type without a codec here: skipped, or answered with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 §2.5). */
export interface UnknownPayload {
  readonly type: 'UNKNOWN';
  readonly payloadType: number;
  readonly critical: boolean;
  readonly data: Uint8Array;
}

export type Payload =
  | SaPayload
  | KePayload
  | IdPayload<'IDi'>
  | IdPayload<'IDr'>
  | CertPayload
  | CertReqPayload
  | AuthPayload
  | NoncePayload
  | NotifyPayload
  | DeletePayload
  | VendorPayload
  | TsPayload<'TSi'>
  | TsPayload<'TSr'>
  | UnknownPayload;

export type PayloadType = Payload['type'];

/** The member of the union with this `type`; a union of types gives a union of members. */
export type PayloadOf<T extends PayloadType> = Extract<Payload, { readonly type: T }>;
