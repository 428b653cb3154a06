/**
 * What a bad wire does to frames. Each chance is for one frame; a profile is written as JSON for faulty-wire.mjs, which
 * reads it again on SIGHUP. ARP is spared, so that a test of the tunnel is not one of the neighbour cache.
 */

export interface Profile {
  readonly name: string;
  /** 0 to 1: the frame is lost. */
  readonly loss: number;
  /** 0 to 1: the frame comes twice, the copy a little later. */
  readonly duplicate: number;
  /** 0 to 1: the frame is held back for 1 to `holdMs` ms, while others pass it. */
  readonly reorder: number;
  readonly holdMs: number;
  /** 0 to 1: one bit behind the Ethernet header is turned over. */
  readonly corrupt: number;
  /** Milliseconds that every frame takes. */
  readonly delayMs: number;
  /** IKE_SA_INIT requests from this IPv4 address are lost, whatever else passes: only the other end can begin. */
  readonly mute?: string;
}

const SOUND: Profile = { name: 'sound', loss: 0, duplicate: 0, reorder: 0, holdMs: 5, corrupt: 0, delayMs: 0 };

export const PROFILES = {
  sound: SOUND,
  loss: { ...SOUND, name: 'loss', loss: 0.03 },
  duplication: { ...SOUND, name: 'duplication', duplicate: 0.2 },
  reordering: { ...SOUND, name: 'reordering', reorder: 0.1 },
  corruption: { ...SOUND, name: 'corruption', corrupt: 0.03 },
  delay: { ...SOUND, name: 'delay', delayMs: 20 },
  everything: {
    ...SOUND,
    ...{ name: 'everything', loss: 0.01, duplicate: 0.03, reorder: 0.03, corrupt: 0.01, delayMs: 2 },
  },
  /** For negotiations: no TCP would get far. */
  storm: { ...SOUND, name: 'storm', loss: 0.3, duplicate: 0.2, reorder: 0.2, holdMs: 50, corrupt: 0.05, delayMs: 5 },
} as const satisfies Record<string, Profile>;
