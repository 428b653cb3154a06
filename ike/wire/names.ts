/**
 * IKEv2 numbers and their names (RFC 7296 §3 and the IANA registry "IKEv2 Parameters"), for code and for logs.
 *
 * Tables only: adding a number is adding a row. What a transform needs (key, salt and IV sizes, spellings of other
 * daemons) is ike/crypto/transforms.ts.
 */

import { ADDITIONAL_KEY_EXCHANGES, type AdditionalKeyExchange, type TransformType } from '../types.ts';

function invert<K extends string>(table: Readonly<Record<K, number>>): ReadonlyMap<number, K> {
  return new Map((Object.entries(table) as [K, number][]).map(([name, number]) => [number, name]));
}

/** Exchange types (RFC 7296 §3.1, RFC 9242, RFC 9370). */
export const EXCHANGE_NUMBERS = {
  IKE_SA_INIT: 34,
  IKE_AUTH: 35,
  CREATE_CHILD_SA: 36,
  INFORMATIONAL: 37,
  IKE_INTERMEDIATE: 43,
  IKE_FOLLOWUP_KE: 44,
} as const;
export type ExchangeName = keyof typeof EXCHANGE_NUMBERS;
export const EXCHANGE_NAMES = invert<ExchangeName>(EXCHANGE_NUMBERS);

/** Payload types (RFC 7296 §3.2), with SKF of RFC 7383 §2.5. */
export const PAYLOAD = {
  NO_NEXT: 0,
  SA: 33,
  KE: 34,
  IDi: 35,
  IDr: 36,
  CERT: 37,
  CERTREQ: 38,
  AUTH: 39,
  NONCE: 40,
  N: 41,
  D: 42,
  V: 43,
  TSi: 44,
  TSr: 45,
  SK: 46,
  CP: 47,
  EAP: 48,
  SKF: 53,
} as const;
export type PayloadName = keyof typeof PAYLOAD;
export const PAYLOAD_NAMES = invert<PayloadName>(PAYLOAD);

/** Security protocol ids (RFC 7296 §3.3.1). */
export const PROTOCOL = { NONE: 0, IKE: 1, AH: 2, ESP: 3 } as const;
export const PROTOCOL_NAMES = invert<keyof typeof PROTOCOL>(PROTOCOL);

/** Transform types (RFC 7296 §3.3.2, RFC 9370 §2.2.1). */
export const TRANSFORM_TYPE: Readonly<Record<TransformType, number>> = {
  ENCR: 1,
  PRF: 2,
  INTEG: 3,
  DH: 4,
  ESN: 5,
  ADDKE1: 6,
  ADDKE2: 7,
  ADDKE3: 8,
  ADDKE4: 9,
  ADDKE5: 10,
  ADDKE6: 11,
  ADDKE7: 12,
};
export const TRANSFORM_TYPE_NAMES = invert<TransformType>(TRANSFORM_TYPE);

/** Identification types (RFC 7296 §3.5). */
export const ID_TYPE = {
  ID_IPV4_ADDR: 1,
  ID_FQDN: 2,
  ID_RFC822_ADDR: 3,
  ID_IPV6_ADDR: 5,
  ID_DER_ASN1_DN: 9,
  ID_DER_ASN1_GN: 10,
  ID_KEY_ID: 11,
} as const;
export const ID_TYPE_NAMES = invert<keyof typeof ID_TYPE>(ID_TYPE);

/** Authentication methods (RFC 7296 §3.8, RFC 4754, RFC 7619, RFC 7427). */
export const AUTH_METHOD = {
  RSA: 1,
  SHARED_KEY: 2,
  DSS: 3,
  ECDSA_256: 9,
  ECDSA_384: 10,
  ECDSA_521: 11,
  NULL: 13,
  DIGITAL_SIGNATURE: 14,
} as const;
export const AUTH_METHOD_NAMES = invert<keyof typeof AUTH_METHOD>(AUTH_METHOD);

/** Certificate encodings (RFC 7296 §3.6). */
export const CERT_ENCODING = { X509_SIGNATURE: 4 } as const;

