/**
 * Whether what a bridge lets in fits the underlay once it is encapsulated and sealed. Where ovs-espd is the datapath it sets the
 * MTU of new bridges itself; beside an ovs-vswitchd nobody does.
 */
import { tunnelOverhead } from '../../../dataplane/index.ts';
import { innerMtu } from '../../mtu.ts';
import { type Check, type Finding, ok, warn } from '../check.ts';

export const mtuCheck: Check = {
  name: 'mtu',
  about: 'the MTU of bridges against that of the underlay less all headers',
  run({ configuration }) {
    if (configuration === undefined) return [];
    const { desired, underlay } = configuration;
    const findings = desired.tunnels.flatMap(({ name, bridge, settings, ipsec }): Finding[] => {
      const route = settings === undefined ? undefined : underlay.routeTo(settings.remote);
      const egress = route === undefined ? undefined : underlay.link(route.device);
      const device = underlay.link(bridge);
      if (settings === undefined || route === undefined || egress === undefined || device === undefined) return [];
      const esp = ipsec && {
        tunnelMode: ipsec.options.mode === 'tunnel',
        inUdp: ipsec.options.encapsulation === 'yes',
      };
      const fits = innerMtu(egress.mtu, tunnelOverhead(settings), esp, settings.remote.includes(':') ? 6 : 4);
      const facts = `tunnel ${name}: ${route.device} has MTU ${egress.mtu}, so packets of ${fits} bytes fit`;
      if (device.mtu <= fits) return [ok(`${facts}, and bridge ${bridge} has ${device.mtu}`)];
      return [
        warn(
          `${facts}, but bridge ${bridge} has ${device.mtu}: larger ones are dropped, or answered with ICMP`,
          `ip link set ${bridge} mtu ${fits}, and the same in the guests behind it`,
        ),
      ];
    });
    return findings;
  },
};
