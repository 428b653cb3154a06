/**
 * What happens when both ends want the same at once: the one place that decides (RFC 7296 §2.8.1, §2.8.2, §2.25).
 *
 * - Both rekeyed one SA, both set up the same child, or both set up an IKE SA: of the two that came of it, the one
 *   whose exchange has the lowest of the four nonces is redundant, and who initiated it deletes it. RFC 7296 says so
 *   for rekeying; for the other two this engine takes the same rule, since both ends know all four nonces.
 * - A request meets one of ours that is outstanding: `refusalOf` is the table of §2.25.
 */

import { NOTIFY } from './wire/names.ts';

/** Octet by octet; the shorter is the lower if the longer begins with it. */
function compareOctets(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.length), Buffer.from(b.buffer, b.byteOffset, b.length));
}

const lowest = (nonces: readonly Uint8Array[]): Uint8Array =>
  nonces.reduce((least, nonce) => (compareOctets(nonce, least) < 0 ? nonce : least));

/** Which of two exchanges, given by their nonces, made the redundant SA. */
export function redundantOf(ours: readonly Uint8Array[], theirs: readonly Uint8Array[]): 'ours' | 'theirs' {
  return compareOctets(lowest(ours), lowest(theirs)) < 0 ? 'ours' : 'theirs';
}

/** What a peer asks for while something else may be under way. */
export type PeerRequest = 'create-child' | 'rekey-child' | 'rekey-ike';

export interface Busy {
  /** State of the IKE SA that the request came on. */
  readonly ike: 'established' | 'rekeying' | 'rekeyed' | 'deleting';
  /** We have a request outstanding that creates, rekeys or closes a child. */
  readonly childExchange: boolean;
  /** The child that is to be rekeyed; undefined if there is none with that SPI. */
  readonly child?: 'installed' | 'rekeying' | 'rekeyed' | 'deleting' | undefined;
}

/** The error notify that a request gets because of what we are doing, or undefined: it is served (RFC 7296 §2.25). */
export function refusalOf(request: PeerRequest, busy: Busy): number | undefined {
  if (busy.ike === 'deleting' || busy.ike === 'rekeyed') return NOTIFY.TEMPORARY_FAILURE;
  switch (request) {
    case 'rekey-ike':
      return busy.childExchange ? NOTIFY.TEMPORARY_FAILURE : undefined;
    case 'create-child':
      return busy.ike === 'rekeying' ? NOTIFY.TEMPORARY_FAILURE : undefined;
    case 'rekey-child':
      if (busy.ike === 'rekeying' || busy.child === 'deleting' || busy.child === 'rekeyed') {
        return NOTIFY.TEMPORARY_FAILURE;
      }
      if (busy.child !== undefined) return undefined;
      // It may be the one whose response is on its way to us: the peer should ask again.
      return busy.childExchange ? NOTIFY.TEMPORARY_FAILURE : NOTIFY.CHILD_SA_NOT_FOUND;
  }
}
