/** The stages of the packet path that are TypeScript, each alone: what they cost a packet, without AEAD and kernel. */

import { AddressPairs } from '../../dataplane/address-pairs.ts';
import type { TunnelSettings, TunnelType } from '../../dataplane/commands.ts';
import { encapState, encapsulationOf } from '../../dataplane/encap/encap.ts';
import { POP_RESULTS } from '../../dataplane/encap/encapsulation.ts';
import { flowHash } from '../../dataplane/encap/flow-hash.ts';
import { REPLAY_WORDS, replayCheck, replayCommit, replayReset } from '../../dataplane/esp/replay.ts';
import { outboundVerdict, PROTECTION_STATE } from '../../dataplane/policy.ts';
import { BridgePorts } from '../../dataplane/switch/bridge-ports.ts';
import { Fdb } from '../../dataplane/switch/fdb.ts';
import { forward } from '../../dataplane/switch/switch.ts';
import { Vlans } from '../../dataplane/switch/vlans.ts';
import { makeTunnel, TunnelTable, typeNumber } from '../../dataplane/tunnel-table.ts';
import { checkIpv4, writeIpv4 } from '../../dataplane/wire/ipv4.ts';
import type { Native } from '../../native-shims/types.ts';
import { arenaOfFrames, BATCH, HERE, HERE_NUMBER, PEER, PEER_NUMBER } from './packets.ts';
import type { Case, Suite } from './suite.ts';

const TYPES: readonly TunnelType[] = ['gre', 'vxlan', 'geneve'];
const LENGTH = 1400;

function settings(type: TunnelType, remote = PEER): TunnelSettings {
  return {
    type,
    local: HERE,
    remote,
    inKey: { kind: 'fixed', key: 5 },
    outKey: { kind: 'fixed', key: 5 },
    checksum: false,
    destinationPort: encapsulationOf(type)?.defaultPort ?? 0,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection: undefined,
  };
}

function eachRow(name: string, run: (row: number) => number): Case {
  const all = (): number => {
    let sum = 0;
    for (let row = 0; row < BATCH; row++) sum += run(row);
    return sum;
  };
  return { name, packets: BATCH, run: all };
}

function encapCases(type: TunnelType): Case[] {
  const { batch } = arenaOfFrames(LENGTH);
  const encapsulation = encapsulationOf(type)!;
  const state = encapState(encapsulation, settings(type));
  const out = new Int32Array(POP_RESULTS);
  const { arena, offset } = batch;
  return [
    eachRow(`push ${type}`, (row) => encapsulation.push(arena, offset[row], LENGTH, state, row)),
    eachRow(`pop ${type}`, (row) => encapsulation.pop(arena, offset[row] - state.overhead, offset[row] + LENGTH, out)),
  ];
}

function switchCase(): Case {
  const { batch } = arenaOfFrames(LENGTH);
  const fdb = new Fdb({ cells: 4096, bridges: 1 });
  const ports = new BridgePorts(1, 4);
  const vlans = new Vlans(4);
  fdb.setBridge(0, 300_000, 1000);
  for (const port of [0, 1]) ports.add(0, port);
  fdb.learn(0, 0x0200, 0x00000002, 1, 0);
  const run = (): number => {
    for (let row = 0; row < BATCH; row++) {
      batch.verdict[row] = 0;
      batch.port[row] = 0;
      batch.bridge[row] = 0;
    }
    forward(batch, fdb, ports, vlans, 1);
    return batch.output[0];
  };
  return { name: 'switch: learn and look up', packets: BATCH, run };
}

/** The forwarding database alone, with 1000 addresses learned. */
function fdbCases(): Case[] {
  const fdb = new Fdb({ cells: 4096, bridges: 1 });
  fdb.setBridge(0, 300_000, 2000);
  const ADDRESSES = 1000;
  for (let low = 0; low < ADDRESSES; low++) fdb.learn(0, 0x0200, low, 1, 0);
  let next = 0;
  const address = (): number => {
    next = next + 1 === ADDRESSES ? 0 : next + 1;
    return next;
  };
  return [
    eachRow('FDB: look up one of 1000', () => fdb.lookup(0, 0x0200, address(), 1)),
    eachRow('FDB: learn what is known', () => {
      fdb.learn(0, 0x0200, address(), 1, 1);
      return next;
    }),
  ];
}

export function lookupCase(tunnels: number): Case {
  const pairs = new AddressPairs();
  const table = new TunnelTable(tunnels, pairs);
  const remotes = Array.from({ length: tunnels }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`);
  remotes.slice(1).forEach((remote, index) => {
    table.set(makeTunnel(index, 0, `t${index}`, settings('geneve', remote)));
  });
  const type = typeNumber('geneve');
  return eachRow(`look up one of ${tunnels} tunnels`, (row) => table.lookup(type, 6081, row % (tunnels - 1), 5));
}

function replayCase(): Case {
  const words = new Int32Array(REPLAY_WORDS);
  const highs = new Int32Array(BATCH);
  replayReset(words, 0, 1024, true);
  let low = 0;
  return eachRow('replay check and commit', (row) => {
    low = (low + 1) | 0;
    return replayCheck(words, 0, low, highs, row) + replayCommit(words, 0, low, highs[row]);
  });
}

/** `native` gives the checksum over the batch. */
export function stageSuite(native: Native): Suite {
  const { batch } = arenaOfFrames(LENGTH);
  const { arena, offset } = batch;
  const rule = { set: true, value: 0, mask: 1 };
  const sums = new Int32Array(BATCH);
  const outer = (row: number): number => {
    writeIpv4(arena, offset[row] - 64, LENGTH, 0, 0, 0x4000, 64, 50, HERE_NUMBER, PEER_NUMBER);
    return arena[offset[row] - 64];
  };
  return {
    name: 'stages',
    cases: [
      eachRow('flow hash', (row) => flowHash(arena, offset[row], LENGTH)),
      ...TYPES.flatMap(encapCases),
      switchCase(),
      ...fdbCases(),
      lookupCase(10),
      lookupCase(1000),
      lookupCase(10_000),
      eachRow('policy', (row) => outboundVerdict(PROTECTION_STATE.protected, true, row, rule)),
      replayCase(),
      eachRow('outer IPv4: write', outer),
      eachRow('outer IPv4: write (again: A/A)', outer),
      eachRow('outer IPv4: check', (row) => checkIpv4(arena, offset[row] - 64, LENGTH + 64)),
      {
        name: `checksum of ${LENGTH} bytes, native batch`,
        packets: BATCH,
        run: () => {
          native.checksumBatch(batch, sums, 0, BATCH);
          return sums[0];
        },
      },
    ],
  };
}
