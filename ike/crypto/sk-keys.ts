/** Keys of one direction of an IKE SA, as the SK payload needs them (RFC 7296 §3.14, RFC 5282). */

import type { Transform } from '../types.ts';

export interface SkKeys {
  readonly encryption: Transform;
  /** Undefined with an AEAD. */
  readonly integrity: Transform | undefined;
  /** SK_e of the sender; with an AEAD the key, then its salt. */
  readonly skE: Uint8Array;
  /** SK_a of the sender; empty with an AEAD. */
  readonly skA: Uint8Array;
}
