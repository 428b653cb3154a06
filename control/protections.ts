/**
 * The protections: one row of the SPD for all tunnel packets of one kind between two addresses.
 *
 * Keeps their ids and states, and remembers in OVS_RUNDIR which were ever protected, so that a tunnel that
 * once had an SA never sends or accepts plaintext again, also after the daemon was killed (design: fail closed).
 * A protection is forgotten only when its tunnel, or the tunnel's IPsec, is taken out of the configuration. A tunnel
 * that gets other addresses, another type or port has a new protection, which begins as protected as the old one was:
 * a route that changes, or an operator's typing, must not open what was closed.
 *
 * When the disk cannot take it, a protection that was never up stays so, and whoever wants to install its SAs is told. What the
 * configuration changes is in force all the same, and written as soon as it can be (`writeBehind`).
 */
import { DEFAULT_LIMITS, type EngineCommand, type ProtectionState, type TunnelType } from '../dataplane/index.ts';
import { Ids } from './ids.ts';
import { ProtectionFile, ProtectionFileError, type Remembered, type Sync } from './protection-file.ts';

/** What makes two tunnels share a protection, and with it the SAs. */
export interface ProtectionTarget {
  readonly type: TunnelType;
  readonly local: string;
  readonly remote: string;
  /** UDP or TCP port, 0 for gre. */
  readonly port: number;
}

/** A target, and the names of the tunnels that ask for it. */
export interface WantedProtection extends ProtectionTarget {
  readonly tunnels: readonly string[];
}

export interface Protection extends WantedProtection {
  readonly id: number;
  readonly key: string;
  readonly state: ProtectionState;
}

/** What the file was told of a protection before it is needed. */
interface Ahead {
  readonly tunnels: readonly string[];
  isOnDisk: boolean;
  written: Promise<void> | undefined;
  /** It could not be written, and has not been tried again. */
  failure: ProtectionFileError | undefined;
}

/** The protection of tunnels that asked for IPsec and got it wrong: they send and accept nothing, whoever shares their addresses. */
export const INVALID_PROTECTION = 0;

export class Protections {
  readonly #file: ProtectionFile;
  readonly #byKey = new Map<string, Protection>();
  readonly #keysById = new Map<number, string>();
  /** Keys, and names of tunnels, that were ever protected. */
  readonly #everProtected: Set<string>;
  readonly #tunnels: Set<string>;
  /** By key, what is written ahead: not protected yet, but not to be left out of the file any more either. */
  readonly #ahead = new Map<string, Ahead>();
  readonly #writesAhead: boolean;
  readonly #ids: Ids;
  readonly #onBehind: (error: ProtectionFileError) => void;
  #isBehind = false;
  /** Ids that the engine was told to forget after the last call of `set`. */
  readonly #removed: number[] = [];

  /**
   * @param path the file in OVS_RUNDIR
   * @param limit of the packet engine
   * @param sync waits for the disk; without it nothing is written ahead
   * @param onBehind the file could not be made what the configuration asks for: call `writeBehind` after a while
   * @throws Error naming the file when it cannot be read or is not ours
   */
  constructor(
    path: string,
    limit = DEFAULT_LIMITS.protections,
    sync?: Sync,
    onBehind: (error: ProtectionFileError) => void = () => {},
  ) {
    this.#file = new ProtectionFile(path, sync);
    this.#onBehind = onBehind;
    this.#writesAhead = sync !== undefined;
    this.#ids = new Ids(INVALID_PROTECTION + 1, limit);
    const remembered = this.#file.read();
    this.#everProtected = new Set(remembered.keys);
    this.#tunnels = new Set(remembered.tunnels);
  }

  /** What the engine must hear before anything else. */
  initial(): EngineCommand[] {
    return [{ op: 'set-protection', protection: INVALID_PROTECTION, state: 'invalid' }];
  }

  get(key: string): Protection | undefined {
    return this.#byKey.get(key);
  }

  byId(id: number): Protection | undefined {
    const key = this.#keysById.get(id);
    return key === undefined ? undefined : this.#byKey.get(key);
  }

  all(): IterableIterator<Protection> {
    return this.#byKey.values();
  }

