/**
 * Message ids, retransmission and duplicate requests of one IKE SA (RFC 7296 §2.1 to §2.3).
 *
 * The window is 1 in both directions: one request of ours is outstanding at a time, and one response is kept for
 * a peer that repeats its request. `RequestWindow` is the side that asks, `ResponseWindow` the side that answers.
 * Neither reads messages: the IKE SA hands in ids and bytes.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Timer, TimerQueue } from '../timers.ts';
import type { EngineSettings } from '../types.ts';
import type { Packets } from './sk-channel.ts';

export interface RequestWindowOwner {
  readonly timers: TimerQueue;
  readonly settings: Pick<EngineSettings, 'retransmitMs' | 'retransmitFactor' | 'retransmitTries'>;
  nowMs(): number;
  /** Puts the message on the wire. `again` counts from 1 at the first retransmission, 0 is the first sending. */
  transmit(packets: Packets, again: number): void;
  /** The peer did not answer the last retransmission either. */
  giveUp(): void;
}

/** The largest message id that is used; the IKE SA must be replaced before (RFC 7296 §2.2). */
export const LAST_MESSAGE_ID = 0xffff_fff0;

/** The requests of ours: at most one outstanding, sent again with growing pauses until answered. */
export class RequestWindow {
  readonly #owner: RequestWindowOwner;
  #nextId = 0;
  #outstanding: Packets | undefined;
  #again = 0;
  #sentAtMs = 0;
  #timer: Timer | undefined;

  constructor(owner: RequestWindowOwner) {
    this.#owner = owner;
  }

  /** The id that the outstanding request has, or else the next one gets. */
  get id(): number {
    return this.#nextId;
  }

  get busy(): boolean {
    return this.#outstanding !== undefined;
  }

  /** A request is outstanding that is not sent again, because its answer said that it would fail. */
  get resigned(): boolean {
    return this.#outstanding !== undefined && this.#timer === undefined;
  }

  /** The outstanding request. */
  get pending(): Packets | undefined {
    return this.#outstanding;
  }

  /** The first request has this id: those before were another process's. */
  resumeAt(id: number): void {
    this.#nextId = id;
  }

  /** Sends a request that carries `id`, and again until `finish`. Replaces the outstanding one (COOKIE, INVALID_KE_PAYLOAD). */
  begin(packets: Packets): void {
    this.#owner.timers.cancel(this.#timer);
    this.#outstanding = packets;
    this.#again = 0;
    this.#send(packets, 0);
    this.#arm();
  }

  /** Sends the outstanding request again now, unless that was done within the first timeout. */
  hasten(): void {
    const waitedMs = this.#owner.nowMs() - this.#sentAtMs;
    if (this.#outstanding === undefined || this.#timer === undefined) return;
    if (waitedMs >= this.#owner.settings.retransmitMs) this.#send(this.#outstanding, this.#again + 1);
  }

  #send(packets: Packets, again: number): void {
    this.#sentAtMs = this.#owner.nowMs();
    this.#owner.transmit(packets, again);
  }

  /** The response came: the next request gets the next id. */
  finish(): void {
    this.quiet();
    this.#outstanding = undefined;
    this.#nextId += 1;
  }

  /** Stops retransmission but still waits for the response. */
  quiet(): void {
    this.#owner.timers.cancel(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    const { retransmitMs, retransmitFactor } = this.#owner.settings;
    const pauseMs = Math.round(retransmitMs * retransmitFactor ** this.#again);
    this.#timer = this.#owner.timers.at(this.#owner.nowMs() + pauseMs, () => this.#due());
  }

  #due(): void {
    if (this.#outstanding === undefined) return;
    if (this.#again >= this.#owner.settings.retransmitTries) {
      this.quiet();
      this.#owner.giveUp();
      return;
    }
    this.#again += 1;
    this.#send(this.#outstanding, this.#again);
    this.#arm();
  }
}

/** What a request's message id and bytes say about it, before it is decrypted. */
export type Arrival =
  | { readonly kind: 'next' }
  /** The last request again, byte for byte: send `response` again. */
  | { readonly kind: 'repeat'; readonly response: Packets }
  /** The id of the last request but other bytes: `response` may be sent again if it is authentic all the same. */
  | { readonly kind: 'altered'; readonly response: Packets }
  /** An older id, or one beyond the window. */
  | { readonly kind: 'old' | 'future' };

const digest = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest();

/** The requests of the peer: which one is due, and the response to the last. */
export class ResponseWindow {
  #expectedId: number;
  #last: { readonly requestDigest: Uint8Array; readonly response: Packets } | undefined;

  constructor(expectedId: number) {
    this.#expectedId = expectedId;
  }

  get expectedId(): number {
    return this.#expectedId;
  }

  /** The last request that was answered, and the response. */
  get last(): { readonly requestDigest: Uint8Array; readonly response: Packets } | undefined {
    return this.#last;
  }

  resume(last: { readonly requestDigest: Uint8Array; readonly response: Packets } | undefined): void {
    this.#last = last;
  }

  /**
   * A retransmission is bitwise identical (RFC 7296 §2.1), so the digest decides, and a forged message with the
   * last id draws no answer.
   */
  classify(id: number, data: Uint8Array): Arrival {
    if (id === this.#expectedId) return { kind: 'next' };
    if (id > this.#expectedId) return { kind: 'future' };
    if (id !== this.#expectedId - 1 || this.#last === undefined) return { kind: 'old' };
    const { requestDigest, response } = this.#last;
    return { kind: timingSafeEqual(digest(data), requestDigest) ? 'repeat' : 'altered', response };
  }

  /** The expected request, which the datagram `request` completed, was answered with `response`. */
  answered(request: Uint8Array, response: Packets): void {
    this.#last = { requestDigest: digest(request), response };
    this.#expectedId += 1;
  }
}