/** Traffic selector types (RFC 7296 §3.13.1). */
export const TS_TYPE = { TS_IPV4_ADDR_RANGE: 7, TS_IPV6_ADDR_RANGE: 8 } as const;

/**
 * Notify message types (RFC 7296 §3.10.1, and those extensions that peers of OVS send). The numbers of RFC 9611 (TS_MAX_QUEUE,
 * SA_RESOURCE_INFO) are those of Libreswan's table and of others made from IANA's registries of notify error and status types.
 */
export const NOTIFY = {
  UNSUPPORTED_CRITICAL_PAYLOAD: 1,
  INVALID_IKE_SPI: 4,
  INVALID_MAJOR_VERSION: 5,
  INVALID_SYNTAX: 7,
  INVALID_MESSAGE_ID: 9,
  INVALID_SPI: 11,
  NO_PROPOSAL_CHOSEN: 14,
  INVALID_KE_PAYLOAD: 17,
  AUTHENTICATION_FAILED: 24,
  SINGLE_PAIR_REQUIRED: 34,
  NO_ADDITIONAL_SAS: 35,
  INTERNAL_ADDRESS_FAILURE: 36,
  FAILED_CP_REQUIRED: 37,
  TS_UNACCEPTABLE: 38,
  INVALID_SELECTORS: 39,
  UNACCEPTABLE_ADDRESSES: 40,
  UNEXPECTED_NAT_DETECTED: 41,
  TEMPORARY_FAILURE: 43,
  CHILD_SA_NOT_FOUND: 44,
  STATE_NOT_FOUND: 47,
  TS_MAX_QUEUE: 48,
  INITIAL_CONTACT: 16384,
  SET_WINDOW_SIZE: 16385,
  ADDITIONAL_TS_POSSIBLE: 16386,
  IPCOMP_SUPPORTED: 16387,
  NAT_DETECTION_SOURCE_IP: 16388,
  NAT_DETECTION_DESTINATION_IP: 16389,
  COOKIE: 16390,
  USE_TRANSPORT_MODE: 16391,
  HTTP_CERT_LOOKUP_SUPPORTED: 16392,
  REKEY_SA: 16393,
  ESP_TFC_PADDING_NOT_SUPPORTED: 16394,
  NON_FIRST_FRAGMENTS_ALSO: 16395,
  MOBIKE_SUPPORTED: 16396,
  ADDITIONAL_IP4_ADDRESS: 16397,
  ADDITIONAL_IP6_ADDRESS: 16398,
  NO_ADDITIONAL_ADDRESSES: 16399,
  UPDATE_SA_ADDRESSES: 16400,
  COOKIE2: 16401,
  NO_NATS_ALLOWED: 16402,
  AUTH_LIFETIME: 16403,
  MULTIPLE_AUTH_SUPPORTED: 16404,
  ANOTHER_AUTH_FOLLOWS: 16405,
  REDIRECT_SUPPORTED: 16406,
  TICKET_REQUEST: 16409,
  EAP_ONLY_AUTHENTICATION: 16417,
  CHILDLESS_IKEV2_SUPPORTED: 16418,
  QUICK_CRASH_DETECTION: 16419,
  IKEV2_MESSAGE_ID_SYNC_SUPPORTED: 16420,
  IKEV2_FRAGMENTATION_SUPPORTED: 16430,
  SIGNATURE_HASH_ALGORITHMS: 16431,
  USE_PPK: 16435,
  PPK_IDENTITY: 16436,
  NO_PPK_AUTH: 16437,
  INTERMEDIATE_EXCHANGE_SUPPORTED: 16438,
  ADDITIONAL_KEY_EXCHANGE: 16441,
  SA_RESOURCE_INFO: 16444,
} as const;
export type NotifyName = keyof typeof NOTIFY;
export const NOTIFY_NAMES = invert<NotifyName>(NOTIFY);

/** Notify types below this are errors, the others are status (RFC 7296 §3.10.1). */
export const FIRST_STATUS_NOTIFY = 16384;

