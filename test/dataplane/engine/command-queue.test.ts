/** Commands that are posted while a worker is in a turn: which are carried out at once, and that none overtakes another. */
import { MessageChannel } from 'node:worker_threads';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CommandQueue } from '../../../dataplane/command-queue.ts';
import type { ToWorker } from '../../../dataplane/pool.ts';
import type { WorkerCommand } from '../../../dataplane/runner.ts';
import { commands, Packets } from '../../fuzz/packets.ts';
import { Random } from '../../fuzz/random.ts';
import { LIMITS, Victim } from '../../fuzz/victim.ts';

const WORKER = 0;

describe('commands of a worker', () => {
  const posted = new Int32Array(new SharedArrayBuffer(4));
  let channel: MessageChannel;
  let queue: CommandQueue;
  let done: (number | 'stop')[];
  let carryOut: (message: ToWorker) => void;
  let lastId: number;

  beforeEach(() => {
    channel = new MessageChannel();
    done = [];
    lastId = 0;
    carryOut = (message) => done.push(message === 'stop' ? 'stop' : message.id);
    queue = new CommandQueue({ port: channel.port2, posted, worker: WORKER, carryOut: (message) => carryOut(message) });
  });
  afterEach(() => channel.port1.close());

  function tell(message: ToWorker): void {
    channel.port1.postMessage(message);
    Atomics.add(posted, WORKER, 1);
  }
  function post(command: WorkerCommand): void {
    lastId += 1;
    tell({ id: lastId, command });
  }
  const useSa = (): void => post({ op: 'use-outbound-sa', protection: 1, slot: 1 });

  it('about SAs are carried out within a turn, in their order', () => {
    useSa();
    post({ op: 'remove-inbound-sa', slot: 1 });
    queue.takeSas();
    expect(done).toEqual([1, 2]);
    queue.takeAll();
    expect(done).toEqual([1, 2]);
    expect(queue.waits).toBe(false);
  });

  it('about anything else wait for its end, with all that came after them', () => {
    useSa();
    post({ op: 'remove-port', port: 1 });
    useSa();
    queue.takeSas();
    queue.takeSas();
    useSa();
    queue.takeSas();
    expect(done).toEqual([1]);
    expect(queue.waits).toBe(true);
    queue.takeAll();
    expect(done).toEqual([1, 2, 3, 4]);
    expect(queue.waits).toBe(false);
  });

  it.each([
    'set-protection',
    'add-inbound-sa',
    'remove-inbound-sa',
    'add-outbound-sa',
    'use-outbound-sa',
    'remove-outbound-sa',
    'move-sa',
  ] as const)('like %s do not wait', (op) => {
    post({ op } as WorkerCommand);
    expect(queue.waits).toBe(true);
    queue.takeSas();
    expect(done).toEqual([1]);
  });

  it.each(['remove-protection', 'set-mark-policy', 'set-tunnel-port', 'set-uplink'] as const)('like %s wait', (op) => {
    post({ op } as WorkerCommand);
    queue.takeSas();
    expect(done).toEqual([]);
    expect(queue.waits).toBe(true);
  });

  it('are not looked for in a turn unless the count has grown: that costs nothing', () => {
    channel.port1.postMessage({ id: 1, command: { op: 'move-sa' } });
    expect(queue.waits).toBe(false);
    queue.takeSas();
    expect(done).toEqual([]);
    Atomics.add(posted, WORKER, 1);
    queue.takeSas();
    expect(done).toEqual([1]);
  });

  it('to end wait too, and are seen at the end of the turn', () => {
    tell('stop');
    queue.takeSas();
    expect(done).toEqual([]);
    queue.takeAll();
    expect(done).toEqual(['stop']);
  });

  it('about an SA are in force for the packet that came right after them, within the same turn', () => {
    const setting = commands();
    const inbound = setting.filter(({ op }) => op === 'add-inbound-sa');
    const victim = new Victim(
      setting.filter(({ op }) => op !== 'add-inbound-sa'),
      0,
      LIMITS,
      () => queue.takeSas(),
    );
    carryOut = (message) => {
      if (message !== 'stop') victim.apply(message.command);
    };
    const packets = new Packets(new Random(1));
    // GRE in ESP, over IPv4 and IPv6, raw and in UDP.
    for (const way of [2, 3, 4, 5]) victim.incoming.push(packets.carry(Uint8Array.of(way, 0, ...GRE_FRAME)));
    for (const command of inbound) post(command);
    victim.run();
    expect(victim.drops()).toBe('');
    expect(victim.account()).toEqual({ received: 4, explained: 4 });
  });
});

/** GRE with key 77 and a frame without content. */
const GRE_FRAME = [0x20, 0, 0x65, 0x58, 0, 0, 0, 77, ...[2, 0, 0, 0, 0, 1], ...[2, 0, 0, 0, 0, 2], 0x88, 0xb5, 0, 0];
