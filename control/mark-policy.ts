/**
 * `ipsec_skb_mark` as it is in force: what the configuration says, or that nothing leaves in the clear, while there is a tunnel
 * that nobody could tell from others.
 */
import type { MarkMatch } from '../dataplane/index.ts';
import type { DesiredState } from './config/desired-state.ts';

/** `ipsec_skb_mark` under which no tunnel packet leaves in the clear. */
export const DROP_ALL: MarkMatch = { value: 0, mask: 0 };

/** @param closesAll Attach.closesAll: what the attach has last carried out lacks a tunnel that asks for IPsec */
export function markInForce(desired: DesiredState, closesAll: boolean): MarkMatch | undefined {
  return closesAll || isUnreadable(desired) ? DROP_ALL : desired.markPolicy.drop;
}

/** Whether ovs-espd is the companion of an ovs-vswitchd, or of the kernel, and not the datapath itself. */
export function isCompanion({ companions, routed }: DesiredState): boolean {
  return companions.length > 0 || routed;
}

/**
 * Beside another datapath, a tunnel that asks for IPsec and whose addresses we cannot make out: that datapath may send its packets
 * all the same, and nobody could tell them from those of a tunnel without IPsec. So none leaves in the clear meanwhile.
 * Flow-based ones are told from others by their type and port, but not where packets come to us by routes.
 */
function isUnreadable(desired: DesiredState): boolean {
  return (
    isCompanion(desired) &&
    desired.tunnels.some(
      ({ wantsIpsec, settings, flowBased }) =>
        wantsIpsec && settings === undefined && (flowBased === undefined || desired.routed),
    )
  );
}
