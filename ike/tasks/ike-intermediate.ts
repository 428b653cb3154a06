/**
 * IKE_INTERMEDIATE with an additional key exchange (RFC 9242, RFC 9370 §2.2.2), both roles: one exchange for each that was
 * negotiated in IKE_SA_INIT, in order; each replaces all keys of the IKE SA by ones that depend on it and on those before.
 * Nothing of it is authenticated before IKE_AUTH, which covers all its messages (sa/intermediate.ts).
 */

import type { ConnectionState } from '../connection.ts';
import { InvalidPublicValueError, type KeyExchange } from '../crypto/key-exchange.ts';
import { deriveIkeKeys, rekeySkeyseed, wipe } from '../crypto/prf.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findError } from '../sa/notify.ts';
import { invalidSyntax } from '../sa/request-checks.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import type { Transform } from '../types.ts';
import { notifyName, transformName } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import { IkeAuth } from './ike-auth.ts';

/** What follows IKE_SA_INIT, or the last IKE_INTERMEDIATE: the next additional key exchange, or IKE_AUTH. */
export function continueSetup(sa: IkeSa, connection: ConnectionState): void {
  const method = sa.init?.intermediate?.next;
  sa.enqueue(method === undefined ? new IkeAuth(connection) : new IkeIntermediate(connection, method), true);
}

class IkeIntermediate implements InitiatorTask {
  readonly exchange = 'IKE_INTERMEDIATE';
  readonly purpose: string;
  readonly #connection: ConnectionState;
  readonly #method: Transform;
  #keyExchange: KeyExchange | undefined;

  constructor(connection: ConnectionState, method: Transform) {
    this.#connection = connection;
    this.#method = method;
    this.purpose = `exchange keys by ${transformName(method)}`;
  }

  keyExchange(): number {
    return this.#method.id;
  }

  build(sa: IkeSa): readonly Payload[] {
    const { id } = this.#method;
    this.#keyExchange = sa.keyExchanges.begin(id);
    return [{ type: 'KE', group: id, data: this.#keyExchange.publicValue }];
  }

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    const secret = this.#secretOf(payloads);
    if (typeof secret === 'string') {
      sa.end('failed', secret);
      return 'done';
    }
    strengthen(sa, secret);
    continueSetup(sa, this.#connection);
    return 'done';
  }

  #secretOf(payloads: readonly Payload[]): Uint8Array | string {
    const name = transformName(this.#method);
    const error = findError(payloads);
    if (error !== undefined) return `peer refused the additional key exchange ${name} (${notifyName(error.notify)})`;
    const ke = find(payloads, 'KE');
    if (this.#keyExchange === undefined || ke?.group !== this.#method.id) {
      return `peer answered the additional key exchange ${name} with another one`;
    }
    try {
      return this.#keyExchange.computeShared(ke.data);
    } catch (failure) {
      if (failure instanceof InvalidPublicValueError) return failure.message;
      throw failure;
    }
  }

  abandon(): void {
    this.#keyExchange?.wipe();
    this.#keyExchange = undefined;
  }
}

/** Serves IKE_INTERMEDIATE on a half-open IKE SA that has additional key exchanges to do. */
export function answerIkeIntermediate(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const method = sa.init?.intermediate?.next;
  const ke = find(payloads, 'KE');
  if (method === undefined || ke?.group !== method.id) return invalidSyntax(sa, 'another key exchange than negotiated');
  try {
    const { publicValue, sharedSecret } = sa.keyExchanges.answer(method.id, ke.data);
    return {
      payloads: [{ type: 'KE', group: method.id, data: publicValue }],
      // The response itself goes out under the keys of the request.
      afterwards: () => strengthen(sa, sharedSecret),
    };
  } catch (failure) {
    if (failure instanceof InvalidPublicValueError) return invalidSyntax(sa, failure.message);
    throw failure;
  }
}

/** The next generation of keys, of SK_d and the secret of this exchange; the nonces stay. Wipes the secret. */
function strengthen(sa: IkeSa, secret: Uint8Array): void {
  const { protection, nonces, initiatorSpi, responderSpi } = sa;
  if (protection === undefined) throw new Error('an additional key exchange without a first one');
  const { suite, keys } = protection;
  const [ni, nr] = nonces;
  const skeyseed = rekeySkeyseed(suite.prf.id, keys.skD, secret, ni, nr);
  wipe(secret);
  sa.init?.intermediate?.exchanged();
  const next = deriveIkeKeys({ suite, skeyseed, ni, nr, initiatorSpi, responderSpi });
  sa.protect({ suite, keys: next }, { exchangesToCome: sa.init?.intermediate?.exchangesToCome ?? 0 });
}
