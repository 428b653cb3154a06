/**
 * Deleting child SAs and IKE SAs: INFORMATIONAL exchanges with a Delete payload (RFC 7296 §1.4.1, §3.11), both
 * roles. The responder's side serves every INFORMATIONAL request: Deletes, error notifies, and the empty one that
 * asks whether we are alive. What crosses on the way is decided as §2.25 says.
 */

import type { Child } from '../sa/child-sa.ts';
import type { IkeSa } from '../sa/ike-sa.ts';
import { find, findAll, findError, notify, readSpi, writeSpi } from '../sa/notify.ts';
import type { Answer, InitiatorTask, Outcome } from '../sa/task.ts';
import { NOTIFY, notifyName } from '../wire/names.ts';
import type { DeletePayload, Payload } from '../wire/payloads.ts';
import { ChildCreate } from './child-create.ts';
import { ChildRekey } from './child-rekey.ts';
import { IkeRekey } from './ike-rekey.ts';

/** A wanted child that the peer deleted is set up again after this time: the peer may be replacing it. */
const AFTER_DELETE_MS = 1000;
/** The same for one more beside others, which carry its traffic: the peer may be short of something (RFC 9611). */
const AFTER_RESOURCE_DELETE_MS = 30_000;

/** So many Deletes of unknown SPIs are remembered during one exchange. */
const EARLY_DELETES = 16;

const deleteOf = (spis: readonly number[]): DeletePayload => ({
  type: 'D',
  protocol: 'ESP',
  spiSize: 4,
  spis: spis.map(writeSpi),
});

/** Deletes one child SA: one that is installed, or one that the peer made and we don't want (then only its SPI is known). */
export class ChildDelete implements InitiatorTask {
  readonly exchange = 'INFORMATIONAL';
  readonly purpose: string;
  readonly #inboundSpi: number;
  readonly #child: Child | undefined;
  readonly #reason: string;
  readonly #finished: () => void;

  /** `finished` runs when the SPI is free again. */
  constructor(child: Child | { readonly inboundSpi: number }, reason: string, finished: () => void = () => {}) {
    this.#child = 'ikeSa' in child ? child : undefined;
    this.#inboundSpi = child.inboundSpi;
    this.#reason = reason;
    this.#finished = finished;
    this.purpose = `delete ${this.#child?.label ?? 'a refused child'}: ${reason}`;
  }

