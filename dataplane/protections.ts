/**
 * The protections a worker knows: rows of the SPD, by the small integer id that control gave them.
 *
 * A protection has one outbound SA that every worker may send on, and may have one for this worker alone (RFC 9611): then
 * that is taken. Which of the two it is makes no difference to what may be sent.
 *
 * Once an SA has been in use, a protection stays `protected` until it is removed: no command leads back to
 * `never-up`, so nothing that happens to IKE or the database makes the tunnel send plaintext again.
 */

import type { ProtectionState } from './commands.ts';
import { PROTECTION_STATE } from './policy.ts';

const STATES: Readonly<Record<ProtectionState, number>> = {
  'never-up': PROTECTION_STATE.neverUp,
  protected: PROTECTION_STATE.protected,
  invalid: PROTECTION_STATE.invalid,
};

const NO_SA = -1;

export class Protections {
  /** PROTECTION_STATE of each id; `none` is an id that nobody has set. */
  readonly state: Int32Array;
  /** Slot of the outbound SA that this worker sends on, -1 is none. */
  readonly outboundSa: Int32Array;
  /** Slots of the SA of all workers and of this worker's own, -1 is none. */
  private readonly shared: Int32Array;
  private readonly own: Int32Array;
  /** 1 after an SA has been in use or control has said so. */
  readonly everUp: Uint8Array;
  /** Monotonic ms of the last sa-wanted event: at most one a second leaves (commands.ts). */
  readonly wantedAt: Float64Array;

  constructor(limit: number) {
    this.state = new Int32Array(limit);
    this.outboundSa = new Int32Array(limit).fill(NO_SA);
    this.shared = new Int32Array(limit).fill(NO_SA);
    this.own = new Int32Array(limit).fill(NO_SA);
    this.everUp = new Uint8Array(limit);
    this.wantedAt = new Float64Array(limit).fill(Number.NEGATIVE_INFINITY);
  }

  set(id: number, state: ProtectionState): void {
    if (state === 'protected') this.everUp[id] = 1;
    const wanted = STATES[state];
    this.state[id] = wanted === PROTECTION_STATE.neverUp && this.everUp[id] === 1 ? PROTECTION_STATE.protected : wanted;
  }

  /** Forgets the id. A tunnel that still names it is treated as invalid: it sends and accepts nothing. */
  remove(id: number): void {
    this.state[id] = PROTECTION_STATE.none;
    this.shared[id] = NO_SA;
    this.own[id] = NO_SA;
    this.outboundSa[id] = NO_SA;
    this.everUp[id] = 0;
    this.wantedAt[id] = Number.NEGATIVE_INFINITY;
  }

  /** From now on packets leave on this SA, which is that of all workers or this worker's own; undefined: there is none. */
  use(id: number, slot: number | undefined, isOwn = false): void {
    (isOwn ? this.own : this.shared)[id] = slot ?? NO_SA;
    this.choose(id);
    if (slot === undefined) return;
    this.everUp[id] = 1;
    if (this.state[id] === PROTECTION_STATE.neverUp) this.state[id] = PROTECTION_STATE.protected;
  }

  /** State for the policy: -1 is no IPsec; an id that is not set (any more) counts as invalid. */
  stateOf(id: number): number {
    if (id < 0) return PROTECTION_STATE.none;
    const state = this.state[id];
    return state === PROTECTION_STATE.none ? PROTECTION_STATE.invalid : state;
  }

  /** An outbound SA of the protection is about to go: if packets leave on this SA, they leave on the other one, or on none. */
  stopUsing(id: number, slot: number): void {
    if (this.shared[id] === slot) this.shared[id] = NO_SA;
    if (this.own[id] === slot) this.own[id] = NO_SA;
    this.choose(id);
  }

  private choose(id: number): void {
    this.outboundSa[id] = this.own[id] === NO_SA ? this.shared[id] : this.own[id];
  }
}
