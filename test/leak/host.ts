/**
 * One host of the leak tests: the daemon's core (control/core.ts) with the real packet engine, the real IKE and the real
 * reconciler, on devices in memory and a virtual clock. It can be killed at any moment and started again; what it had
 * put into its OVS_RUNDIR, and its TAPs with the frames in them, outlive it.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { desiredState } from '../../control/config/config.ts';
import { Core } from '../../control/core.ts';
import { Reconciliations } from '../../control/reconciliations.ts';
import type { Logger } from '../../control/vlog.ts';
import type { MemoryUplink } from '../../dataplane/io/memory.ts';
import { MemoryPort } from '../../dataplane/io/memory.ts';
import { allOffloads } from '../../dataplane/offload/offloads.ts';
import type { WorkerCommand } from '../../dataplane/runner.ts';
import { parseEspProposal, parseIkeProposal } from '../../ike/index.ts';
import { loadNative, type Native } from '../../native-shims/index.ts';
import type { ReceivedDatagram } from '../../native-shims/types.ts';
import { replicaOf, SURROUNDINGS } from '../control/config/rows.ts';
import { PolicyModel } from './policy-model.ts';
import { WatchedRunner } from './runner.ts';
import { bridgeOf, type HostSpec, PAIRS, PORTS, rowsOf, spdKey, type TunnelSpec } from './spec.ts';
import { frameWith } from './wire-tap.ts';
import type { LeakWorld } from './world.ts';

const LIMITS = { ports: 64, bridges: 16, protections: 64, saSlots: 256, fdbCells: 1024 };
const ARENA = { rows: 48, reads: 16, frameBytes: 1600 };
const FRAME_BYTES = 256;
const QUEUE = 24;
/** A disk takes so long at most. */
const SYNC_MS = 30;
/** Of real time. */
const LAST_RECONCILIATION_MS = 20_000;
const EMPTY: HostSpec = { mark: 'unset', tunnels: [] };

/** One life of the daemon, from its start to its end. */
interface Life {
  readonly core: Core;
  readonly runner: WatchedRunner;
  ended: boolean;
  readonly reconciliations: Reconciliations;
  readonly sockets: Map<number, { readonly queue: ReceivedDatagram[]; wake: () => void }>;
  readonly aeadKeys: Set<number>;
}

export class LeakHost {
  readonly index: 0 | 1;
  readonly model = new PolicyModel();
  readonly log: string[] = [];
  spec: HostSpec = EMPTY;
  readonly #world: LeakWorld;
  readonly #directory: string;
  readonly #uplink: MemoryUplink;
  readonly #taps = new Map<string, MemoryPort>();
  readonly #fds = new Map<number, MemoryPort>();
  #nextFd = 1000;
  #life: Life | undefined;

  constructor(world: LeakWorld, index: 0 | 1, directory: string, uplink: MemoryUplink) {
    this.#world = world;
    this.index = index;
    this.#directory = directory;
    this.#uplink = uplink;
    // What an earlier run of the same seed has left would be remembered.
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
  }

  get alive(): boolean {
    return this.#life !== undefined;
  }