/** Transform ids by type; the names are IANA's, shortened as the field's daemons print them. */
export const TRANSFORM_ID = {
  ENCR: {
    '3DES': 3,
    NULL: 11,
    AES_CBC: 12,
    AES_CTR: 13,
    AES_CCM_8: 14,
    AES_CCM_12: 15,
    AES_CCM_16: 16,
    AES_GCM_8: 18,
    AES_GCM_12: 19,
    AES_GCM_16: 20,
    NULL_AES_GMAC: 21,
    CAMELLIA_CBC: 23,
    CHACHA20_POLY1305: 28,
  },
  PRF: {
    PRF_HMAC_MD5: 1,
    PRF_HMAC_SHA1: 2,
    PRF_AES128_XCBC: 4,
    PRF_HMAC_SHA2_256: 5,
    PRF_HMAC_SHA2_384: 6,
    PRF_HMAC_SHA2_512: 7,
    PRF_AES128_CMAC: 8,
  },
  INTEG: {
    NONE: 0,
    HMAC_MD5_96: 1,
    HMAC_SHA1_96: 2,
    AES_XCBC_96: 5,
    AES_CMAC_96: 8,
    HMAC_SHA2_256_128: 12,
    HMAC_SHA2_384_192: 13,
    HMAC_SHA2_512_256: 14,
  },
  DH: {
    NONE: 0,
    MODP_768: 1,
    MODP_1024: 2,
    MODP_1536: 5,
    MODP_2048: 14,
    MODP_3072: 15,
    MODP_4096: 16,
    MODP_6144: 17,
    MODP_8192: 18,
    ECP_256: 19,
    ECP_384: 20,
    ECP_521: 21,
    MODP_1024_160: 22,
    MODP_2048_224: 23,
    MODP_2048_256: 24,
    ECP_192: 25,
    ECP_224: 26,
    CURVE_25519: 31,
    CURVE_448: 32,
    ML_KEM_512: 35,
    ML_KEM_768: 36,
    ML_KEM_1024: 37,
  },
  ESN: { NO_EXT_SEQ: 0, EXT_SEQ: 1 },
} as const;

type OwnIds = keyof typeof TRANSFORM_ID;
const TRANSFORM_ID_NAMES: Readonly<Record<OwnIds, ReadonlyMap<number, string>>> = {
  ENCR: invert<string>(TRANSFORM_ID.ENCR),
  PRF: invert<string>(TRANSFORM_ID.PRF),
  INTEG: invert<string>(TRANSFORM_ID.INTEG),
  DH: invert<string>(TRANSFORM_ID.DH),
  ESN: invert<string>(TRANSFORM_ID.ESN),
};

/** Whose ids the transform has, and what stands before its name: additional key exchanges share those of the first one. */
function idsOf(type: TransformType): { readonly ids: OwnIds; readonly prefix: string } {
  return isAdditional(type) ? { ids: 'DH', prefix: `KE${type.slice(-1)}_` } : { ids: type, prefix: '' };
}

export function isAdditional(type: TransformType): type is AdditionalKeyExchange {
  return (ADDITIONAL_KEY_EXCHANGES as readonly TransformType[]).includes(type);
}

/**
 * A transform as the field writes it: `AES_GCM_16_256`, `PRF_HMAC_SHA2_256`, `MODP_2048`, `KE1_ML_KEM_768`; unknown ids
 * as `DH_77`.
 */
export function transformName(transform: {
  readonly type: TransformType;
  readonly id: number;
  readonly keyBits?: number;
}): string {
  const { ids, prefix } = idsOf(transform.type);
  const name = `${prefix}${TRANSFORM_ID_NAMES[ids].get(transform.id) ?? `${ids}_${transform.id}`}`;
  return transform.keyBits === undefined ? name : `${name}_${transform.keyBits}`;
}

/** Name of a notify, or `N_40961` for one without. */
export function notifyName(notify: number): string {
  return NOTIFY_NAMES.get(notify) ?? `N_${notify}`;
}

/** Name of a payload type, or `P_99` for one without. */
export function payloadName(payloadType: number): string {
  return PAYLOAD_NAMES.get(payloadType) ?? `P_${payloadType}`;
}
