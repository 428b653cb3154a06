/** What a contender of an end-to-end benchmark is: something that joins two hosts by a tunnel. */
import type { Lan } from '../../test/rig/namespace.ts';
import type { Kind } from '../../test/rig/pcap.ts';
import type { Rig } from '../../test/rig/rig.ts';

/** One end of the tunnel: traffic is bound to this address in this namespace. */
export type TunnelEnd = { readonly namespace: string; readonly address: string };

/** Both ends of a tunnel that stands. */
export type TunnelEnds = { readonly client: TunnelEnd; readonly server: TunnelEnd };

/** A contender. */
export type Peer = {
  /** As the tables show it. */
  readonly name: string;
  /** One sentence on what is measured: encapsulation, ESP, cipher. */
  readonly what: string;
  /** What its packets on the underlay are; a capture proves it before anything is measured. */
  readonly wire: Kind;
  /** Programs that it needs. */
  readonly programs: readonly string[];
  /** Starts it on both hosts; resolves when a ping through the tunnel has come back. The rig stops it. */
  start(rig: Rig, lan: Lan): Promise<TunnelEnds>;
};
