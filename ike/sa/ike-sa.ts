/**
 * One IKE SA (RFC 7296 §1, §2): its SPIs, keys and message windows, the exchanges that we want (task-queue.ts), and its
 * children. It seals and opens messages and hands their payloads to tasks; what they mean is in tasks/. When to
 * rekey, check or replace it is its connection's business (connection.ts, sa-life.ts).
 *
 *     connecting ──► established ──► rekeying ──► rekeyed ──► deleting ──► gone
 *         │              │  ▲            │                        ▲
 *         │              │  └─ refused ──┘                        │
 *         └─► gone       └────────────────────────────────────────┘
 */

import type { ConnectionState } from '../connection.ts';
import type { EngineContext } from '../context.ts';
import { type NatView, NO_NAT } from '../nat-detection.ts';
import type { PendingFollowUp } from '../tasks/follow-up.ts';
import type { Datagram, Endpoint } from '../types.ts';
import type { ParseFailure } from '../wire/failures.ts';
import { type MessageHeader, ZERO_SPI } from '../wire/header.ts';
import type { ParsedMessage } from '../wire/message.ts';
import type { ExchangeName } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import { findRuleViolation } from '../wire/rules.ts';
import type { Child } from './child-sa.ts';
import { RequestWindow, ResponseWindow } from './exchange-window.ts';
import { HeldMessages } from './held-messages.ts';
import {
  type EndKind,
  type IkeProtection,
  type IkeSaOrigin,
  type IkeSaState,
  type InitMaterial,
  keyLogOf,
  labelOf,
} from './ike-sa-parts.ts';
import { isNext, openInbound } from './inbound.ts';
import { KeyExchanges } from './key-exchanges.ts';
import { KeyGenerations } from './key-generations.ts';
import { find } from './notify.ts';
import { giveUp, giveUpBroken, sealOutbound, transmitRequest } from './outbound.ts';
import { heard, isPlausibleSource } from './peer-path.ts';
import { isDue, keyExchangeDue, signatureDue, unservable } from './request-checks.ts';
import { noteMessage } from './said.ts';
import { Signatures } from './signatures.ts';
import type { Packets } from './sk-channel.ts';
import type { Answering, InitiatorTask } from './task.ts';
import { TaskQueue } from './task-queue.ts';

/** An IKE SA may carry this many children; more are refused with NO_ADDITIONAL_SAS. */
export const CHILDREN_LIMIT = 128;

export class IkeSa {
  readonly context: EngineContext;
  readonly initiator: boolean;
  readonly ourSpi: string;
  peerSpi: string;
  local: Endpoint;
  remote: Endpoint;
  nat: NatView = NO_NAT;
  /** Both ends take fragments (RFC 7383 §2.3). */
  fragmentation = false;
  /** A PPK is in its keys (RFC 8784). */
  ppk = false;
  state: IkeSaState = 'connecting';
  /** Undefined while the peer of a half-open IKE SA has not said who it is. */
  connection: ConnectionState | undefined;
  /** Ni and Nr of the exchange that made it: they decide collisions. */
  nonces: readonly Uint8Array[] = [];
  readonly children = new Set<Child>();
  readonly requests: RequestWindow;
  readonly responses: ResponseWindow;
  /** The exchanges that we want. */
  readonly tasks: TaskQueue;
  readonly keyExchanges: KeyExchanges;
  readonly signatures: Signatures;
  readonly createdAtMs: number;
  establishedAtMs: number | undefined;
  rekeyAtMs: number | undefined;
  expiresAtMs: number | undefined;
  /** When the peer wants to be authenticated anew at the latest (RFC 4478); a rekeying does not put it off. */
  reauthenticateByMs: number | undefined;
  /** When a message of the peer last proved to be authentic. */
  lastHeardMs: number;
  /** Set when it is to be replaced by another IKE SA: who moves its children there and deletes it. */
  retiring: 'ours' | 'peers' | undefined;
  /** Retiring because the configuration changed: it never comes back. */
  outdated = false;
  /** What IKE_AUTH needs of IKE_SA_INIT; undefined afterwards. */
  init: InitMaterial | undefined;
  /** Cancels the timers of its life (sa-life.ts). */
  stopLife: () => void = () => {};
  /** An exchange of the peer's that needs further key exchanges of it. */
  followUp: PendingFollowUp | undefined;
  readonly #held: HeldMessages;
  readonly #keys: KeyGenerations;

