/**
 * `trace bridge flow [packet]` and `trace -in packet`: what would become of a packet, stage by stage, like ofproto/trace.
 * The stages are the engine's own (dataplane/trace/); here a port gets its number and the steps their text.
 */
import type { TraceOutcome, TraceRequest, TraceStep } from '../../dataplane/index.ts';
import type { AttachedPort } from '../attach.ts';
import { LOCAL_OFPORT } from '../ofports.ts';
import type { StatusSources } from '../status.ts';
import { CommandError } from '../unixctl/command.ts';
import { parseFlow, parseHexPacket } from './flow.ts';

export async function traceCommand(sources: StatusSources, args: readonly string[]): Promise<string> {
  const [first = '', second = '', packet] = args;
  if (first === '-in') {
    if (packet !== undefined) throw new CommandError('-in takes one packet in hexadecimal');
    const bytes = parseHexPacket(second);
    const head = `Packet from the uplink, ${bytes.length} bytes`;
    return traceText(head, await sources.engine.trace({ kind: 'packet', bytes }));
  }
  const bridge = sources.desired.bridges.find((candidate) => candidate.name === first);
  const attached = bridge === undefined ? undefined : sources.bridges.get(bridge.uuid);
  if (attached === undefined) throw new CommandError(`no such bridge ${JSON.stringify(first)}`);
  const flow = parseFlow(second);
  const port = portOf(
    [...sources.ports.values()].filter((candidate) => candidate.bridge === attached.id),
    flow.inPort,
    first,
  );
  const bytes = packet === undefined ? flow.frame : parseHexPacket(packet);
  const request: TraceRequest = { kind: 'frame', port: port.id, bytes };
  return traceText(`Frame from ${port.name} on ${first}, ${bytes.length} bytes`, await sources.engine.trace(request));
}

/** By name, by OpenFlow port number, or LOCAL. */
function portOf(ports: readonly AttachedPort[], text: string, bridge: string): AttachedPort {
  const number = text === 'LOCAL' ? LOCAL_OFPORT : /^\d+$/.test(text) ? Number(text) : undefined;
  const port = ports.find((candidate) => candidate.name === text || candidate.ofport === number);
  if (port !== undefined) return port;
  throw new CommandError(
    `in_port is ${JSON.stringify(text)}, expected a port of ${bridge}: ${ports.map((candidate) => candidate.name).join(', ')}`,
  );
}

/** The steps, numbered where the stage changes, and what the packet has come to. */
export function traceText(head: string, steps: readonly TraceStep[]): string {
  const lines = [head];
  let count = 0;
  let last = '';
  for (const { stage, text } of steps) {
    if (stage !== last) count++;
    const label = stage === last ? '' : `${String(count).padStart(2)}. ${stage}`;
    lines.push(`${label.padEnd(18)} ${text}`);
    last = stage;
  }
  const outcomes = steps.flatMap((step) => (step.outcome === undefined ? [] : [outcomeText(step.outcome)]));
  lines.push(`Final: ${outcomes.length === 0 ? 'nothing is sent' : outcomes.join('; ')}`);
  return `${lines.join('\n')}\n`;
}

function outcomeText(outcome: TraceOutcome): string {
  switch (outcome.kind) {
    case 'dropped':
      return `dropped, ${outcome.reason}`;
    case 'sent':
      return `sent through ${outcome.tunnel} ${outcome.esp ? 'as ESP' : 'in the clear'}`;
    case 'written':
      return `delivered to ${outcome.port}`;
  }
}
