/**
 * One configured connection and what is up of it: compares the children that are wanted with those that there are,
 * and starts what is missing, for ever, with back-off. It owns the connection's IKE SAs; the exchanges themselves
 * are tasks. Replacing a connection's settings is connection-change.ts.
 *
 * Several IKE SAs of one connection exist only for a while: after both ends initiated at once, and while a changed
 * configuration replaces an old IKE SA. Then children are made anew on the one that stays before the other is
 * deleted (retirement.ts).
 */

import { ChildSlots } from './child-slots.ts';
import type { EngineContext } from './context.ts';
import { identityText, localIdentity, remoteIdentity } from './identity.ts';
import { backOffMs, type LifeSpan } from './lifetimes.ts';
import {
  crossed,
  finishRetiring,
  inheritRetirement,
  REDUNDANT_MS,
  reinstate,
  retire,
  retireOneOf,
} from './retirement.ts';
import type { Child } from './sa/child-sa.ts';
import type { IkeSa } from './sa/ike-sa.ts';
import type { EndKind } from './sa/ike-sa-parts.ts';
import { superviseLife } from './sa/sa-life.ts';
import { summaryOf } from './summaries.ts';
import { ChildCreate } from './tasks/child-create.ts';
import { ChildDelete, closeIkeSa } from './tasks/delete.ts';
import { initiateIkeSa } from './tasks/ike-init.ts';
import type { Timer } from './timers.ts';
import type { ChildConfig, Connection, ConnectionStatus } from './types.ts';

/** The peer made the IKE SA: it gets this long to set up its children before we set up what is missing. */
const HOLD_MS = 1000;
/** An IKE SA that lived this long was a success: the back-off starts anew. */
const STABLE_MS = 60_000;
/** A peer that fails over and over in the same way is reported this often. */
const NOTE_MS = 10_000;
/** More IKE SAs than this between the same two ends are not kept: the oldest goes. */
const IKE_SA_LIMIT = 8;

export class ConnectionState {
  readonly context: EngineContext;
  config: Connection;
  lastFailure: string | undefined;
  readonly #sas = new Set<IkeSa>();
  readonly slots: ChildSlots = new ChildSlots(this);
  #failures = 0;
  #attemptAtMs = Number.NEGATIVE_INFINITY;
  #notedAtMs = Number.NEGATIVE_INFINITY;
  #retry: Timer | undefined;
  #hold: Timer | undefined;
  #removed = false;

  constructor(context: EngineContext, config: Connection) {
    this.context = context;
    this.config = config;
  }

  get name(): string {
    return this.config.name;
  }

  /** Its IKE SAs, those left out that were replaced and only wait for their Delete. */
  get ikeSas(): readonly IkeSa[] {
    return [...this.#sas];
  }

  /** Whether a child SA of this configured child is there and stays. */
  isUp(config: ChildConfig): boolean {
    return this.slots.isUp(config);
  }

  /** The first child to set up; it rides in IKE_AUTH. */
  firstMissing(): ChildConfig | undefined {
    return this.slots.first();
  }

  /** The IKE SA for new exchanges: the youngest. */
  usableSa(): IkeSa | undefined {
    return this.ikeSas.findLast((sa) => sa.usable);
  }

  #attempt(): IkeSa | undefined {
    return this.ikeSas.find((sa) => sa.state === 'connecting' && sa.initiator && sa.retiring === undefined);
  }

  // --- bringing up

  /** Starts whatever is wanted, missing, and not under way already. */
  reconcile(): void {
    if (this.#removed) return;
    finishRetiring(this);
    const due = this.slots.due();
    if (due.length === 0) return;
    const sa = this.usableSa();
    if (sa === undefined) {
      if (this.#attempt() === undefined && this.#retry === undefined) this.#begin();
      return;
    }
    if (this.#hold !== undefined) return;
    for (const config of due) {
      this.markPending(config, true);
      sa.enqueue(new ChildCreate(this, config));
    }
  }

  #begin(): void {
    const nowMs = this.context.nowMs();
    const atMs = this.context.starts.reserve(nowMs);
    if (atMs <= nowMs) this.#start();
    else {
      this.#retry = this.context.timers.at(atMs, () => {
        this.#retry = undefined;
        if (!this.#removed && this.slots.due().length > 0 && this.usableSa() === undefined) this.#start();
      });
    }
  }

  #start(): void {
    this.#attemptAtMs = this.context.nowMs();
    this.#sas.add(initiateIkeSa(this.context, this));
  }

  markPending(config: ChildConfig, pending: boolean): void {
    this.slots.markPending(config, pending);
  }

  /** Traffic waits. Cuts back-off short, but attempts never begin more often than every retryMs. */
  acquire(): void {
    for (const config of this.config.children) this.slots.acquire(config);
    this.#attempt()?.requests.hasten();
    const { timers } = this.context;
    const earliestMs = this.#attemptAtMs + this.context.settings.retryMs;
    if (this.#retry !== undefined && this.#retry.dueMs > earliestMs) {
      timers.cancel(this.#retry);
      this.#retry = timers.at(Math.max(earliestMs, this.context.nowMs()), () => this.#retryNow());
    }
    this.reconcile();
  }

  #retryNow(): void {
    this.#retry = undefined;
    // An attempt that got an error nobody authenticated was left to wait for a better answer: until now.
    this.#attempt()?.end('replaced', 'the next attempt begins');
    this.reconcile();
  }

