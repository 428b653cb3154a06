/** The picture of routes and devices, from the real `ip` of this machine: loopback is everywhere. */
import { describe, expect, it } from 'vitest';
import { readUnderlay } from '../../control/underlay.ts';
import { missingPrograms } from '../rig/rig.ts';

const missing = missingPrograms('ip').length > 0 ? ' (skipped: ip not installed)' : '';

describe.skipIf(missing !== '')(`the underlay${missing}`, () => {
  it('has the route to each of many peers from one run of ip', async () => {
    const peers = Array.from({ length: 3000 }, (_, i) => `127.${i >> 8}.${i & 255}.7`);
    const underlay = await readUnderlay(peers);
    for (const peer of peers) expect(underlay.routeTo(peer)?.device).toBe('lo');
    expect(underlay.link('lo')?.mtu).toBeGreaterThan(1500);
  });

  it('knows no route to where there is none, and says those behind it all the same', async () => {
    const underlay = await readUnderlay(['127.0.0.1', '0.255.255.254', '255.255.255.255', '127.0.0.2']);
    expect(underlay.routeTo('127.0.0.1')).toEqual({ source: '127.0.0.1', device: 'lo' });
    expect(underlay.routeTo('127.0.0.2')?.device).toBe('lo');
    expect(underlay.routeTo('203.0.113.77')).toBeUndefined();
    expect(underlay.link('no-such-device')).toBeUndefined();
  });

  it('finds an IPv6 peer however it is spelled', async () => {
    const underlay = await readUnderlay(['0:0:0:0:0:0:0:1']);
    expect(underlay.routeTo('::1')?.device).toBe('lo');
  });

  it('asks nothing where there is no peer', async () => {
    const underlay = await readUnderlay([]);
    expect(underlay.routeTo('127.0.0.1')).toBeUndefined();
  });
});
