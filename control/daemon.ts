/**
 * The daemon: wires database, configuration, IKE, packet engine and control socket together.
 *
 * Start in order of what can make it impossible: native addon, /dev/net/tun and raw sockets, UDP 500, pidfile,
 * control socket; then the database, which may come later. A change in the database wakes one reconciliation
 * at a time; those that come meanwhile are joined into the next.
 */
import { randomBytes } from 'node:crypto';
import { isIP } from 'node:net';
import { Engine, type EngineEvent } from '../dataplane/index.ts';
import { createIkeEngine, DEFAULT_ENGINE_SETTINGS, parseEspProposal, parseIkeProposal } from '../ike/index.ts';
import { loadNative, type Native } from '../native-shims/index.ts';
import { ChildSaInstaller } from './child-sas.ts';
import type { CommandLine } from './command-line.ts';
import { daemonCommands } from './commands.ts';
import { COLUMNS, desiredState } from './config/config.ts';
import { datapathReport, statisticsReport } from './datapath-report.ts';
import { IkeRunner } from './ike-runner.ts';
import { type Database, mapOf, numberOf, type Row } from './ovsdb/database.ts';
import { openDatabase } from './ovsdb/open.ts';
import { OwnedTaps } from './owned-taps.ts';
import { Pidfile } from './pidfile.ts';
import { Protections } from './protections.ts';
import { Reconciler } from './reconciler.ts';
import type { StatusSources } from './status.ts';
import { SwitchAttach } from './switch-attach.ts';
import { readUnderlay } from './underlay.ts';
import { CommandError } from './unixctl/command.ts';
import { UnixctlServer } from './unixctl/server.ts';
import { vlogCommands } from './unixctl/vlog-commands.ts';
import { PROGRAM, VERSION } from './version.ts';
import { Vlog } from './vlog.ts';
import { SystemDestinations } from './vlog-destinations.ts';
import { DATAPATH_LOCK } from './write-back.ts';

export interface StopOptions {
  /** Remove TAPs too. */
  readonly cleanup: boolean;
  readonly why: string;
}

/** How often statistics and link states are written back, as ovs-vswitchd does. */
const STATISTICS_MS = 5000;

export class Daemon {
  /** The exit status, when the daemon has come to its end. */
  readonly stopped: Promise<number>;
  readonly #options: CommandLine;
  readonly #vlog: Vlog;
  readonly #database: Database;
  readonly #engine: Engine;
  readonly #protections: Protections;
  readonly #children: ChildSaInstaller;
  readonly #ike: IkeRunner;
  readonly #attach: SwitchAttach;
  readonly #reconciler: Reconciler;
  readonly #unixctl: UnixctlServer;
  readonly #pidfile: Pidfile | undefined;
  readonly #statistics: NodeJS.Timeout;
  #reconciling = false;
  #again = false;
  #stopping = false;
  #settle: (status: number) => void = () => {};

  /** @throws Error with one line for the operator when the start can't work. */
  static async start(options: CommandLine): Promise<Daemon> {
    const native = loadNative();
    probeTap(native);
    const vlog = openLog(options);
    const pidfile =
      options.pidfile === undefined ? undefined : Pidfile.take(options.pidfile, native, options.overwritePidfile);
    try {
      const daemon = await Daemon.#create(options, native, vlog, pidfile);
      await daemon.#begin();
      return daemon;
    } catch (error) {
      pidfile?.remove();
      throw error;
    }
  }

