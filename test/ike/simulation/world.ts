/**
 * A world of IKE engines on a virtual clock: hosts with addresses, a network between them that loses, repeats,
 * reorders and delays, and a seeded source of all randomness, so that a run can be repeated from its seed.
 *
 * A host carries out its engine's actions as control would, as far as it can be seen from outside: which child SAs
 * are installed, which one sends. Nothing waits in real time.
 */

import {
  type ChildSa,
  type Connection,
  createIkeEngine,
  type Datagram,
  type Endpoint,
  type EngineSettings,
  type IkeAction,
  type IkeCommand,
  type IkeCounters,
  type IkeEngine,
  type Job,
  perform,
} from '../../../ike/index.ts';

/** mulberry32: small, fast, good enough to drive a simulation. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const TEST_SETTINGS: EngineSettings = {
  retransmitMs: 4000,
  retransmitFactor: 1.8,
  retransmitTries: 5,
  retryMs: 1000,
  retryMaxMs: 60_000,
  cookieThreshold: 30,
  halfOpenLimit: 100,
};

export interface InstalledChild {
  readonly sa: ChildSa;
  readonly sinceMs: number;
  /** Copies: the runner wipes the keys it was given. */
  readonly inboundKey: string;
  readonly outboundKey: string;
}

/** A step of a key exchange or a signature that some other thread is busy with. */
interface Computing {
  readonly atMs: number;
  readonly id: number;
  readonly job: Job;
}

export interface HostHooks {
  /** Wraps the random bytes, to force nonces. */
  readonly random?: (bytes: number) => Uint8Array;
}

export class Host {
  readonly world: World;
  readonly address: string;
  engine: IkeEngine;
  readonly installed = new Map<number, InstalledChild>();
  /** Child id that sends, by `connection/child`. */
  readonly sending = new Map<string, number>();
  readonly actions: IkeAction[] = [];
  readonly allocated = new Set<number>();
  failures: string[] = [];
  logs: string[] = [];
  /** Of the engines before the last reboot. */
  readonly formerCounters: IkeCounters[] = [];
  keepalives = 0;
  /** Why a child cannot be installed here, if it cannot. */
  refuses: (sa: ChildSa) => string | undefined = () => undefined;
  readonly #refused = new Set<number>();
  /** What the engine wants computed elsewhere; done when its time has come. */
  computing: Computing[] = [];
  /** How many of them are done. */
  computed = 0;
  readonly removed: {
    readonly id: number;
    readonly child: string;
    readonly drainMs: number;
    readonly reason: string;
  }[] = [];
  #settings: EngineSettings;
  #nextSpi = 0x1000;

  constructor(world: World, address: string, settings: EngineSettings, hooks: HostHooks = {}) {
    this.world = world;
    this.address = address;
    this.#settings = settings;
    this.engine = this.#boot(settings, hooks);
  }

