/**
 * All child SAs of the engine: installs them at the runner, decides which of several for one configured child
 * sends, and removes them. Make before break: outbound traffic leaves a child only for another one, as long as
 * there is another one.
 */

import type { EngineContext } from '../context.ts';
import { lifeSpan } from '../lifetimes.ts';
import { rekeyChild } from '../tasks/child-rekey.ts';
import { selectorPairText } from '../traffic-selectors.ts';
import type { ChildSa, ChildSaSummary } from '../types.ts';
import { type Child, spiText } from './child-sa.ts';
import { udpPath } from './peer-path.ts';

/** How long the inbound side of a replaced child still receives. */
export const DRAIN_MS = 5000;
/**
 * A child that the peer made beside one that we still send on takes over after this time, even if the peer neither
 * deletes the old one nor sends on the new one: it may have forgotten the old one.
 */
const TAKE_OVER_MS = 2000;

/** Monotonic milliseconds; without `rekeyAtMs` this end does not rekey it. */
export interface ChildLife {
  readonly installedAtMs: number;
  readonly rekeyAtMs: number | undefined;
  readonly expiresAtMs: number;
}

export type ChildKeys = Pick<ChildSa, 'algorithm' | 'inboundKey' | 'outboundKey' | 'esn'>;

/**
 * When outbound traffic moves to a new child: at once; after a while or when the peer is seen on it; or only when
 * the peer is seen on it or the old one goes (RFC 7296 §2.8).
 */
export type SendPolicy = 'now' | 'soon' | 'when-seen';

const slotOf = (connection: string, child: string): string => `${connection}\0${child}`;

