/** What would leave in the clear under the present skb-mark rule: the row of the policy table that each tunnel would begin in. */
import { markForbids } from '../../../dataplane/policy.ts';
import { bypassLine, bypassOf } from '../../bypass.ts';
import { connectionKey } from '../../config/connections.ts';
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
    return desired.tunnels.map((tunnel): Finding => {
      const { name, settings, wantsIpsec, state, connection } = tunnel;
      const bypass = bypassOf(tunnel, desired, underlay);
      if (bypass !== undefined) {
        const [line, remedy] = bypassLine(bypass);
        return fail(`tunnel ${name}: everything, as ${line}`, remedy);
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
  },
};
