/**
 * One IKE SA (RFC 7296 §1, §2): its SPIs, keys and message windows, the queue of exchanges that we want, and its
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
import { LAST_MESSAGE_ID, RequestWindow, ResponseWindow } from './exchange-window.ts';
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
import { isDue, keyExchangeDue, unservable } from './request-checks.ts';
import { noteMessage, noteRequest } from './said.ts';
import type { Packets } from './sk-channel.ts';
import { type Answering, DisownedTask, type InitiatorTask } from './task.ts';

/** An IKE SA may carry this many children; more are refused with NO_ADDITIONAL_SAS. */
export const CHILDREN_LIMIT = 128;
const QUEUE_LIMIT = 512;

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
  readonly keyExchanges: KeyExchanges;
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
  #task: InitiatorTask | undefined;
  #queue: InitiatorTask[] = [];
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
    this.keyExchanges = new KeyExchanges(context.computations, random);
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

  /** The task that waits for its response. */
  get currentTask(): InitiatorTask | undefined {
    return this.#task;
  }

  get queuedTasks(): readonly InitiatorTask[] {
    return this.#queue;
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

  // --- requests of ours

  /** Queues an exchange; `first`: before all that wait. */
  enqueue(task: InitiatorTask, first = false): void {
    if (this.state === 'gone' || this.#queue.length >= QUEUE_LIMIT) {
      task.abandon('the IKE SA is gone');
      return;
    }
    if (first) this.#queue.unshift(task);
    else this.#queue.push(task);
    this.pump();
  }

  /** Takes the tasks out of the queue that have not been sent yet. */
  takeQueue(): InitiatorTask[] {
    const tasks = this.#queue;
    this.#queue = [];
    return tasks;
  }

  /** Nobody wants any more what the outstanding request asked for. Its response is for `heir`, or only lets the next request go. */
  disownTask(reason: string, heir?: InitiatorTask): void {
    const task = this.#task;
    if (task === undefined) return;
    // Between two requests of a task nothing is outstanding.
    this.#task = this.requests.busy ? (heir ?? new DisownedTask(task)) : undefined;
    task.abandon(reason);
  }

  /** Sends the next request, unless one is outstanding. */
  pump(): void {
    while (this.#task === undefined && this.state !== 'gone') {
      const [task] = this.#queue;
      if (task === undefined || this.keyExchanges.prepare(task.keyExchange?.(this), () => this.pump())) return;
      this.#queue.shift();
      const payloads = task.build(this);
      if (payloads === undefined) continue;
      if (this.requests.id >= LAST_MESSAGE_ID) {
        task.abandon('the message ids are used up');
        this.end('lost', 'its message ids are used up');
        return;
      }
      this.#task = task;
      this.#begin(task, payloads);
    }
  }

  #begin(task: InitiatorTask, payloads: readonly Payload[]): void {
    noteRequest(this, task, payloads);
    this.requests.begin(this.seal(task.exchange, payloads, this.requests.id, false));
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
    const task = this.#task;
    const { header } = message;
    if (task === undefined || !this.#isAwaited(header)) {
      this.context.count('dropped: unexpected response');
      return;
    }
    if (task.exchange === 'IKE_SA_INIT') {
      this.#receiveInit(task, message, datagram);
      return;
    }
    if (this.keyExchanges.isHolding('response')) {
      this.context.count('dropped: repetition of a held message');
      return;
    }
    const inbound = openInbound(this, this.#keys.channel, datagram.data, message);
    if (inbound === undefined) return;
    const payloads = typeof inbound === 'string' ? inbound : inbound.payloads;
    const broken = typeof payloads === 'string' ? payloads : findRuleViolation(header, payloads)?.reason;
    if (typeof payloads === 'string' || broken !== undefined) {
      this.#brokenResponse(task, `${this.remote.address} sent a response that is not valid (${broken})`);
      return;
    }
    noteMessage(this, 'received', header, payloads);
    heard(this, datagram);
    const process = (): void => {
      if (this.#task !== task || !this.#isAwaited(header)) return;
      this.requests.finish();
      if (task.process(this, payloads, datagram.data) === 'next') this.#continue(task);
      else this.#over();
    };
    if (!this.keyExchanges.hold('response', datagram.data, find(payloads, 'KE'), process)) process();
  }

  /** Whether it answers the request of ours that is outstanding. */
  #isAwaited({ messageId, exchange }: MessageHeader): boolean {
    return this.requests.busy && messageId === this.requests.id && exchange === this.#task?.exchange;
  }

  /** The next request of a task that goes on. */
  #continue(task: InitiatorTask): void {
    // Given up while its key pair was being made: what waited behind it goes on.
    if (this.#task !== task) {
      this.pump();
      return;
    }
    if (this.keyExchanges.prepare(task.keyExchange?.(this), () => this.#continue(task))) return;
    const more = task.build(this);
    if (more === undefined) this.#over();
    else this.#begin(task, more);
  }

  #over(): void {
    this.#task = undefined;
    this.pump();
  }

  /** The peer is broken, and the same request would give the same: the IKE SA ends (RFC 7296 §2.21.3). */
  #brokenResponse(task: InitiatorTask, reason: string): void {
    this.requests.finish();
    this.#task = undefined;
    task.abandon(reason);
    giveUpBroken(this, reason);
    this.pump();
  }

  /** The only response that nobody has authenticated. One that differs from the one that is held is not the worse for it. */
  #receiveInit(task: InitiatorTask, message: ParsedMessage, datagram: Datagram): void {
    if (this.keyExchanges.isHolding('response', datagram.data)) {
      this.context.count('dropped: repetition of a held message');
      return;
    }
    const process = (): void => {
      if (this.#task === task && this.#isAwaited(message.header)) this.#processInit(task, message, datagram);
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
    if (outcome === 'again') {
      const payloads = task.build(this);
      if (payloads !== undefined) this.#begin(task, payloads);
    }
    if (outcome !== 'done' || this.state === 'gone') return;
    this.requests.finish();
    this.#over();
  }

  #receiveRequest(datagram: Datagram, message: ParsedMessage): void {
    const { header } = message;
    if (!isNext(this, this.#keys.channelOfLastRequest, datagram, message)) return;
    if (this.keyExchanges.isHolding('request')) {
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
    if (!this.keyExchanges.hold('request', datagram.data, keyExchangeDue(this, header, payloads), serve)) serve();
  }

  #serve(
    answering: Answering,
    datagram: Datagram,
    header: MessageHeader,
    payloads: readonly Payload[] | ParseFailure,
  ): void {
    if (header.messageId !== this.responses.expectedId || !isDue(this, header.exchange)) return;
    const exchange = header.exchange as ExchangeName;
    const answer = unservable(this, header, payloads) ?? answering(this, payloads as readonly Payload[], datagram.data);
    noteMessage(this, 'sent', { ...header, responseFlag: true }, answer.payloads);
    const response = this.seal(exchange, answer.payloads, header.messageId, true);
    this.responses.answered(datagram.data, response);
    this.#keys.dropFormer();
    this.transmit(response, datagram.remote, datagram.local);
    answer.afterwards?.();
    this.pump();
  }

  // --- the end

  /** Forgets the IKE SA and removes its children; nothing is sent. */
  end(kind: EndKind, reason: string): void {
    if (this.state === 'gone') return;
    this.state = 'gone';
    this.stopLife();
    this.requests.quiet();
    this.context.ikeSas.delete(this.ourSpi);
    const tasks = this.#task === undefined ? this.#queue : [this.#task, ...this.#queue];
    this.#task = undefined;
    this.#queue = [];
    for (const task of tasks) task.abandon(reason);
    for (const child of [...this.children]) this.context.children.remove(child, reason);
    this.followUp?.drop();
    this.keyExchanges.wipe();
    this.#keys.wipe();
    this.connection?.ended(this, kind, reason);
  }

  /** `tun[10.0.0.1...10.0.0.2 0123456789abcdef_i* fedcba9876543210_r]`, the star at our SPI. */
  get label(): string {
    return labelOf(this, this.connection?.name);
  }
}
