/**
 * One child SA pair after its negotiation (RFC 7296 §1.3, §2.8): what it protects, which configured child it came
 * of, where it is in its life. Keys are not here: they go out with `child-install` and are not kept.
 * The table that holds all of them is child-table.ts; the exchanges that make and end them are in tasks/.
 */

import type { Timer } from '../timers.ts';
import type { ChildConfig, ChildSaSummary, Connection, EspMode, TrafficSelector } from '../types.ts';
import type { IkeSa } from './ike-sa.ts';

/**
 * `installed`: in use. `rekeying`: a replacement is being negotiated by us. `rekeyed`: the peer replaced it, or we
 * did, and it waits for its Delete. `deleting`: our Delete is on its way. `gone`: removed.
 */
export type ChildState = ChildSaSummary['state'] | 'gone';

export interface NegotiatedChild {
  readonly id: number;
  readonly connection: Connection;
  readonly config: ChildConfig;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly mode: EspMode;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
  readonly replaces: number | undefined;
  readonly initiator: boolean;
  /** The nonces of the exchange that made it: they decide collisions (RFC 7296 §2.8.1). */
  readonly nonces: readonly Uint8Array[];
  /** The peer's number of its resource (tasks/resources.ts); undefined: it has named none, or that is not known any more. */
  readonly peerResource?: number | undefined;
}

export class Child {
  readonly id: number;
  /** As it was when the child was negotiated; a later set-connection compares with it. */
  readonly connection: Connection;
  readonly config: ChildConfig;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly mode: EspMode;
  readonly tsLocal: readonly TrafficSelector[];
  readonly tsRemote: readonly TrafficSelector[];
  readonly replaces: number | undefined;
  readonly initiator: boolean;
  readonly nonces: readonly Uint8Array[];
  readonly peerResource: number | undefined;
  /** The IKE SA that carries it; a rekeyed IKE SA hands its children on. */
  ikeSa: IkeSa;
  state: ChildState = 'installed';
  deletedByPeer = false;
  /** Its configuration was changed or removed: it stays only until its successor is up. */
  outdated = false;
  installedAtMs = 0;
  rekeyAtMs: number | undefined;
  expiresAtMs = 0;
  rekeyTimer: Timer | undefined;
  expiryTimer: Timer | undefined;
  takeOverTimer: Timer | undefined;

  constructor(negotiated: NegotiatedChild, ikeSa: IkeSa) {
    this.id = negotiated.id;
    this.connection = negotiated.connection;
    this.config = negotiated.config;
    this.inboundSpi = negotiated.inboundSpi;
    this.outboundSpi = negotiated.outboundSpi;
    this.mode = negotiated.mode;
    this.tsLocal = negotiated.tsLocal;
    this.tsRemote = negotiated.tsRemote;
    this.replaces = negotiated.replaces;
    this.initiator = negotiated.initiator;
    this.nonces = negotiated.nonces;
    this.peerResource = negotiated.peerResource;
    this.ikeSa = ikeSa;
  }

  /** Counts as the child of its configuration being up. */
  get usable(): boolean {
    return (this.state === 'installed' || this.state === 'rekeying') && !this.outdated;
  }

  /** `tun-in{7}`. */
  get label(): string {
    return `${this.config.name}{${this.id}}`;
  }

  summary(): ChildSaSummary {
    return {
      id: this.id,
      connection: this.connection.name,
      child: this.config.name,
      inboundSpi: this.inboundSpi,
      outboundSpi: this.outboundSpi,
      state: this.state === 'gone' ? 'deleting' : this.state,
      installedAtMs: this.installedAtMs,
      rekeyAtMs: this.rekeyAtMs,
      expiresAtMs: this.expiresAtMs,
    };
  }
}

/** The mode that the configuration asks for. */
export const modeOf = (config: ChildConfig): EspMode => config.mode ?? 'transport';

/** An SPI as logs print it: `c0ffee01`. */
export const spiText = (spi: number): string => spi.toString(16).padStart(8, '0');
