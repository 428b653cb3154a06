/** Messages of ours on an IKE SA, as they go on the wire, and again when nobody answers: the mirror of inbound.ts. */

import { type MessageHeader, ZERO_SPI } from '../wire/header.ts';
import { emitMessage } from '../wire/message.ts';
import type { ExchangeName } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import type { IkeSa } from './ike-sa.ts';
import { datagramBytes } from './peer-path.ts';
import type { Packets, SkChannel } from './sk-channel.ts';

/** @throws Error if the exchange has to be protected and there are no keys yet. */
export function sealOutbound(
  sa: IkeSa,
  channel: SkChannel | undefined,
  exchange: ExchangeName,
  payloads: readonly Payload[],
  { messageId, response }: { readonly messageId: number; readonly response: boolean },
): Packets {
  const header: MessageHeader = {
    initiatorSpi: sa.initiatorSpi,
    responderSpi: exchange === 'IKE_SA_INIT' && !response ? ZERO_SPI : sa.responderSpi,
    exchange,
    initiatorFlag: sa.initiator,
    responseFlag: response,
    messageId,
  };
  if (exchange === 'IKE_SA_INIT') return [emitMessage(header, payloads)];
  if (channel === undefined) throw new Error(`IKE SA ${sa.ourSpi} has no keys yet, so it cannot send ${exchange}`);
  if (exchange === 'IKE_INTERMEDIATE' && sa.protection !== undefined) {
    sa.init?.intermediate?.said(sa.protection, header, payloads);
  }
  return channel.seal(header, payloads, sa.fragmentation ? datagramBytes(sa) : undefined);
}

/** A request of ours; `again` counts from 1 at the first retransmission. */
export function transmitRequest(sa: IkeSa, packets: Packets, again: number): void {
  if (again > 0) {
    sa.context.count('sent: retransmitted requests');
    sa.context.log('dbg', sa.connection?.name, `retransmission ${again} of request ${sa.requests.id}`);
    sa.connection?.unanswered(sa, silentSeconds(sa));
  }
  sa.transmit(packets, sa.remote, sa.local);
}

/** The peer did not answer the last retransmission either. */
export function giveUp(sa: IkeSa): void {
  sa.context.count('lost: no response');
  const what = sa.tasks.current?.exchange ?? 'our request';
  sa.end('lost', `${sa.remote.address} did not answer ${what} (nothing heard for ${silentSeconds(sa)} s)`);
}

/** The peer sent what is not valid, in an authentic response. */
export function giveUpBroken(sa: IkeSa, reason: string): void {
  if (sa.state === 'connecting' || sa.connection === undefined) sa.end('failed', reason);
  // It was to go in any case, and whoever closes it once more finds a Delete on its way: nobody would forget it.
  else if (sa.state === 'deleting') sa.end('closed', reason);
  else sa.connection.close(sa, reason);
}

const silentSeconds = (sa: IkeSa): number => Math.round((sa.context.nowMs() - sa.lastHeardMs) / 1000);
