/**
 * From the switch's decision to the ways out: frames for TAPs and devices are written, rows for tunnels get their
 * tunnel and are left to transmit() in outbound.ts.
 *
 * Ports only read a frame, so any number of them share the bytes it was read into. A tunnel changes them, so each further
 * tunnel of a flooded frame gets a copy in the rows behind the batch; and so does a port where the frame has another VLAN
 * tag, and the segments of a large frame for each tunnel, and for a port that takes no large ones. When those rows are used up they are sent and used again: a flood
 * reaches every port of a bridge however many there are (how often is switch/flood-budget.ts), and a large frame may have any number of segments.
 */

import { GONE } from './batch.ts';
import { FRAMES_WRITTEN } from './counters.ts';
import { DROP } from './drops.ts';
import { countDrops } from './finish.ts';
import { ERRNO } from './io/uplink.ts';
import { transmit } from './outbound.ts';
import { SEGMENT_ROWS } from './stt/outbound.ts';
import { retag } from './switch/retag.ts';
import { forward as decide, FLOOD } from './switch/switch.ts';
import { outerTag, VLAN_TAG_LENGTH } from './wire/ethernet.ts';
import type { LocalPort, WorkerState } from './worker-state.ts';

const NO_OUTPUT = DROP['no-output'];
const FLOOD_LIMIT = DROP['flood-limit'];
const PORT_REFUSED = DROP['port-refused'];
const PORT_QUEUE_FULL = DROP['port-queue-full'];
const PORT_TOO_BIG = DROP['port-too-big'];
const FRAME_TOO_LONG = DROP['frame-too-long'];
const NO_FREE_SLOT = DROP['no-free-slot'];

const NO_ROW = -1;

/** Switches all rows without a verdict. Afterwards `tunnel` names the tunnel port of those that are to be sent. */
export function forward(state: WorkerState): void {
  const { batch } = state;
  decide(batch, state.fdb, state.bridgePorts, state.vlans, state.now);
  state.observer?.after('switch', state);
  const received = batch.count;
  for (let row = 0; row < received; row++) {
    if (batch.verdict[row] !== 0) continue;
    const output = batch.output[row];
    if (output === FLOOD) {
      flood(state, row, received);
      continue;
    }
    fitTag(state, row, output);
    if (batch.gso[row] > 0) giveLarge(state, row, output, false, received);
    else if (!give(state, row, output, false)) giveTunnel(state, row, output, received);
  }
  writeGiven(state);
}

/** The frame of a row, which has no tunnel, is to leave through a TAP or device; writeGiven writes it. `received`: rows of the batch as read. */
export function giveFrame(state: WorkerState, row: number, port: number, received: number): void {
  if (state.batch.gso[row] > 0) giveLarge(state, row, port, false, received);
  else give(state, row, port, false);
}

/** Writes what has been given to ports. */
export function writeGiven(state: WorkerState): void {
  state.segmenter.cut();
  state.observer?.after('segment', state);
  writeLocal(state);
}

/**
 * To all ports that carry the frame's VLAN. Copies for ports where its tag is another one, and for all tunnels but the last,
 * which may take the row itself. A large frame is not copied: it changes its tag when all before have been sent.
 */
function flood(state: WorkerState, row: number, received: number): void {
  const { batch, bridgePorts, vlans } = state;
  const ports = bridgePorts.ports(batch.bridge[row]);
  if (!state.floodBudget.admits(ports.length, state.now)) {
    batch.verdict[row] = FLOOD_LIMIT;
    return;
  }
  const ingress = batch.port[row];
  const vlan = batch.vlan[row];
  const isLarge = batch.gso[row] > 0;
  // Of the frame as it came in, whose priority goes along, and of the moment.
  const tag = outerTag(batch.arena, batch.offset[row], batch.length[row]);
  let tagNow = tag;
  let outputs = 0;
  let lastTunnel = -1;
  for (let i = 0; i < ports.length; i++) {
    const port = ports[i];
    if (port === ingress || !vlans.carries(port, vlan)) continue;
    outputs++;
    const itsTag = vlans.egress(port, vlan, tag);
    if (isLarge) {
      if (itsTag !== tagNow) {
        sendCopies(state, received);
        retag(batch, state.segmenter, row, tagNow, itsTag);
        tagNow = itsTag;
      }
      giveLarge(state, row, port, true, received);
    } else if (itsTag !== tag) giveCopy(state, row, port, received);
    else if (!give(state, row, port, true)) {
      if (lastTunnel >= 0) giveCopy(state, row, lastTunnel, received);
      lastTunnel = port;
    }
  }
  if (outputs === 0) batch.verdict[row] = NO_OUTPUT;
  if (lastTunnel >= 0) giveTunnel(state, row, lastTunnel, received);
}

/** The row leaves through a tunnel: itself, or as a copy if there are rows behind the batch, lest it overtake them. */
function giveTunnel(state: WorkerState, row: number, tunnel: number, received: number): void {
  const { batch } = state;
  // The tag is that of the tunnel already: what may stand behind it is the frame's own.
  const to = batch.count === received ? row : copy(state, row, tunnel, received);
  if (to !== NO_ROW) batch.tunnel[to] = tunnel;
}

/** Gives the frame of a row, which is on no list yet, the VLAN tag that it has on a port. */
export function fitTag({ batch, segmenter, vlans }: WorkerState, row: number, port: number): void {
  const tag = outerTag(batch.arena, batch.offset[row], batch.length[row]);
  const itsTag = vlans.egress(port, batch.vlan[row], tag);
  if (itsTag !== tag) retag(batch, segmenter, row, tag, itsTag);
}

