/**
 * Tells in words what each stage did to an imaginary packet, from what the stage left in the batch.
 *
 * Sizes are differences of the lengths before and after, verdicts are looked up in drops.ts: the narrator decides
 * nothing. A frame flooded to several tunnels is several rows, so each line names its tunnel.
 */

import { type FrameList, GONE, TUNNEL_TYPES } from '../batch.ts';
import type { EngineCommand, EspAlgorithm } from '../commands.ts';
import { DROP, DROP_REASONS, type DropName } from '../drops.ts';
import type { Stage, StageObserver } from '../observer.ts';
import { PROTECTION_STATE } from '../policy.ts';
import { FLOOD } from '../switch/switch.ts';
import { STT, type Tunnel } from '../tunnel-table.ts';
import { ESP_HEADER_LENGTH, ESP_ICV_LENGTH } from '../wire/esp.ts';
import { ETHERNET_DESTINATION, isGroupAddress, macHigh, macLow } from '../wire/ethernet.ts';
import { udpDestinationPort, udpSourcePort } from '../wire/udp.ts';
import type { WorkerState } from '../worker-state.ts';
import { hex32, ipHeaderText, macText, protocolName } from './words.ts';

const TOO_BIG = DROP['too-big'];

export interface TraceStep {
  readonly stage: Stage;
  /** One line without a line end. */
  readonly text: string;
  /** What the packet has come to, on a last line. */
  readonly outcome?: TraceOutcome;
}

export type TraceOutcome =
  | { readonly kind: 'dropped'; readonly reason: DropName }
  | { readonly kind: 'sent'; readonly tunnel: string; readonly esp: boolean }
  | { readonly kind: 'written'; readonly port: string };

/** The first column of the policy's table (policy.ts). */
const STATE_TEXT: Readonly<Record<number, string>> = {
  [PROTECTION_STATE.none]: 'no IPsec',
  [PROTECTION_STATE.neverUp]: 'IPsec configured, its SA was never up',
  [PROTECTION_STATE.protected]: 'IPsec configured, its SA is or was up',
  [PROTECTION_STATE.invalid]: 'IPsec configuration invalid',
};

export class Narrator implements StageObserver {
  readonly steps: TraceStep[] = [];
  private readonly names = new Map<number, string>();
  private readonly sealing = new Map<number, EspAlgorithm>();
  private readonly opening = new Map<number, EspAlgorithm>();
  /** Length of each row when the last stage was over. */
  private readonly lengths = new Map<number, number>();
  private readonly dropped = new Set<number>();

  constructor(commands: readonly EngineCommand[]) {
    for (const command of commands) {
      if ('name' in command && 'port' in command) this.names.set(command.port, command.name);
      if (command.op === 'add-outbound-sa') this.sealing.set(command.sa.slot, command.sa.algorithm);
      if (command.op === 'add-inbound-sa') this.opening.set(command.sa.slot, command.sa.algorithm);
    }
  }

  after(stage: Stage, state: WorkerState): void {
    // What is cut shows as it is encapsulated, what is written where it is (`written`).
    if (stage === 'segment' || stage === 'write') return;
    const { batch } = state;
    for (let row = 0; row < batch.count; row++) {
      if (this.dropped.has(row)) continue;
      const reason = batch.verdict[row];
      if (reason > 0) this.tellDrop(stage, reason, row, state);
      else if (reason === 0) this.tell(stage, row, state);
      else if (reason === GONE) this.tellGone(stage, row, state);
      this.lengths.set(row, batch.length[row]);
    }
    // The rows of flooded copies may be used again for more of them (forward.ts).
    if (stage === 'send') for (const row of this.dropped) if (row > 0) this.dropped.delete(row);
  }

  /** Frames that a TAP or device was given. */
  written(port: number, list: FrameList): void {
    const name = this.nameOf(port);
    for (let j = 0; j < list.count; j++)
      this.add('write', `frame of ${list.length[j]} bytes to ${name}`, { kind: 'written', port: name });
  }

