/** What an IKE SA is made of, begins with, and why it ends: the data around ike-sa.ts. */

import type { IkeKeys, IkeSuite } from '../crypto/prf.ts';
import type { Endpoint, IkeKeyLog } from '../types.ts';
import type { Intermediate } from './intermediate.ts';

export type IkeSaState = 'connecting' | 'established' | 'rekeying' | 'rekeyed' | 'deleting' | 'gone';

/** Why an IKE SA went, as its connection has to know it: whether to try again at once, later, or not at all. */
export type EndKind = 'lost' | 'deleted-by-peer' | 'failed' | 'replaced' | 'closed';

/** What an IKE SA is protected with, once its key exchange is done. */
export interface IkeProtection {
  readonly suite: IkeSuite;
  readonly keys: IkeKeys;
}

/** The messages and nonces of IKE_SA_INIT: AUTH covers them (RFC 7296 §2.15), the first child's keys come of them. */
export interface InitMaterial {
  readonly request: Uint8Array;
  readonly response: Uint8Array;
  readonly ni: Uint8Array;
  readonly nr: Uint8Array;
  /** SIGNATURE_HASH_ALGORITHMS of the peer; undefined: it does not know RFC 7427. */
  readonly peerHashes: readonly number[] | undefined;
  /** Set if additional key exchanges come before IKE_AUTH. */
  readonly intermediate: Intermediate | undefined;
  /** Both ends have a PPK, maybe the same one. */
  readonly ppk: boolean;
}

export interface IkeSaOrigin {
  /** We are the original initiator of this IKE SA: flag I of all we send on it. */
  readonly initiator: boolean;
  readonly ourSpi: string;
  readonly peerSpi: string;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** The message id of the first request that the peer may send. */
  readonly firstRequestId: number;
}

/** Of an IKE SA, for people; the star is at our SPI. */
export function labelOf(
  sa: { readonly initiator: boolean; readonly initiatorSpi: string; readonly responderSpi: string },
  connection = '?',
): string {
  const [i, r] = sa.initiator ? ['*', ''] : ['', '*'];
  return `${connection}[${sa.initiatorSpi}_i${i} ${sa.responderSpi}_r${r}]`;
}

/** What a decryption table needs: copies, for the originals are wiped. */
export function keyLogOf(
  { initiatorSpi, responderSpi }: { readonly initiatorSpi: string; readonly responderSpi: string },
  { suite, keys }: IkeProtection,
  exchangesToCome: number,
): IkeKeyLog {
  return {
    exchangesToCome,
    initiatorSpi,
    responderSpi,
    encryption: suite.encryption,
    integrity: suite.integrity,
    skEi: keys.skEi.slice(),
    skEr: keys.skEr.slice(),
    skAi: keys.skAi.slice(),
    skAr: keys.skAr.slice(),
  };
}
