/** Writes messages into the journal and, at level dbg, into the log: one line each, as wire/pretty.ts describes them. */

import type { MessageHeader } from '../wire/header.ts';
import type { Payload } from '../wire/payloads.ts';
import { describeMessage } from '../wire/pretty.ts';
import type { IkeSa } from './ike-sa.ts';
import type { InitiatorTask } from './task.ts';

/** Until a peer has authenticated, it counts as the one that its addresses are configured for. */
export function noteMessage(
  sa: IkeSa,
  direction: 'sent' | 'received',
  header: Pick<MessageHeader, 'exchange' | 'responseFlag' | 'messageId'>,
  payloads: readonly Payload[],
): void {
  const { context } = sa;
  const name = sa.connection?.name ?? context.connectionsBetween(sa.local.address, sa.remote.address)[0]?.name;
  if (name === undefined) return;
  const text = `${direction} ${describeMessage(header, payloads)}`;
  context.journal.note(name, context.nowMs(), text);
  context.log('dbg', name, text);
}

/** A request of ours, and what it is for. */
export function noteRequest(sa: IkeSa, { exchange, purpose }: InitiatorTask, payloads: readonly Payload[]): void {
  const { id } = sa.requests;
  sa.context.log('dbg', sa.connection?.name, `request ${id} to ${sa.remote.address}: ${purpose}`);
  noteMessage(sa, 'sent', { exchange, responseFlag: false, messageId: id }, payloads);
}
