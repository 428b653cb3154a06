/**
 * What a daemon leaves to its successor, and what the successor makes of it: IKE SAs at rest, with their children's keys,
 * the sequence numbers that were used and the replay windows as they stand.
 *
 * Sequence numbers are read when no worker runs any more, and go on beyond a jump all the same: never two packets with one key
 * and IV. A connection whose configuration has changed meanwhile inherits nothing.
 */
import { createHash } from 'node:crypto';
import type { Engine } from '../../dataplane/index.ts';
import type { Authentication, ChildSa, IkeSaSnapshot, InheritedIkeSa } from '../../ike/index.ts';
import type { InstalledChild } from '../child-sas.ts';
import type { ConnectionPlan } from '../connections.ts';
import type { Logger } from '../vlog.ts';
import { type HandOverClock, handOverPath, takeHandOver, writeHandOver } from './hand-over-file.ts';

/** Changes whenever a successor of another version could misread the file. */
const FORMAT = 2;
/** Sequence numbers that are skipped: far more than workers could have reserved unseen, far less than there are. */
const SEQUENCE_JUMP = 1 << 16;

/** Where the data path goes on with an SA. */
export interface Resumption {
  readonly lastSequence: number;
  /** As Engine.replayState gives it. */
  readonly replay: Uint8Array;
}

interface Legacy {
  readonly format: number;
  /** By connection name. */
  readonly fingerprints: Readonly<Record<string, string>>;
  readonly sas: readonly InheritedIkeSa[];
  /** By inbound SPI. */
  readonly resumptions: Readonly<Record<string, Resumption>>;
}

/** What has to be known before the SAs are gone from where they are used. */
export function childKeysOf(children: Iterable<InstalledChild>): ReadonlyMap<number, InstalledChild> {
  return new Map(
    [...children].map((child) => {
      const { inboundKey, outboundKey } = child.sa;
      const sa: ChildSa = { ...child.sa, inboundKey: inboundKey.slice(), outboundKey: outboundKey.slice() };
      return [sa.inboundSpi, { ...child, sa }];
    }),
  );
}

/** Writes everything down, after the engine has stopped. Gives how many IKE SAs. @throws Error with one line */
export function leave(
  runDirectory: string,
  clock: HandOverClock,
  snapshots: readonly IkeSaSnapshot[],
  children: ReadonlyMap<number, InstalledChild>,
  plans: readonly ConnectionPlan[],
  engine: Pick<Engine, 'counters' | 'replayState'>,
): number {
  const path = handOverPath(runDirectory);
  if (path === undefined)
    throw new Error(`neither ${runDirectory} nor /dev/shm is a tmpfs: keys are not written to a disk`);
  const sas = snapshots.flatMap((snapshot): InheritedIkeSa[] => {
    const withKeys = snapshot.children.flatMap((child) => {
      const sa = children.get(child.inboundSpi)?.sa;
      if (sa === undefined) return [];
      const { algorithm, inboundKey, outboundKey, esn } = sa;
      return [{ ...child, algorithm, inboundKey, outboundKey, esn }];
    });
    return withKeys.length === snapshot.children.length ? [{ ...snapshot, children: withKeys }] : [];
  });
  const resumptions = [...children.values()].map(({ sa, inboundSlot, outboundSlot }) => [
    sa.inboundSpi,
    { lastSequence: engine.counters().sa('out', outboundSlot).sequence, replay: engine.replayState(inboundSlot) },
  ]);
  const legacy: Legacy = {
    format: FORMAT,
    fingerprints: Object.fromEntries(plans.map((plan) => [plan.connection.name, fingerprintOf(plan)])),
    sas,
    resumptions: Object.fromEntries(resumptions) as Legacy['resumptions'],
  };
  writeHandOver(path, legacy, clock);
  return sas.length;
}

/** What is left of a predecessor's, until it is claimed. */
export class Inheritance {
  readonly #legacy: Legacy;
  readonly #engine: Pick<Engine, 'releaseSpi'>;
  readonly #log: Logger;
  readonly #unclaimed: Set<InheritedIkeSa>;

  /** Undefined: nothing was left, or nothing that can be believed or used here. */
  static of(
    runDirectory: string,
    clock: HandOverClock,
    engine: Pick<Engine, 'adoptSpi' | 'releaseSpi'>,
    log: Logger,
  ): Inheritance | undefined {
    const path = handOverPath(runDirectory);
    const taken = path === undefined ? undefined : takeHandOver(path, clock);
    if (taken === undefined) return undefined;
    const legacy = 'refused' in taken ? undefined : (taken.content as Legacy);
    if (legacy?.format !== FORMAT) {
      const why = 'refused' in taken ? taken.refused : 'it is of another version';
      log.warn(`${path}: not taken over, ${why}; every tunnel is negotiated anew`);
      return undefined;
    }
    for (const { inboundSpi } of legacy.sas.flatMap(({ children }) => children)) {
      if (engine.adoptSpi(inboundSpi)) continue;
      log.warn(`${path}: not taken over, it needs as many --workers as before; every tunnel is negotiated anew`);
      return undefined;
    }
    return new Inheritance(legacy, engine, log);
  }

  private constructor(legacy: Legacy, engine: Pick<Engine, 'releaseSpi'>, log: Logger) {
    this.#legacy = legacy;
    this.#engine = engine;
    this.#log = log;
    this.#unclaimed = new Set(legacy.sas);
  }

  /** The IKE SAs of a connection, if its configuration is the same. */
  claim(plan: ConnectionPlan): readonly InheritedIkeSa[] {
    const { name } = plan.connection;
    if (this.#legacy.fingerprints[name] !== fingerprintOf(plan)) return [];
    const sas = [...this.#unclaimed].filter(({ connection }) => connection === name);
    for (const sa of sas) this.#unclaimed.delete(sa);
    return sas;
  }

  resumptionOf(inboundSpi: number): Resumption | undefined {
    const found = this.#legacy.resumptions[String(inboundSpi)];
    return found && { ...found, lastSequence: Math.min(found.lastSequence + SEQUENCE_JUMP, 0xffff_ffff) };
  }

  /** After the first configuration: what nobody has claimed is forgotten. */
  settle(): void {
    for (const { connection, children } of this.#unclaimed) {
      this.#log.info(`${connection}: not taken over, as its configuration has changed`);
      for (const { inboundSpi } of children) this.#engine.releaseSpi(inboundSpi);
    }
    this.#unclaimed.clear();
  }
}

/** Equal for equal configurations of a connection, credentials included. As secret as the file that it stands in. */
function fingerprintOf({ connection, children }: ConnectionPlan): string {
  const text = JSON.stringify([{ ...connection, authentication: proofOf(connection.authentication) }, children]);
  return createHash('sha256').update(text).digest('hex');
}

function proofOf(authentication: Authentication): string {
  if (authentication.method === 'psk') return createHash('sha256').update(authentication.secret).digest('hex');
  const { certificates, peerName, trust } = authentication;
  const trusted = trust.kind === 'pinned' ? [trust.certificate] : trust.authorities;
  return [peerName, ...[...certificates, ...trusted].map(({ fingerprint }) => fingerprint)].join(' ');
}