  private add(stage: TraceStep['stage'], text: string, outcome?: TraceOutcome): void {
    this.steps.push(outcome === undefined ? { stage, text } : { stage, text, outcome });
  }

  private nameOf(port: number): string {
    return this.names.get(port) ?? `port ${port}`;
  }

  private tell(stage: Stage, row: number, state: WorkerState): void {
    const text = this.describe(stage, row, state);
    if (text === undefined) return;
    if (stage !== 'send') this.add(stage, text);
    else {
      const esp = state.batch.sa[row] >= 0;
      this.add(stage, text, { kind: 'sent', tunnel: this.nameOf(state.batch.tunnel[row]), esp });
    }
  }

  private tellDrop(stage: Stage, number: number, row: number, state: WorkerState): void {
    const reason = DROP_REASONS[number];
    const tunnel = state.batch.tunnel[row];
    const where = tunnel >= 0 ? ` (counted at ${this.nameOf(tunnel)})` : '';
    this.dropped.add(row);
    this.add(stage, `dropped, ${reason.name}: ${reason.sentence}${where}`, { kind: 'dropped', reason: reason.name });
  }

  /** A packet that left the batch without being dropped: what became of it, other rows or lines tell. */
  private tellGone(stage: Stage, row: number, { batch, tunnels }: WorkerState): void {
    this.dropped.add(row);
    const tunnel = tunnels.tunnels[batch.tunnel[row]];
    if (stage === 'decapsulate') this.add(stage, 'kept until the other segments of its frame have come');
    else if (stage !== 'encapsulate' || tunnel === undefined) return;
    else if (tunnel.type === STT) this.add(stage, `${this.nameOf(tunnel.port)}: cut into the segments that follow`);
    else {
      const reason = DROP_REASONS[TOO_BIG];
      const text = `${this.nameOf(tunnel.port)}: dropped, ${reason.name}: ${reason.sentence} Its sender is told the MTU`;
      this.add(stage, text, { kind: 'dropped', reason: reason.name });
    }
  }

  /** What the stage did to a row that goes on; undefined where there is nothing to tell. */
  private describe(stage: Stage, row: number, state: WorkerState): string | undefined {
    switch (stage) {
      case 'switch':
        return this.switched(row, state);
      case 'take-off':
        return this.takenOff(row, state);
      case 'open':
        return state.batch.sa[row] < 0 ? undefined : this.opened(row, state);
      case 'policy-in':
        return this.policyIn(row, state);
      case 'decapsulate':
        return this.decapsulated(row, state);
      default: {
        const tunnel = state.tunnels.tunnels[state.batch.tunnel[row]];
        const text = tunnel === undefined ? undefined : this.describeOut(stage, row, tunnel, state);
        return text === undefined ? undefined : `${this.nameOf(tunnel!.port)}: ${text}`;
      }
    }
  }

  private describeOut(stage: Stage, row: number, tunnel: Tunnel, state: WorkerState): string | undefined {
    switch (stage) {
      case 'encapsulate':
        return this.encapsulated(row, tunnel, state);
      case 'policy-out':
        return this.policyOut(row, state);
      case 'seal':
        return state.batch.sa[row] < 0 ? undefined : this.sealed(row, state);
      case 'outer-header':
        return this.outerHeader(row, state);
      case 'send':
        return `${state.batch.length[row]} bytes to the uplink with mark ${hex32(state.batch.mark[row], 1)}`;
      default:
        return undefined;
    }
  }

  private switched(row: number, { batch, bridgePorts, vlans }: WorkerState): string {
    const { arena, offset } = batch;
    const destination = offset[row] + ETHERNET_DESTINATION;
    const address = macText(macHigh(arena, destination), macLow(arena, destination));
    const vlan = batch.vlan[row];
    const where = `${address}${vlan === 0 ? '' : ` in VLAN ${vlan}`}`;
    const output = batch.output[row];
    if (output !== FLOOD) return `${where} was learned on ${this.nameOf(output)}`;
    const others = [...bridgePorts.ports(batch.bridge[row])].filter(
      (port) => port !== batch.port[row] && vlans.carries(port, vlan),
    );
    const why = isGroupAddress(arena, destination) ? 'is a group address' : 'is unknown';
    return `${where} ${why}: flooded to ${others.map((port) => this.nameOf(port)).join(', ') || 'nobody'}`;
  }

