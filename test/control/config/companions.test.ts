import { describe, expect, it } from 'vitest';
import { readCompanion } from '../../../control/config/companions.ts';

const bridge = {
  ...{ name: 'br-phy', isUserspace: true, isSecure: false, hasController: false },
  ...{ hostPorts: [], others: [], patches: [] },
};
const TRUNK = { untagged: undefined, isAccess: false };
const PLACE = { uuid: 'u', portUuid: 'p', vlan: TRUNK };
const HOSTS = [{ mac: '02:00:00:00:00:01', vlan: 0 }];
const read = (ids: Record<string, string>, name = 'up0') =>
  readCompanion(PLACE, { name, external_ids: new Map(Object.entries(ids)) }, bridge, HOSTS);

describe('an interface with external_ids:espd', () => {
  it('is a companion port with its NIC and mark', () => {
    expect(read({ espd: 'uplink', 'espd-nic': 'eth0', 'espd-mark': '0x1' })).toEqual({
      uuid: 'u',
      portUuid: 'p',
      ...TRUNK,
      name: 'up0',
      attach: 'uplink',
      bridge,
      hosts: HOSTS,
      ofport: undefined,
      nic: 'eth0',
      mark: 1,
      reason: undefined,
    });
  });

  it('is a port of its bridge, without a NIC of ours, with espd=port', () => {
    expect(read({ espd: 'port' })).toMatchObject({ attach: 'port', nic: undefined, reason: undefined });
  });

  it('is none of ours without the key, whatever else stands there', () => {
    expect(read({ 'espd-nic': 'eth0' })).toBeUndefined();
  });

  it.each([
    [
      'an unknown attach',
      { espd: 'bridge', 'espd-nic': 'eth0' },
      /external_ids:espd is "bridge", expected uplink or port/,
    ],
    ['a NIC at a port', { espd: 'port', 'espd-nic': 'eth0' }, /espd-nic is "eth0", expected none with espd=port/],
    ['a mark at a port', { espd: 'port', 'espd-mark': '1' }, /espd-mark is "1", expected none with espd=port/],
    ['no NIC', { espd: 'uplink' }, /external_ids:espd-nic is not set, expected the name of a network device/],
    ['a NIC that is no name', { espd: 'uplink', 'espd-nic': 'eth0/1' }, /espd-nic is "eth0\/1"/],
    [
      'a mark out of range',
      { espd: 'uplink', 'espd-nic': 'e', 'espd-mark': '4294967296' },
      /espd-mark is "4294967296"/,
    ],
  ])('has no NIC and says why with %s', (_what, ids, reason) => {
    const port = read(ids);
    expect(port?.nic).toBeUndefined();
    expect(port?.reason).toMatch(reason);
  });

  it('cannot have a name that no device can have', () => {
    expect(read({ espd: 'uplink', 'espd-nic': 'eth0' }, 'a-name-of-16-char')?.reason).toMatch(/at most 15 characters/);
  });
});
