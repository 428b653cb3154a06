/**
 * From the switch's decision to the ways out: frames for TAPs and devices are written, rows for tunnels get their
 * tunnel and are left to transmit() in outbound.ts.
 *
 * Ports only read a frame, so any number of them share the bytes it was read into. A tunnel changes
 * them, so each further tunnel of a flooded frame gets a copy in the rows behind the batch. When those are used up
 * the copies are sent and the rows used again: a flood reaches every port of a bridge however many there are.
 */

import { FRAMES_WRITTEN } from './counters.ts';
import { DROP } from './drops.ts';
import { countDrops } from './finish.ts';
import { ERRNO } from './io/uplink.ts';
import { transmit } from './outbound.ts';
import { forward as decide, FLOOD } from './switch/switch.ts';
import type { LocalPort, WorkerState } from './worker-state.ts';

const NO_OUTPUT = DROP['no-output'];
const PORT_REFUSED = DROP['port-refused'];
const PORT_QUEUE_FULL = DROP['port-queue-full'];
const NO_FREE_SLOT = DROP['no-free-slot'];

/** In `output`: the row's frame has been given to all its ports. */
const DONE = -1;

/** Switches all rows without a verdict. Afterwards `tunnel` names the tunnel port of those that are to be sent. */
export function forward(state: WorkerState): void {
  const { batch } = state;
  decide(batch, state.fdb, state.bridgePorts, state.now);
  state.observer?.after('switch', state);
  const received = batch.count;
  for (let row = 0; row < received; row++) {
    if (batch.verdict[row] === 0 && batch.output[row] === FLOOD) flood(state, row, received);
  }
  for (let row = 0; row < received; row++) {
    const output = batch.output[row];
    if (batch.verdict[row] !== 0 || output === DONE) continue;
    if (!give(state, row, output)) batch.tunnel[row] = output;
  }
  writeLocal(state);
}

/** Copies for all tunnels but the last, which takes the row itself. */
function flood(state: WorkerState, row: number, received: number): void {
  const { batch, bridgePorts } = state;
  const ports = bridgePorts.ports(batch.bridge[row]);
  const ingress = batch.port[row];
  let outputs = 0;
  let lastTunnel = -1;
  for (let i = 0; i < ports.length; i++) {
    const port = ports[i];
    if (port === ingress) continue;
    outputs++;
    if (give(state, row, port)) continue;
    if (lastTunnel >= 0) copyRow(state, row, lastTunnel, received);
    lastTunnel = port;
  }
  if (outputs === 0) batch.verdict[row] = NO_OUTPUT;
  batch.output[row] = lastTunnel >= 0 ? lastTunnel : DONE;
}

/** Puts the frame on the list of a TAP or device; false if the port is a tunnel. */
function give(state: WorkerState, row: number, port: number): boolean {
  const local = state.localPorts[port];
  if (local === undefined) return false;
  local.list.add(row, state.batch.offset[row], state.batch.length[row]);
  if (local.list.count === 1) state.busyPorts.push(local);
  return true;
}

/** The frame of a row again behind the batch, to leave through a tunnel. */
function copyRow(state: WorkerState, from: number, tunnel: number, received: number): void {
  const { arena, batch } = state;
  if (batch.count === batch.capacity) sendCopies(state, received);
  if (batch.count === batch.capacity) {
    state.counters.dropped(NO_FREE_SLOT, tunnel);
    return;
  }
  const to = batch.count++;
  const start = arena.packetStart(to);
  const length = batch.length[from];
  batch.arena.copyWithin(start, batch.offset[from], batch.offset[from] + length);
  batch.offset[to] = start;
  batch.length[to] = length;
  batch.verdict[to] = 0;
  batch.port[to] = batch.port[from];
  batch.bridge[to] = batch.bridge[from];
  batch.output[to] = tunnel;
  batch.tunnel[to] = tunnel;
}

/** Sends the copies there are, so that their rows can be used again. The rows before them have no tunnel yet. */
function sendCopies(state: WorkerState, received: number): void {
  transmit(state);
  countDrops(state, received);
  state.batch.count = received;
}

function writeLocal(state: WorkerState): void {
  const { busyPorts } = state;
  while (busyPorts.length > 0) writeTo(state, busyPorts.pop()!);
}

function writeTo(state: WorkerState, port: LocalPort): void {
  const { list } = port;
  const { counters } = state;
  port.frames.write(list);
  let written = 0;
  for (let j = 0; j < list.count; j++) {
    const errno = list.errors[j];
    if (errno === 0) {
      counters.sent(port.port, list.length[j]);
      written++;
    } else counters.dropped(errno === ERRNO.EAGAIN ? PORT_QUEUE_FULL : PORT_REFUSED, port.port);
  }
  counters.add(FRAMES_WRITTEN, written);
  list.count = 0;
}