/** Puts the frame on the list of a TAP or device; false if the port is a tunnel. `shared`: other ports get it too. */
export function give(state: WorkerState, row: number, port: number, shared: boolean): boolean {
  const local = state.localPorts[port];
  if (local === undefined) return false;
  const { list } = local;
  list.shared[list.count] = shared ? 1 : 0;
  list.add(row, state.batch.offset[row], state.batch.length[row]);
  if (list.count === 1) state.busyPorts.push(local);
  return true;
}

/** A large frame goes to a port that takes such as it is, to all others in segments. */
function giveLarge(state: WorkerState, row: number, port: number, shared: boolean, received: number): void {
  if (state.localPorts[port]?.frames.hasVnetHeader === true) {
    give(state, row, port, shared);
    return;
  }
  const segments = state.segmenter.segmentsOf(row);
  for (let number = 0; number < segments; number++) {
    const to = takeRow(state, row, port, received);
    if (to === NO_ROW) return;
    state.segmenter.add(row, number, to);
    if (!give(state, to, port, false)) state.batch.tunnel[to] = port;
  }
}

/** The frame of a row again behind the batch, to leave through a port with the tag that it has there. */
function giveCopy(state: WorkerState, from: number, port: number, received: number): void {
  const to = copy(state, from, port, received);
  if (to === NO_ROW) return;
  fitTag(state, to, port);
  if (!give(state, to, port, false)) state.batch.tunnel[to] = port;
}

/** The frame of a row, which is to leave through a port, again in a row behind the batch. Returns that, or NO_ROW. */
function copy(state: WorkerState, from: number, port: number, received: number): number {
  const { arena, batch } = state;
  // Read into a large slot, but not to be cut: a slot of the rows behind has no room for it.
  if (batch.length[from] > arena.size.frameBytes + VLAN_TAG_LENGTH) {
    state.counters.dropped(FRAME_TOO_LONG, port);
    return NO_ROW;
  }
  const to = takeRow(state, from, port, received);
  if (to === NO_ROW) return NO_ROW;
  batch.arena.copyWithin(batch.offset[to], batch.offset[from], batch.offset[from] + batch.length[from]);
  batch.length[to] = batch.length[from];
  return to;
}

/** A row behind the batch with a free slot, for something that row `from` has for a port. */
function takeRow(state: WorkerState, from: number, port: number, received: number): number {
  const { arena, batch, tunnels } = state;
  // Rows for the segments of STT frames stay free.
  const capacity = batch.capacity - (tunnels.sttTunnels > 0 ? SEGMENT_ROWS : 0);
  if (batch.count >= capacity) sendCopies(state, received);
  if (batch.count >= capacity) {
    state.counters.dropped(NO_FREE_SLOT, port);
    return NO_ROW;
  }
  const to = batch.count++;
  batch.offset[to] = arena.packetStart(to);
  batch.verdict[to] = 0;
  batch.gso[to] = 0;
  batch.port[to] = batch.port[from];
  batch.bridge[to] = batch.bridge[from];
  batch.vlan[to] = batch.vlan[from];
  batch.tunnel[to] = -1;
  return to;
}

/** Sends all rows that have a tunnel by now, so that those behind the batch can be used again. */
function sendCopies(state: WorkerState, received: number): void {
  const { batch, counters } = state;
  writeGiven(state);
  // Whatever was dropped on its way in stays dropped: counted now, it cannot be taken for one of those that leave here.
  for (let row = 0; row < received; row++) {
    const tunnel = batch.tunnel[row];
    if (batch.verdict[row] <= 0 || tunnel < 0) continue;
    counters.dropped(batch.verdict[row], tunnel);
    batch.verdict[row] = GONE;
    batch.tunnel[row] = -1;
  }
  transmit(state);
  countDrops(state, received);
  batch.count = received;
  for (let row = 0; row < received; row++) {
    const tunnel = batch.tunnel[row];
    if (tunnel < 0) continue;
    if (batch.verdict[row] > 0) counters.dropped(batch.verdict[row], tunnel);
    // It has left and is counted: nobody has anything more to do with it.
    batch.verdict[row] = 0;
    batch.tunnel[row] = -1;
  }
}

export function writeLocal(state: WorkerState): void {
  const { busyPorts } = state;
  if (busyPorts.length === 0) return;
  while (busyPorts.length > 0) writeTo(state, busyPorts.pop()!);
  state.observer?.after('write', state);
}

function writeTo(state: WorkerState, port: LocalPort): void {
  const { list, frames } = port;
  const { batch, coalescer, counters, shared } = state;
  const joins = shared.offloads.gro && frames.takesGroups;
  const pieces = frames.hasVnetHeader ? coalescer.list(list, joins) : list;
  frames.write(pieces);
  let written = 0;
  for (let j = 0; j < pieces.count; ) {
    const errno = pieces.errors[j];
    for (const end = j + pieces.group[j]; j < end; j++) {
      if (errno === 0) {
        counters.sent(port.port, batch.length[pieces.row[j]]);
        written++;
      } else counters.dropped(writeFailure(errno), port.port);
    }
  }
  counters.add(FRAMES_WRITTEN, written);
  list.count = 0;
}

function writeFailure(errno: number): number {
  if (errno === ERRNO.EAGAIN) return PORT_QUEUE_FULL;
  return errno === ERRNO.EMSGSIZE ? PORT_TOO_BIG : PORT_REFUSED;
}
