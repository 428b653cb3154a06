/** Opening what came on an IKE SA: each way in which it can fail is counted, and only what is authentic gets an answer. */

import type { Datagram } from '../types.ts';
import { PARSE_FAILURES, type ParseFailure } from '../wire/failures.ts';
import type { ParsedMessage } from '../wire/message.ts';
import type { IkeSa } from './ike-sa.ts';
import type { Opened, Packets, SkChannel } from './sk-channel.ts';

/** An authentic message, or what INVALID_SYNTAX may answer. */
export type Inbound = Extract<Opened, { kind: 'message' }> | ParseFailure;

/** Undefined: dropped, or kept as part of a message that is not complete yet. */
export function openInbound(
  sa: IkeSa,
  channel: SkChannel | undefined,
  data: Uint8Array,
  message: ParsedMessage,
): Inbound | undefined {
  const { context } = sa;
  if (channel === undefined || message.encrypted === undefined) {
    context.count('dropped: unprotected');
    return undefined;
  }
  if (message.encrypted.fragment !== undefined && !sa.fragmentation) {
    context.count('dropped: fragment unasked');
    return undefined;
  }
  const { header } = message;
  const intermediate = header.exchange === 'IKE_INTERMEDIATE';
  if (intermediate && message.payloads.length > 0) {
    context.count('dropped: payload-not-allowed');
    return undefined;
  }
  const opened = channel.open(data, message, message.encrypted);
  switch (opened.kind) {
    case 'message':
      if (intermediate && sa.protection !== undefined) {
        sa.init?.intermediate?.heard(sa.protection, header.responseFlag, data, opened);
      }
      return opened;
    case 'incomplete':
      context.count('received: fragments');
      return undefined;
    case 'unneeded':
      context.count(`dropped: fragment ${opened.why}`);
      return undefined;
    case 'failed':
      context.count(`dropped: ${opened.reason}`);
      return PARSE_FAILURES[opened.reason] === 'INVALID_SYNTAX' ? opened.reason : undefined;
  }
}

/** Whether this is the request that is due. The last one again gets its response again; others are dropped. */
export function isNext(
  sa: IkeSa,
  channelOfLast: SkChannel | undefined,
  { data, remote, local }: Datagram,
  message: ParsedMessage,
): boolean {
  const arrival = sa.responses.classify(message.header.messageId, data);
  switch (arrival.kind) {
    case 'next':
      return true;
    case 'old':
      sa.context.count('dropped: old message id');
      return false;
    case 'future':
      sa.context.count('dropped: message id beyond window');
      return false;
    case 'repeat':
    case 'altered': {
      const response = responseTo(sa, channelOfLast, data, message, arrival);
      if (response === undefined) return false;
      sa.context.count('sent: repeated responses');
      sa.transmit(response, remote, local);
      return false;
    }
  }
}

/**
 * The answer to a message with the id of the last request. The same bytes get the response again. Of fragments, which may
 * be smaller ones than before, the first does if it is authentic (RFC 7383 §2.6.1); nothing else gets any.
 */
function responseTo(
  sa: IkeSa,
  channel: SkChannel | undefined,
  data: Uint8Array,
  { encrypted }: ParsedMessage,
  { kind, response }: { readonly kind: 'repeat' | 'altered'; readonly response: Packets },
): Packets | undefined {
  if (encrypted?.fragment === undefined) {
    if (kind === 'repeat') return response;
    sa.context.count('dropped: altered repetition');
    return undefined;
  }
  if (encrypted.fragment.number === 1 && sa.fragmentation && channel?.verifies(data, encrypted)) return response;
  sa.context.count('dropped: fragment stale');
  return undefined;
}
