/**
 * Which payloads may stand in which exchange (RFC 7296 §1.2-§1.4, appendix C; RFC 9370): one table row a payload.
 *
 * UNKNOWN payloads may stand anywhere and are skipped, N and V may stand anywhere too. A response that reports an error, or
 * asks for a cookie, may lack what is required otherwise: whoever then needs AUTH has to look for it. Order is free
 * (§2.5).
 */

import type { ParseFailure } from './failures.ts';
import type { Exchange, MessageHeader } from './header.ts';
import { type ExchangeName, FIRST_STATUS_NOTIFY, NOTIFY } from './names.ts';
import { MAX_PAYLOADS } from './payload-chain.ts';
import type { Payload, PayloadType } from './payloads.ts';

interface Rule {
  readonly payload: PayloadType;
  readonly min: number;
  readonly max: number;
}

interface ExchangeRules {
  /** All payloads stand inside SK. */
  readonly encrypted: boolean;
  readonly request: readonly Rule[];
  readonly response: readonly Rule[];
}

const ANY = MAX_PAYLOADS;
const one = (payload: PayloadType): Rule => ({ payload, min: 1, max: 1 });
const maybe = (payload: PayloadType): Rule => ({ payload, min: 0, max: 1 });
const any = (payload: PayloadType): Rule => ({ payload, min: 0, max: ANY });

const NOTIFY_AND_VENDOR = [any('N'), any('V')];
/** What sets up a child; IKE_AUTH may come without (RFC 6023). */
const MAYBE_CHILD = [maybe('SA'), maybe('TSi'), maybe('TSr')];

export const EXCHANGE_RULES: Readonly<Record<ExchangeName, ExchangeRules>> = {
  IKE_SA_INIT: {
    encrypted: false,
    request: [one('SA'), one('KE'), one('NONCE'), ...NOTIFY_AND_VENDOR],
    response: [one('SA'), one('KE'), one('NONCE'), any('CERTREQ'), ...NOTIFY_AND_VENDOR],
  },
  IKE_AUTH: {
    encrypted: true,
    request: [one('IDi'), any('CERT'), any('CERTREQ'), maybe('IDr'), one('AUTH'), ...MAYBE_CHILD, ...NOTIFY_AND_VENDOR],
    response: [one('IDr'), any('CERT'), one('AUTH'), ...MAYBE_CHILD, ...NOTIFY_AND_VENDOR],
  },
  CREATE_CHILD_SA: {
    encrypted: true,
    request: [one('SA'), one('NONCE'), maybe('KE'), maybe('TSi'), maybe('TSr'), ...NOTIFY_AND_VENDOR],
    response: [one('SA'), one('NONCE'), maybe('KE'), maybe('TSi'), maybe('TSr'), ...NOTIFY_AND_VENDOR],
  },
  // Of what RFC 9242 allows, only additional key exchanges are negotiated here (RFC 9370 §2.2.2).
  IKE_INTERMEDIATE: {
    encrypted: true,
    request: [one('KE'), ...NOTIFY_AND_VENDOR],
    response: [one('KE'), ...NOTIFY_AND_VENDOR],
  },
  IKE_FOLLOWUP_KE: {
    encrypted: true,
    request: [one('KE'), ...NOTIFY_AND_VENDOR],
    response: [one('KE'), ...NOTIFY_AND_VENDOR],
  },
  INFORMATIONAL: {
    encrypted: true,
    request: [any('D'), ...NOTIFY_AND_VENDOR],
    response: [any('D'), ...NOTIFY_AND_VENDOR],
  },
};

export interface RuleViolation {
  readonly reason: Extract<ParseFailure, 'payload-not-allowed' | 'payload-missing' | 'payload-repeated'>;
  readonly payload: PayloadType;
}

/** Rules of an exchange; undefined for one that this implementation doesn't know. */
export function rulesOf(exchange: Exchange): ExchangeRules | undefined {
  return typeof exchange === 'number' ? undefined : EXCHANGE_RULES[exchange];
}

/**
 * The first way in which the payloads don't fit their exchange, or undefined. Give it the payloads of SK if the exchange is
 * encrypted, else those in the clear. An unknown exchange has no rules.
 */
export function findRuleViolation(
  header: Pick<MessageHeader, 'exchange' | 'responseFlag'>,
  payloads: readonly Payload[],
): RuleViolation | undefined {
  const rules = rulesOf(header.exchange);
  if (rules === undefined) return undefined;
  const rows = header.responseFlag ? rules.response : rules.request;
  const counts = new Map<PayloadType, number>();
  for (const { type } of payloads) counts.set(type, (counts.get(type) ?? 0) + 1);

  for (const type of counts.keys()) {
    if (type !== 'UNKNOWN' && !rows.some((row) => row.payload === type)) {
      return { reason: 'payload-not-allowed', payload: type };
    }
  }
  const incomplete = header.responseFlag && payloads.some(excusesMissingPayloads);
  for (const { payload, min, max } of rows) {
    const count = counts.get(payload) ?? 0;
    if (count > max) return { reason: 'payload-repeated', payload };
    if (count < min && !incomplete) return { reason: 'payload-missing', payload };
  }
  return undefined;
}

function excusesMissingPayloads(payload: Payload): boolean {
  return payload.type === 'N' && (payload.notify < FIRST_STATUS_NOTIFY || payload.notify === NOTIFY.COOKIE);
}
