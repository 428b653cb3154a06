/**
 * The counters of the IKEv2 engine: one row for each thing that can happen to a message or an exchange, with its
 * meaning. `coverage/show` and the documentation read the table; code counts by name, so a reason without a row
 * does not compile. Messages that do not parse or do not verify are counted as `dropped: ` and the codec's reason.
 */

import type { IkeCounters } from './types.ts';
import { PARSE_FAILURES, type ParseFailure } from './wire/failures.ts';

export const COUNTER_MEANINGS = {
  'received: messages': 'datagrams that were handed to the engine',
  'received: fragments': 'authentic fragments of a message that is not complete yet (RFC 7383)',
  'sent: messages': 'datagrams that the engine asked to be sent, retransmissions included',
  'sent: retransmitted requests': 'requests sent again because no response came',
  'sent: repeated responses': 'responses sent again because the peer repeated its request',
  'sent: cookies': 'IKE_SA_INIT requests answered with COOKIE only',
  'sent: invalid major version': 'requests of another major version, answered with INVALID_MAJOR_VERSION',
  'dropped: unknown SPI': 'no IKE SA has this SPI',
  'dropped: wrong address': 'the SPI is known, but with another address',
  'dropped: unexpected exchange': 'an exchange that the state of the IKE SA does not allow',
  'dropped: unexpected response': 'a response to nothing that is outstanding',
  'dropped: altered repetition': 'the message id of the last request with other bytes',
  'dropped: fragment unasked': 'a fragment on an IKE SA without IKEV2_FRAGMENTATION_SUPPORTED',
  'dropped: fragment duplicate': 'a fragment that is there already',
  'dropped: fragment stale': 'a fragment of a message that was answered, or of larger fragments given up by the peer',
  'dropped: fragment too-many': 'a fragment of a message of more fragments than are taken',
  'dropped: old message id': 'a request from before the last one',
  'dropped: message id beyond window': 'a request ahead of the window of 1',
  'dropped: unprotected': 'an exchange that must be protected but is not',
  'dropped: half-open limit': 'an IKE_SA_INIT request while as many IKE SAs are half open as are allowed',
  'dropped: half-open limit of a source': 'the same, of its source address alone',
  'dropped: too many computations': 'an IKE_SA_INIT request while as many key exchanges are being computed as may be',
  'dropped: repetition of a held message':
    'what is being answered, or its answer used, as soon as its key exchange or our signature is computed',
  'dropped: too many strangers': 'an IKE_SA_INIT request that would have been refused, while too many are',
  'dropped: wrong cookie': 'an IKE_SA_INIT request whose COOKIE is not ours; answered with a fresh one',
  'dropped: not configured yet':
    'a first request between addresses without a connection, before the configuration has been applied as a whole',
  'refused: no connection': 'an IKE_SA_INIT request between addresses without a connection',
  'refused: no proposal chosen': 'nothing in common between the proposals of both sides',
  'refused: wrong key exchange group': 'answered with INVALID_KE_PAYLOAD',
  'refused: authentication failed': 'the peer did not prove its identity',
  'refused: traffic selectors': 'no configured child has the selectors that the peer asks for',
  'refused: child SAs for further resources':
    'the peer asks for more child SAs with the same selectors than there are workers here for; answered with TS_MAX_QUEUE (RFC 9611)',
  'refused: mode mismatch': 'a child without USE_TRANSPORT_MODE',
  'refused: unknown critical payload': 'answered with UNSUPPORTED_CRITICAL_PAYLOAD',
  'refused: temporary failure': 'answered with TEMPORARY_FAILURE (RFC 7296 §2.25)',
  'refused: unknown child SA': 'answered with CHILD_SA_NOT_FOUND',
  'refused: invalid syntax': 'an authenticated request lacks what it must hold; answered with INVALID_SYNTAX',
  'refused: follow-up to nothing':
    'IKE_FOLLOWUP_KE without a CREATE_CHILD_SA that waits for it; answered with STATE_NOT_FOUND',
  'computed: key exchange steps': 'dear steps of key exchanges that another thread did',
  'computed: signatures': 'dear signatures of ours in IKE_AUTH that another thread made',
  'computed: in place after all': 'either, of which another thread was asked in vain',
  'established: IKE SAs': 'IKE SAs that were authenticated, rekeyed ones not counted',
  'established: child SAs': 'child SAs that were installed, rekeyed ones included',
  'rekeyed: IKE SAs': 'IKE SAs replaced by a rekeying',
  'reauthenticated: IKE SAs': 'IKE SAs for whose replacement a new authentication was begun',
  'rekeyed: child SAs': 'child SAs replaced by a rekeying that this end began',
  'collisions: child rekeying': 'both ends rekeyed one child SA at once',
  'collisions: IKE rekeying': 'both ends rekeyed one IKE SA at once',
  'collisions: child creation': 'both ends set up the same child at once',
  'collisions: initial exchange': 'both ends set up an IKE SA at once',
  'expired: half-open': 'a peer that began and never authenticated',
  'expired: follow-up key exchanges': 'additional key exchanges that the peer began and did not go on with',
  'expired: child SAs': 'child SAs that reached their end of life',
  'expired: IKE SAs': 'IKE SAs that reached their end of life',
  'lost: no response': 'IKE SAs given up because the peer stopped to answer',
  'failed: attempts': 'attempts to set up an IKE SA that did not succeed',
  'failed: children': 'attempts to set up or rekey a child that did not succeed',
  'declined: child SAs for further resources':
    'the peer wants no further child SA with the same selectors, or does not know of such (RFC 9611); it stays with those there are',
} as const satisfies Record<string, string>;

export type CounterName = keyof typeof COUNTER_MEANINGS | `dropped: ${ParseFailure}`;

export class Counters {
  readonly #counts = new Map<CounterName, number>();

  count(name: CounterName): void {
    this.#counts.set(name, this.get(name) + 1);
  }

  get(name: CounterName): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Every counter, those at zero too. */
  all(): IkeCounters {
    const failures = (Object.keys(PARSE_FAILURES) as ParseFailure[]).map((reason) => `dropped: ${reason}` as const);
    const names: CounterName[] = [...(Object.keys(COUNTER_MEANINGS) as (keyof typeof COUNTER_MEANINGS)[]), ...failures];
    return Object.fromEntries(names.map((name) => [name, this.get(name)]));
  }
}
