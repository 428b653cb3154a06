/** What a contender of an end-to-end benchmark is: something that joins two hosts by a protected tunnel. */
import type { Lan } from '../../test/rig/namespace.ts';
import type { Rig } from '../../test/rig/rig.ts';

/** One end of the tunnel: traffic is bound to this address in this namespace. */
export type TunnelEnd = { readonly namespace: string; readonly address: string };

/** A contender. */
export type Peer = {
  /** As the table shows it. */
  readonly name: string;
  /** One sentence on what is measured: encapsulation, ESP, cipher. */
  readonly what: string;
  /** Starts it on both hosts; resolves when a ping through the tunnel has come back. The rig stops it. */
  start(rig: Rig, lan: Lan): Promise<{ readonly client: TunnelEnd; readonly server: TunnelEnd }>;
};
