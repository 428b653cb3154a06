/**
 * Why an IKE message was not accepted: one name per reason, each a counter (`dropped: <name>`), and what
 * RFC 7296 lets a responder answer to it (§2.21). Codecs return these names; nothing here throws.
 */

/** What the reason allows as answer: nothing, or an error notify of that name. */
export type FailureAnswer = 'nothing' | 'INVALID_SYNTAX' | 'INVALID_MAJOR_VERSION';

/**
 * Reasons, in the order in which a message meets them. An unprotected message that is wrong is answered with
 * nothing but INVALID_MAJOR_VERSION; INVALID_SYNTAX is for what came out of a verified SK payload (§2.21.2, §3.10.1).
 */
export const PARSE_FAILURES = {
  'short-header': 'nothing',
  'newer-version': 'INVALID_MAJOR_VERSION',
  'older-version': 'nothing',
  'bad-length': 'nothing',
  'zero-initiator-spi': 'nothing',
  'payload-overrun': 'INVALID_SYNTAX',
  'too-many-payloads': 'INVALID_SYNTAX',
  'trailing-bytes': 'INVALID_SYNTAX',
  'bad-sa': 'INVALID_SYNTAX',
  'too-many-proposals': 'INVALID_SYNTAX',
  'too-many-transforms': 'INVALID_SYNTAX',
  'bad-ke': 'INVALID_SYNTAX',
  'bad-id': 'INVALID_SYNTAX',
  'bad-cert': 'INVALID_SYNTAX',
  'bad-auth': 'INVALID_SYNTAX',
  'bad-nonce': 'INVALID_SYNTAX',
  'bad-notify': 'INVALID_SYNTAX',
  'too-many-notifies': 'INVALID_SYNTAX',
  'bad-delete': 'INVALID_SYNTAX',
  'bad-ts': 'INVALID_SYNTAX',
  'too-many-selectors': 'INVALID_SYNTAX',
  'encrypted-not-last': 'INVALID_SYNTAX',
  'bad-encrypted': 'INVALID_SYNTAX',
  'not-encrypted': 'nothing',
  'bad-fragment': 'nothing',
  'bad-integrity': 'nothing',
  'bad-padding': 'INVALID_SYNTAX',
  'payload-not-allowed': 'INVALID_SYNTAX',
  'payload-missing': 'INVALID_SYNTAX',
  'payload-repeated': 'INVALID_SYNTAX',
} as const satisfies Record<string, FailureAnswer>;

export type ParseFailure = keyof typeof PARSE_FAILURES;

/** A value, or the reason why there is none. */
export type Parsed<T> = T | ParseFailure;

/** Tells a reason from a parsed value (values are objects). */
export function isFailure(result: object | ParseFailure): result is ParseFailure {
  return typeof result === 'string';
}
