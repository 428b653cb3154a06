/**
 * Runs the sans-IO IKEv2 engine: gives it datagrams, the clock and commands, and carries out its actions.
 *
 * Owns the UDP sockets 500 and 4500 (on 4500 an IKE message begins with the non-ESP marker, RFC 3948 §2.2)
 * and one timer. What child SAs mean for packets is ChildSaInstaller's; what a negotiation means is ike's.
 */

import { IKE_IN_UDP } from '../dataplane/index.ts';
import {
  type ChildSa,
  type ConnectionStatus,
  type Endpoint,
  type IkeAction,
  type IkeCommand,
  type IkeEngine,
  type IkeKeyLog,
  type IkeLoad,
  type IkeSaSnapshot,
  type Job,
  type JobResult,
  type JournalLine,
  type UdpPath,
  wipeResult,
} from '../ike/index.ts';
import type { Native, ReceivedDatagram } from '../native-shims/index.ts';
import { NativeError } from '../native-shims/index.ts';
import type { Computer } from './compute-pool.ts';
import { IkeActions } from './ike-actions.ts';
import type { Timers } from './ovsdb/timers.ts';
import type { Logger } from './vlog.ts';

export const IKE_PORT = 500;
export const NAT_T_PORT = 4500;
const NON_ESP_MARKER_BYTES = 4;
/** RFC 3948 §2.3. */
const KEEPALIVE = Uint8Array.of(0xff);
/** In one turn of the event loop datagrams are taken in such portions, for so long: a flood, or dear key exchanges, cannot starve the rest. */
const DATAGRAMS_AT_ONCE = 2;
const TURN_MS = 10;
/** As many timers as the time is looked at for. */
const TIMERS_AT_ONCE = 4;
/** Bytes: requests of a few thousand peers at once. */
const RECEIVE_BUFFER = 4 << 20;

/** Who carries out what a negotiation decided. */
export interface ChildSaSink {
  /** Begins what `install` would have to wait for; undefined: nothing. */
  prepare(sa: ChildSa): Promise<void> | undefined;
  install(sa: ChildSa, sendNow: boolean): void;
  send(id: number): void;
  /** ESP in UDP goes another way: the peer's NAT has given it another address or port. */
  move(id: number, udpEncapsulation: UdpPath): void;
  remove(id: number, drainMs: number, reason: string): void;
}

export interface IkeRunnerOptions {
  readonly native: Native;
  readonly engine: IkeEngine;
  readonly children: ChildSaSink;
  readonly log: Logger;
  /** A change that tunnels/show would show: IKE SA up or down, an attempt failed. */
  readonly onChange: () => void;
  /** Only with EngineSettings.computations. */
  readonly computer?: Computer | undefined;
  /** A bug: whoever runs this must end it. */
  readonly onBug: (error: unknown) => void;
  /** Only with EngineSettings.keyLog. */
  readonly onKeys?: ((keys: IkeKeyLog) => void) | undefined;
  /** Of the same clock as native.monotonicMs. */
  readonly timers: Timers;
}

/** Undefined: it could not be done. */
interface Computed {
  readonly id: number;
  readonly result: JobResult | undefined;
}

export class IkeRunner {
  readonly #options: IkeRunnerOptions;
  /** By family and port. */
  readonly #sockets = new Map<string, { fd: number; stop: () => void }>();
  readonly #counters: Record<string, number> = {};
  readonly #actions: IkeActions;
  #computed: Computed[] = [];
  #cancelTimer: (() => void) | undefined;
  #running = false;

