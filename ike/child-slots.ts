/**
 * The configured children of one connection, and what is known of each beyond its child SAs: whether it is wanted,
 * under way, or has to wait because the peer refused it or because it could not be installed here (back-off per child).
 */

import type { EngineContext } from './context.ts';
import { backOffMs } from './lifetimes.ts';
import type { Child } from './sa/child-sa.ts';
import { chooseResource } from './tasks/resources.ts';
import type { Timer } from './timers.ts';
import type { ChildConfig, Connection } from './types.ts';

interface Slot {
  /** Traffic asked for it. */
  acquired: boolean;
  failures: number;
  /** A task that will make it is queued or under way. */
  pending: boolean;
  /** Not before this runs. */
  pause: Timer | undefined;
  /** In the pause neither traffic nor the peer may bring it up: it could not be installed here. */
  shut: boolean;
  /** How often in a row, and when last: a child comes up before it turns out that it cannot be installed. */
  shuts: number;
  shutAtMs: number;
  /** The peer wants none: not before something has changed (`reconsider`). */
  declined: boolean;
}

export interface SlotsOwner {
  readonly context: EngineContext;
  readonly config: Connection;
  /** Starts what is due. */
  reconcile(): void;
}

export class ChildSlots {
  readonly #owner: SlotsOwner;
  readonly #slots = new Map<string, Slot>();

  constructor(owner: SlotsOwner) {
    this.#owner = owner;
  }

