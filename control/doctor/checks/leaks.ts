/** What would leave in the clear under the present skb-mark rule: the row of the policy table that each tunnel would begin in. */
import { markForbids } from '../../../dataplane/policy.ts';
import { bypassLine, bypassOf } from '../../bypass.ts';
import { connectionKey } from '../../config/connections.ts';
import type { CompanionPort } from '../../config/desired-state.ts';
import { guardedBridges, openingLine } from '../../guarded-bridges.ts';
import { type Check, type Finding, fail, ok, warn } from '../check.ts';

export const leaksCheck: Check = {
  name: 'leaks',
  about: 'which tunnels would send plaintext, and until when',
  run({ configuration }) {
    if (configuration === undefined) return [];
    const { desired, remembered, underlay } = configuration;
    const { drop } = desired.markPolicy;
    const rule = { set: drop !== undefined, value: drop?.value ?? 0, mask: drop?.mask ?? 0 };
    const shown = desired.global.skbMark ?? 'unset';
    const isPort = ({ attach }: CompanionPort): boolean => attach === 'port';
    const openings = guardedBridges(desired, underlay, isPort).flatMap((around) => {
      const opening = openingLine(around);
      return opening === undefined ? [] : [warn(`bridge ${around.bridge.name}: ${opening[0]}`, opening[1])];
    });
    const tunnels = desired.tunnels.map((tunnel): Finding => {
      const { name, settings, wantsIpsec, state, connection } = tunnel;
      const bypass = bypassOf(tunnel, desired, underlay);
      if (bypass !== undefined) {
        const [line, remedy] = bypassLine(bypass);
        return fail(`tunnel ${name}: ${line}`, remedy);
      }
      const mark = settings?.egressMark ?? 0;
      if (wantsIpsec && state === 'INVALID') return ok(`tunnel ${name}: nothing, as it is INVALID`);
      if (markForbids(rule, mark))
        return ok(`tunnel ${name}: nothing, its mark ${mark} matches ipsec_skb_mark ${shown}`);
      if (connection === undefined) return ok(`tunnel ${name}: everything, as it asks for no IPsec`);
      const key = settings === undefined ? '' : connectionKey(settings);
      if (remembered.keys.includes(key) || remembered.tunnels.includes(name))
        return ok(`tunnel ${name}: nothing, as it has been protected before`);
      return warn(
        `tunnel ${name}: plaintext until its first SA, as its mark ${mark} does not match ipsec_skb_mark (${shown})`,
        'ovs-vsctl set Open_vSwitch . other_config:ipsec_skb_mark=0/1 drops whatever is not marked 1',
      );
    });
    return [...openings, ...tunnels];
  },
};
