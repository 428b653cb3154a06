/** Which payloads may stand in which exchange (RFC 7296 §1.2-§1.4). */

import { describe, expect, it } from 'vitest';
import type { Exchange } from '../../../ike/wire/header.ts';
import type { Payload } from '../../../ike/wire/payloads.ts';
import { findRuleViolation, rulesOf } from '../../../ike/wire/rules.ts';
import { AUTH_HEADER, AUTH_PAYLOADS, INIT_HEADER, INIT_PAYLOADS, notify } from './samples.ts';

const without = (payloads: readonly Payload[], type: Payload['type']) => payloads.filter((p) => p.type !== type);
const response = (exchange: Exchange) => ({ exchange, responseFlag: true });
const NO_BYTES = new Uint8Array(0);

describe('payloads of an exchange', () => {
  it('are accepted as peers send them, in any order', () => {
    expect(findRuleViolation(INIT_HEADER, INIT_PAYLOADS)).toBeUndefined();
    expect(findRuleViolation(INIT_HEADER, INIT_PAYLOADS.toReversed())).toBeUndefined();
    expect(findRuleViolation(AUTH_HEADER, AUTH_PAYLOADS)).toBeUndefined();
    expect(findRuleViolation({ exchange: 'INFORMATIONAL', responseFlag: false }, [])).toBeUndefined();
  });

  it.each<[string, typeof INIT_HEADER, readonly Payload[], Payload['type']]>([
    ['IKE_SA_INIT without SA', INIT_HEADER, INIT_PAYLOADS, 'SA'],
    ['IKE_SA_INIT without KE', INIT_HEADER, INIT_PAYLOADS, 'KE'],
    ['IKE_SA_INIT without nonce', INIT_HEADER, INIT_PAYLOADS, 'NONCE'],
    ['IKE_AUTH without IDi', AUTH_HEADER, AUTH_PAYLOADS, 'IDi'],
    ['IKE_AUTH without AUTH', AUTH_HEADER, AUTH_PAYLOADS, 'AUTH'],
  ])('are incomplete in %s', (_name, header, payloads, missing) => {
    expect(findRuleViolation(header, without(payloads, missing))).toEqual({
      reason: 'payload-missing',
      payload: missing,
    });
  });

  it('may come once where one is enough', () => {
    const twice = [...INIT_PAYLOADS, INIT_PAYLOADS[1]];
    expect(findRuleViolation(INIT_HEADER, twice)).toEqual({ reason: 'payload-repeated', payload: 'KE' });
  });

  it('may not belong to another exchange', () => {
    const payloads = [...INIT_PAYLOADS, AUTH_PAYLOADS[0]];
    expect(findRuleViolation(INIT_HEADER, payloads)).toEqual({ reason: 'payload-not-allowed', payload: 'IDi' });
    const auth: Payload = { type: 'AUTH', method: 2, data: Uint8Array.of(1) };
    expect(findRuleViolation(response('INFORMATIONAL'), [auth])).toEqual({
      reason: 'payload-not-allowed',
      payload: 'AUTH',
    });
    const deletion: Payload = { type: 'D', protocol: 'IKE', spiSize: 0, spis: [] };
    expect(findRuleViolation(AUTH_HEADER, [...AUTH_PAYLOADS, deletion])?.reason).toBe('payload-not-allowed');
  });

  it('of unknown type, and vendor ids, may stand anywhere', () => {
    const strange: Payload = { type: 'UNKNOWN', payloadType: 200, critical: true, data: NO_BYTES };
    const vendor: Payload = { type: 'V', data: NO_BYTES };
    expect(findRuleViolation(INIT_HEADER, [strange, ...INIT_PAYLOADS, vendor, vendor])).toBeUndefined();
    expect(findRuleViolation(response('INFORMATIONAL'), [strange, vendor])).toBeUndefined();
  });

  it('may be missing from a response that reports an error or asks for a cookie, not from a request', () => {
    expect(findRuleViolation(response('IKE_SA_INIT'), [notify('COOKIE')])).toBeUndefined();
    expect(findRuleViolation(response('IKE_AUTH'), [notify('AUTHENTICATION_FAILED')])).toBeUndefined();
    expect(findRuleViolation(response('CREATE_CHILD_SA'), [notify('NO_PROPOSAL_CHOSEN')])).toBeUndefined();
    expect(findRuleViolation(INIT_HEADER, [notify('COOKIE')])?.reason).toBe('payload-missing');
    expect(findRuleViolation(response('IKE_SA_INIT'), [notify('USE_TRANSPORT_MODE')])?.reason).toBe('payload-missing');
  });

  it('are without rules in an exchange that is not known', () => {
    expect(findRuleViolation(response(43), AUTH_PAYLOADS)).toBeUndefined();
    expect(rulesOf(43)).toBeUndefined();
  });
});

it('all exchanges but the first are encrypted', () => {
  const encrypted = (['IKE_SA_INIT', 'IKE_AUTH', 'CREATE_CHILD_SA', 'INFORMATIONAL'] as const).map(
    (exchange) => rulesOf(exchange)?.encrypted,
  );
  expect(encrypted).toEqual([false, true, true, true]);
});
