/**
 * Carries out commands in a worker: each changes its tables between two batches. The main thread has checked
 * them (desired-state.ts) and has prepared what is shared: counters, sequence numbers, replay windows, the FDB.
 */

import { FrameList } from './batch.ts';
import { hostRows } from './bump/hosts.ts';
import { Capture } from './capture/capture.ts';
import type { TunnelSettings } from './commands.ts';
import { DevicePort, TapPort } from './io/port.ts';
import { usesVnetHeaders } from './offload/offloads.ts';
import type { WorkerCommand } from './runner.ts';
import { StageMeter } from './stage-meter.ts';
import { makeTunnel } from './tunnel-table.ts';
import type { LocalPort, WorkerState } from './worker-state.ts';

/** Throws only for what the main thread could not know, for instance a key that OpenSSL refuses. */
export function applyCommand(state: WorkerState, command: WorkerCommand): void {
  switch (command.op) {
    case 'set-bridge':
    case 'remove-bridge':
    case 'flush-fdb':
      // The FDB is shared and the main thread's to change; a bridge is nothing else but its ports.
      return;
    case 'set-tap-port':
    case 'set-device-port':
      setLocalPort(state, command);
      return;
    case 'set-tunnel-port':
      removePort(state, command.port);
      state.tunnels.set(makeTunnel(command.port, command.bridge ?? NO_BRIDGE, command.name, command.tunnel));
      state.vlans.set(command.port, command.vlans);
      if (command.bridge !== undefined) state.bridgePorts.add(command.bridge, command.port);
      state.senders.assign(command.port, markOf(state, command.tunnel));
      return;
    case 'set-port-vlans':
      state.vlans.set(command.port, command.vlans);
      return;
    case 'set-bump-port':
      setBump(state, command);
      return;
    case 'set-bump-hosts': {
      const bump = state.bumps[command.port];
      if (bump !== undefined) bump.hosts = hostRows(command.hosts);
      return;
    }
    case 'set-route-port':
      removePort(state, command.port);
      state.routed = localPort(state, TapPort, { ...command, bridge: NO_BRIDGE }, false);
      state.localPorts[command.port] = state.routed;
      return;
    case 'set-hairpin-port':
      setHairpin(state, command);
      return;
    case 'set-flow-tunnels':
      state.tunnels.setFlowTunnels(command.tunnels);
      return;
    case 'remove-port':
      removePort(state, command.port);
      return;
    case 'set-path-mtu': {
      const tunnel = state.tunnels.tunnels[command.port];
      if (tunnel !== undefined) tunnel.pathMtu = command.mtu;
      return;
    }
    case 'set-mark-policy':
      state.markRule = {
        set: command.drop !== undefined,
        value: command.drop?.value ?? 0,
        mask: command.drop?.mask ?? 0,
      };
      setUplinkMark(state, command.uplinkMark | 0);
      return;
    case 'set-protection':
      state.protections.set(command.protection, command.state);
      return;
    case 'remove-protection':
      state.protections.remove(command.protection);
      return;
    case 'add-inbound-sa':
      state.inboundSas.add(command.sa);
      return;
    case 'remove-inbound-sa':
      state.inboundSas.remove(command.slot);
      return;
    case 'add-outbound-sa':
      state.outboundSas.add(command.sa);
      return;
    case 'use-outbound-sa':
      if (command.worker === undefined) state.protections.use(command.protection, command.slot);
      else if (command.worker === state.worker) state.protections.use(command.protection, command.slot, true);
      return;
    case 'remove-outbound-sa':
      state.protections.stopUsing(state.outboundSas.protection[command.slot], command.slot);
      state.outboundSas.remove(command.slot);
      return;
    case 'move-sa':
      (command.direction === 'in' ? state.inboundSas : state.outboundSas).move(command.slot, command.udp);
      return;
    case 'set-capture':
      state.capture = command.capture === undefined ? undefined : new Capture(command.capture, state.emit);
      observe(state);
      return;
    case 'measure-stages':
      state.stageTotals = command.totals;
      observe(state);
      return;
    case 'set-uplink':
      state.uplink.use(command.uplink);
      return;
  }
}

