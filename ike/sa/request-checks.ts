/**
 * What every request has to pass before its exchange looks at it (RFC 7296 §2.5, §2.21): its exchange is due, it parses, holds no
 * critical payload that we don't know, and the payloads that its exchange must have.
 */

import type { ToSign } from '../crypto/auth-signature.ts';
import type { ParseFailure } from '../wire/failures.ts';
import type { Exchange, MessageHeader } from '../wire/header.ts';
import { NOTIFY } from '../wire/names.ts';
import { unsupportedCriticalPayload } from '../wire/payload-chain.ts';
import type { KePayload, Payload } from '../wire/payloads.ts';
import { findRuleViolation } from '../wire/rules.ts';
import type { IkeSa } from './ike-sa.ts';
import { find, notify } from './notify.ts';
import type { Answer, Answering } from './task.ts';

/**
 * Whether the state of the IKE SA lets the peer ask for this: the IKE_INTERMEDIATE exchanges that were negotiated, no more
 * and no fewer, IKE_AUTH once, everything else only after it.
 */
export function isDue(sa: IkeSa, exchange: Exchange): boolean {
  if (exchange === 'IKE_AUTH' || exchange === 'IKE_INTERMEDIATE') {
    const due = sa.init?.intermediate?.next === undefined ? 'IKE_AUTH' : 'IKE_INTERMEDIATE';
    return exchange === due && sa.state === 'connecting' && !sa.initiator;
  }
  return sa.state !== 'connecting' && sa.connection !== undefined;
}

/**
 * The key exchange that serving this request will take, as far as can be told before it is looked at closely; of a peer that
 * has not authenticated only the one that was negotiated.
 */
export function keyExchangeDue(
  sa: IkeSa,
  { exchange }: MessageHeader,
  payloads: readonly Payload[] | ParseFailure,
): KePayload | undefined {
  if (typeof payloads === 'string') return undefined;
  const ke = find(payloads, 'KE');
  if (exchange === 'IKE_INTERMEDIATE') return ke?.group === sa.init?.intermediate?.next?.id ? ke : undefined;
  return exchange === 'CREATE_CHILD_SA' || exchange === 'IKE_FOLLOWUP_KE' ? ke : undefined;
}

/** The signature that serving this request will take, known once the peer has proved who it is. */
export function signatureDue(
  sa: IkeSa,
  answering: Answering,
  header: MessageHeader,
  payloads: readonly Payload[] | ParseFailure,
): ToSign | undefined {
  if (typeof payloads === 'string' || unsupportedCriticalPayload(payloads) !== undefined) return undefined;
  return findRuleViolation(header, payloads) === undefined ? answering.signature?.(sa, payloads) : undefined;
}

/** The answer to a request that cannot be served, whatever its exchange; undefined: it can. */
export function unservable(
  sa: IkeSa,
  header: MessageHeader,
  payloads: readonly Payload[] | ParseFailure,
): Answer | undefined {
  if (typeof payloads === 'string') return invalidSyntax(sa, payloads);
  const critical = unsupportedCriticalPayload(payloads);
  if (critical !== undefined) {
    sa.context.count('refused: unknown critical payload');
    return { payloads: [notify(NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD, Uint8Array.of(critical))] };
  }
  const violation = findRuleViolation(header, payloads);
  return violation === undefined ? undefined : invalidSyntax(sa, `${violation.reason}: ${violation.payload}`);
}

/** An authentic request that makes no sense: the answer, after which both ends forget the IKE SA (RFC 7296 §2.21.3). */
export function invalidSyntax(sa: IkeSa, why: string): Answer {
  sa.context.count('refused: invalid syntax');
  return {
    payloads: [notify(NOTIFY.INVALID_SYNTAX)],
    afterwards: () => sa.end('lost', `${sa.remote.address} sent a request that is not valid (${why})`),
  };
}
