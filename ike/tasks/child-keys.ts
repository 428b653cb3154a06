/** Keys of a child SA out of its negotiation (RFC 7296 §2.17), turned to our point of view. */

import { deriveChildKeys, wipe } from '../crypto/prf.ts';
import { encryptionRow } from '../crypto/transforms.ts';
import type { Suite } from '../negotiation.ts';
import type { ChildKeys } from '../sa/child-table.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { TRANSFORM_ID } from '../wire/names.ts';

/** Of the key exchange of CREATE_CHILD_SA, if there is one, and of those that followed (RFC 9370). */
export interface KeySecrets {
  readonly shared: Uint8Array | undefined;
  readonly additional: readonly Uint8Array[];
}

/**
 * `initiator`: we initiated the exchange that makes the child. The secrets are
 * wiped. Throws if the suite holds what ESP here does not have: negotiation must not have chosen it.
 */
export function childKeys(
  sa: IkeSa,
  suite: Suite,
  secrets: KeySecrets,
  ni: Uint8Array,
  nr: Uint8Array,
  initiator: boolean,
): ChildKeys {
  const encryption = suite.ENCR;
  const algorithm = encryption === undefined ? undefined : encryptionRow(encryption).esp;
  if (sa.protection === undefined || encryption === undefined || algorithm === undefined) {
    throw new Error(`no ESP keys for ${JSON.stringify(suite)}`);
  }
  const keys = deriveChildKeys({
    prf: sa.protection.suite.prf,
    skD: sa.protection.keys.skD,
    sharedSecret: secrets.shared,
    additional: secrets.additional,
    ni,
    nr,
    encryption,
    integrity: undefined,
  });
  wipe(...(secrets.shared === undefined ? [] : [secrets.shared]), ...secrets.additional);
  return {
    algorithm,
    inboundKey: initiator ? keys.responder : keys.initiator,
    outboundKey: initiator ? keys.initiator : keys.responder,
    esn: suite.ESN?.id === TRANSFORM_ID.ESN.EXT_SEQ,
  };
}
