/**
 * The engine: takes datagrams, commands and the time, gives actions. It finds the IKE SA that a message is for, or
 * lets a new peer in (half-open.ts), and keeps the configured connections. Everything else is in the rooms below.
 *
 * One call is served at a time, and nothing waits: `input`, `command` and `tick` return all that is to be done.
 */

import { Computations } from './computations.ts';
import { ConnectionState } from './connection.ts';
import { applyConfiguration, checkConnection } from './connection-change.ts';
import type { EngineContext } from './context.ts';
import { type CounterName, Counters } from './counters.ts';
import type { JobResult } from './crypto/jobs.ts';
import { HalfOpen } from './half-open.ts';
import { type IkeSaSnapshot, inherit, snapshotOf } from './hand-over.ts';
import { Journal } from './journal.ts';
import { deleteNotInstalled } from './not-installed.ts';
import { reauthenticate } from './retirement.ts';
import { ChildTable } from './sa/child-table.ts';
import type { IkeSa } from './sa/ike-sa.ts';
import { notify } from './sa/notify.ts';
import { followPacket } from './sa/peer-path.ts';
import { StartGate } from './start-gate.ts';
import { ANSWERS } from './tasks/answers.ts';
import { rekeyChild } from './tasks/child-rekey.ts';
import { sayGoodbye } from './tasks/delete.ts';
import { TimerQueue } from './timers.ts';
import { canonicalAddress } from './traffic-selectors.ts';
import type {
  ConnectionStatus,
  Datagram,
  EngineHost,
  EngineSettings,
  IkeAction,
  IkeCommand,
  IkeCounters,
  IkeEngine,
  IkeLoad,
  JournalLine,
  LogLevel,
} from './types.ts';
import { PARSE_FAILURES } from './wire/failures.ts';
import { type IkeHeader, ZERO_SPI } from './wire/header.ts';
import { emitMessage, parseMessage } from './wire/message.ts';
import { NOTIFY } from './wire/names.ts';

/** `logRarely` says the same this often. */
const RARE_MS = 10_000;

/** The same for all spellings of two addresses. */
const addressPair = (local: string, remote: string): string => `${canonicalAddress(local)} ${canonicalAddress(remote)}`;

/** Makes an engine without connections. Settings and host are taken as they are. */
export function createIkeEngine(settings: EngineSettings, host: EngineHost): IkeEngine {
  return new Engine(settings, host);
}

class Engine implements IkeEngine, EngineContext {
  readonly settings: EngineSettings;
  readonly host: EngineHost;
  readonly timers = new TimerQueue();
  readonly ikeSas = new Map<string, IkeSa>();
  readonly answers = ANSWERS;
  readonly children: ChildTable;
  readonly journal = new Journal();
  readonly starts = new StartGate();
  readonly computations: Computations;
  configurationKnown = false;
  readonly #connections = new Map<string, ConnectionState>();
  readonly #counters = new Counters();
  readonly #halfOpen: HalfOpen;
  readonly #lastLogged = new Map<string, number>();
  /** Built when it is asked for, dropped when connections change or go. */
  #byAddresses: Map<string, ConnectionState[]> | undefined;
  #actions: IkeAction[] = [];
  #nowMs = 0;

  constructor(settings: EngineSettings, host: EngineHost) {
    this.settings = settings;
    this.host = host;
    this.computations = new Computations(settings.computations ?? 0, (action) => this.emit(action));
    this.children = new ChildTable(this);
    this.#halfOpen = new HalfOpen(this);
  }

  // --- IkeEngine

  input(nowMs: number, datagram: Datagram): IkeAction[] {
    return this.#serve(nowMs, () => this.#receive(datagram));
  }

  command(nowMs: number, command: IkeCommand): IkeAction[] {
    return this.#serve(nowMs, () => this.#obey(command));
  }

  tick(nowMs: number, atMost?: number): IkeAction[] {
    return this.#serve(nowMs, () => this.timers.run(nowMs, atMost));
  }

