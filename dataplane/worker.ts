/**
 * The task of a packet worker thread: take commands, handle batches, sleep when there are none, until told to stop.
 *
 *     1. commands, if the shared count says that there are any
 *     2. a turn of the pipeline: every port and uplink that has something, a batch each
 *     3. nothing came: a few more turns, then one native poll on all descriptors and the eventfd
 */

import { receiveMessageOnPort } from 'node:worker_threads';
import { loadNative } from '../native-shims/index.ts';
import { MmsgUplink } from './io/mmsg.ts';
import { Pipeline } from './pipeline.ts';
import { type FromWorker, STATE_LOADED, type ToWorker, type WorkerTask } from './pool.ts';

/** Turns without a packet before the worker sleeps: a few microseconds, less than waking up costs. */
const IDLE_TURNS = 20;
/** Milliseconds in one poll: nothing waits for it, but a lost wake-up would end here. */
const POLL_MS = 1000;
/** POLLIN, the only event asked for; errors are seen by reading. */
const NO_EVENTS = 0;

export default function runWorker(task: WorkerTask): void {
  const native = loadNative();
  const { port, eventFd, posted, worker } = task;
  const tell = (message: FromWorker): void => port.postMessage(message);
  const uplink = new MmsgUplink(native, task.shared.arena.rows);
  const pipeline = new Pipeline({
    native,
    shared: task.shared,
    worker,
    uplink,
    clock: native.monotonicMs,
    emit: (event) => tell({ event }),
  });
  let seen = Atomics.load(posted, worker);
  let stopped = false;

  try {
    for (const command of task.state) pipeline.apply(command);
    tell({ done: STATE_LOADED, error: undefined });
    let fds = new Int32Array(0);
    let ready = new Int32Array(0);
    let version = -1;
    let idle = 0;
    takeCommands();
    while (!stopped) {
      const count = Atomics.load(posted, worker);
      if (count !== seen) {
        seen = count;
        takeCommands();
        continue;
      }
      if (pipeline.turn() > 0) {
        idle = 0;
        continue;
      }
      if (++idle < IDLE_TURNS) continue;
      idle = 0;
      if (version !== pipeline.descriptorVersion) {
        version = pipeline.descriptorVersion;
        fds = Int32Array.of(eventFd, ...pipeline.descriptors());
        ready = new Int32Array(fds.length);
      }
      pipeline.countPoll();
      native.poll(fds, ready, fds.length, POLL_MS);
      if (ready[0] !== NO_EVENTS) native.drainEventFd(eventFd);
      pipeline.markReady(ready, 1);
    }
  } finally {
    pipeline.close();
    port.close();
  }

  /** Every message there is; the answer tells the sender what became of its command. */
  function takeCommands(): void {
    for (;;) {
      const received = receiveMessageOnPort(port);
      if (received === undefined) return;
      const message = received.message as ToWorker;
      if (message === 'stop') {
        stopped = true;
        continue;
      }
      tell({ done: message.id, error: pipeline.tryApply(message.command) });
    }
  }
}
