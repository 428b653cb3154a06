/**
 * What turns a desired state into protected packets: packet engine, protections, IKE, child SAs, attach and
 * reconciler, wired together.
 *
 * The daemon puts a database, a control socket and a process around it; the leak tests run it on memory devices and
 * a virtual clock. So it takes clock, timers, randomness, devices and system calls from whoever makes it.
 */
import { Engine, type EngineEvent, type EngineOptions } from '../dataplane/index.ts';
import { createIkeEngine, DEFAULT_ENGINE_SETTINGS } from '../ike/index.ts';
import type { Native } from '../native-shims/index.ts';
import type { Attach } from './attach.ts';
import { ChildSaInstaller } from './child-sas.ts';
import { CompanionAttach } from './companion-attach.ts';
import type { Computer } from './compute-pool.ts';
import type { DesiredState } from './config/desired-state.ts';
import { handOverPath } from './hand-over/hand-over-file.ts';
import { childKeysOf, Inheritance, leave } from './hand-over/inheritance.ts';
import { type ChildSaSink, IkeRunner } from './ike-runner.ts';
import { KeyLog } from './keylog.ts';
import type { Links } from './links.ts';
import { isCompanion } from './mark-policy.ts';
import { News } from './model/news.ts';
import type { Timers } from './ovsdb/timers.ts';
import { OwnedTaps } from './owned-taps.ts';
import { PacketCapture } from './pcap/packet-capture.ts';
import { type Sync, syncToDisk } from './protection-file.ts';
import { Protections } from './protections.ts';
import { Reconciler } from './reconciler.ts';
import type { Routing } from './route/kernel-routing.ts';
import { StageMeasurement } from './stages/stage-measurement.ts';
import type { StatusSources } from './status.ts';
import { SwitchAttach } from './switch-attach.ts';
import type { Underlay } from './underlay.ts';
import { PROGRAM, VERSION } from './version.ts';
import type { Logger } from './vlog.ts';

/** Steps of key exchanges that may be outstanding: a fraction of a second for the threads that do them. */
const COMPUTATIONS = 128;
/** How long after what is protected could not be written it is tried again. */
const WRITE_AGAIN_MS = 5000;

export interface CoreOptions {
  readonly native: Native;
  readonly engine: Omit<EngineOptions, 'native' | 'random' | 'onEvent' | 'log'>;
  /** Cryptographic random bytes. */
  readonly random: (bytes: number) => Uint8Array;
  /** The date in ms since 1970, for certificates. Default: the system's. */
  readonly dateMs?: () => number;
  /** OVS_RUNDIR: what was protected, and which TAPs are ours, is remembered there. */
  readonly runDirectory: string;
  readonly links: Links;
  /** Waits until a file is on disk. Default: fdatasync(2), on another thread. */
  readonly syncToDisk?: Sync;
  /** The kernel's routing rules. */
  readonly routing: Routing;
  /** Does the dear steps of key exchanges; undefined: they are done in place. */
  readonly computer?: Computer | undefined;
  /** Directory for keys of IKE and ESP; undefined: they are written nowhere. */
  readonly keylog?: string | undefined;
  /** Of the same clock as native.monotonicMs. */
  readonly timers: Timers;
  readonly logger: (module: string) => Logger;
  /** Something that the status commands show has changed. */
  readonly onChange: () => void;
  /** A bug: whoever runs this must end it, closed. */
  readonly onBug: (error: unknown) => void;
}

export class Core {
  readonly engine: Engine;
  readonly protections: Protections;
  readonly children: ChildSaInstaller;
  readonly ike: IkeRunner;
  readonly #switch: SwitchAttach;
  readonly #companion: CompanionAttach;
  #attach: Attach;
  readonly reconciler: Reconciler;
  readonly pcap: PacketCapture;
  readonly stages: StageMeasurement;
  /** The last negotiations in words. */
  readonly news = new News(() => Date.now());
  readonly #log: Logger;
  readonly #options: CoreOptions;
  /** A process before ours has left its SAs. */
  readonly hasInherited: boolean;

  /** @throws Error with one line when the engine can't start, or what was protected can't be read. */
  static async create(options: CoreOptions): Promise<Core> {
    let core: Core | undefined;
    const log = options.logger('dataplane');
    const engine = await Engine.create({
      ...options.engine,
      native: options.native,
      random: options.random,
      onEvent: (event) => core?.engineEvent(event),
      log: (message) => log.info(message),
    });
    try {
      core = new Core(options, engine);
    } catch (error) {
      await engine.stop();
      throw error;
    }
    return core;
  }

