/**
 * The skb-mark rule: may this tunnel packet leave or come in, and does it need ESP?
 *
 * The one truth table of the design, literally, as pure functions of small integers.
 * Results are verdicts: 0 and ESP go on, everything else is a drop reason. What is a packet's mark, and
 * what becomes of a drop, the callers know.
 */

import { DROP } from './drops.ts';

/** State of a tunnel's protection; `none`: the tunnel has no IPsec. */
export const PROTECTION_STATE = { none: 0, neverUp: 1, protected: 2, invalid: 3 } as const;

/** Verdicts that are not drop reasons. */
export const PLAINTEXT = 0;
export const ESP = -1;

/** `ipsec_skb_mark`: `set` is false when the key is absent from the database. */
export interface MarkRule {
  readonly set: boolean;
  readonly value: number;
  readonly mask: number;
}

/** Whether the rule forbids plaintext with this mark. 32-bit integers, signed or unsigned alike. */
export function markForbids(rule: MarkRule, mark: number): boolean {
  return rule.set && ((mark ^ rule.value) & rule.mask) === 0;
}

/** A tunnel packet about to leave: PLAINTEXT, ESP, or a drop reason. */
export function outboundVerdict(state: number, saUp: boolean, mark: number, rule: MarkRule): number {
  switch (state) {
    case PROTECTION_STATE.none:
      return markForbids(rule, mark) ? DROP['policy-mark'] : PLAINTEXT;
    case PROTECTION_STATE.neverUp:
      if (saUp) return ESP;
      return markForbids(rule, mark) ? DROP['policy-mark'] : PLAINTEXT;
    case PROTECTION_STATE.protected:
      return saUp ? ESP : DROP['policy-no-sa'];
    default:
      return markForbids(rule, mark) ? DROP['policy-mark'] : DROP['policy-invalid'];
  }
}

/** A tunnel packet that came in without ESP: PLAINTEXT, or a drop reason. */
export function inboundPlaintextVerdict(state: number, saUp: boolean, rule: MarkRule): number {
  switch (state) {
    case PROTECTION_STATE.none:
      return PLAINTEXT;
    case PROTECTION_STATE.neverUp:
      return saUp || rule.set ? DROP['policy-plaintext-in'] : PLAINTEXT;
    case PROTECTION_STATE.protected:
      return DROP['policy-plaintext-in'];
    default:
      return DROP['policy-invalid'];
  }
}

/**
 * A tunnel packet that an inbound SA has authenticated and whose selectors it matches: ESP, or a drop reason. That SA is
 * the proof; whether there is one to send on does not matter, for a peer may send first.
 */
export function inboundEspVerdict(state: number): number {
  switch (state) {
    case PROTECTION_STATE.neverUp:
    case PROTECTION_STATE.protected:
      return ESP;
    case PROTECTION_STATE.none:
      return DROP['policy-esp-in'];
    default:
      return DROP['policy-invalid'];
  }
}