/** A meter stands in front of a capture, whose own time is no stage's. */
function observe(state: WorkerState): void {
  const { native, worker, stageTotals, capture } = state;
  state.observer =
    stageTotals === undefined
      ? capture
      : new StageMeter({ clock: native, totals: stageTotals, worker, behind: capture });
}

const NO_BRIDGE = -1;

type LocalPortCommand = Extract<WorkerCommand, { op: 'set-tap-port' | 'set-device-port' }>;

function setLocalPort(state: WorkerState, command: LocalPortCommand): void {
  removePort(state, command.port);
  const Port = command.op === 'set-tap-port' ? TapPort : DevicePort;
  state.localPorts[command.port] = localPort(state, Port, command, usesVnetHeaders(state.shared.offloads));
  state.vlans.set(command.port, command.vlans);
  state.bridgePorts.add(command.bridge, command.port);
}

/** The NIC has one descriptor, which one worker reads; the TAP has one for each, and no offloads: a datapath is behind it and no host. */
function setBump(state: WorkerState, command: Extract<WorkerCommand, { op: 'set-bump-port' }>): void {
  const { port, nicPort, fds, nicFds, mark } = command;
  removePort(state, port);
  removePort(state, nicPort);
  const bridge = NO_BRIDGE;
  const inside = localPort(state, TapPort, { port, bridge, fds }, false);
  const nic = { port: nicPort, bridge, fds: nicFds };
  const outside = localPort(state, DevicePort, nic, usesVnetHeaders(state.shared.offloads));
  const bump = { inside, outside, mark: mark | 0, hosts: hostRows([]) };
  state.localPorts[port] = inside;
  state.localPorts[nicPort] = outside;
  state.bumps[port] = bump;
  state.bumps[nicPort] = bump;
}

/** One queue, which one worker reads: the replay window of an SA has one writer. */
function setHairpin(state: WorkerState, { port, fds }: Extract<WorkerCommand, { op: 'set-hairpin-port' }>): void {
  removePort(state, port);
  const tap = localPort(state, TapPort, { port, bridge: NO_BRIDGE, fds }, false);
  state.localPorts[port] = tap;
  state.bumps[port] = { inside: tap, outside: tap, mark: 0, hosts: undefined };
}

function localPort(
  state: WorkerState,
  Port: typeof TapPort | typeof DevicePort,
  { port, bridge, fds }: { readonly port: number; readonly bridge: number; readonly fds: readonly number[] },
  hasVnetHeader: boolean,
): LocalPort {
  const { workers } = state.shared;
  const own = fds[state.worker];
  // One descriptor for several workers: one of them reads it, a different one for each port.
  const reads = fds.length === 1 ? port % workers === state.worker : own !== undefined;
  const fd = fds.length === 1 ? fds[0] : (own ?? fds[0]);
  const frames = state.memoryPorts?.get(fd) ?? new Port(state.native, fd, hasVnetHeader);
  return { port, bridge, frames, reads, list: new FrameList(state.arena.bytes, state.shared.arena.rows) };
}

function removePort(state: WorkerState, port: number): void {
  if (state.tunnels.tunnels[port] !== undefined) state.stt.clear();
  state.localPorts[port] = undefined;
  state.bumps[port] = undefined;
  if (state.routed?.port === port) state.routed = undefined;
  state.tunnels.remove(port);
  state.bridgePorts.remove(port);
  state.senders.release(port);
}

function markOf(state: WorkerState, { egressMark }: TunnelSettings): number {
  return (egressMark ?? state.uplinkMark) | 0;
}

function setUplinkMark(state: WorkerState, mark: number): void {
  if (mark === state.uplinkMark) return;
  state.uplinkMark = mark;
  for (const { port, settings } of state.tunnels.list()) state.senders.assign(port, markOf(state, settings));
}
