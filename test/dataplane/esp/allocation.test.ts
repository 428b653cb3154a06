import { expect, it } from 'vitest';
import type { Aead } from '../../../dataplane/esp/aead.ts';
import { openBatch } from '../../../dataplane/esp/open.ts';
import { sealBatch } from '../../../dataplane/esp/seal.ts';
import { BridgePorts } from '../../../dataplane/switch/bridge-ports.ts';
import { Fdb } from '../../../dataplane/switch/fdb.ts';
import { forward } from '../../../dataplane/switch/switch.ts';
import { Vlans } from '../../../dataplane/switch/vlans.ts';
import { SaRig } from './sa-rig.ts';
import { tunnelPacket } from './tunnel-packets.ts';

/** Turns of 64 packets: few enough that an object for each packet would not yet cause a collection. */
const TURNS = 100;

/** Finds every tag right and touches nothing: what is measured is the stages, not a cipher. */
const blind: Aead = {
  name: 'native',
  prepareKey: () => 0,
  dropKey: () => {},
  seal: () => {},
  open(columns, first, count) {
    for (let row = first; row < first + count; row++) columns.result[row] = 1;
  },
};

it.each([false, true])('switching, sealing and opening allocate nothing per packet (ESN %s)', (esn) => {
  const rig = new SaRig(blind);
  rig.addOutbound({ esn });
  rig.addInbound({ esn });
  const fdb = new Fdb({ cells: 64, bridges: 1 });
  fdb.setBridge(0, 300_000, 64);
  const ports = new BridgePorts(1, 4);
  const vlans = new Vlans(4);
  const { bytes, protocol } = tunnelPacket('geneve', 60);
  const packets = Array.from({ length: 64 }, () => bytes);
  rig.load(packets, protocol);
  const { batch } = rig;

  const turn = (now: number): void => {
    // To the switch a tunnel packet is a frame like any other.
    forward(batch, fdb, ports, vlans, now);
    batch.pair.fill(rig.pair, 0, batch.count);
    sealBatch(batch, rig.list, rig.outbound);
    batch.pair.fill(rig.backPair, 0, batch.count);
    openBatch(batch, rig.list, rig.inbound);
  };
  const heapGrowth = (turns: number): number => {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < turns; i++) turn(i);
    return process.memoryUsage().heapUsed - before;
  };
  heapGrowth(3000);
  // The median: in some of them a compiler thread or the test runner allocates, or a collection makes the heap smaller.
  const growths = Array.from({ length: 15 }, () => heapGrowth(TURNS)).sort((a, b) => a - b);
  expect([...batch.verdict]).toEqual(packets.map(() => 0));
  expect(growths[7] / (TURNS * 64)).toBeLessThan(1);
});
