/**
 * The daemon: wires database, configuration, IKE, packet engine and control socket together.
 *
 * Start in order of what can make it impossible: native addon, /dev/net/tun and raw sockets, UDP 500, pidfile,
 * control socket; then the database, which may come later. A change in the database wakes one reconciliation
 * at a time; those that come meanwhile are joined into the next. Until the first one is done IKE is silent to new peers.
 */

import { randomBytes } from 'node:crypto';
import type { CounterReader } from '../dataplane/index.ts';
import { parseEspProposal, parseIkeProposal } from '../ike/index.ts';
import { loadNative, type Native } from '../native-shims/index.ts';
import type { CommandLine } from './command-line.ts';
import { daemonCommands } from './commands.ts';
import { startComputePool } from './compute-pool.ts';
import { COLUMNS, desiredStateSteps } from './config/config.ts';
import { credentialPaths } from './config/trust.ts';
import { Core } from './core.ts';
import { type CredentialPaths, CredentialStore } from './credentials/credentials.ts';
import { CredentialWatcher } from './credentials/watcher.ts';
import { openLog } from './daemon-log.ts';
import { datapathReport, statisticsReport } from './datapath-report.ts';
import { FirstConfiguration } from './first-configuration.ts';
import type { ReadOnlyServer } from './http/read-only-server.ts';
import { httpServers } from './http/servers.ts';
import type { IkeRunner } from './ike-runner.ts';
import { InterfaceStatus, KEYING_LOCK } from './interface-status.ts';
import { systemLinks } from './links.ts';
import { isCompanion } from './mark-policy.ts';
import { messageOf } from './message-of.ts';
import { MainThreadMonitor } from './metrics/main-thread.ts';
import { modelOf, type StatusModel, statusLine } from './model/model.ts';
import { type Database, numberOf, type Replica, snapshotOf } from './ovsdb/database.ts';
import { openDatabase } from './ovsdb/open.ts';
import { systemTimers } from './ovsdb/timers.ts';
import { probeTap } from './owned-taps.ts';
import { Pidfile } from './pidfile.ts';
import { excessCapabilities } from './privileges.ts';
import { type ProgramThread, startProgramThread } from './program-pool.ts';
import { Reconciliations } from './reconciliations.ts';
import { systemRouting } from './route/kernel-routing.ts';
import { ServiceManager } from './service-manager.ts';
import { inSlices } from './slices.ts';
import type { StatusSources } from './status.ts';
import { LOOPBACK, readUnderlay, remotesOf, type Underlay } from './underlay.ts';
import { CommandError } from './unixctl/command.ts';
import { UnixctlServer } from './unixctl/server.ts';
import { vlogCommands } from './unixctl/vlog-commands.ts';
import { PROGRAM, VERSION } from './version.ts';
import type { Vlog } from './vlog.ts';
import { DATAPATH_LOCK } from './write-back.ts';

export interface StopOptions {
  /** Remove TAPs too. */
  readonly cleanup: boolean;
  /** Leave the SAs to a successor instead of deleting them. */
  readonly handOver: boolean;
  readonly why: string;
}

/** How often statistics and link states are written back, as ovs-vswitchd does. */
const STATISTICS_MS = 5000;
/** How long after the underlay could not be read it is tried again. */
const UNDERLAY_RETRY_MS = 1000;
/** So long the end waits for a reconciliation that is under way. */
const LAST_RECONCILIATION_MS = 3000;

export class Daemon {
  /** The exit status, when the daemon has come to its end. */
  readonly stopped: Promise<number>;
  readonly first = new FirstConfiguration(systemTimers, () => this.#vlog.logger('main'));
  readonly #options: CommandLine;
  readonly #vlog: Vlog;
  readonly #database: Database;
  readonly #core: Core;
  readonly #programs: ProgramThread;
  readonly #unixctl: UnixctlServer;
  readonly #servers: readonly ReadOnlyServer[];
  readonly #manager: ServiceManager;
  readonly #startedAtMs = Date.now();
  readonly #mainThread = new MainThreadMonitor();
  readonly #pidfile: Pidfile | undefined;
  readonly #statistics: NodeJS.Timeout;
  readonly #interfaceStatus: InterfaceStatus;
  readonly #credentials = new CredentialStore();
  readonly #credentialWatcher: CredentialWatcher;
  #credentialPaths: CredentialPaths | undefined;
  #stopping = false;
  readonly #reconciliations = new Reconciliations(
    () => this.#reconcile(),
    (error) => {
      if (!this.#stopping) this.fail(error);
      else this.#vlog.logger('main').warn(`the reconciliation under way was given up: ${messageOf(error)}`);
    },
  );
  #letGo: Promise<void> | undefined;
  #wantsLock = false;
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
    const core = await Core.create({
      native,
      engine: {
        workers: options.workers,
        aead: options.aead,
        uplinkIo: options.uplinkIo,
        offloads: options.offloads,
      },
      random: (bytes) => randomBytes(bytes),
      runDirectory: options.directories.run,
      links: systemLinks,
      routing: systemRouting,
      computer: startComputePool(vlog.logger('ike')),
      keylog: options.keylog,
      timers: systemTimers,
      logger: (module) => vlog.logger(module),
      onChange: () => daemon?.stateChanged(),
      onBug: (error) => daemon?.fail(error),
    });
    daemon = new Daemon(options, native, vlog, core, pidfile);
    return daemon;
  }

