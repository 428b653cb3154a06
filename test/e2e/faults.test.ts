/** Faults under load: what a bad wire does must cost throughput and nothing else; npm run faults is the long form. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { droppedFor, type FaultyHost, type FaultyPair, startFaultyPair } from '../faults/hosts.ts';
import { PROFILES } from '../faults/profiles.ts';
import { until } from '../rig/process.ts';
import { createRig, type Rig } from '../rig/rig.ts';
import { ping, waitForPing } from '../rig/traffic.ts';
import { transfer } from '../rig/transfer.ts';
import { obstacle } from './two-hosts.ts';

const reason = obstacle('tcpdump', 'ping', 'ovsdb-server', 'ovs-vsctl', 'ethtool');
const BYTES = 1_500_000;

describe.skipIf(reason !== '')(`a tunnel over a bad wire${reason}`, { timeout: 180_000 }, () => {
  let rig: Rig;
  let pair: FaultyPair;

  beforeAll(async () => {
    rig = createRig();
    pair = await startFaultyPair(rig, {
      seed: 1,
      options: { ipsec_salifetime: '10s', ipsec_margintime: '3s', ipsec_replay_window: '1024' },
    });
  }, 180_000);
  afterAll(() => rig.close());

  const carries = async (seed: string): Promise<void> => {
    const ends = { from: pair.a.host.namespace, to: { namespace: pair.b.host.namespace, address: pair.b.inner } };
    const { sent, received } = await transfer(rig, ends, BYTES, seed);
    expect(received).toBe(sent);
  };

  it('comes up although a third of the packets is lost and others are doubled, late or damaged', async () => {
    await pair.wire.become(PROFILES.storm);
    await pair.a.espd.waitForTunnel('tun', /SA state:\s+up/, 60_000);
    await pair.b.espd.waitForTunnel('tun', /SA state:\s+up/, 60_000);
    expect((await pair.wire.counts()).lost).toBeGreaterThan(0);
    await pair.wire.become(PROFILES.sound);
    await waitForPing(pair.a.host.namespace, pair.b.inner);
  });

  it.each([
    { profile: PROFILES.loss, fault: 'lost', reasons: [] },
    { profile: PROFILES.duplication, fault: 'duplicated', reasons: ['replay-duplicate'] },
    { profile: PROFILES.reordering, fault: 'reordered', reasons: [] },
    { profile: PROFILES.corruption, fault: 'corrupted', reasons: ['icv-mismatch'] },
    { profile: PROFILES.delay, fault: 'passed', reasons: [] },
    { profile: PROFILES.everything, fault: 'lost', reasons: [] },
  ] as const)(
    'carries a transfer whole through $profile.name, rekeying meanwhile',
    async ({ profile, fault, reasons }) => {
      const before = { wire: await pair.wire.counts(), drops: await droppedFor(pair.b.espd, ...reasons) };
      await pair.wire.become(profile);
      await carries(profile.name);
      await pair.wire.become(PROFILES.sound);
      expect((await pair.wire.counts())[fault]).toBeGreaterThan(before.wire[fault]);
      if (reasons.length > 0) expect(await droppedFor(pair.b.espd, ...reasons)).toBeGreaterThan(before.drops);
    },
  );

  it('has sent nothing but IKE and ESP in all of that, and rekeyed', async () => {
    const spisOf = ({ sent }: FaultyHost): number => {
      const esp = sent.packets().filter(({ kind }) => kind === 'esp');
      return new Set(esp.map(({ spi }) => spi)).size;
    };
    await until('packets of a second SA from both', async () => {
      await ping(pair.a.host.namespace, pair.b.inner, { count: 1 });
      return [pair.a, pair.b].every((host) => spisOf(host) > 1);
    });
    for (const { sent } of [pair.a, pair.b]) sent.assertOnlyEsp();
  });
});
