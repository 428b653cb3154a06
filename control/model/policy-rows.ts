/**
 * The policy of tunnel packets as a table for people, and which of its rows a tunnel is in. What it says is done by
 * dataplane/policy.ts; docs/policy.md shows the same rows, and a test holds the two together.
 */
import type { ProtectionState } from '../../dataplane/index.ts';

export const POLICY_ROWS = [
  {
    id: 'up',
    tunnel: 'IPsec configured',
    sa: 'up',
    out: 'ESP',
    plaintextIn: 'drop',
    espIn: "accept what matches the SA's selectors",
  },
  {
    id: 'down',
    tunnel: 'IPsec configured',
    sa: 'down after it was up',
    out: 'drop, ask IKE for an SA',
    plaintextIn: 'drop',
    espIn: 'drop',
  },
  {
    id: 'never-up',
    tunnel: 'IPsec configured',
    sa: 'never up yet',
    out: 'drop if the mark matches, else plaintext',
    plaintextIn: 'accept only if `ipsec_skb_mark` is unset',
    espIn: 'drop',
  },
  {
    id: 'invalid',
    tunnel: 'IPsec configuration invalid',
    sa: 'none',
    out: 'drop',
    plaintextIn: 'drop',
    espIn: 'drop',
  },
  {
    id: 'none',
    tunnel: 'no IPsec',
    sa: 'none',
    out: 'drop if the mark matches, else plaintext',
    plaintextIn: 'accept',
    espIn: 'drop',
  },
] as const;

export type PolicyRowId = (typeof POLICY_ROWS)[number]['id'];

/** The row of a tunnel: what protects it, if anything does, and whether an SA is there to send on. */
export function policyRowOf(isInvalid: boolean, protection: ProtectionState | undefined, sends: boolean): PolicyRowId {
  if (isInvalid || protection === 'invalid') return 'invalid';
  if (protection === undefined) return 'none';
  if (sends) return 'up';
  return protection === 'protected' ? 'down' : 'never-up';
}
