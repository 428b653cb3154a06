/**
 * The task of a packet worker thread: take commands, handle batches, sleep when there are none, until told to stop.
 *
 *     1. one native poll on all descriptors and the eventfd: a look while there is work, else a sleep
 *     2. commands, if the shared count says that there are any
 *     3. a turn of the pipeline: every port and uplink that poll has named, a batch each; commands about SAs are also
 *        taken within it (command-queue.ts)
 */

import { loadNative } from '../native-shims/index.ts';
import { CommandQueue } from './command-queue.ts';
import { MmsgUplink } from './io/mmsg-uplink.ts';
import { Pipeline } from './pipeline.ts';
import { type FromWorker, STATE_LOADED, type ToWorker, type WorkerTask } from './pool.ts';

/**
 * While some sources are busy, quiet ones are looked at this often: what comes in between makes larger batches, as
 * the interrupt moderation of a NIC does.
 */
const LOOK_INTERVAL_MS = 2;
/** Milliseconds in one poll: nothing waits for it, but a lost wake-up would end here. */
const POLL_MS = 1000;

export default function runWorker(task: WorkerTask): void {
  const native = loadNative();
  const { port, eventFd, posted, worker } = task;
  const tell = (message: FromWorker): void => port.postMessage(message);
  const uplink = new MmsgUplink(native, task.shared.arena.rows, task.shared.offloads['udp-gso']);
  const pipeline = new Pipeline({
    native,
    shared: task.shared,
    worker,
    uplink,
    clock: native.monotonicMs,
    emit: (event) => tell({ event }),
    afterReceipt: () => queue.takeSas(),
  });
  const queue = new CommandQueue({ port, posted, worker, carryOut });
  let stopped = false;

  try {
    for (const command of task.state) pipeline.apply(command);
    tell({ done: STATE_LOADED, error: undefined });
    let fds = Int32Array.of(eventFd);
    let ready = new Int32Array(1);
    let version = -1;
    let isBusy = false;
    let polledAt = 0;
    queue.takeAll();
    while (!stopped) {
      if (version !== pipeline.descriptorVersion) {
        version = pipeline.descriptorVersion;
        fds = Int32Array.of(eventFd, ...pipeline.descriptors());
        ready = new Int32Array(fds.length);
      }
      if (!isBusy || pipeline.state.now - polledAt >= LOOK_INTERVAL_MS) {
        if (!isBusy) pipeline.countSleep();
        native.poll(fds, ready, fds.length, isBusy ? 0 : POLL_MS);
        pipeline.markReady(ready, 1);
        polledAt = pipeline.state.now;
      }
      if (queue.waits) {
        native.drainEventFd(eventFd);
        queue.takeAll();
        isBusy = true;
        continue;
      }
      isBusy = pipeline.turn() > 0;
    }
  } finally {
    pipeline.close();
    port.close();
  }

  /** The answer tells the sender what became of its command. */
  function carryOut(message: ToWorker): void {
    if (message === 'stop') stopped = true;
    else tell({ done: message.id, error: pipeline.tryApply(message.command) });
  }
}