  #slot(child: string): Slot {
    let slot = this.#slots.get(child);
    if (slot === undefined) {
      slot = {
        ...{ acquired: false, failures: 0, pending: false, pause: undefined, declined: false },
        ...{ shut: false, shuts: 0, shutAtMs: Number.NEGATIVE_INFINITY },
      };
      this.#slots.set(child, slot);
    }
    return slot;
  }

  #sasOf(config: ChildConfig): readonly Child[] {
    return this.#owner.context.children.of(this.#owner.config.name, config.name);
  }

  /** What the configuration of now says of this child; undefined: it has none like it. */
  configured(child: Child): ChildConfig | undefined {
    return this.#owner.config.children.find(({ name }) => name === child.config.name);
  }

  /** Whether a child SA of this configured child is there and stays. */
  isUp(config: ChildConfig): boolean {
    return this.#sasOf(config).some((child) => child.usable && child.ikeSa.retiring !== 'ours');
  }

  #isWanted(config: ChildConfig): boolean {
    if (!this.#isPossible(config)) return false;
    if (config.start === 'initiate' || this.#slot(config.name).acquired) return true;
    // One that is up on an IKE SA, or with a configuration, that goes away has to get a successor.
    return this.#sasOf(config).some((child) => child.outdated || child.ikeSa.retiring === 'ours');
  }

  /** One for a further resource has to have what all resources fall back to, and a peer that wants it. */
  #isPossible({ name, resource }: ChildConfig): boolean {
    if (resource === undefined) return true;
    const fallback = this.#owner.config.children.find((config) => config.name === resource.fallback);
    return fallback !== undefined && this.isUp(fallback) && !this.#slot(name).declined;
  }

  missing(): ChildConfig[] {
    return this.#owner.config.children.filter((config) => this.#isWanted(config) && !this.isUp(config));
  }

  /** Those of the missing that can be started now. */
  due(): ChildConfig[] {
    return this.missing().filter(({ name }) => {
      const slot = this.#slot(name);
      return !slot.pending && slot.pause === undefined;
    });
  }

  /** The one that rides in IKE_AUTH: none for a further resource (RFC 9611). */
  first(): ChildConfig | undefined {
    const missing = this.missing().filter(({ resource }) => resource === undefined);
    return missing.find(({ name }) => this.#slot(name).pause === undefined) ?? missing[0];
  }

  markPending(config: ChildConfig, pending: boolean): void {
    this.#slot(config.name).pending = pending;
  }

  acquire(config: ChildConfig): void {
    if (this.isUp(config)) return;
    const slot = this.#slot(config.name);
    slot.acquired = true;
    // A child that the peer has just refused would be refused again: only the first pause is cut short.
    if (slot.failures <= 1 && !slot.shut) this.#unpause(slot);
  }

  /** The peer refused it: the next try is after a growing pause. */
  failed(config: ChildConfig): void {
    const { context } = this.#owner;
    const slot = this.#slot(config.name);
    slot.failures += 1;
    const { retryMs, retryMaxMs } = context.settings;
    this.pause(config, backOffMs(slot.failures, retryMs, retryMaxMs, context.fraction()));
  }

  /** It cannot be installed here at the moment: the next try is after a growing pause, whoever asks for it. */
  shut(config: ChildConfig): void {
    const { context } = this.#owner;
    const slot = this.#slot(config.name);
    const { retryMs, retryMaxMs } = context.settings;
    if (context.nowMs() > slot.shutAtMs + 2 * retryMaxMs) slot.shuts = 0;
    slot.shuts += 1;
    slot.shutAtMs = context.nowMs();
    this.pause(config, backOffMs(slot.shuts, retryMs, retryMaxMs, context.fraction()));
    slot.shut = true;
  }

  isShut(config: ChildConfig): boolean {
    return this.#slot(config.name).shut;
  }

  pause(config: ChildConfig, pauseMs: number): void {
    const { context } = this.#owner;
    const slot = this.#slot(config.name);
    slot.pending = false;
    this.#unpause(slot);
    slot.pause = context.timers.at(context.nowMs() + pauseMs, () => {
      this.#unpause(slot);
      this.#owner.reconcile();
    });
  }

  /** No failure: the peer wants no child SA for a further resource beside those there are. */
  decline(config: ChildConfig): void {
    const { context, config: connection } = this.#owner;
    const slot = this.#slot(config.name);
    slot.pending = false;
    // Unless it has set it up itself meanwhile.
    slot.declined = !this.isUp(config);
    context.count('declined: child SAs for further resources');
    context.log('info', connection.name, `${connection.remote} wants no further child SA: ${config.name} stays away`);
  }

  /** A child SA is gone: a peer that wanted no more of them may want one now. */
  lost(child: Child): void {
    if (child.config.resource === undefined || child.peerResource !== undefined) this.reconsider();
  }

  /** Things are not as they were when the peer wanted no more: it may be asked again. */
  reconsider(): void {
    for (const slot of this.#slots.values()) slot.declined = false;
  }

  /** Whether it is up, or there will be none. */
  isDone(config: ChildConfig): boolean {
    return this.isUp(config) || this.#slot(config.name).declined;
  }

  /** Which child it is that the peer wants beside `fallback` for its resource; undefined: we want none. */
  resourceFor(fallback: ChildConfig, peerResource: number): ChildConfig | undefined {
    const states = this.#owner.config.children
      .filter(({ resource }) => resource?.fallback === fallback.name)
      .map((config) => ({
        config,
        peers: this.#sasOf(config)
          .filter(({ usable }) => usable)
          .map((child) => child.peerResource),
        pending: this.#slot(config.name).pending,
      }));
    return chooseResource(states, peerResource);
  }

  up(name: string): void {
    const slot = this.#slot(name);
    slot.declined = false;
    slot.acquired = false;
    slot.pending = false;
    slot.failures = 0;
    this.#unpause(slot);
  }

  /** Forgets what is no longer configured. */
  prune(): void {
    const names = new Set(this.#owner.config.children.map(({ name }) => name));
    for (const [name, slot] of this.#slots) {
      if (names.has(name)) continue;
      this.#unpause(slot);
      this.#slots.delete(name);
    }
  }

  stop(): void {
    for (const slot of this.#slots.values()) this.#unpause(slot);
  }

  #unpause(slot: Slot): void {
    this.#owner.context.timers.cancel(slot.pause);
    slot.pause = undefined;
    slot.shut = false;
  }
}