  computed(nowMs: number, id: number, result: JobResult | undefined): IkeAction[] {
    return this.#serve(nowMs, () => {
      if (result === undefined) this.count('computed: in place after all');
      else this.count(result.step === 'sign' ? 'computed: signatures' : 'computed: key exchange steps');
      this.computations.computed(id, result);
    });
  }

  nextTimerMs(): number | undefined {
    return this.timers.nextMs();
  }

  status(): readonly ConnectionStatus[] {
    return [...this.#connections.values()].map((connection) => connection.status());
  }

  counters(): IkeCounters {
    return this.#counters.all();
  }

  journalOf(connection: string): readonly JournalLine[] {
    return this.journal.of(connection);
  }

  load(): IkeLoad {
    return {
      ikeSas: this.ikeSas.size,
      halfOpen: this.#halfOpen.size,
      children: this.children.size,
      timers: this.timers.size,
      computations: this.computations.outstanding,
    };
  }

  #serve(nowMs: number, serve: () => void): IkeAction[] {
    // A clock that goes back would make timers late; the engine's time never does.
    this.#nowMs = Math.max(this.#nowMs, nowMs);
    this.#actions = [];
    serve();
    return this.#actions;
  }

  // --- messages

  #receive(datagram: Datagram): void {
    this.count('received: messages');
    const parsed = parseMessage(datagram.data);
    if (!parsed.ok) {
      this.count(`dropped: ${parsed.reason}`);
      const answer = PARSE_FAILURES[parsed.reason];
      if (answer === 'INVALID_MAJOR_VERSION' && parsed.header !== undefined)
        this.#otherVersion(datagram, parsed.header);
      return;
    }
    const { header } = parsed.message;
    if (header.exchange === 'IKE_SA_INIT' && !header.responseFlag && header.responderSpi === ZERO_SPI) {
      this.#halfOpen.receive(datagram, parsed.message);
      return;
    }
    const sa = this.ikeSas.get(header.initiatorFlag ? header.responderSpi : header.initiatorSpi);
    // INVALID_IKE_SPI would be unprotected, and nobody may act on it (RFC 7296 §2.21.4): silence says as much.
    if (sa === undefined) {
      this.count('dropped: unknown SPI');
      return;
    }
    sa.receive(datagram, parsed.message);
  }

  /** RFC 7296 §2.5: a request of a higher major version is told ours; a response is not answered. */
  #otherVersion(datagram: Datagram, header: IkeHeader): void {
    if (header.responseFlag || header.majorVersion <= 2) return;
    if (!this.configurationKnown) {
      this.count('dropped: not configured yet');
      return;
    }
    this.count('sent: invalid major version');
    this.count('sent: messages');
    const data = emitMessage({ ...header, initiatorFlag: !header.initiatorFlag, responseFlag: true }, [
      notify(NOTIFY.INVALID_MAJOR_VERSION),
    ]);
    this.emit({ action: 'send', local: datagram.local, remote: datagram.remote, data });
  }

  // --- commands

  #obey(command: IkeCommand): void {
    switch (command.command) {
      case 'set-connection': {
        const { connection } = command;
        checkConnection(connection);
        const state = this.#connections.get(connection.name);
        if (state !== undefined) {
          this.#byAddresses = undefined;
          applyConfiguration(state, connection);
          return;
        }
        const added = new ConnectionState(this, connection);
        this.#connections.set(connection.name, added);
        this.#enterAddresses(added);
        for (const sa of command.inherited ?? []) inherit(added, sa);
        added.reconcile();
        return;
      }
      case 'remove-connection': {
        this.#connections.get(command.name)?.remove('its connection was removed');
        this.#connections.delete(command.name);
        this.journal.forget(command.name);
        this.#byAddresses = undefined;
        return;
      }
      case 'configuration-known':
        this.configurationKnown = command.known;
        return;
      case 'acquire':
        this.#connections.get(command.connection)?.acquire();
        return;
      case 'reauthenticate': {
        const state = this.#connections.get(command.connection);
        for (const sa of state?.ikeSas ?? []) if (state !== undefined) reauthenticate(state, sa);
        return;
      }
      case 'child-soft-limit': {
        const child = this.children.get(command.id);
        if (child !== undefined) rekeyChild(child);
        return;
      }
      case 'child-exhausted': {
        const child = this.children.get(command.id);
        if (child !== undefined) child.ikeSa.connection?.childExpired(child, 'its sequence numbers are used up');
        return;
      }
      case 'child-not-installed': {
        const child = this.children.get(command.id);
        const connection = child?.ikeSa.connection;
        if (child !== undefined && connection !== undefined) deleteNotInstalled(connection, child, command.reason);
        return;
      }
      case 'child-traffic-seen': {
        const child = this.children.get(command.id);
        if (child === undefined) return;
        child.ikeSa.lastHeardMs = this.#nowMs;
        this.children.startSending(child);
        return;
      }
      case 'child-seen-from': {
        const child = this.children.get(command.id);
        if (child !== undefined) followPacket(child.ikeSa, command.remote);
        return;
      }
      case 'shutdown':
        this.#shutdown();
        return;
    }
  }

  /** What is at rest is for a successor; everything else is deleted at its peer. The engine is empty afterwards. */
  handOver(nowMs: number): { readonly sas: readonly IkeSaSnapshot[]; readonly actions: IkeAction[] } {
    const sas: IkeSaSnapshot[] = [];
    const actions = this.#serve(nowMs, () => {
      for (const sa of this.ikeSas.values()) {
        const snapshot = snapshotOf(sa);
        if (snapshot === undefined) sayGoodbye(sa);
        else sas.push(snapshot);
      }
      this.#forgetAll('ovs-espd hands over to its successor');
    });
    return { sas, actions };
  }

  #shutdown(): void {
    for (const sa of this.ikeSas.values()) sayGoodbye(sa);
    this.#forgetAll('ovs-espd is shutting down');
  }

  #forgetAll(reason: string): void {
    this.configurationKnown = false;
    this.#halfOpen.forget();
    const all = [...this.ikeSas.values()];
    for (const state of this.#connections.values()) state.forget();
    this.#connections.clear();
    this.#byAddresses = undefined;
    for (const sa of all) sa.end('closed', reason);
  }

  // --- EngineContext

  connectionsBetween(local: string, remote: string): readonly ConnectionState[] {
    // Asked for each IKE_SA_INIT request of anybody, so it must not cost more with many connections.
    if (this.#byAddresses === undefined) {
      this.#byAddresses = new Map();
      for (const state of this.#connections.values()) this.#enterAddresses(state);
    }
    return this.#byAddresses.get(addressPair(local, remote)) ?? [];
  }

  #enterAddresses(state: ConnectionState): void {
    const key = addressPair(state.config.local, state.config.remote);
    this.#byAddresses?.set(key, [...(this.#byAddresses.get(key) ?? []), state]);
  }

  nowMs(): number {
    return this.#nowMs;
  }

  fraction(): number {
    const bytes = this.host.random(4);
    return (((bytes[0] << 24) | (bytes[1] << 16) | (bytes[2] << 8) | bytes[3]) >>> 0) / 2 ** 32;
  }

  emit(action: IkeAction): void {
    this.#actions.push(action);
  }

  count(name: CounterName): void {
    this.#counters.count(name);
  }

  log(level: LogLevel, connection: string | undefined, message: string): void {
    if (connection !== undefined && level !== 'dbg') this.journal.note(connection, this.#nowMs, message);
    this.emit({ action: 'log', level, connection, message });
  }

  logRarely(topic: string, level: LogLevel, connection: string | undefined, message: string): void {
    const last = this.#lastLogged.get(topic);
    if (last !== undefined && this.#nowMs < last + RARE_MS) return;
    this.#lastLogged.set(topic, this.#nowMs);
    this.log(level, connection, message);
  }
}
