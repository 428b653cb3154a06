/**
 * An attach: where frames enter and leave. switch-attach.ts makes ovs-espd the datapath, companion-attach.ts puts it between
 * a real ovs-vswitchd and the network; the reconciler, the status commands and the report to OVSDB see no difference.
 */
import type { PortVlans, TunnelSettings } from '../dataplane/index.ts';
import type { BridgeState, DesiredState, TunnelState } from './config/desired-state.ts';
import type { LinkFacts } from './links.ts';
import { INVALID_PROTECTION } from './protections.ts';
import type { Underlay } from './underlay.ts';

export interface AttachedBridge {
  readonly id: number;
  readonly state: BridgeState;
}

export interface AttachedPort {
  readonly id: number;
  readonly bridge: number;
  readonly uuid: string;
  readonly name: string;
  readonly ofport: number;
  /** What the engine was given; the port is replaced when it changes. */
  readonly settings: string;
  /** Its VLANs, as the engine was given them. */
  readonly vlans: PortVlans | undefined;
  readonly device:
    | { readonly kind: 'tap' | 'system'; readonly fds: readonly number[]; readonly facts: LinkFacts | undefined }
    | { readonly kind: 'tunnel'; readonly egress: string | undefined; readonly uplinkMtu: number | undefined };
}

/** A port that could not be made, for Interface.error. */
export interface PortFailure {
  readonly uuid: string;
  readonly reason: string;
}

/** Id of the protection of a connection key. */
export type ProtectionOf = (connection: string) => number | undefined;

export interface Attach {
  bridges(): ReadonlyMap<string, AttachedBridge>;
  /** By the UUID of the Interface row. */
  ports(): ReadonlyMap<string, AttachedPort>;
  failures(): ReadonlyMap<string, PortFailure>;
  /**
   * The engine lacks a tunnel that asks for IPsec and whose packets may come all the same: until it has it, no tunnel packet may
   * leave in the clear.
   */
  closesAll(): boolean;
  /**
   * Makes everything what the configuration asks for, touching only what changed.
   * @param underlay routes to all remotes of `desired`, and the devices
   * @param ofportOf the ofport that the database has for an Interface, kept if it is free
   * @param close lets no tunnel packet leave in the clear; called before `closesAll` becomes true
   */
  apply(
    desired: DesiredState,
    underlay: Underlay,
    protectionOf: ProtectionOf,
    ofportOf: (uuid: string) => number | undefined,
    close: () => Promise<void>,
  ): Promise<void>;
  /** Takes everything down, and with it the TAPs. */
  removeAll(): Promise<void>;
  /** Ends what runs beside the engine, and leaves everything for a successor. */
  stop(): Promise<void>;
}

/** A tunnel that wants IPsec always has a protection: fail closed, whatever the configuration says. */
export function protectionOfTunnel(tunnel: TunnelState, protectionOf: ProtectionOf): number | undefined {
  if (tunnel.state === 'INVALID') return INVALID_PROTECTION;
  const protection = tunnel.connection === undefined ? undefined : protectionOf(tunnel.connection);
  return tunnel.wantsIpsec ? (protection ?? INVALID_PROTECTION) : protection;
}

/** Field by field: copies by spread may each get a hidden class of their own, and there are thousands of them. */
export function withProtection(
  settings: NonNullable<TunnelState['settings']>,
  protection: number | undefined,
): TunnelSettings {
  const { type, local, remote, inKey, outKey, checksum, destinationPort, ttl, tos, dontFragment, gbp, egressMark } =
    settings;
  return {
    type,
    local,
    remote,
    inKey,
    outKey,
    checksum,
    destinationPort,
    ttl,
    tos,
    dontFragment,
    gbp,
    egressMark,
    protection,
  };
}