  #retryLater(): void {
    this.#failures += 1;
    if (this.#retry !== undefined) return;
    const { retryMs, retryMaxMs } = this.context.settings;
    const pauseMs = backOffMs(this.#failures, retryMs, retryMaxMs, this.context.fraction());
    this.#retry = this.context.timers.at(this.context.nowMs() + pauseMs, () => this.#retryNow());
  }

  /** An attempt to set up an IKE SA did not succeed. */
  attemptFailed(reason: string): void {
    this.context.count('failed: attempts');
    this.#report(reason);
    this.#retryLater();
  }

  /** The attempt was given up for an error that nobody authenticated, and then a good answer came. */
  attemptProceeds(): void {
    this.context.timers.cancel(this.#retry);
    this.#retry = undefined;
  }

  /** The attempt ended by an exchange that still has to tell the peer. */
  abandonAttempt(sa: IkeSa, reason: string): void {
    this.#sas.delete(sa);
    sa.state = 'deleting';
    this.attemptFailed(reason);
  }

  #report(reason: string): void {
    this.lastFailure = reason;
    this.context.journal.note(this.name, this.context.nowMs(), `failed: ${reason}`);
    this.context.emit({ action: 'failed', connection: this.name, reason });
  }

  /** The peer failed to prove who it is, or what it asked for was refused: for the operator; nothing to retry. */
  noteFailure(reason: string): void {
    const nowMs = this.context.nowMs();
    if (reason === this.lastFailure && nowMs < this.#notedAtMs + NOTE_MS) return;
    this.#notedAtMs = nowMs;
    this.#report(reason);
  }

  childFailed(config: ChildConfig, reason: string): void {
    this.context.count('failed: children');
    this.#report(reason);
    this.slots.failed(config);
  }

  /** Not a failure: the peer was busy, or deleted the child and may be about to replace it. */
  childLater(config: ChildConfig, pauseMs: number): void {
    this.slots.pause(config, pauseMs);
  }

  /** Another child SA of the same configured child on the same IKE SA: the peer made it meanwhile. */
  rivalOf(child: Child): Child | undefined {
    const others = this.context.children.of(this.name, child.config.name);
    return others.findLast(
      (other) => other !== child && other.usable && other.ikeSa === child.ikeSa && other.id !== child.replaces,
    );
  }

  childUp(child: Child): void {
    this.slots.up(child.config.name);
    if (this.slots.missing().length === 0) this.lastFailure = undefined;
    // On an IKE SA that is to go it needs a successor at once.
    if (child.ikeSa.retiring === 'ours') this.reconcile();
    else finishRetiring(this);
  }

  /** The peer has not answered for so many seconds. */
  unanswered(sa: IkeSa, seconds: number): void {
    if (sa.state !== 'connecting' || this.usableSa() !== undefined) return;
    this.lastFailure = `${sa.remote.address} has not answered for ${seconds} s`;
  }

  // --- IKE SAs come and go

  /** The IKE SA is authenticated. `settle` has to follow when its first child is installed. */
  established(sa: IkeSa): void {
    const { context } = this;
    sa.stopLife();
    sa.state = 'established';
    sa.establishedAtMs = context.nowMs();
    this.#sas.delete(sa);
    this.#sas.add(sa);
    context.timers.cancel(this.#retry);
    this.#retry = undefined;
    this.lastFailure = undefined;
    this.slots.reconsider();
    context.count('established: IKE SAs');
    superviseLife(sa, this.config);
    context.log(
      'info',
      this.name,
      `IKE_SA ${this.name} established between ${sa.local.address}[${identityText(localIdentity(this.config))}]...` +
        `${sa.remote.address}[${identityText(remoteIdentity(this.config))}]`,
    );
    context.emit({ action: 'ike-up', connection: this.name, sa: summaryOf(sa, this.config) });
    if (sa.initiator) return;
    context.timers.cancel(this.#hold);
    this.#hold = context.timers.at(context.nowMs() + HOLD_MS, () => {
      this.#hold = undefined;
      this.reconcile();
    });
  }

  /** An IKE SA of the process before ours, with what is left of its life. */
  inherit(sa: IkeSa, span: LifeSpan): void {
    this.#sas.add(sa);
    superviseLife(sa, this.config, span);
    this.context.log('info', this.name, `IKE_SA ${sa.label} taken over`);
    this.context.emit({ action: 'ike-up', connection: this.name, sa: summaryOf(sa, this.config) });
  }

  /** Finds its place among the other IKE SAs of the connection (RFC 7296 §2.4, INITIAL_CONTACT). */
  settle(sa: IkeSa, initialContact: boolean): void {
    for (const other of this.ikeSas) {
      if (other === sa || !other.usable || !sa.usable) continue;
      if (crossed(sa, other)) retireOneOf(this, sa, other);
      else if (initialContact) this.close(other, 'the peer says INITIAL_CONTACT: it knows only its new IKE SA');
      else retire(this, other, 'peers', REDUNDANT_MS);
    }
    // An attempt that an error ended, as far as we know, was to be replaced by the next one: there will be none.
    const attempt = this.#attempt();
    if (attempt?.requests.resigned) attempt.end('replaced', 'the peer was faster');
    const oldest = this.ikeSas.find((other) => other !== sa && other.establishedAtMs !== undefined);
    if (this.#sas.size > IKE_SA_LIMIT && oldest !== undefined) this.close(oldest, 'there are too many for one peer');
    this.reconcile();
  }

  /** Puts a changed configuration in force; what it means for the SAs there are is connection-change.ts. */
  configure(config: Connection): void {
    this.config = config;
    this.slots.prune();
  }

  /** The credentials changed: earlier failures say nothing any more. */
  startAnew(): void {
    this.#failures = 0;
    this.attemptProceeds();
  }

  /** Takes a child out at once and tells the peer. */
  deleteChild(child: Child, reason: string): void {
    if (child.state === 'gone') return;
    const sa = child.ikeSa;
    this.context.children.remove(child, reason);
    sa.enqueue(new ChildDelete(child, reason));
  }

  /** The end of its life, or of its sequence numbers: replaced at once. */
  childExpired(child: Child, reason: string): void {
    this.context.count('expired: child SAs');
    this.deleteChild(child, reason);
    this.childLost(child, 0);
  }

  /** The peer, a lifetime or a dead exchange ended a child. */
  childLost(child: Child, pauseMs: number): void {
    const config = this.slots.configured(child);
    if (config === undefined || this.isUp(config)) return;
    this.slots.lost(child);
    if (pauseMs > 0) this.childLater(config, pauseMs);
    this.reconcile();
  }

  /** A rekeyed IKE SA takes the place of the old one. */
  adopt(sa: IkeSa, old: IkeSa): void {
    const { context } = this;
    sa.connection = this;
    sa.state = 'established';
    sa.establishedAtMs = context.nowMs();
    sa.stopLife();
    old.stopLife();
    old.state = 'rekeyed';
    this.#sas.delete(old);
    this.#sas.add(sa);
    sa.retiring = undefined;
    superviseLife(sa, this.config);
    for (const child of old.children) {
      child.ikeSa = sa;
      sa.children.add(child);
    }
    old.children.clear();
    for (const task of old.tasks.takeWaiting()) sa.enqueue(task);
    context.count('rekeyed: IKE SAs');
    context.log('info', this.name, `IKE_SA ${old.label} rekeyed: ${sa.label}`);
    context.emit({ action: 'ike-up', connection: this.name, sa: summaryOf(sa, this.config) });
    inheritRetirement(this, sa, old);
  }

  /** Deletes an IKE SA at the peer; its children go at once. */
  close(sa: IkeSa, reason: string): void {
    const wasUp = sa.establishedAtMs !== undefined;
    this.#sas.delete(sa);
    closeIkeSa(sa, reason);
    if (wasUp) this.#reportDown(reason);
    reinstate(this);
    this.reconcile();
  }

  /** Called by an IKE SA that is gone. One that was replaced or closed is no longer ours and does not count. */
  ended(sa: IkeSa, kind: EndKind, reason: string): void {
    if (!this.#sas.delete(sa)) return;
    const livedMs = sa.establishedAtMs === undefined ? undefined : this.context.nowMs() - sa.establishedAtMs;
    if (livedMs === undefined) {
      if (sa.initiator && kind !== 'replaced' && kind !== 'closed') this.attemptFailed(reason);
    } else {
      if (livedMs >= STABLE_MS) this.#failures = 0;
      this.lastFailure = reason;
      this.#reportDown(reason);
      // Who deletes an IKE SA is about to restart or to be reconfigured: leave it a moment.
      if (kind === 'deleted-by-peer' && this.usableSa() === undefined) this.#retryLater();
    }
    reinstate(this);
    this.reconcile();
  }

  #reportDown(reason: string): void {
    if (this.ikeSas.some((other) => other.establishedAtMs !== undefined)) return;
    this.context.emit({ action: 'ike-down', connection: this.name, reason });
  }

  /** Starts nothing any more. */
  forget(): void {
    this.#removed = true;
    for (const timer of [this.#retry, this.#hold]) this.context.timers.cancel(timer);
    this.slots.stop();
  }

  /** Forgets everything; the peers get a Delete for each IKE SA. */
  remove(reason: string): void {
    this.forget();
    for (const sa of this.ikeSas) this.close(sa, reason);
  }

  // --- what there is to see

  status(): ConnectionStatus {
    return {
      connection: this.name,
      local: this.config.local,
      remote: this.config.remote,
      lastFailure: this.lastFailure,
      ikeSas: this.ikeSas.map((sa) => summaryOf(sa, this.config)),
      children: this.context.children.summaries(this.name),
    };
  }
}
