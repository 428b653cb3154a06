/**
 * Keeps our flows in one bridge of a real ovs-vswitchd: puts them in, changes only what differs, and puts them back when they are
 * lost, because somebody deleted them or ovs-vswitchd was started anew. The flows of others are left alone.
 *
 * It is told of losses: by the bridge's flow monitor, whose end says that ovs-vswitchd went away, and by the bridge's socket, which
 * appears when that is back. A slow timer is for what neither tells, such as a bridge that does not answer yet.
 */
import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { messageOf } from '../message-of.ts';
import type { Timers } from '../ovsdb/timers.ts';
import type { Logger } from '../vlog.ts';
import { flowCommands, matchOf } from './flows.ts';
import { COOKIE } from './matches.ts';
import type { FlowTable } from './ofctl.ts';

const RETRY_MS = 1000;
/** An ovs-vswitchd that has just started has its socket before it answers there. */
const QUICK_RETRY_MS = 50;
const QUICK_ATTEMPTS = 20;

export interface FlowKeeperOptions {
  readonly bridge: string;
  /** Path of BRIDGE.mgmt. */
  readonly socket: string;
  readonly table: FlowTable;
  readonly timers: Timers;
  readonly log: Logger;
}

export class FlowKeeper {
  readonly #options: FlowKeeperOptions;
  #wanted: ReadonlySet<string> = new Set();
  /** Our flows in the bridge as we last put them there; undefined: it may have others. */
  #present: ReadonlySet<string> | undefined;
  /** How the bridge lists them. */
  #listing = '';
  #stopMonitor: (() => void) | undefined;
  #watcher: FSWatcher | undefined;
  #retry: (() => void) | undefined;
  #attempts = 0;
  /** One thing at a time. */
  #last: Promise<void> = Promise.resolve();
  #isChecking = false;
  #closed = false;
  #failure: string | undefined;

  constructor(options: FlowKeeperOptions) {
    this.#options = options;
  }

  /** Why the flows are not in the bridge; undefined when they are. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Makes our flows in the bridge these, at once if the bridge answers, else as soon as it does. */
  async set(flows: readonly string[]): Promise<void> {
    this.#wanted = new Set(flows);
    await this.#then(() => this.#install());
  }

  /** Ends; with `remove` the flows go too. */
  async close(remove: boolean): Promise<void> {
    this.#closed = true;
    this.#stopWaiting();
    this.#stopMonitor?.();
    this.#stopMonitor = undefined;
    await this.#last;
    if (!remove) return;
    try {
      await this.#options.table.commit([`delete cookie=${COOKIE}/-1`]);
    } catch (error) {
      this.#options.log.warn(`bridge ${this.#options.bridge}: its flows could not be removed: ${messageOf(error)}`);
    }
  }

  #then(work: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(work);
    return this.#last;
  }

  async #install(): Promise<void> {
    if (this.#closed) return;
    const { table, bridge, log } = this.#options;
    const commands = flowCommands(this.#present, this.#wanted);
    if (commands.length === 0) return;
    const isFirst = this.#present === undefined;
    try {
      // Watched before they are there, so that no loss goes unseen.
      this.#stopMonitor ??= table.monitor(
        () => this.#check(),
        () => this.#lost(),
      );
      await table.commit(commands);
      this.#listing = await table.listing();
      // ovs-vswitchd takes all flows away when it carries out a change of fail_mode, which we may hear of first.
      const there = this.#listing.split('\n').filter(Boolean).length;
      const expected = new Set([...this.#wanted].map(matchOf)).size;
      if (there < expected) throw new Error(`only ${there} of ${expected} are there`);
    } catch (error) {
      this.#present = undefined;
      this.#fail(messageOf(error));
      this.#wait();
      return;
    }
    this.#present = this.#wanted;
    this.#failure = undefined;
    this.#stopWaiting();
    if (isFirst) log.info(`bridge ${bridge}: ${this.#wanted.size} flows are in place`);
  }

  /** Something of ours changed: by us, or by somebody else. */
  #check(): void {
    if (this.#isChecking) return;
    this.#isChecking = true;
    void this.#then(async () => {
      this.#isChecking = false;
      if (this.#closed || this.#present === undefined) return;
      const { table, bridge, log } = this.#options;
      const listing = await table.listing().catch(() => '');
      if (listing === this.#listing) return;
      log.warn(`bridge ${bridge}: flows of ours were changed or removed by somebody else; they are put back`);
      this.#present = undefined;
      await this.#install();
    });
  }

  /** The monitor ended: ovs-vswitchd went away, or its bridge did. */
  #lost(): void {
    this.#stopMonitor = undefined;
    void this.#then(async () => {
      if (this.#closed) return;
      this.#present = undefined;
      this.#attempts = 0;
      await this.#install();
    });
  }

  /** Until the bridge can be reached: its socket tells of itself, the timer is for the rest. */
  #wait(): void {
    const { socket, timers } = this.#options;
    const again = (): void => void this.#then(() => this.#install());
    if (this.#watcher === undefined) {
      this.#watcher = watch(dirname(socket), (_event, file) => {
        if (file !== basename(socket)) return;
        this.#attempts = 0;
        again();
      });
      this.#watcher.unref();
    }
    this.#retry?.();
    this.#retry = timers.after(this.#attempts++ < QUICK_ATTEMPTS ? QUICK_RETRY_MS : RETRY_MS, again);
  }

  #stopWaiting(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    this.#retry?.();
    this.#retry = undefined;
  }

  #fail(reason: string): void {
    if (this.#failure !== reason)
      this.#options.log.warn(
        `bridge ${this.#options.bridge}: flows could not be put in: ${reason}; tried again until they can`,
      );
    this.#failure = reason;
  }
}
