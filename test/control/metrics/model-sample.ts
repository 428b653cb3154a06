/** A status model with something of everything, for tests of what is made of it. */
import type { StatusModel } from '../../../control/model/model.ts';

export function sampleModel(change: Partial<StatusModel> = {}): StatusModel {
  const worker = {
    turns: 9,
    sleeps: 8,
    framesRead: 7,
    packetsReceived: 6,
    packetsSent: 5,
    framesWritten: 4,
    tfcPadded: 3,
  };
  return {
    ...{ program: 'ovs-espd', version: '1.2.3', startedAtMs: 1_000_000, nowMs: 1_060_000, isConfigured: true },
    mainThread: { median: 0.5, p99: 4, longest: 40 },
    tunnels: [
      {
        ...{ name: 'tun', version: 1, state: 'CONFIGURED', reason: undefined, type: 'geneve', bridge: 'br-ipsec' },
        ...{
          localIp: '10.1.0.1',
          remoteIp: '10.1.0.2',
          family: 'IPv4',
          skbMark: undefined,
          ofport: 1,
          cfmFault: undefined,
        },
        ...{ policies: [], saState: 'up', lastFailure: undefined, wantsIpsec: true, policyRow: 'up' },
        ike: [
          {
            ...{ state: 'ESTABLISHED', suite: 'AES_GCM_16_256', localId: '10.1.0.1', remoteId: '10.1.0.2' },
            ...{ ageSeconds: 60, rekeyInSeconds: 600 },
          },
        ],
        children: [],
        traffic: { rxPackets: 10, rxBytes: 1000, txPackets: 20, txBytes: 2000 },
        drops: { 'policy-no-sa': 3 },
      },
    ],
    protections: [
      {
        ...{ key: 'geneve:10.1.0.1-10.1.0.2:6081', state: 'protected' },
        children: [
          {
            ...{ name: 'tun-out', inboundSpi: 0x01020304, outboundSpi: 0xf0000001, algorithm: 'aes256gcm16' },
            ...{
              esn: true,
              sends: true,
              worker: undefined,
              rekeyInSeconds: 300,
              packetsIn: 11,
              bytesIn: 110,
              packetsOut: 12,
              bytesOut: 120,
            },
          },
        ],
      },
    ],
    skbMark: '0/1',
    drops: { 'policy-no-sa': [1, 2] },
    workers: [worker, { ...worker, turns: 19 }],
    ikeCounters: { 'established: IKE SAs': 1 },
    ikeSas: { established: 1 },
    news: [{ atMs: 1_050_000, level: 'info', text: 'IKE_SA established' }],
    ...change,
  };
}