  /**
   * Makes the set of protections what the configuration asks for and returns the engine commands for the difference.
   * What is to be remembered is on disk before this returns, if the disk can take it; if not, a tunnel that is known to it stays
   * closed after a crash all the same, by its name, and what was forgotten is remembered.
   * @param wanted the targets by key
   * @param asking names of all tunnels that ask for IPsec, also of those that are INVALID
   * @param remembered whether a key that is not wanted now may come back as what it was: a tunnel whose settings
   *   are invalid for a while has not been taken out of the configuration
   */
  set(
    wanted: ReadonlyMap<string, WantedProtection>,
    asking: ReadonlySet<string>,
    remembered: (key: string) => boolean,
  ): EngineCommand[] {
    const commands: EngineCommand[] = [];
    for (const id of this.#removed.splice(0)) this.#ids.release(id);
    for (const [key, protection] of this.#byKey) {
      if (wanted.has(key)) continue;
      this.#byKey.delete(key);
      this.#keysById.delete(protection.id);
      this.#removed.push(protection.id);
      commands.push({ op: 'remove-protection', protection: protection.id });
    }
    let isChanged = false;
    const remember = (known: Set<string>, text: string): void => {
      isChanged ||= !known.has(text);
      known.add(text);
    };
    const forget = (known: Set<string>, isKept: (text: string) => boolean): void => {
      for (const text of known) if (!isKept(text)) isChanged = known.delete(text);
    };
    for (const [key, target] of wanted) {
      if (target.tunnels.some((name) => this.#tunnels.has(name))) remember(this.#everProtected, key);
      const state = this.#everProtected.has(key) ? 'protected' : 'never-up';
      if (state === 'protected') for (const name of target.tunnels) remember(this.#tunnels, name);
      const known = this.#byKey.get(key);
      const id = known?.id ?? this.#ids.take('tunnels with IPsec');
      this.#byKey.set(key, protectionOf(target, key, id, state));
      this.#keysById.set(id, key);
      if (known?.state !== state) commands.push({ op: 'set-protection', protection: id, state });
    }
    forget(this.#everProtected, (key) => wanted.has(key) || remembered(key));
    forget(this.#tunnels, (name) => asking.has(name));
    for (const key of this.#ahead.keys()) if (!wanted.has(key) && !remembered(key)) isChanged = this.#ahead.delete(key);
    if (isChanged || this.#isBehind) this.#write();
    return commands;
  }

  /** Tries again to make the file what the configuration asks for. */
  writeBehind(): void {
    if (this.#isBehind) this.#write();
  }

  #write(): void {
    try {
      this.#file.replace(this.#remembered());
      this.#isBehind = false;
    } catch (error) {
      if (!(error instanceof ProtectionFileError)) throw error;
      this.#isBehind = true;
      this.#onBehind(error);
    }
  }

  /**
   * An SA is to be installed soon: what `markProtected` has to have on disk is written ahead, together with that of others, and
   * nobody's thread waits. Resolves when it is there, or cannot be, as `markProtected` will say; undefined: there is nothing to
   * wait for.
   */
  remember(id: number): Promise<void> | undefined {
    const protection = this.byId(id);
    if (!this.#writesAhead || protection === undefined || protection.state === 'protected') return undefined;
    const { key, tunnels } = protection;
    const known = this.#ahead.get(key);
    if (known !== undefined && known.failure === undefined) return known.written;
    const ahead: Ahead = { tunnels, isOnDisk: false, written: undefined, failure: undefined };
    this.#ahead.set(key, ahead);
    ahead.written = this.#file
      .addSoon({ keys: [key], tunnels }, () => this.#remembered())
      .then(
        () => {
          ahead.isOnDisk = true;
          // Its tunnel was taken out of the configuration meanwhile.
          if (this.#ahead.get(key) !== ahead && !this.#everProtected.has(key)) this.#write();
        },
        (error: unknown) => {
          if (!(error instanceof ProtectionFileError)) throw error;
          ahead.failure = error;
        },
      )
      .finally(() => {
        ahead.written = undefined;
      });
    return ahead.written;
  }

  /**
   * An SA is about to be used: from now on never plaintext. On disk before the engine hears of it.
   * @throws ProtectionFileError when it is not on disk: then nothing has changed, and the SA must not be used
   */
  markProtected(id: number): EngineCommand[] {
    const protection = this.byId(id);
    if (protection === undefined || protection.state === 'protected') return [];
    const { key, tunnels } = protection;
    const ahead = this.#ahead.get(key);
    if (ahead?.failure !== undefined) throw ahead.failure;
    if (ahead?.isOnDisk !== true || tunnels.some((name) => !ahead.tunnels.includes(name))) this.#addNow(key, tunnels);
    this.#everProtected.add(key);
    for (const name of tunnels) this.#tunnels.add(name);
    this.#ahead.delete(key);
    this.#byKey.set(key, protectionOf(protection, key, id, 'protected'));
    return [{ op: 'set-protection', protection: id, state: 'protected' }];
  }

  #addNow(key: string, tunnels: readonly string[]): void {
    const known = this.#ahead.get(key);
    this.#ahead.set(key, { tunnels, isOnDisk: false, written: undefined, failure: undefined });
    try {
      this.#file.add({ keys: [key], tunnels }, () => this.#remembered());
    } catch (error) {
      if (known === undefined) this.#ahead.delete(key);
      else this.#ahead.set(key, known);
      throw error;
    }
  }

  #remembered(): Remembered {
    const aheads = [...this.#ahead].filter(([, { failure }]) => failure === undefined);
    const ahead = aheads.flatMap(([, { tunnels }]) => tunnels);
    return {
      keys: [...new Set([...this.#everProtected, ...aheads.map(([key]) => key)])].sort(),
      tunnels: [...new Set([...this.#tunnels, ...ahead])].sort(),
    };
  }

  close(): void {
    this.#file.close();
  }
}

/** Field by field: copies by spread may each get a hidden class of their own, and there are thousands of them. */
function protectionOf(
  { type, local, remote, port, tunnels }: WantedProtection,
  key: string,
  id: number,
  state: ProtectionState,
): Protection {
  return { type, local, remote, port, tunnels, id, key, state };
}