  private encapsulated(row: number, tunnel: Tunnel, { batch }: WorkerState): string {
    const { outKey, type } = tunnel.settings;
    const key = outKey.kind === 'fixed' ? `key ${outKey.key}` : outKey.kind === 'flow' ? 'key 0 (flow)' : 'no key';
    const at = batch.offset[row];
    const ports =
      tunnel.state.port === 0
        ? ''
        : `, port ${udpSourcePort(batch.arena, at)} to ${udpDestinationPort(batch.arena, at)}`;
    const sum = tunnel.state.checksum ? ', checksum' : '';
    return `${type} header of ${tunnel.state.overhead} bytes (${key}${ports}${sum}): ${batch.length[row]} bytes`;
  }

  private policyOut(row: number, { batch, protections, markRule, outboundSas }: WorkerState): string {
    const protection = batch.protection[row];
    const state = STATE_TEXT[protections.stateOf(protection)];
    const sa = batch.sa[row];
    if (sa >= 0) return `${state}: ESP on SPI ${hex32(outboundSas.spi[sa])}`;
    const rule = markRule.set ? 'ipsec_skb_mark does not forbid it' : 'ipsec_skb_mark is unset';
    return `${state}, mark ${hex32(batch.mark[row], 1)}: plaintext, ${rule}`;
  }

  private sealed(row: number, { batch }: WorkerState): string {
    const slot = batch.sa[row];
    const added = batch.length[row] - (this.lengths.get(row) ?? 0);
    const behind = added - ESP_HEADER_LENGTH - ESP_ICV_LENGTH;
    const sequence = batch.sequenceLow[row] >>> 0;
    return `ESP ${this.sealing.get(slot)}, sequence number ${sequence} (not taken): ${added} bytes more (${ESP_HEADER_LENGTH} header and IV, ${behind} padding and trailer, ${ESP_ICV_LENGTH} ICV)`;
  }

  private outerHeader(row: number, { batch }: WorkerState): string {
    const added = batch.length[row] - (this.lengths.get(row) ?? 0);
    return `${ipHeaderText(batch.arena, batch.offset[row])}: ${added} bytes more`;
  }

  private takenOff(row: number, { batch }: WorkerState): string {
    return `${ipHeaderText(batch.arena, batch.outer[row])}: ${batch.length[row]} bytes in it`;
  }

  private opened(row: number, state: WorkerState): string {
    const { batch, inboundSas } = state;
    const slot = batch.sa[row];
    const sequence = batch.sequenceHigh[row] * 2 ** 32 + (batch.sequenceLow[row] >>> 0);
    return `SPI ${hex32(inboundSas.spi[slot])}, ESP ${this.opening.get(slot)}, sequence number ${sequence} is new, authentic: ${protocolName(batch.protocol[row])}, ${batch.length[row]} bytes`;
  }

  private policyIn(row: number, { batch, protections }: WorkerState): string {
    const port = batch.tunnelPort[row] === 0 ? '' : `, port ${batch.tunnelPort[row]}`;
    const state = STATE_TEXT[protections.stateOf(batch.protection[row])];
    return `${TUNNEL_TYPES[batch.tunnelType[row]]}${port}, ${state}: accepted ${batch.sa[row] >= 0 ? 'in ESP' : 'in the clear'}`;
  }

  private decapsulated(row: number, { batch }: WorkerState): string {
    const key = batch.keyPresent[row] === 0 ? 'no key' : `key ${batch.tunnelKey[row] >>> 0}`;
    return `${this.nameOf(batch.tunnel[row])} (${key}): header off, frame of ${batch.length[row]} bytes`;
  }
}