  /** Starts the daemon; it reads its configuration a little later, as from a database. */
  async start(): Promise<void> {
    const sockets: Life['sockets'] = new Map();
    const aeadKeys = new Set<number>();
    const isOver = (): boolean => this.#life?.sockets !== sockets;
    let runner: WatchedRunner | undefined;
    const native = this.#native(sockets, aeadKeys);
    const core = await Core.create({
      native,
      engine: {
        workers: 0,
        aead: 'native',
        uplinkIo: this.#uplink,
        now: () => this.#world.nowMs,
        offloads: allOffloads(false),
        limits: LIMITS,
        arena: ARENA,
        memoryPorts: this.#fds,
        makeRunner: (context, host) => {
          const hooks = {
            delay: () => Math.floor(this.#world.fraction() * this.#world.slowness),
            onDone: (command: WorkerCommand) => {
              if (!isOver()) this.#carriedOut(command);
            },
          };
          runner = new WatchedRunner(context, host, hooks);
          return runner;
        },
      },
      random: (bytes) => this.#world.bytes(bytes),
      runDirectory: this.#directory,
      // Its file is there at once; that the daemon may rely on it is heard later, or never if it is killed before.
      syncToDisk: () =>
        new Promise((resolve) => {
          this.#world.after(this.#world.fraction() * SYNC_MS, () => {
            if (!isOver()) resolve();
          });
        }),
      links: {
        linkFacts: (name) =>
          isOver() ? new Promise(() => {}) : Promise.resolve(this.#taps.has(name) ? LINK : undefined),
        setLink: () => (isOver() ? new Promise(() => {}) : Promise.resolve()),
      },
      routing: { apply: () => Promise.resolve(0), prepareTun: () => Promise.resolve() },
      timers: {
        after: (ms, callback) =>
          this.#world.after(ms, () => {
            if (!isOver()) callback();
          }),
      },
      logger: (module) => this.#logger(module),
      onChange: () => {},
      onBug: (error) => {
        throw error;
      },
    });
    const reconciliations = new Reconciliations(
      () => this.#reconcile(core),
      // A process that was killed does not go on.
      (error) => {
        if (!isOver()) this.#world.fail(error);
      },
    );
    this.#life = { core, runner: runner!, ended: false, reconciliations, sockets, aeadKeys };
    await core.start();
    reconciliations.soon();
  }

  /** SIGKILL. */
  crash(): void {
    const life = this.#life;
    if (life === undefined) return;
    this.#end();
    void life.reconciliations.end(0);
    life.runner.kill();
    for (const key of life.aeadKeys) loadNative().aeadDropKey(key);
    // Gives its timer back; it waits for ever for its worker.
    void life.core.engine.stop();
  }

  /** SIGTERM: the peers are told. */
  async stop(): Promise<void> {
    const life = this.#life;
    if (life === undefined) return;
    await life.reconciliations.end(LAST_RECONCILIATION_MS);
    if (this.#life !== life) return;
    await life.core.stop(false);
    this.#end();
  }

  #end(): void {
    this.#life = undefined;
    this.model.restart();
  }

  /** The database's rows have changed. */
  configure(spec: HostSpec): void {
    this.spec = spec;
    this.#life?.reconciliations.soon();
  }

  /** Resolves when the daemon, if it lives, has carried out its configuration. */
  async configured(): Promise<void> {
    await this.#life?.reconciliations.settled();
  }

  restartWorker(): void {
    this.#life?.runner.restart();
  }

  /** Child SAs are near or at the end of their sequence numbers. */
  wearOut(kind: 'child-soft-limit' | 'child-exhausted'): void {
    const life = this.#life;
    if (life === undefined) return;
    for (const { sa } of [...life.core.children.installed()]) {
      if (this.#world.fraction() < 0.7) life.core.ike.command({ command: kind, id: sa.id });
    }
  }

  /** A frame with this payload comes from the bridge of a tunnel. False: there is no such TAP, or it is full. */
  send(tunnel: string, payload: number): boolean {
    return this.#taps.get(bridgeOf(tunnel))?.put(frameWith(payload, this.index + 1)) ?? false;
  }

  /** Every frame that came out of a TAP since the last call. */
  *delivered(): Generator<Uint8Array> {
    for (const tap of this.#taps.values()) {
      for (let frame = tap.take(); frame !== undefined; frame = tap.take()) yield frame;
    }
  }

  /** An IKE datagram for this host. */
  receive(port: number, datagram: ReceivedDatagram): void {
    const socket = this.#life?.sockets.get(port);
    if (socket === undefined) return;
    socket.queue.push(datagram);
    socket.wake();
  }

  async #reconcile(core: Core): Promise<void> {
    const { spec } = this;
    const desired = desiredState(replicaOf(JSON.parse(rowsOf(spec, this.index))), {
      ...SURROUNDINGS,
      parseProposals: (protocol, text) => (protocol === 'ike' ? parseIkeProposal(text) : parseEspProposal(text)),
      previous: core.reconciler.desired,
    });
    this.model.begin(spec);
    await core.apply(desired, UNDERLAY, () => undefined);
    if (this.#life?.core === core) this.model.done();
  }

  /** An SA is in the worker: what it covers is protected from now on. */
  #carriedOut(command: WorkerCommand): void {
    if (command.op !== 'add-inbound-sa' && command.op !== 'add-outbound-sa') return;
    const { tsLocal, tsRemote, local, spi } = command.sa;
    const pair = PAIRS.findIndex((addresses) => addresses[this.index] === local);
    const [mine, theirs] = [tsLocal[0]!, tsRemote[0]!];
    if (command.op === 'add-outbound-sa') this.#world.freshSpi(this.index, spi);
    if (mine.protocol === 47) {
      this.model.saUp(spdKey({ type: 'gre', pair, port: 0 }));
      return;
    }
    const port = mine.startPort === mine.endPort ? mine.startPort : theirs.startPort;
    const type = (Object.keys(PORTS) as TunnelSpec['type'][]).find((name) => PORTS[name].includes(port));
    if (type !== undefined) this.model.saUp(spdKey({ type, pair, port }));
  }

  #logger(module: string): Logger {
    const at = (level: string) => (message: string) => this.#note(`${level} ${module}: ${message}`);
    return {
      emer: at('emer'),
      err: at('err'),
      warn: at('warn'),
      info: at('info'),
      dbg: at('dbg'),
      log: (level, message) => at(level)(message),
      limited: (_key, level, message) => at(level)(message),
      isEnabled: () => true,
    };
  }

  #note(line: string): void {
    this.log.push(`${(this.#world.nowMs / 1000).toFixed(3)} host ${this.index}: ${line}`);
  }

  #native(sockets: Life['sockets'], aeadKeys: Set<number>): Native {
    const real = loadNative();
    const ports = new Map<number, number>();
    return {
      ...real,
      openTap: (name) => {
        const port = this.#taps.get(name) ?? new MemoryPort(QUEUE, FRAME_BYTES);
        this.#taps.set(name, port);
        this.#fds.set(++this.#nextFd, port);
        return this.#nextFd;
      },
      setTapPersistent: (fd, persistent) => {
        for (const [name, port] of this.#taps) if (!persistent && port === this.#fds.get(fd)) this.#taps.delete(name);
      },
      setTapOffload: () => {},
      openUdpSocket: ({ family, port }) => {
        // There is no IPv6 on this wire.
        if (family === 6) return ++this.#nextFd;
        ports.set(++this.#nextFd, port);
        sockets.set(port, { queue: [], wake: () => {} });
        return this.#nextFd;
      },
      watchReadable: (fd, callback) => {
        const socket = sockets.get(ports.get(fd) ?? -1);
        if (socket !== undefined) socket.wake = callback;
        return () => {};
      },
      receiveDatagrams: (fd) => sockets.get(ports.get(fd) ?? -1)?.queue.splice(0) ?? [],
      sendDatagram: (fd, data, remote, local) =>
        this.#world.sendIke({ address: local ?? '', port: ports.get(fd) ?? 0 }, remote, data),
      close: () => {},
      aeadKey: (name, direction, keyAndSalt) => {
        const key = real.aeadKey(name, direction, keyAndSalt);
        aeadKeys.add(key);
        return key;
      },
      aeadDropKey: (key) => {
        aeadKeys.delete(key);
        real.aeadDropKey(key);
      },
      monotonicMs: () => this.#world.nowMs,
    };
  }
}

const LINK = { index: 1, mac: '02:00:00:00:00:01', mtu: 1500, up: true, carrier: true, addresses: [] };
const UNDERLAY = { routeTo: () => ({ source: '', device: 'eth0' }), link: () => LINK };