  build(): readonly Payload[] | undefined {
    // If it is gone here and its IKE SA was told to delete it, the peer still has it; if the peer deleted it, it has not.
    if (this.#child?.deletedByPeer === true) return undefined;
    if (this.#child !== undefined && this.#child.state !== 'gone') this.#child.state = 'deleting';
    return [deleteOf([this.#inboundSpi])];
  }

  process(sa: IkeSa): Outcome {
    this.#remove(sa);
    return 'done';
  }

  abandon(): void {
    this.#finished();
  }

  #remove(sa: IkeSa): void {
    if (this.#child !== undefined) sa.context.children.remove(this.#child, this.#reason);
    this.#finished();
  }
}

/** Deletes the IKE SA it is sent on. */
export class IkeDelete implements InitiatorTask {
  readonly exchange = 'INFORMATIONAL';
  readonly purpose: string;
  readonly #reason: string;

  constructor(reason: string) {
    this.#reason = reason;
    this.purpose = `delete the IKE SA: ${reason}`;
  }

  build(sa: IkeSa): readonly Payload[] {
    sa.state = 'deleting';
    return IKE_DELETE;
  }

  process(sa: IkeSa): Outcome {
    sa.end('closed', this.#reason);
    return 'done';
  }

  abandon(): void {}
}

const IKE_DELETE: readonly Payload[] = [{ type: 'D', protocol: 'IKE', spiSize: 0, spis: [] }];

/** Tells a responder that its AUTH is wrong (RFC 7296 §2.21.2), and forgets the IKE SA. */
export class AuthenticationRefusal implements InitiatorTask {
  readonly exchange = 'INFORMATIONAL';
  readonly purpose = 'refuse the peer’s authentication';

  build(): readonly Payload[] {
    return [notify(NOTIFY.AUTHENTICATION_FAILED)];
  }

  process(sa: IkeSa): Outcome {
    sa.end('closed', 'the peer did not authenticate');
    return 'done';
  }

  abandon(): void {}
}

/** In the place of an IKE_AUTH that nobody wants any more: a peer that accepts it is up by it, and is told to go down again. */
class ForsakenAuth implements InitiatorTask {
  readonly exchange = 'IKE_AUTH';
  readonly purpose: string;
  readonly #reason: string;

  constructor(reason: string) {
    this.#reason = reason;
    this.purpose = `authenticate, given up: ${reason}`;
  }

  build(): undefined {}

  process(sa: IkeSa, payloads: readonly Payload[]): Outcome {
    if (find(payloads, 'AUTH') === undefined) sa.end('closed', this.#reason);
    else sa.enqueue(new IkeDelete(this.#reason));
    return 'done';
  }

  abandon(): void {}
}

/** Our IKE_AUTH is on its way: the peer is up by it, or will be. */
function isAuthenticating(sa: IkeSa): boolean {
  return sa.state === 'connecting' && sa.requests.busy && sa.tasks.current?.exchange === 'IKE_AUTH';
}

/** Takes the children out at once, drops what is queued, and deletes the IKE SA at the peer. */
export function closeIkeSa(sa: IkeSa, reason: string): void {
  if (sa.state === 'gone') return;
  const isLeft = isAuthenticating(sa);
  if (sa.state === 'connecting' && !isLeft) {
    sa.end('closed', reason);
    return;
  }
  const alreadyDeleting = sa.state === 'deleting';
  sa.stopLife();
  sa.state = 'deleting';
  for (const child of [...sa.children]) sa.context.children.remove(child, reason);
  for (const task of sa.tasks.takeWaiting()) task.abandon(reason);
  if (isLeft) {
    sa.tasks.disown(reason, new ForsakenAuth(reason));
    return;
  }
  // A child whose creation is under way would come up for nobody, and meanwhile no other IKE SA would set it up.
  if (sa.tasks.current instanceof ChildCreate || sa.tasks.current instanceof ChildRekey) sa.tasks.disown(reason);
  if (!alreadyDeleting) sa.enqueue(new IkeDelete(reason));
}

/**
 * The last words on an IKE SA when the program ends: the outstanding request once more, so that a window of 1 lets
 * the Delete through, then the Delete. Nobody waits for an answer.
 */
export function sayGoodbye(sa: IkeSa): void {
  if (sa.protection === undefined || sa.connection === undefined) return;
  if (sa.state === 'connecting' && !isAuthenticating(sa)) return;
  const pending = sa.requests.pending;
  if (pending !== undefined) sa.transmit(pending, sa.remote, sa.local);
  if (pending !== undefined && sa.tasks.current instanceof IkeDelete) return;
  const messageId = sa.requests.id + (pending === undefined ? 0 : 1);
  sa.transmit(sa.seal('INFORMATIONAL', IKE_DELETE, messageId, false), sa.remote, sa.local);
}

/** Serves an INFORMATIONAL request. */
export function answerInformational(sa: IkeSa, payloads: readonly Payload[]): Answer {
  const error = findError(payloads);
  if (error !== undefined) {
    const name = notifyName(error.notify);
    sa.context.log('warn', sa.connection?.name, `${sa.remote.address} reports ${name} on ${sa.label}`);
    if (error.notify === NOTIFY.AUTHENTICATION_FAILED) {
      return {
        payloads: [],
        afterwards: () =>
          sa.end(
            'failed',
            `${sa.remote.address} refused our authentication (${name}): is options:psk the same on both ends?`,
          ),
      };
    }
    if (error.notify === NOTIFY.INVALID_SYNTAX) {
      return {
        payloads: [],
        afterwards: () => sa.end('lost', `${sa.remote.address} found a message of ours not valid`),
      };
    }
  }
  const deletes = findAll(payloads, 'D');
  if (deletes.some((payload) => payload.protocol === 'IKE')) return answerIkeDelete(sa);
  const answered: number[] = [];
  for (const payload of deletes) {
    if (payload.protocol !== 'ESP') continue;
    for (const bytes of payload.spis) {
      const spi = readSpi(bytes);
      const child = [...sa.children].find((candidate) => candidate.outboundSpi === spi);
      if (child === undefined || child.state === 'gone') {
        noteEarlyDelete(sa, spi);
        continue;
      }
      // If our Delete of it is on its way too, the answer names nothing (RFC 7296 §1.4.1).
      if (child.state !== 'deleting') answered.push(child.inboundSpi);
      child.deletedByPeer = true;
      sa.context.children.remove(child, `deleted by ${sa.remote.address}`);
      keepReplaced(child);
      const { resource } = child.config;
      sa.connection?.childLost(child, resource === undefined ? AFTER_DELETE_MS : AFTER_RESOURCE_DELETE_MS);
    }
  }
  return { payloads: answered.length === 0 ? [] : [deleteOf(answered)] };
}

/** The peer rekeyed a child and then deleted what came of it: the former one is in use as before. */
function keepReplaced(child: Child): void {
  const { children } = child.ikeSa.context;
  const old = child.replaces === undefined ? undefined : children.get(child.replaces);
  const other = children.of(child.connection.name, child.config.name).some(({ usable }) => usable);
  if (old?.state === 'rekeyed' && !other) old.state = 'installed';
}

/** It may be of a child whose response has not reached us yet (child-create.ts, forgetIfDeleted). */
function noteEarlyDelete(sa: IkeSa, spi: number | undefined): void {
  const { current: currentTask } = sa.tasks;
  if (spi === undefined || !(currentTask instanceof ChildCreate || currentTask instanceof ChildRekey)) return;
  if (currentTask.deletedSpis.length < EARLY_DELETES) currentTask.deletedSpis.push(spi);
}

function answerIkeDelete(sa: IkeSa): Answer {
  const rekey = sa.tasks.current;
  // The peer rekeyed and has not heard of our own rekeying, or has won: its new IKE SA takes over (RFC 7296 §2.25.2).
  const heir = rekey instanceof IkeRekey ? rekey.rival : undefined;
  return {
    payloads: [],
    afterwards: () => {
      if (heir !== undefined && heir.state !== 'gone') sa.connection?.adopt(heir, sa);
      sa.end('deleted-by-peer', `${sa.remote.address} deleted the IKE SA`);
    },
  };
}