  #boot(settings: EngineSettings, hooks: HostHooks): IkeEngine {
    const engine = createIkeEngine(settings, {
      // Virtual days begin at the real date, so that certificates made for a test are valid.
      dateMs: () => this.world.epochMs + this.world.nowMs,
      random: (bytes) => hooks.random?.(bytes) ?? this.world.bytes(bytes),
      allocateSpi: () => {
        const spi = this.#nextSpi++;
        this.allocated.add(spi);
        return spi;
      },
      releaseSpi: (spi) => {
        if (!this.allocated.delete(spi)) throw new Error(`SPI ${spi} was released twice or never allocated`);
      },
    });
    engine.command(this.world.nowMs, { command: 'configuration-known', known: true });
    return engine;
  }

  /** The program is killed and started again: all state is lost, the SPIs go on. */
  reboot(settings: EngineSettings = this.#settings, hooks: HostHooks = {}): void {
    this.installed.clear();
    this.#refused.clear();
    this.sending.clear();
    this.allocated.clear();
    this.computing = [];
    this.formerCounters.push(this.engine.counters());
    this.engine = this.#boot(settings, hooks);
  }

  /** Other threads have come to the end of what was due: in the order of their times, not in that of the asking. */
  compute(): void {
    const { nowMs } = this.world;
    const due = this.computing.filter(({ atMs }) => atMs <= nowMs).sort((a, b) => a.atMs - b.atMs);
    this.computing = this.computing.filter(({ atMs }) => atMs > nowMs);
    for (const { id, job } of due) {
      const fails = this.world.fraction() < this.world.computing.failure;
      const result = fails ? undefined : perform(job, (bytes) => this.world.bytes(bytes));
      this.computed += 1;
      this.carryOut(this.engine.computed(nowMs, id, result));
    }
  }

  command(command: IkeCommand): void {
    this.carryOut(this.engine.command(this.world.nowMs, command));
  }

  set(connection: Connection): void {
    this.command({ command: 'set-connection', connection });
  }

  receive(datagram: Datagram): void {
    this.carryOut(this.engine.input(this.world.nowMs, datagram));
  }

  carryOut(actions: readonly IkeAction[]): void {
    const afterwards: IkeCommand[] = [];
    for (const action of actions) {
      this.actions.push(action);
      if ('id' in action && action.action !== 'compute' && this.#refused.has(action.id)) continue;
      switch (action.action) {
        case 'send':
          this.world.send(action);
          break;
        case 'child-install': {
          const { sa } = action;
          if (this.installed.has(sa.id)) throw new Error(`child ${sa.id} was installed twice`);
          const reason = this.refuses(sa);
          if (reason !== undefined) {
            this.#refused.add(sa.id);
            this.allocated.delete(sa.inboundSpi);
            afterwards.push({ command: 'child-not-installed', id: sa.id, reason });
            break;
          }
          this.installed.set(sa.id, {
            sa,
            sinceMs: this.world.nowMs,
            inboundKey: Buffer.from(sa.inboundKey).toString('hex'),
            outboundKey: Buffer.from(sa.outboundKey).toString('hex'),
          });
          const slot = `${sa.connection}/${sa.child}`;
          if (action.sendNow) this.sending.set(slot, sa.id);
          else if (!this.sending.has(slot)) throw new Error(`child ${sa.id} does not send, and nothing else does`);
          break;
        }
        case 'child-path': {
          const child = this.installed.get(action.id);
          if (child === undefined) throw new Error(`child-path for ${action.id}, which is not installed`);
          const sa = { ...child.sa, udpEncapsulation: action.udpEncapsulation };
          this.installed.set(action.id, { ...child, sa });
          break;
        }
        case 'keepalive':
          this.keepalives += 1;
          this.world.translate({ from: action.local, to: action.remote });
          break;
        case 'child-send': {
          const child = this.installed.get(action.id);
          if (child === undefined) throw new Error(`child-send for ${action.id}, which is not installed`);
          this.sending.set(`${child.sa.connection}/${child.sa.child}`, action.id);
          break;
        }
        case 'child-remove': {
          const child = this.installed.get(action.id);
          if (child === undefined) throw new Error(`child-remove for ${action.id}, which is not installed`);
          this.installed.delete(action.id);
          const slot = `${child.sa.connection}/${child.sa.child}`;
          if (this.sending.get(slot) === action.id) {
            this.sending.delete(slot);
            const others = [...this.installed.values()].filter(({ sa }) => `${sa.connection}/${sa.child}` === slot);
            if (others.length > 0 && others.some(({ sa }) => this.#stays(sa.id))) {
              throw new Error(`child ${action.id} was removed while it sent, although another one was there`);
            }
          }
          this.removed.push({ id: action.id, child: child.sa.child, drainMs: action.drainMs, reason: action.reason });
          this.allocated.delete(child.sa.inboundSpi);
          break;
        }
        case 'compute': {
          const { id, job } = action;
          this.computing.push({
            atMs: this.world.nowMs + this.world.fraction() * this.world.computing.maximumMs,
            id,
            job,
          });
          break;
        }
        case 'failed':
          this.failures.push(action.reason);
          break;
        case 'log':
          this.logs.push(
            `${(this.world.nowMs / 1000).toFixed(3)} ${action.level} ${action.connection ?? '-'} ${action.message}`,
          );
          break;
        default:
          break;
      }
    }
    for (const command of afterwards) this.command(command);
  }

  /** Still there when all actions are carried out, and not on its way out. */
  #stays(id: number): boolean {
    return this.engine
      .status()
      .some(({ children }) => children.some((child) => child.id === id && child.state !== 'deleting'));
  }

  /** The installed child SAs of one configured child. */
  childrenOf(child: string): InstalledChild[] {
    return [...this.installed.values()].filter(({ sa }) => sa.child === child);
  }

  upIkeSas(): number {
    return this.engine
      .status()
      .reduce((sum, { ikeSas }) => sum + ikeSas.filter(({ state }) => state !== 'connecting').length, 0);
  }
}

