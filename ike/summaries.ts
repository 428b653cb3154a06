/** What status() and `ike-up` say of an IKE SA: plain data, nothing secret. */

import { identityText, localIdentity, remoteIdentity } from './identity.ts';
import { natText } from './nat-detection.ts';
import { chosenSuite, suiteText } from './negotiation.ts';
import type { IkeSa } from './sa/ike-sa.ts';
import type { Connection, IkeSaSummary } from './types.ts';

function suiteOf(sa: IkeSa): string {
  return sa.protection === undefined ? '' : suiteText(chosenSuite(sa.protection.suite));
}

export function summaryOf(sa: IkeSa, config: Connection): IkeSaSummary {
  return {
    connection: config.name,
    initiatorSpi: sa.initiatorSpi,
    responderSpi: sa.responderSpi,
    initiator: sa.initiator,
    state: sa.state === 'gone' || sa.state === 'rekeyed' ? 'deleting' : sa.state,
    suite: suiteOf(sa),
    ppk: sa.ppk,
    localId: identityText(localIdentity(config)),
    remoteId: identityText(remoteIdentity(config)),
    local: sa.local,
    remote: sa.remote,
    nat: natText(sa.nat),
    establishedAtMs: sa.establishedAtMs,
    rekeyAtMs: sa.rekeyAtMs,
    expiresAtMs: sa.state === 'established' || sa.state === 'rekeying' ? sa.expiresAtMs : undefined,
  };
}