  static async #create(
    options: CommandLine,
    native: Native,
    vlog: Vlog,
    pidfile: Pidfile | undefined,
  ): Promise<Daemon> {
    let daemon: Daemon | undefined;
    const log = vlog.logger('dataplane');
    const engine = await Engine.create({
      workers: options.workers,
      native,
      aead: options.aead,
      uplinkIo: options.uplinkIo,
      random: (bytes) => randomBytes(bytes),
      onEvent: (event) => daemon?.engineEvent(event),
      log: (message) => log.info(message),
    });
    daemon = new Daemon(options, native, vlog, engine, pidfile);
    return daemon;
  }

  private constructor(options: CommandLine, native: Native, vlog: Vlog, engine: Engine, pidfile: Pidfile | undefined) {
    this.#options = options;
    this.#vlog = vlog;
    this.#engine = engine;
    this.#pidfile = pidfile;
    this.stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const run = options.directories.run;
    this.#protections = new Protections(`${run}/${PROGRAM}.protected`);
    this.#children = new ChildSaInstaller({
      apply: (command) => {
        engine.apply(command).catch((error: unknown) => this.fail(error));
      },
      releaseSpi: (spi) => engine.releaseSpi(spi),
      protections: this.#protections,
      roleOf: (connection, child) => this.#reconciler.roleOf(connection, child),
      log: vlog.logger('sa'),
      onChange: () => {},
    });
    this.#ike = new IkeRunner({
      native,
      engine: createIkeEngine(DEFAULT_ENGINE_SETTINGS, {
        random: (bytes) => randomBytes(bytes),
        allocateSpi: () => engine.allocateSpi(),
        releaseSpi: (spi) => engine.releaseSpi(spi),
      }),
      children: this.#children,
      log: vlog.logger('ike'),
      onChange: () => {},
    });
    const taps = new OwnedTaps(`${run}/${PROGRAM}.taps`);
    this.#attach = new SwitchAttach({ engine, native, taps, log: vlog.logger('bridge') });
    this.#reconciler = new Reconciler({
      engine,
      protections: this.#protections,
      attach: this.#attach,
      ike: this.#ike,
      log: vlog.logger('reconcile'),
    });
    this.#database = openDatabase(options.database, COLUMNS, options.tls);
    this.#unixctl = new UnixctlServer({
      path: options.unixctl,
      version: `${PROGRAM} (Open vSwitch) ${VERSION}`,
      commands: [...daemonCommands(this), ...vlogCommands(vlog)],
      onBug: (command, error) => vlog.logger('unixctl').err(`command ${command} failed: ${describe(error)}`),
    });
    this.#statistics = setInterval(() => void this.#writeStatistics(), STATISTICS_MS);
  }

  /** Everything whose failure makes the start impossible; then the database, which may come later. */
  async #begin(): Promise<void> {
    const log = this.#vlog.logger('main');
    for (const line of this.#options.ignored) log.info(line);
    for (const command of this.#protections.initial()) await this.#engine.apply(command);
    this.#ike.start();
    await this.#unixctl.listen();
    const database = this.#database;
    database.on('synced', () => this.#reconcileSoon());
    database.on('changed', () => this.#reconcileSoon());
    database.on('lock', (_name, held) => {
      if (held) this.#reconcileSoon();
      else if (database.synced)
        log.warn(
          `the lock ${DATAPATH_LOCK} is held by another process (an ovs-vswitchd?): waiting until it goes away; companion attach is not in this version`,
        );
    });
    database.on('disconnected', (reason) => log.warn(reason));
    database.lock(DATAPATH_LOCK);
    database.start();
    log.info(
      `${PROGRAM} ${VERSION} started, database ${database.name}, ${this.#options.workers} packet workers, AEAD ${this.#options.aead}`,
    );
  }

  #reconcileSoon(): void {
    this.#again = true;
    if (this.#reconciling) return;
    this.#reconciling = true;
    setImmediate(() => {
      this.#reconcileAll().catch((error: unknown) => this.fail(error));
    });
  }

  async #reconcileAll(): Promise<void> {
    while (this.#again && !this.#stopping) {
      this.#again = false;
      if (!this.#database.synced || !this.#database.holdsLock(DATAPATH_LOCK)) continue;
      await this.#reconcileOnce();
    }
    this.#reconciling = false;
  }

  async #reconcileOnce(): Promise<void> {
    const replica = this.#database.replica();
    const underlay = await readUnderlay(remotesOf(replica.get('Interface')?.values() ?? []));
    const desired = desiredState(replica, {
      defaultLocalAddress: (remote) => underlay.routeTo(remote)?.source,
      parseProposals: (protocol, text) => (protocol === 'ike' ? parseIkeProposal(text) : parseEspProposal(text)),
      previous: this.#reconciler.desired,
    });
    const ofports = new Map(
      [...(replica.get('Interface') ?? [])].map(([uuid, row]) => [uuid, numberOf(row, 'ofport')]),
    );
    await this.#reconciler.apply(desired, underlay, (uuid) => ofports.get(uuid));
    const report = await datapathReport(desired, this.#attach, this.#engine);
    await report.commit(this.#database, this.#vlog.logger('ovsdb'));
  }

  async #writeStatistics(): Promise<void> {
    if (this.#reconciling || this.#stopping || !this.#database.synced || !this.#database.holdsLock(DATAPATH_LOCK))
      return;
    const report = await statisticsReport(this.#attach, this.#engine);
    await report.commit(this.#database, this.#vlog.logger('ovsdb'));
  }

  engineEvent(event: EngineEvent): void {
    const log = this.#vlog.logger('dataplane');
    switch (event.event) {
      case 'sa-wanted': {
        const connection = this.#reconciler.connectionOf(event.protection);
        if (connection !== undefined) this.#ike.command({ command: 'acquire', connection });
        return;
      }
      case 'sa-soft-limit': {
        const child =
          event.direction === 'in'
            ? this.#children.byInboundSlot(event.slot)
            : this.#children.byOutboundSlot(event.slot);
        if (child !== undefined) this.#ike.command({ command: 'child-soft-limit', id: child.sa.id });
        return;
      }
      case 'sa-exhausted': {
        const child = this.#children.byOutboundSlot(event.slot);
        if (child !== undefined) this.#ike.command({ command: 'child-exhausted', id: child.sa.id });
        return;
      }
      case 'sa-first-packet': {
        const child = this.#children.byInboundSlot(event.slot);
        if (child !== undefined) this.#ike.command({ command: 'child-traffic-seen', id: child.sa.id });
        return;
      }
      case 'unknown-spi':
        log.limited(
          'unknown-spi',
          'info',
          `ESP from ${event.remote} for SPI 0x${event.spi.toString(16)}, which nobody here has; dropped`,
        );
        return;
      case 'port-failed':
        log.warn(`port ${event.port}: ${event.reason}`);
        return;
      case 'worker-died':
        log.err(`packet worker ${event.worker} died and is replaced: ${event.reason}`);
        return;
    }
  }

  status(): StatusSources {
    const desired = this.#reconciler.desired;
    if (desired === undefined) throw new CommandError(`the database ${this.#database.name} has not been read yet`);
    return {
      desired,
      versions: this.#reconciler.versions,
      plans: this.#reconciler.plans,
      protections: this.#protections,
      children: this.#children,
      ike: this.#ike.status(),
      bridges: this.#attach.bridges(),
      ports: this.#attach.ports(),
      engine: this.#engine,
      nowMs: this.#ike.now(),
    };
  }

  ikeCounters(): Readonly<Record<string, number>> {
    return this.#ike.counters();
  }

  refresh(): void {
    this.#reconcileSoon();
    for (const plan of this.#reconciler.plans)
      this.#ike.command({ command: 'acquire', connection: plan.connection.name });
  }

  /** Ends the daemon; `stopped` resolves when all is done. The reply of the command that asked goes out first. */
  stop(options: StopOptions): void {
    if (this.#stopping) return;
    this.#stopping = true;
    setImmediate(() => {
      this.#end(options).then(
        () => this.#settle(0),
        (error: unknown) => {
          this.#vlog.logger('main').err(`stopping failed: ${describe(error)}`);
          this.#settle(1);
        },
      );
    });
  }

  async #end({ cleanup, why }: StopOptions): Promise<void> {
    this.#vlog.logger('main').info(`ending (${why})`);
    clearInterval(this.#statistics);
    this.#ike.stop();
    this.#children.stop();
    if (cleanup && !this.#options.noCleanup) await this.#attach.removeAll();
    await this.#engine.stop();
    await this.#database.close();
    await this.#unixctl.close();
    this.#pidfile?.remove();
    this.#vlog.close();
  }

  /** A bug: say it and end, closed, rather than go on in a state that nobody knows. */
  fail(error: unknown): void {
    this.#vlog
      .logger('main')
      .emer(`a bug ends the daemon: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    this.#pidfile?.remove();
    this.#settle(1);
  }
}

function openLog(options: CommandLine): Vlog {
  const destinations = new SystemDestinations({ program: PROGRAM, logFile: options.logFile, console: !options.detach });
  const vlog = new Vlog({ program: PROGRAM, destinations, now: () => Date.now() });
  for (const module of ['main', 'bridge', 'dataplane', 'ike', 'ovsdb', 'reconcile', 'sa', 'unixctl'])
    vlog.logger(module);
  for (const spec of options.verbose) {
    const error = vlog.set(spec);
    if (error !== undefined) throw new Error(`--verbose=${spec}: ${error}`);
  }
  return vlog;
}

/** Whether TAPs can be made at all: found out now, in one line, and not when the first bridge is added. */
function probeTap(native: Native): void {
  native.close(
    native.openTap(`espd${process.pid}`, { kind: 'tap', multiQueue: true, vnetHeader: false, persistent: false }),
  );
}

/** Addresses of all peers that tunnels name. */
function remotesOf(interfaces: Iterable<Row>): string[] {
  return [...interfaces].map((row) => mapOf(row, 'options').get('remote_ip') ?? '').filter((text) => isIP(text) !== 0);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