  constructor(options: IkeRunnerOptions) {
    this.#options = options;
    this.#actions = new IkeActions({
      carryOut: (action) => this.#carryOut(action),
      prepare: (action) => (action.action === 'child-install' ? options.children.prepare(action.sa) : undefined),
      onBug: options.onBug,
    });
  }

  /**
   * Opens the sockets.
   * @throws NativeError when port 500 over IPv4 cannot be had. What else is taken is a warning: port 4500 only peers that
   *   float need, and IPv6 only tunnels over it.
   */
  start(): void {
    this.#running = true;
    this.#open(4, IKE_PORT);
    this.#openIfPossible(4, NAT_T_PORT, `peers that move IKE to port ${NAT_T_PORT}`);
    this.#openIfPossible(6, IKE_PORT, 'peers over IPv6');
    this.#openIfPossible(6, NAT_T_PORT, `peers over IPv6 that move IKE to port ${NAT_T_PORT}`);
  }

  #openIfPossible(family: 4 | 6, port: number, unheard: string): void {
    try {
      this.#open(family, port);
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      const { log } = this.#options;
      if (error.code === 'EAFNOSUPPORT') log.dbg(`${error.message}: this host has no IPv6`);
      else log.warn(`${error.message}: ${unheard} will not be heard; stop the program that has the port`);
    }
  }

  #open(family: 4 | 6, port: number): void {
    const address = family === 6 ? '::' : '0.0.0.0';
    // The packet workers have sockets of their own for ESP in UDP on port 4500; here it would only be in the way of IKE.
    const reusePort = port === NAT_T_PORT;
    const fd = this.#options.native.openUdpSocket({
      family,
      address,
      port,
      packetInfo: true,
      reusePort,
      receiveBuffer: RECEIVE_BUFFER,
    });
    if (port === NAT_T_PORT) this.#options.native.attachFilter(fd, IKE_IN_UDP);
    const stop = this.#options.native.watchReadable(fd, () => this.#receive(fd, port));
    this.#sockets.set(`${family} ${port}`, { fd, stop });
  }

  #receive(fd: number, port: number): void {
    const untilMs = this.now() + TURN_MS;
    do {
      const datagrams = this.#options.native.receiveDatagrams(fd, DATAGRAMS_AT_ONCE);
      for (const datagram of datagrams) this.#input(datagram, port);
      if (datagrams.length < DATAGRAMS_AT_ONCE) break;
    } while (this.now() < untilMs);
    // What is left keeps the socket readable: it is taken in the next turn.
    this.#schedule();
  }

  #input(datagram: ReceivedDatagram, port: number): void {
    const data = port === NAT_T_PORT ? withoutMarker(datagram.data) : datagram.data;
    if (data === undefined) {
      this.#count('ike-4500-not-ike');
      return;
    }
    const local = { address: datagram.local, port };
    this.#actions.add(this.#options.engine.input(this.now(), { local, remote: datagram.remote, data }));
  }

  /** Milliseconds of the monotonic clock that the engine is run by. */
  now(): number {
    return this.#options.native.monotonicMs();
  }

  command(command: IkeCommand): void {
    this.#actions.add(this.#options.engine.command(this.now(), command));
    this.#schedule();
  }

  status(): readonly ConnectionStatus[] {
    return this.#options.engine.status();
  }

  load(): IkeLoad {
    return this.#options.engine.load();
  }

  journalOf(connection: string): readonly JournalLine[] {
    return this.#options.engine.journalOf(connection);
  }

  counters(): Readonly<Record<string, number>> {
    return { ...this.#options.engine.counters(), ...this.#counters };
  }

  /** Deletes every SA at its peer, then closes. The Deletes are sent once: who does not hear them finds out by itself. */
  stop(): void {
    if (!this.#running) return;
    this.settle();
    this.#actions.add(this.#options.engine.command(this.now(), { command: 'shutdown' }));
    this.settle();
    this.#close();
  }

  /** Carries out what waits for the disk. */
  settle(): void {
    this.#actions.flush();
  }

  /** Closes and leaves the SAs that are at rest to a successor; who installed their children keeps them until it has stopped. */
  handOver(): readonly IkeSaSnapshot[] {
    if (!this.#running) return [];
    const { sas, actions } = this.#options.engine.handOver(this.now());
    this.settle();
    this.#actions.add(actions.filter(({ action }) => action === 'send' || action === 'log'));
    this.#close();
    return sas;
  }

  #close(): void {
    this.#running = false;
    this.#cancelTimer?.();
    for (const { fd, stop } of this.#sockets.values()) {
      stop();
      this.#options.native.close(fd);
    }
    this.#sockets.clear();
  }

  #schedule(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const due = this.#options.engine.nextTimerMs();
    if (due === undefined || !this.#running) return;
    this.#cancelTimer = this.#options.timers.after(Math.max(0, Math.ceil(due - this.now())), () => {
      this.#tick();
      this.#schedule();
    });
  }

  /** What is still due is so in the next turn. */
  #tick(): void {
    const untilMs = this.now() + TURN_MS;
    for (;;) {
      const nowMs = this.now();
      if (nowMs >= untilMs || (this.#options.engine.nextTimerMs() ?? Number.POSITIVE_INFINITY) > nowMs) return;
      this.#actions.add(this.#options.engine.tick(nowMs, TIMERS_AT_ONCE));
    }
  }

  #carryOut(action: IkeAction): void {
    const { log, children, onChange } = this.#options;
    switch (action.action) {
      case 'send':
        this.#send(action.local, action.remote, action.data);
        break;
      case 'child-install':
        children.install(action.sa, action.sendNow);
        break;
      case 'child-send':
        children.send(action.id);
        break;
      case 'child-path':
        children.move(action.id, action.udpEncapsulation);
        break;
      case 'child-remove':
        children.remove(action.id, action.drainMs, action.reason);
        break;
      case 'keepalive':
        this.#transmit(action.local, action.remote, KEEPALIVE);
        break;
      case 'ike-up':
      case 'ike-down':
        onChange();
        break;
      case 'failed':
        log.warn(`${action.connection}: ${action.reason}`);
        onChange();
        break;
      case 'log':
        log.log(
          action.level,
          action.connection === undefined ? action.message : `${action.connection}: ${action.message}`,
        );
        break;
      case 'compute':
        this.#compute(action.id, action.job).catch(this.#options.onBug);
        break;
      case 'ike-keys':
        this.#options.onKeys?.(action.keys);
        break;
    }
  }

  async #compute(id: number, job: Job): Promise<void> {
    const result = await this.#options.computer?.compute(job);
    this.#computed.push({ id, result });
    if (this.#computed.length === 1) setImmediate(() => this.#takeComputed());
  }

  /** As many as there is time for in one turn: threads that were faster than ours may have left many. */
  #takeComputed(): void {
    const untilMs = this.now() + TURN_MS;
    let taken = 0;
    for (const { id, result } of this.#computed) {
      if (taken > 0 && this.now() >= untilMs) break;
      taken++;
      if (this.#running) this.#actions.add(this.#options.engine.computed(this.now(), id, result));
      else if (result !== undefined) wipeResult(result);
    }
    this.#computed = this.#computed.slice(taken);
    if (this.#computed.length > 0) setImmediate(() => this.#takeComputed());
    this.#schedule();
  }

  #send(local: Endpoint, remote: Endpoint, data: Uint8Array): void {
    this.#transmit(local, remote, local.port === NAT_T_PORT ? withMarker(data) : data);
  }

  #transmit(local: Endpoint, remote: Endpoint, message: Uint8Array): void {
    const family = local.address.includes(':') ? 6 : 4;
    const socket = this.#sockets.get(`${family} ${local.port}`) ?? this.#sockets.get(`${family} ${IKE_PORT}`);
    if (socket === undefined) return;
    try {
      this.#options.native.sendDatagram(socket.fd, message, remote, local.address);
      this.#count('ike-sent');
    } catch (error) {
      if (!(error instanceof NativeError)) throw error;
      // The engine retransmits; the operator needs the reason (no route, no such local address) once in a while.
      this.#count('ike-send-failed');
      this.#options.log.limited(
        'ike-send',
        'warn',
        `cannot send IKE to ${remote.address} port ${remote.port} from ${local.address}: ${error.message}`,
      );
    }
  }

  #count(name: string): void {
    this.#counters[name] = (this.#counters[name] ?? 0) + 1;
  }
}

/** The IKE message behind the non-ESP marker, or undefined for ESP in UDP and keepalives. */
function withoutMarker(data: Uint8Array): Uint8Array | undefined {
  if (data.length < NON_ESP_MARKER_BYTES) return undefined;
  if ((data[0]! | data[1]! | data[2]! | data[3]!) !== 0) return undefined;
  return data.subarray(NON_ESP_MARKER_BYTES);
}

function withMarker(data: Uint8Array): Uint8Array {
  const message = new Uint8Array(NON_ESP_MARKER_BYTES + data.length);
  message.set(data, NON_ESP_MARKER_BYTES);
  return message;
}
