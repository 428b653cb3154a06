/**
 * The configured children of one connection, and what is known of each beyond its child SAs: whether it is wanted,
 * under way, or has to wait because the peer refused it (back-off per child).
 */

import type { EngineContext } from './context.ts';
import { backOffMs } from './lifetimes.ts';
import type { Child } from './sa/child-sa.ts';
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
      slot = { acquired: false, failures: 0, pending: false, pause: undefined };
      this.#slots.set(child, slot);
    }
    return slot;
  }

  #sasOf(config: ChildConfig): readonly Child[] {
    return this.#owner.context.children.of(this.#owner.config.name, config.name);
  }

  /** Whether a child SA of this configured child is there and stays. */
  isUp(config: ChildConfig): boolean {
    return this.#sasOf(config).some((child) => child.usable && child.ikeSa.retiring !== 'ours');
  }

  #isWanted(config: ChildConfig): boolean {
    if (config.start === 'initiate' || this.#slot(config.name).acquired) return true;
    // One that is up on an IKE SA, or with a configuration, that goes away has to get a successor.
    return this.#sasOf(config).some((child) => child.outdated || child.ikeSa.retiring === 'ours');
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

  /** The one that rides in IKE_AUTH. */
  first(): ChildConfig | undefined {
    const missing = this.missing();
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
    if (slot.failures <= 1) this.#unpause(slot);
  }

  /** The peer refused it: the next try is after a growing pause. */
  failed(config: ChildConfig): void {
    const { context } = this.#owner;
    const slot = this.#slot(config.name);
    slot.failures += 1;
    const { retryMs, retryMaxMs } = context.settings;
    this.pause(config, backOffMs(slot.failures, retryMs, retryMaxMs, context.fraction()));
  }

  pause(config: ChildConfig, pauseMs: number): void {
    const { context } = this.#owner;
    const slot = this.#slot(config.name);
    slot.pending = false;
    this.#unpause(slot);
    slot.pause = context.timers.at(context.nowMs() + pauseMs, () => {
      slot.pause = undefined;
      this.#owner.reconcile();
    });
  }

  up(name: string): void {
    const slot = this.#slot(name);
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
  }
}
