/** Tunnel settings for tests: everything unset, then what a test says. */

import type { TunnelSettings, TunnelType } from '../../../dataplane/commands.ts';

export function tunnelSettings(type: TunnelType, changes: Partial<TunnelSettings> = {}): TunnelSettings {
  return {
    type,
    local: '192.0.2.1',
    remote: '192.0.2.2',
    inKey: { kind: 'none' },
    outKey: { kind: 'none' },
    checksum: false,
    destinationPort: type === 'geneve' ? 6081 : type === 'vxlan' ? 4789 : 0,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection: undefined,
    ...changes,
  };
}
