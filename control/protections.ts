/**
 * The protections: one row of the SPD for all tunnel packets of one kind between two addresses.
 *
 * Keeps their ids and states, and remembers in OVS_RUNDIR which were ever protected, so that a tunnel that
 * once had an SA never sends or accepts plaintext again, also after the daemon was killed (design: fail closed).
 * A protection is forgotten only when its tunnel, or the tunnel's IPsec, is taken out of the configuration.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import type { EngineCommand, ProtectionState, TunnelType } from '../dataplane/index.ts';

/** What makes two tunnels share a protection, and with it the SAs. */
export interface ProtectionTarget {
  readonly type: TunnelType;
  readonly local: string;
  readonly remote: string;
  /** UDP or TCP port, 0 for gre. */
  readonly port: number;
}

export interface Protection extends ProtectionTarget {
  readonly id: number;
  readonly key: string;
  readonly state: ProtectionState;
}

/** The protection of tunnels that asked for IPsec and got it wrong: they send and accept nothing, whoever shares their addresses. */
export const INVALID_PROTECTION = 0;

export class Protections {
  readonly #path: string;
  readonly #byKey = new Map<string, Protection>();
  readonly #everProtected: Set<string>;
  #nextId = 1;

  /** @param path the file in OVS_RUNDIR; @throws Error naming it when it cannot be read or is not ours. */
  constructor(path: string) {
    this.#path = path;
    this.#everProtected = new Set(readRemembered(path));
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
   * @param wanted the targets by key
   * @param remembered whether a key that is not wanted now may come back as what it was: a tunnel whose settings
   *   are invalid for a while has not been taken out of the configuration
   */
  set(wanted: ReadonlyMap<string, ProtectionTarget>, remembered: (key: string) => boolean): EngineCommand[] {
    const commands: EngineCommand[] = [];
    for (const [key, protection] of this.#byKey) {
      if (wanted.has(key)) continue;
      this.#byKey.delete(key);
      commands.push({ op: 'remove-protection', protection: protection.id });
    }
    for (const [key, target] of wanted) {
      if (this.#byKey.has(key)) continue;
      const state = this.#everProtected.has(key) ? 'protected' : 'never-up';
      const id = this.#nextId++;
      this.#byKey.set(key, { ...target, key, id, state });
      commands.push({ op: 'set-protection', protection: id, state });
    }
    this.#forget((key) => !wanted.has(key) && !remembered(key));
    return commands;
  }

  /** An SA is about to be used: from now on never plaintext. Written to disk before the engine hears of it. */
  markProtected(id: number): EngineCommand[] {
    const protection = this.byId(id);
    if (protection === undefined || protection.state === 'protected') return [];
    this.#everProtected.add(protection.key);
    this.#write();
    this.#byKey.set(protection.key, { ...protection, state: 'protected' });
    return [{ op: 'set-protection', protection: id, state: 'protected' }];
  }

  #forget(forgettable: (key: string) => boolean): void {
    const gone = [...this.#everProtected].filter(forgettable);
    if (gone.length === 0) return;
    for (const key of gone) this.#everProtected.delete(key);
    this.#write();
  }

  #write(): void {
    const temporary = `${this.#path}.new`;
    const fd = openSync(temporary, 'w', 0o600);
    writeSync(fd, `${JSON.stringify({ protected: [...this.#everProtected].sort() })}\n`);
    fsyncSync(fd);
    closeSync(fd);
    renameSync(temporary, this.#path);
  }
}

function readRemembered(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  const mend = `${path} lists the tunnels that must never send plaintext again and cannot be read; look at it, and remove it only if plaintext is acceptable`;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error(mend);
  }
  const list = typeof value === 'object' && value !== null && 'protected' in value ? value.protected : undefined;
  if (!Array.isArray(list) || !list.every((key) => typeof key === 'string')) throw new Error(mend);
  return list;
}