  constructor(context: EngineContext, origin: IkeSaOrigin) {
    this.context = context;
    this.initiator = origin.initiator;
    this.ourSpi = origin.ourSpi;
    this.peerSpi = origin.peerSpi;
    this.local = origin.local;
    this.remote = origin.remote;
    this.createdAtMs = context.nowMs();
    this.lastHeardMs = this.createdAtMs;
    this.requests = new RequestWindow({
      timers: context.timers,
      settings: context.settings,
      nowMs: () => context.nowMs(),
      transmit: (packets, again) => transmitRequest(this, packets, again),
      giveUp: () => giveUp(this),
    });
    this.responses = new ResponseWindow(origin.firstRequestId);
    const random = (bytes: number): Uint8Array => context.host.random(bytes);
    this.#keys = new KeyGenerations(origin.initiator, random);
    this.#held = new HeldMessages(context.computations);
    this.keyExchanges = new KeyExchanges(context.computations, this.#held, random);
    this.signatures = new Signatures(context.computations, this.#held);
    this.tasks = new TaskQueue(this);
    context.ikeSas.set(this.ourSpi, this);
  }

  get initiatorSpi(): string {
    return this.initiator ? this.ourSpi : this.peerSpi;
  }

  get responderSpi(): string {
    return this.initiator ? this.peerSpi : this.ourSpi;
  }

  /** Established and not on its way out: new exchanges may be queued. */
  get usable(): boolean {
    return (this.state === 'established' || this.state === 'rekeying') && this.retiring === undefined;
  }

  // --- keys

  get protection(): IkeProtection | undefined {
    return this.#keys.protection;
  }

  /** Of messages of ours, under the present keys. */
  get ivsUsed(): number {
    return this.#keys.channel?.ivsUsed ?? 0;
  }

  /** Takes the keys over; they are wiped when the IKE SA ends, or one of `exchangesToCome` makes new ones. */
  protect(protection: IkeProtection, { exchangesToCome = 0, ivsUsed = 0 } = {}): void {
    this.#keys.begin(protection, ivsUsed);
    if (this.context.settings.keyLog === true)
      this.context.emit({ action: 'ike-keys', keys: keyLogOf(this, protection, exchangesToCome) });
  }

  // --- messages of ours

  /** Queues an exchange; `first`: before all that wait. */
  enqueue(task: InitiatorTask, first = false): void {
    this.tasks.enqueue(task, first);
  }

  /** A message of ours on this IKE SA. */
  seal(exchange: ExchangeName, payloads: readonly Payload[], messageId: number, response: boolean): Packets {
    return sealOutbound(this, this.#keys.channel, exchange, payloads, { messageId, response });
  }

  transmit(packets: Packets, remote: Endpoint, local: Endpoint): void {
    for (const data of packets) {
      this.context.count('sent: messages');
      this.context.emit({ action: 'send', local, remote, data });
    }
  }

  // --- messages of the peer

  /** A message whose SPI is ours. Whatever it holds, nothing changes before its integrity is verified. */
  receive(datagram: Datagram, message: ParsedMessage): void {
    if (!isPlausibleSource(this, datagram)) {
      this.context.count('dropped: wrong address');
      return;
    }
    const { initiatorFlag, initiatorSpi, responderSpi } = message.header;
    const theirSpi = initiatorFlag ? initiatorSpi : responderSpi;
    const known = this.protection === undefined || theirSpi === this.peerSpi;
    if (initiatorFlag === this.initiator || !known) {
      this.context.count('dropped: unknown SPI');
      return;
    }
    if (message.header.responseFlag) this.#receiveResponse(datagram, message);
    else this.#receiveRequest(datagram, message);
  }

  #receiveResponse(datagram: Datagram, message: ParsedMessage): void {
    const task = this.tasks.current;
    const { header } = message;
    if (task === undefined || !this.#isAwaited(header)) {
      this.context.count('dropped: unexpected response');
      return;
    }
    if (task.exchange === 'IKE_SA_INIT') {
      this.#receiveInit(task, message, datagram);
      return;
    }
    if (this.#held.isHolding('response')) {
      this.context.count('dropped: repetition of a held message');
      return;
    }
    const inbound = openInbound(this, this.#keys.channel, datagram.data, message);
    if (inbound === undefined) return;
    const payloads = typeof inbound === 'string' ? inbound : inbound.payloads;
    const broken = typeof payloads === 'string' ? payloads : findRuleViolation(header, payloads)?.reason;
    if (typeof payloads === 'string' || broken !== undefined) {
      this.#brokenResponse(`${this.remote.address} sent a response that is not valid (${broken})`);
      return;
    }
    noteMessage(this, 'received', header, payloads);
    heard(this, datagram);
    const process = (): void => {
      if (this.tasks.current !== task || !this.#isAwaited(header)) return;
      this.requests.finish();
      if (task.process(this, payloads, datagram.data) === 'next') this.tasks.proceed(task);
      else this.tasks.finish();
    };
    if (!this.keyExchanges.hold('response', datagram.data, find(payloads, 'KE'), process)) process();
  }

  /** Whether it answers the request of ours that is outstanding. */
  #isAwaited({ messageId, exchange }: MessageHeader): boolean {
    return this.requests.busy && messageId === this.requests.id && exchange === this.tasks.current?.exchange;
  }

  /** The peer is broken, and the same request would give the same: the IKE SA ends (RFC 7296 §2.21.3). */
  #brokenResponse(reason: string): void {
    this.requests.finish();
    this.tasks.abandonCurrent(reason);
    giveUpBroken(this, reason);
    this.tasks.pump();
  }

  /** The only response that nobody has authenticated. One that differs from the one that is held is not the worse for it. */
  #receiveInit(task: InitiatorTask, message: ParsedMessage, datagram: Datagram): void {
    if (this.#held.isHolding('response', datagram.data)) {
      this.context.count('dropped: repetition of a held message');
      return;
    }
    const process = (): void => {
      if (this.tasks.current === task && this.#isAwaited(message.header)) this.#processInit(task, message, datagram);
    };
    if (!this.keyExchanges.hold('response', datagram.data, find(message.payloads, 'KE'), process)) process();
  }

  #processInit(task: InitiatorTask, message: ParsedMessage, datagram: Datagram): void {
    if (message.encrypted !== undefined) {
      this.context.count('dropped: unexpected response');
      return;
    }
    this.peerSpi = message.header.responderSpi;
    noteMessage(this, 'received', message.header, message.payloads);
    const outcome = task.process(this, message.payloads, datagram.data);
    if (outcome !== 'done') this.peerSpi = ZERO_SPI;
    if (outcome === 'wait') this.requests.quiet();
    if (outcome === 'again') this.tasks.rebuild(task);
    if (outcome !== 'done' || this.state === 'gone') return;
    this.requests.finish();
    this.tasks.finish();
  }

  #receiveRequest(datagram: Datagram, message: ParsedMessage): void {
    const { header } = message;
    if (!isNext(this, this.#keys.channelOfLastRequest, datagram, message)) return;
    if (this.#held.isHolding('request')) {
      this.context.count('dropped: repetition of a held message');
      return;
    }
    const answering = typeof header.exchange === 'string' ? this.context.answers[header.exchange] : undefined;
    if (answering === undefined || !isDue(this, header.exchange)) {
      this.context.count('dropped: unexpected exchange');
      return;
    }
    const inbound = openInbound(this, this.#keys.channel, datagram.data, message);
    if (inbound === undefined) return;
    const payloads = typeof inbound === 'string' ? inbound : inbound.payloads;
    if (typeof payloads !== 'string') noteMessage(this, 'received', header, payloads);
    heard(this, datagram);
    const serve = (): void => this.#serve(answering, datagram, header, payloads);
    if (this.keyExchanges.hold('request', datagram.data, keyExchangeDue(this, header, payloads), serve)) return;
    if (!this.signatures.hold(datagram.data, () => signatureDue(this, answering, header, payloads), serve)) serve();
  }

  #serve(
    answering: Answering,
    datagram: Datagram,
    header: MessageHeader,
    payloads: readonly Payload[] | ParseFailure,
  ): void {
    if (header.messageId !== this.responses.expectedId || !isDue(this, header.exchange)) return;
    const exchange = header.exchange as ExchangeName;
    const answer =
      unservable(this, header, payloads) ?? answering.answer(this, payloads as readonly Payload[], datagram.data);
    noteMessage(this, 'sent', { ...header, responseFlag: true }, answer.payloads);
    const response = this.seal(exchange, answer.payloads, header.messageId, true);
    this.responses.answered(datagram.data, response);
    this.#keys.dropFormer();
    this.transmit(response, datagram.remote, datagram.local);
    answer.afterwards?.();
    this.tasks.pump();
  }

  // --- the end

  /** Forgets the IKE SA and removes its children; nothing is sent. */
  end(kind: EndKind, reason: string): void {
    if (this.state === 'gone') return;
    this.state = 'gone';
    this.stopLife();
    this.requests.quiet();
    this.context.ikeSas.delete(this.ourSpi);
    this.tasks.abandonAll(reason);
    for (const child of [...this.children]) this.context.children.remove(child, reason);
    this.followUp?.drop();
    this.#held.drop();
    this.keyExchanges.wipe();
    this.signatures.drop();
    this.#keys.wipe();
    this.connection?.ended(this, kind, reason);
  }

  /** `tun[10.0.0.1...10.0.0.2 0123456789abcdef_i* fedcba9876543210_r]`, the star at our SPI. */
  get label(): string {
    return labelOf(this, this.connection?.name);
  }
}
