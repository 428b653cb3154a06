/**
 * What would become of a packet: the stages themselves are run over it on a twin of a worker (twin.ts), and what they
 * did is told after each (narrator.ts). No rule stands here a second time, so a trace cannot say anything else than
 * what the next packet of that kind will meet.
 */

import { FrameList } from '../batch.ts';
import { inbound } from '../inbound.ts';
import { outbound } from '../outbound.ts';
import { Narrator, type TraceStep } from './narrator.ts';
import { Twin, type TwinSource } from './twin.ts';

export type TraceRequest =
  /** An Ethernet frame that comes in through a port of a bridge, a tunnel port among them. */
  | { readonly kind: 'frame'; readonly port: number; readonly bytes: Uint8Array }
  /** A packet from the uplink, beginning with its outer IP header. */
  | { readonly kind: 'packet'; readonly bytes: Uint8Array };

/** Throws one line for a port that is not there. Nothing of the engine is changed. */
export function trace(source: TwinSource, request: TraceRequest): readonly TraceStep[] {
  const narrator = new Narrator(source.commands);
  const received = request.kind === 'packet' ? request.bytes : undefined;
  const twin = new Twin(source, received, (port, list) => narrator.written(port, list));
  const { state } = twin;
  state.observer = narrator;
  try {
    if (request.kind === 'packet') {
      inbound(state);
      return narrator.steps;
    }
    const { port } = request;
    const bridge = state.bridgePorts.bridgeOf[port] ?? -1;
    if (bridge < 0) throw new Error(`port ${port} is on no bridge`);
    const list = new FrameList(state.arena.bytes, state.arena.size.rows);
    outbound(state, { port, bridge, frames: twin.sourceOf(request.bytes), reads: true, list });
    return narrator.steps;
  } finally {
    twin.close();
  }
}
