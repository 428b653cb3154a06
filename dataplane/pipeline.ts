/**
 * One worker's turns: a batch from every port and from the uplink that may have something, run to completion.
 *
 * Only sources that poll has named are read, so that a bridge with many ports does not cost a system call for each of them
 * in every turn, and none waits while another is busy.
 */

import { applyCommand } from './apply.ts';
import { hairpin } from './bump/hairpin.ts';
import { inward } from './bump/inward.ts';
import { outward } from './bump/outward.ts';
import { SLEEPS, TURNS } from './counters.ts';
import { inbound } from './inbound.ts';
import { outbound } from './outbound.ts';
import { routedOut } from './routed.ts';
import type { WorkerCommand } from './runner.ts';
import { type LocalPort, type WorkerContext, WorkerState } from './worker-state.ts';

export class Pipeline {
  readonly state: WorkerState;
  /** Changes when descriptors() does. */
  descriptorVersion = 0;
  private sources: LocalPort[] = [];
  /** 1: to be read in the next turn; element i is that of sources[i], the last one the uplink's. */
  private hot = new Uint8Array(1).fill(1);

  constructor(context: WorkerContext) {
    this.state = new WorkerState(context);
  }

  apply(command: WorkerCommand): void {
    const { localPorts } = this.state;
    // A tunnel is no source, and there may be ten thousand of them.
    const before = 'port' in command ? localPorts[command.port] : undefined;
    applyCommand(this.state, command);
    const after = 'port' in command ? localPorts[command.port] : undefined;
    if (before !== after || command.op === 'set-uplink') this.findSources();
  }

  /** The error's text, or undefined when it went well. */
  tryApply(command: WorkerCommand): string | undefined {
    try {
      this.apply(command);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** One batch from each source that is marked; one that has nothing loses its mark. Returns the packets handled. */
  turn(): number {
    const { state, sources, hot } = this;
    state.now = state.clock();
    state.counters.add(TURNS, 1);
    let handled = 0;
    for (let i = 0; i < sources.length; i++) {
      if (hot[i] === 0) continue;
      const read = handle(state, sources[i]);
      if (read === 0) {
        hot[i] = 0;
        if (sources[i].frames.failure !== undefined) return this.dropSource(sources[i]);
      }
      handled += read;
    }
    if (hot[sources.length] === 0) return handled;
    state.observer?.begin?.();
    const received = inbound(state);
    if (received === 0) hot[sources.length] = 0;
    return handled + received;
  }

  /** What to poll: the ports' descriptors, then the uplink's. */
  descriptors(): readonly number[] {
    return [...this.sources.map((source) => source.frames.descriptor), ...this.state.uplink.descriptors()];
  }

  /** Marks the sources that poll has named: `ready` is its answer for descriptors(), which begins at element `first`. */
  markReady(ready: Int32Array, first: number): void {
    const { hot } = this;
    const ports = this.sources.length;
    hot.fill(0);
    for (let i = first; i < ready.length; i++) if (ready[i] !== 0) hot[Math.min(i - first, ports)] = 1;
    if (this.state.uplink.holdsMore === true) hot[ports] = 1;
  }

  /** Marks every source. */
  markAll(): void {
    this.hot.fill(1);
  }

  countSleep(): void {
    this.state.counters.add(SLEEPS, 1);
  }

  /** Calls back when any source has something; only where one thread does everything. */
  watch(callback: () => void): () => void {
    const stops = [...this.sources.map((source) => source.frames.watch(callback)), this.state.uplink.watch(callback)];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** Forgets all keys. */
  close(): void {
    const { inboundSas, outboundSas, shared } = this.state;
    for (let slot = 0; slot < shared.limits.saSlots; slot++) {
      inboundSas.remove(slot);
      outboundSas.remove(slot);
    }
  }

  /** A port that works no more leaves the switch; control decides what becomes of it. Ends the turn. */
  private dropSource(source: LocalPort): number {
    this.apply({ op: 'remove-port', port: source.port });
    this.state.emit({ event: 'port-failed', port: source.port, reason: source.frames.failure ?? '' });
    return 1;
  }

  private findSources(): void {
    this.sources = this.state.localPorts.filter((port) => port?.reads === true) as LocalPort[];
    this.hot = new Uint8Array(this.sources.length + 1).fill(1);
    this.descriptorVersion++;
  }
}

/** One batch from a port: of a bridge, of an uplink of somebody else's datapath, or of the kernel's routing. */
function handle(state: WorkerState, source: LocalPort): number {
  state.observer?.begin?.();
  if (source === state.routed) return routedOut(state, source);
  const bump = state.bumps[source.port];
  if (bump === undefined) return outbound(state, source);
  if (bump.inside === bump.outside) return hairpin(state, bump);
  return source === bump.inside ? outward(state, bump) : inward(state, bump);
}
