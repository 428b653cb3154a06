/**
 * The protections: one row of the SPD for all tunnel packets of one kind between two addresses.
 *
 * Keeps their ids and states, and remembers in OVS_RUNDIR which were ever protected, so that a tunnel that
 * once had an SA never sends or accepts plaintext again, also after the daemon was killed (design: fail closed).
 * A protection is forgotten only when its tunnel, or the tunnel's IPsec, is taken out of the configuration. A tunnel
 * that gets other addresses, another type or port has a new protection, which begins as protected as the old one was:
 * a route that changes, or an operator's typing, must not open what was closed.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { DEFAULT_LIMITS, type EngineCommand, type ProtectionState, type TunnelType } from '../dataplane/index.ts';
import { Ids } from './ids.ts';

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

/** The protection of tunnels that asked for IPsec and got it wrong: they send and accept nothing, whoever shares their addresses. */
export const INVALID_PROTECTION = 0;

export class Protections {
  readonly #path: string;
  readonly #byKey = new Map<string, Protection>();
  /** Keys, and names of tunnels, that were ever protected. */
  readonly #everProtected: Set<string>;
  readonly #tunnels: Set<string>;
  readonly #ids: Ids;
  /** Ids that the engine was told to forget after the last call of `set`. */
  readonly #removed: number[] = [];

  /**
   * @param path the file in OVS_RUNDIR
   * @param limit of the packet engine
   * @throws Error naming the file when it cannot be read or is not ours
   */
  constructor(path: string, limit = DEFAULT_LIMITS.protections) {
    this.#path = path;
    this.#ids = new Ids(INVALID_PROTECTION + 1, limit);
    const remembered = rememberedProtections(path);
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
    for (const protection of this.#byKey.values()) if (protection.id === id) return protection;
    return undefined;
  }

  all(): IterableIterator<Protection> {
    return this.#byKey.values();
  }

  /**
   * Makes the set of protections what the configuration asks for and returns the engine commands for the difference.
   * What is to be remembered is on disk before this returns.
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
      this.#removed.push(protection.id);
      commands.push({ op: 'remove-protection', protection: protection.id });
    }
    const before = this.#text();
    for (const [key, target] of wanted) {
      if (target.tunnels.some((name) => this.#tunnels.has(name))) this.#everProtected.add(key);
      const state = this.#everProtected.has(key) ? 'protected' : 'never-up';
      if (state === 'protected') for (const name of target.tunnels) this.#tunnels.add(name);
      const known = this.#byKey.get(key);
      const id = known?.id ?? this.#ids.take('tunnels with IPsec');
      this.#byKey.set(key, { ...target, key, id, state });
      if (known?.state !== state) commands.push({ op: 'set-protection', protection: id, state });
    }
    for (const key of this.#everProtected) if (!wanted.has(key) && !remembered(key)) this.#everProtected.delete(key);
    for (const name of this.#tunnels) if (!asking.has(name)) this.#tunnels.delete(name);
    if (this.#text() !== before) this.#write();
    return commands;
  }

  /** An SA is about to be used: from now on never plaintext. Written to disk before the engine hears of it. */
  markProtected(id: number): EngineCommand[] {
    const protection = this.byId(id);
    if (protection === undefined || protection.state === 'protected') return [];
    this.#everProtected.add(protection.key);
    for (const name of protection.tunnels) this.#tunnels.add(name);
    this.#write();
    this.#byKey.set(protection.key, { ...protection, state: 'protected' });
    return [{ op: 'set-protection', protection: id, state: 'protected' }];
  }

  #text(): string {
    return `${JSON.stringify({ protected: [...this.#everProtected].sort(), tunnels: [...this.#tunnels].sort() })}\n`;
  }

  #write(): void {
    const temporary = `${this.#path}.new`;
    const fd = openSync(temporary, 'w', 0o600);
    writeSync(fd, this.#text());
    fsyncSync(fd);
    closeSync(fd);
    renameSync(temporary, this.#path);
  }
}

/** Keys and names of tunnels that were ever protected. */
export interface Remembered {
  readonly keys: readonly string[];
  readonly tunnels: readonly string[];
}

/** @throws Error naming the file when it cannot be read or is not ours */
export function rememberedProtections(path: string): Remembered {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { keys: [], tunnels: [] };
    throw error;
  }
  const mend = `${path} lists the tunnels that must never send plaintext again and cannot be read; look at it, and remove it only if plaintext is acceptable`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(mend);
  }
  if (typeof value !== 'object' || value === null || !('protected' in value) || !isTexts(value.protected))
    throw new Error(mend);
  // Files of the first version have no names.
  const tunnels = 'tunnels' in value ? value.tunnels : [];
  if (!isTexts(tunnels)) throw new Error(mend);
  return { keys: value.protected, tunnels };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