  private constructor(options: CommandLine, native: Native, vlog: Vlog, core: Core, pidfile: Pidfile | undefined) {
    this.#options = options;
    this.#programs = startProgramThread(vlog.logger('main'));
    this.#vlog = vlog;
    this.#core = core;
    this.#pidfile = pidfile;
    this.stopped = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#database = openDatabase(options.database, COLUMNS, options.tls);
    this.#interfaceStatus = new InterfaceStatus({
      ...{ database: this.#database, status: () => core.status(), timers: systemTimers, dateMs: Date.now },
      isSuccessor: core.hasInherited,
      log: vlog.logger('ovsdb'),
    });
    this.#unixctl = new UnixctlServer({
      path: options.unixctl,
      version: `${PROGRAM} (Open vSwitch) ${VERSION}`,
      commands: [...daemonCommands(this), ...vlogCommands(vlog)],
      onBug: (command, error) => vlog.logger('unixctl').err(`command ${command} failed: ${messageOf(error)}`),
    });
    this.#servers = httpServers(options, {
      model: () => this.model(),
      onBug: (path, error) => vlog.logger('http').err(`${path} failed: ${messageOf(error)}`),
    });
    this.#credentialWatcher = new CredentialWatcher(systemTimers, () => {
      this.#rereadCredentials().catch((error: unknown) => this.fail(error));
    });
    this.#manager = new ServiceManager({
      ...{ native, environment: process.env, pid: process.pid },
      // On the main thread there is nothing but this timer to prove: whoever runs it runs the packets too.
      pulse: () =>
        options.workers === 0
          ? []
          : core.engine
              .counters()
              .workers()
              .map(({ turns, sleeps }) => turns + sleeps),
      status: () => statusLine(this.model()),
      warn: (message) => vlog.logger('main').warn(message),
    });
    this.#mainThread.start();
    this.#statistics = setInterval(() => void this.#writeStatistics(), STATISTICS_MS);
  }

  /** Everything whose failure makes the start impossible; then the database, which may come later. */
  async #begin(): Promise<void> {
    const log = this.#vlog.logger('main');
    for (const line of this.#options.ignored) log.info(line);
    const excess = excessCapabilities(process.env);
    if (excess !== undefined && process.getuid?.() === 0) log.warn(excess);
    await this.#core.start();
    await this.#unixctl.listen();
    for (const server of this.#servers) log.info(`${server.option}: listening on ${await server.listen()}`);
    const database = this.#database;
    database.on('synced', () => this.#reconciliations.soon());
    database.on('changed', () => this.#reconciliations.soon());
    database.on('lock', (name, held) => this.#lockChanged(name, held));
    database.on('disconnected', (reason) => log.warn(reason));
    database.on('insecure', (reason) => log.warn(reason));
    database.lock(KEYING_LOCK);
    database.start();
    this.first.awaited.then(() => this.#manager.ready());
    log.info(
      `${PROGRAM} ${VERSION} started, database ${database.name}, ${this.#options.workers} packet workers, AEAD ${this.#options.aead}`,
    );
  }

  #lockChanged(name: string, held: boolean): void {
    if (held) this.#reconciliations.soon();
    // Without a connection nobody holds it, and what runs goes on.
    if (held || !this.#database.synced || this.#stopping) return;
    this.first.decided();
    const log = this.#vlog.logger('main');
    if (name === KEYING_LOCK) {
      this.#core.standBy();
      this.#setLock(false);
      log.warn(
        `the lock ${KEYING_LOCK} is held by another daemon that keys the tunnels of ${this.#database.name}: standing by until it ends; what is protected stays closed`,
      );
    } else if (this.#wantsLock) {
      log.warn(
        `the lock ${DATAPATH_LOCK} is held by another process (an ovs-vswitchd?): waiting until it goes away; to run beside it, say which interface is the uplink (external_ids:espd=uplink, docs/howto/ovs-userspace.md)`,
      );
    }
  }

  /** Something that the status commands show has changed. */
  stateChanged(): void {
    this.#interfaceStatus.soon();
  }

  async #reconcile(): Promise<void> {
    if (!this.#database.synced) return;
    // Rows change while files and routes are read: these are the ones that are read for.
    const replica = snapshotOf(this.#database.replica());
    const underlay = await this.#readUnderlay(replica);
    if (underlay === undefined) return;
    const paths = credentialPaths(replica);
    await this.#credentials.read(paths);
    this.#watchCredentials(paths);
    const steps = desiredStateSteps(replica, {
      credentials: this.#credentials,
      defaultLocalAddress: (remote) => underlay.routeTo(remote)?.source,
      isOwnAddress: (address) => underlay.routeTo(address)?.device === LOOPBACK,
      parseProposals: (protocol, text) => (protocol === 'ike' ? parseIkeProposal(text) : parseEspProposal(text)),
      previous: this.#core.reconciler.desired,
    });
    const desired = await inSlices(steps);
    if (this.#stopping || !this.#database.holdsLock(KEYING_LOCK)) return;
    this.#setLock(!isCompanion(desired));
    if (this.#wantsLock && !this.#database.holdsLock(DATAPATH_LOCK)) return;
    const ofports = new Map(
      [...(replica.get('Interface') ?? [])].map(([uuid, row]) => [uuid, numberOf(row, 'ofport')]),
    );
    await this.#core.apply(desired, underlay, (uuid) => ofports.get(uuid));
    this.first.decided();
    this.#interfaceStatus.soon();
    if (!this.#wantsLock) return;
    const report = await datapathReport(desired, this.#core.attach, this.#core.engine);
    await report.commit(this.#database, this.#vlog.logger('ovsdb'));
  }

  /** Undefined: it could not be read; everything stays as it is, and it is tried again. */
  async #readUnderlay(replica: Replica): Promise<Underlay | undefined> {
    try {
      return await readUnderlay(remotesOf(replica.get('Interface')?.values() ?? []));
    } catch (error) {
      this.#vlog
        .logger('reconcile')
        .limited(
          'underlay',
          'err',
          `routes and devices cannot be read, trying again in ${UNDERLAY_RETRY_MS} ms: ${messageOf(error)}`,
        );
      setTimeout(() => this.#reconciliations.soon(), UNDERLAY_RETRY_MS).unref();
      return undefined;
    }
  }

  /** A certificate, key or revocation list that changes is as good as a change in the database. */
  #watchCredentials(paths: CredentialPaths): void {
    this.#credentialPaths = paths;
    this.#credentialWatcher.set(new Set([...paths.certificates, ...paths.privateKeys, ...paths.revocationLists]));
  }

  async #rereadCredentials(): Promise<void> {
    if (this.#reconciliations.isRunning || this.#stopping || this.#credentialPaths === undefined) return;
    if (await this.#credentials.read(this.#credentialPaths)) this.#reconciliations.soon();
  }

  /** The datapath's lock is asked for by who is the datapath: a companion would keep a restarted ovs-vswitchd from its work. */
  #setLock(wanted: boolean): void {
    if (wanted === this.#wantsLock) return;
    this.#wantsLock = wanted;
    if (wanted) this.#database.lock(DATAPATH_LOCK);
    else this.#database.unlock(DATAPATH_LOCK);
  }

  async #writeStatistics(): Promise<void> {
    if (
      this.#reconciliations.isRunning ||
      this.#stopping ||
      !this.#database.synced ||
      !this.#database.holdsLock(DATAPATH_LOCK)
    )
      return;
    const report = await statisticsReport(this.#core.attach, this.#core.engine);
    await report.commit(this.#database, this.#vlog.logger('ovsdb'));
  }

  status(): StatusSources {
    const status = this.#core.status();
    if (status === undefined) throw new CommandError(`the database ${this.#database.name} has not been read yet`);
    return status;
  }

  /** The state as one object, also before the database has been read. */
  model(): StatusModel {
    const core = this.#core;
    return modelOf({
      ...{ status: core.status(), engine: core.engine, ikeCounters: core.ike.counters(), news: core.news.lines() },
      ...{ startedAtMs: this.#startedAtMs, nowMs: Date.now(), mainThread: this.#mainThread.delays() },
    });
  }

  packetCounters(): CounterReader {
    return this.#core.engine.counters();
  }

  ike(): IkeRunner {
    return this.#core.ike;
  }

  observers(): Pick<Core, 'pcap' | 'stages'> {
    return this.#core;
  }

  refresh(): void {
    this.#reconciliations.soon();
    this.#core.acquireAll();
  }

  /** Ends the daemon. Resolves when it has let go of all but its control socket, so that the reply of `exit` tells that; then `stopped`. */
  stop(options: StopOptions): Promise<void> {
    if (this.#letGo !== undefined) return this.#letGo;
    this.#stopping = true;
    this.#letGo = this.#release(options);
    const failed = (error: unknown): number => {
      this.#vlog.logger('main').err(`stopping failed: ${messageOf(error)}`);
      return 1;
    };
    const ended = this.#letGo.then(() => this.#unixctl.close()).then(() => 0, failed);
    ended.then((status) => {
      this.#vlog.close();
      this.#settle(status);
    });
    return this.#letGo;
  }

  async #release({ cleanup, handOver: asked, why }: StopOptions): Promise<void> {
    const handOver = asked || this.#options.noCleanup;
    this.#vlog.logger('main').info(`ending (${why})`);
    this.#manager.stopping();
    clearInterval(this.#statistics);
    this.#mainThread.stop();
    this.#credentialWatcher.close();
    // What it makes must not be made after it was taken away, nor its commands come when the engine has ended.
    await this.#reconciliations.end(LAST_RECONCILIATION_MS);
    await this.#interfaceStatus.stop(!handOver);
    if (handOver) await this.#core.handOver();
    else await this.#core.stop(cleanup);
    await this.#database.close();
    for (const server of this.#servers) await server.close();
    await this.#programs.stop();
    this.#pidfile?.remove();
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
