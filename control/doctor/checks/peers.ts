/** Whether peers can be reached as far as this host can tell: a route, a device that is up, and an address of ours to send from. */
import { networkInterfaces } from 'node:os';
import { type Check, type Finding, fail, ok, placedTunnels } from '../check.ts';

export const peersCheck: Check = {
  name: 'peers',
  about: 'routes to peers, their devices, and our own addresses',
  run({ configuration }) {
    if (configuration === undefined) return [];
    const { underlay } = configuration;
    const ours = new Set(
      Object.values(networkInterfaces()).flatMap((list) => list?.map(({ address }) => address) ?? []),
    );
    return placedTunnels(configuration).map(({ name, local, remote }): Finding => {
      const route = underlay.routeTo(remote);
      if (route === undefined)
        return fail(`tunnel ${name}: there is no route to ${remote}`, `ip route add ${remote} via GATEWAY`);
      const link = underlay.link(route.device);
      if (link !== undefined && !(link.up && link.carrier)) {
        return fail(
          `tunnel ${name}: ${route.device}, which leads to ${remote}, is ${link.up ? 'without carrier' : 'down'}`,
          link.up ? 'look at its cable, or the other end' : `ip link set ${route.device} up`,
        );
      }
      if (!ours.has(local)) {
        return fail(
          `tunnel ${name}: ${local} is no address of this host that is up`,
          `ip address add ${local} dev ${route.device}, or correct options:local_ip`,
        );
      }
      return ok(`tunnel ${name}: ${local} to ${remote} by ${route.device}`);
    });
  },
};