  private constructor(options: CoreOptions, engine: Engine) {
    const { native, runDirectory, timers, random, logger, onChange } = options;
    this.engine = engine;
    this.#log = logger('dataplane');
    const keylog = options.keylog === undefined ? undefined : new KeyLog(options.keylog);
    if (keylog !== undefined) {
      this.#log.warn(`every key of IKE and ESP is written to ${options.keylog}: whoever reads it reads all traffic`);
    }
    const { limits } = options.engine;
    this.#options = options;
    const inheritance = Inheritance.of(runDirectory, { nowMs: native.monotonicMs }, engine, logger('main'));
    this.hasInherited = inheritance !== undefined;
    this.protections = new Protections(
      `${runDirectory}/${PROGRAM}.protected`,
      limits?.protections,
      options.syncToDisk ?? syncToDisk,
      ({ message }) => {
        logger('main').limited(
          'protections',
          'err',
          `what is protected is in force, but a restart may not know: ${message}`,
        );
        timers.after(WRITE_AGAIN_MS, () => this.protections.writeBehind());
      },
    );
    this.children = new ChildSaInstaller({
      apply: (command) => {
        engine.apply(command).catch(options.onBug);
      },
      releaseSpi: (spi) => engine.releaseSpi(spi),
      protections: this.protections,
      roleOf: (connection, child) => this.reconciler.roleOf(connection, child),
      resumptionOf: (spi) => inheritance?.resumptionOf(spi),
      onRefused: (id, reason) => this.ike.command({ command: 'child-not-installed', id, reason }),
      log: logger('sa'),
      onChange: () => {
        this.pcap.childrenChanged();
        void this.#companion.protectionsChanged();
        onChange();
      },
      timers,
    });
    this.pcap = new PacketCapture({
      application: `${PROGRAM} ${VERSION}`,
      set: (capture) => engine.apply({ op: 'set-capture', capture }),
      children: () => [...this.children.installed()].map((child) => child.sa),
      micros: () => Date.now() * 1000,
      log: (message) => logger('pcap').info(message),
    });
    this.stages = new StageMeasurement({
      workers: engine.counters().workers().length,
      set: (totals) => engine.apply({ op: 'measure-stages', totals }),
      nowMs: native.monotonicMs,
      timers,
    });
    this.ike = new IkeRunner({
      native,
      engine: createIkeEngine(
        {
          ...DEFAULT_ENGINE_SETTINGS,
          keyLog: keylog !== undefined,
          computations: options.computer === undefined ? 0 : COMPUTATIONS,
        },
        {
          random,
          dateMs: options.dateMs ?? Date.now,
          allocateSpi: (connection, child) => engine.allocateSpi(this.reconciler.roleOf(connection, child)?.worker),
          releaseSpi: (spi) => engine.releaseSpi(spi),
        },
      ),
      ...{ computer: options.computer, onBug: options.onBug },
      children: keylog === undefined ? this.children : withKeyLog(this.children, keylog),
      onKeys: keylog === undefined ? undefined : (keys) => keylog.ikeSa(keys),
      log: this.news.listeningTo(logger('ike')),
      onChange,
      timers,
    });
    const taps = new OwnedTaps(`${runDirectory}/${PROGRAM}.taps`);
    const surroundings = {
      engine,
      native,
      taps,
      links: options.links,
      log: logger('bridge'),
      limits,
      timers,
      runDirectory,
    };
    this.#switch = new SwitchAttach(surroundings);
    this.#companion = new CompanionAttach({
      ...surroundings,
      routing: options.routing,
      protections: this.protections,
    });
    this.#attach = this.#switch;
    this.reconciler = new Reconciler({
      engine,
      protections: this.protections,
      ...{ ike: this.ike, inheritance },
      log: logger('reconcile'),
    });
  }

  /** Closes what must be closed before anything else, then opens the IKE sockets. @throws NativeError: port 500 is taken. */
  async start(): Promise<void> {
    for (const command of this.protections.initial()) await this.engine.apply(command);
    this.ike.start();
  }

  /** Where frames enter and leave now. */
  get attach(): Attach {
    return this.#attach;
  }

  /** Beside an ovs-vswitchd if the configuration has a place for that, else as the datapath. @see Reconciler.apply */
  async apply(
    desired: DesiredState,
    underlay: Underlay,
    ofportOf: (uuid: string) => number | undefined,
  ): Promise<void> {
    const attach = isCompanion(desired) ? this.#companion : this.#switch;
    if (attach !== this.#attach) await this.#attach.removeAll();
    // Rules of an earlier life that was killed, in whose place somebody else is now.
    else if (attach === this.#switch) await this.#companion.removeLeftovers();
    this.#attach = attach;
    await this.reconciler.apply(desired, underlay, attach, ofportOf);
  }

  /** Another daemon keys these tunnels: our SAs go, and what is protected drops until `apply` is called again. */
  standBy(): void {
    this.reconciler.standBy();
  }

  /** Starts at once what is down. */
  acquireAll(): void {
    for (const plan of this.reconciler.plans)
      this.ike.command({ command: 'acquire', connection: plan.connection.name });
  }

  /** What the status commands show; undefined before the first reconciliation. */
  status(): StatusSources | undefined {
    const { desired } = this.reconciler;
    if (desired === undefined) return undefined;
    return {
      desired,
      versions: this.reconciler.versions,
      plans: this.reconciler.plans,
      protections: this.protections,
      children: this.children,
      ike: this.ike.status(),
      bridges: this.#attach.bridges(),
      ports: this.#attach.ports(),
      failures: this.#attach.failures(),
      engine: this.engine,
      nowMs: this.ike.now(),
    };
  }

  /** Ends, and leaves the SAs to a successor: nothing is sent with them any more by this process. TAPs stay. */
  async handOver(): Promise<void> {
    const { runDirectory, native, logger } = this.#options;
    if (handOverPath(runDirectory) === undefined) {
      logger('main').warn(
        `neither ${runDirectory} nor /dev/shm is a tmpfs, and keys are not written to a disk: the SAs are deleted`,
      );
      await this.stop(false);
      return;
    }
    this.ike.settle();
    const children = childKeysOf(this.children.installed());
    const snapshots = this.ike.handOver();
    this.children.stop();
    await this.#options.computer?.stop();
    if (this.pcap.isRunning) await this.pcap.stop();
    await this.stages.stop();
    await this.engine.stop();
    const clock = { nowMs: native.monotonicMs };
    const count = leave(runDirectory, clock, snapshots, children, this.reconciler.plans, this.engine);
    logger('main').info(`${count} IKE SAs are left to a successor`);
  }

  /** Deletes the SAs at their peers and ends; with `removeTaps` the TAPs go too. */
  async stop(removeTaps: boolean): Promise<void> {
    this.ike.stop();
    this.children.stop();
    await this.#options.computer?.stop();
    if (this.pcap.isRunning) await this.pcap.stop();
    await this.stages.stop();
    if (removeTaps) await this.#attach.removeAll();
    await this.#attach.stop();
    await this.engine.stop();
    this.protections.close();
  }

  engineEvent(event: EngineEvent): void {
    const log = this.#log;
    switch (event.event) {
      case 'captured':
        this.pcap.captured(event);
        return;
      case 'sa-wanted': {
        const connection = this.reconciler.connectionOf(event.protection);
        if (connection !== undefined) this.ike.command({ command: 'acquire', connection });
        return;
      }
      case 'sa-soft-limit': {
        const child =
          event.direction === 'in' ? this.children.byInboundSlot(event.slot) : this.children.byOutboundSlot(event.slot);
        if (child !== undefined) this.ike.command({ command: 'child-soft-limit', id: child.sa.id });
        return;
      }
      case 'sa-exhausted': {
        const child = this.children.byOutboundSlot(event.slot);
        if (child !== undefined) this.ike.command({ command: 'child-exhausted', id: child.sa.id });
        return;
      }
      case 'sa-first-packet': {
        const child = this.children.byInboundSlot(event.slot);
        if (child !== undefined) this.ike.command({ command: 'child-traffic-seen', id: child.sa.id });
        return;
      }
      case 'peer-moved': {
        const child = this.children.byInboundSlot(event.slot);
        if (child !== undefined)
          this.ike.command({ command: 'child-seen-from', id: child.sa.id, remote: event.remote });
        return;
      }
      case 'unknown-spi':
        log.limited(
          'unknown-spi',
          'info',
          `ESP from ${event.remote} for SPI 0x${event.spi.toString(16)}, which nobody here has; dropped`,
        );
        return;
      case 'path-mtu':
        log.info(`the path to ${event.remote} takes packets of ${event.mtu} bytes, a router says`);
        return;
      case 'port-failed':
        log.warn(`port ${event.port}: ${event.reason}`);
        return;
      case 'worker-died':
        log.err(`packet worker ${event.worker} died and is replaced: ${event.reason}`);
        return;
    }
  }
}

/** Writes the keys of each child SA down before it is installed. */
function withKeyLog(children: ChildSaSink, keylog: KeyLog): ChildSaSink {
  return {
    prepare: (sa) => children.prepare(sa),
    install: (sa, sendNow) => {
      keylog.childSa(sa);
      children.install(sa, sendNow);
    },
    send: (id) => children.send(id),
    move: (id, path) => children.move(id, path),
    remove: (id, drainMs, reason) => children.remove(id, drainMs, reason),
  };
}