export interface NetworkConditions {
  /** Probabilities, 0 to 1. */
  readonly loss: number;
  readonly duplication: number;
  /** One byte is changed. */
  readonly corruption?: number;
  /** One-way delay in ms: at least, and at most. Datagrams overtake each other when they differ. */
  readonly minimumMs: number;
  readonly maximumMs: number;
}

export const PERFECT: NetworkConditions = { loss: 0, duplication: 0, minimumMs: 1, maximumMs: 1 };

interface InFlight {
  readonly atMs: number;
  readonly sequence: number;
  readonly datagram: Datagram;
}

/** Source and destination of a datagram. */
export interface Ends {
  readonly from: Endpoint;
  readonly to: Endpoint;
}

export type Sent = Extract<IkeAction, { action: 'send' }>;

export class World {
  nowMs = 0;
  /** The date at virtual time 0, for certificates. */
  epochMs = Date.now();
  conditions: NetworkConditions;
  /** What is computed elsewhere takes so long at most, and fails so often. */
  computing = { maximumMs: 20, failure: 0 };
  readonly hosts = new Map<string, Host>();
  /** Every datagram that was sent, for tests that forge and repeat. */
  readonly sent: Sent[] = [];
  /** Decides over single datagrams: false drops it. */
  pass: (sent: Sent) => boolean = () => true;
  /** A NAT on the way: the ends as the receiver sees them, or undefined: dropped there. */
  translate: (ends: Ends) => Ends | undefined = (ends) => ends;
  readonly #random: () => number;
  #inFlight: InFlight[] = [];
  #sequence = 0;

  constructor(seed: number, conditions: NetworkConditions = PERFECT) {
    this.#random = seededRandom(seed);
    this.conditions = conditions;
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => Math.floor(this.#random() * 256));
  }

  fraction(): number {
    return this.#random();
  }

  addHost(address: string, settings: EngineSettings = TEST_SETTINGS, hooks: HostHooks = {}): Host {
    const host = new Host(this, address, settings, hooks);
    this.hosts.set(address, host);
    return host;
  }

  send(sent: Sent): void {
    this.sent.push(sent);
    if (!this.pass(sent) || this.#random() < this.conditions.loss) return;
    const copies = this.#random() < this.conditions.duplication ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) this.deliver(sent);
  }

  /** Puts a datagram on the wire, whoever made it. */
  deliver(sent: Pick<Sent, 'local' | 'remote' | 'data'>, data: Uint8Array = sent.data): void {
    const { minimumMs, maximumMs } = this.conditions;
    const ends = this.translate({ from: sent.local, to: sent.remote });
    if (ends === undefined) return;
    this.#inFlight.push({
      atMs: this.nowMs + minimumMs + this.#random() * (maximumMs - minimumMs),
      sequence: this.#sequence++,
      datagram: { local: ends.to, remote: ends.from, data: this.#corrupted(data) },
    });
  }

  #corrupted(data: Uint8Array): Uint8Array {
    const copy = data.slice();
    if (this.#random() < (this.conditions.corruption ?? 0)) {
      copy[Math.floor(this.#random() * copy.length)] ^= 1 << Math.floor(this.#random() * 8);
    }
    return copy;
  }

  get inFlight(): number {
    return this.#inFlight.length;
  }

  /** The time of the next event, or undefined. */
  #next(): number | undefined {
    const times = this.#inFlight.map(({ atMs }) => atMs);
    for (const host of this.hosts.values()) {
      const timer = host.engine.nextTimerMs();
      if (timer !== undefined) times.push(Math.max(timer, this.nowMs));
      times.push(...host.computing.map(({ atMs }) => atMs));
    }
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Lets the world go on until `done`, or for so long; returns whether `done` came true. */
  run(forMs: number, done: () => boolean = () => false): boolean {
    const endMs = this.nowMs + forMs;
    for (let steps = 0; steps < 200_000; steps++) {
      if (done()) return true;
      const next = this.#next();
      if (next === undefined || next > endMs) {
        this.nowMs = endMs;
        return done();
      }
      this.nowMs = next;
      const due = this.#inFlight
        .filter(({ atMs }) => atMs <= next)
        .sort((a, b) => a.atMs - b.atMs || a.sequence - b.sequence);
      this.#inFlight = this.#inFlight.filter(({ atMs }) => atMs > next);
      for (const { datagram } of due) this.hosts.get(datagram.local.address)?.receive(datagram);
      for (const host of this.hosts.values()) {
        host.compute();
        host.carryOut(host.engine.tick(next));
      }
    }
    throw new Error('the world does not come to rest: 200000 events');
  }
}