export class ChildTable {
  readonly #context: EngineContext;
  readonly #byId = new Map<number, Child>();
  readonly #bySlot = new Map<string, Child[]>();
  readonly #byConnection = new Map<string, Set<Child>>();
  /** The child that outbound traffic of a slot uses. */
  readonly #sending = new Map<string, Child>();
  #lastId = 0;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  get(id: number): Child | undefined {
    return this.#byId.get(id);
  }

  /** The children of one configured child, oldest first. */
  of(connection: string, child: string): readonly Child[] {
    return this.#bySlot.get(slotOf(connection, child)) ?? [];
  }

  ofConnection(connection: string): Child[] {
    return [...(this.#byConnection.get(connection) ?? [])];
  }

  get size(): number {
    return this.#byId.size;
  }

  isSending(child: Child): boolean {
    return this.#sending.get(slotOf(child.connection.name, child.config.name)) === child;
  }

  install(child: Child, keys: ChildKeys, policy: SendPolicy): void {
    const context = this.#context;
    const nowMs = context.nowMs();
    const slot = slotOf(child.connection.name, child.config.name);
    const { lifetimes } = child.connection;
    const span = lifeSpan(nowMs, lifetimes.childSeconds, lifetimes, context.fraction());
    this.#place(child, slot, { installedAtMs: nowMs, ...span });
    const sendNow = policy === 'now' || !this.#sending.has(slot);
    if (sendNow) this.#sending.set(slot, child);
    else if (policy === 'soon') {
      child.takeOverTimer = context.timers.at(nowMs + TAKE_OVER_MS, () => this.#takeOver(child));
    }
    context.count('established: child SAs');
    context.log(
      'info',
      child.connection.name,
      `CHILD_SA ${child.label} established with SPIs ${spiText(child.inboundSpi)}_i ${spiText(child.outboundSpi)}_o ` +
        `and TS ${selectorPairText(child.tsLocal, child.tsRemote)}`,
    );
    this.#tellRunner(child, keys, sendNow);
  }

  /** One that another process had installed: it goes on with its times. */
  inherit(child: Child, keys: ChildKeys, life: ChildLife & { readonly isSending: boolean }): void {
    const slot = slotOf(child.connection.name, child.config.name);
    this.#place(child, slot, life);
    if (life.isSending) this.#sending.set(slot, child);
    this.#tellRunner(child, keys, life.isSending);
  }

  #place(child: Child, slot: string, { installedAtMs, rekeyAtMs, expiresAtMs }: ChildLife): void {
    const { timers } = this.#context;
    child.installedAtMs = installedAtMs;
    child.rekeyAtMs = rekeyAtMs;
    child.expiresAtMs = expiresAtMs;
    if (rekeyAtMs !== undefined) child.rekeyTimer = timers.at(rekeyAtMs, () => rekeyChild(child));
    child.expiryTimer = timers.at(expiresAtMs, () =>
      child.ikeSa.connection?.childExpired(child, 'its lifetime is over'),
    );
    this.#byId.set(child.id, child);
    child.ikeSa.children.add(child);
    this.#bySlot.set(slot, [...(this.#bySlot.get(slot) ?? []), child]);
    const siblings = this.#byConnection.get(child.connection.name);
    if (siblings === undefined) this.#byConnection.set(child.connection.name, new Set([child]));
    else siblings.add(child);
  }

  #tellRunner(child: Child, keys: ChildKeys, sendNow: boolean): void {
    this.#context.emit({
      action: 'child-install',
      sendNow,
      sa: {
        id: child.id,
        connection: child.connection.name,
        child: child.config.name,
        inboundSpi: child.inboundSpi,
        outboundSpi: child.outboundSpi,
        mode: child.mode,
        udpEncapsulation: udpPath(child.ikeSa),
        tsLocal: child.tsLocal,
        tsRemote: child.tsRemote,
        replaces: child.replaces,
        initiator: child.initiator,
        ...keys,
      },
    });
  }

  /** Not from a younger one: that has come up for sure, and the peer may have given this one up meanwhile. */
  #takeOver(child: Child): void {
    const siblings = this.of(child.connection.name, child.config.name);
    const isYounger = siblings.slice(siblings.indexOf(child)).some((sibling) => this.isSending(sibling));
    if (!isYounger) this.startSending(child);
  }

  /** Moves outbound traffic to this child, if it is not there already. */
  startSending(child: Child): void {
    this.#context.timers.cancel(child.takeOverTimer);
    const slot = slotOf(child.connection.name, child.config.name);
    if (child.state === 'gone' || child.state === 'deleting' || this.#sending.get(slot) === child) return;
    this.#sending.set(slot, child);
    this.#context.emit({ action: 'child-send', id: child.id });
  }

  /** Takes the child out. If it was the one that sends and another is installed, that one sends first. */
  remove(child: Child, reason: string): void {
    if (child.state === 'gone') return;
    const { timers } = this.#context;
    child.state = 'gone';
    for (const timer of [child.rekeyTimer, child.expiryTimer, child.takeOverTimer]) timers.cancel(timer);
    const slot = slotOf(child.connection.name, child.config.name);
    const others = (this.#bySlot.get(slot) ?? []).filter((other) => other !== child);
    this.#byId.delete(child.id);
    const siblings = this.#byConnection.get(child.connection.name);
    siblings?.delete(child);
    if (siblings?.size === 0) this.#byConnection.delete(child.connection.name);
    if (others.length > 0) this.#bySlot.set(slot, others);
    else this.#bySlot.delete(slot);
    const heir = others.findLast((other) => other.usable) ?? others.findLast((other) => other.state !== 'deleting');
    if (this.#sending.get(slot) === child) {
      this.#sending.delete(slot);
      if (heir !== undefined) this.startSending(heir);
    }
    child.ikeSa.children.delete(child);
    this.#context.log('info', child.connection.name, `CHILD_SA ${child.label} removed: ${reason}`);
    this.#context.emit({
      action: 'child-remove',
      id: child.id,
      drainMs: heir === undefined && !this.#hasFallback(child) ? 0 : DRAIN_MS,
      reason,
    });
  }

  /** What the peer sends on it goes on with another child as soon as it knows (RFC 9611). */
  #hasFallback({ connection, config }: Child): boolean {
    return (
      config.resource !== undefined && this.of(connection.name, config.resource.fallback).some(({ usable }) => usable)
    );
  }

  summaries(connection: string): ChildSaSummary[] {
    return this.ofConnection(connection).map((child) => child.summary());
  }
}
