/**
 * One random sequence, made from its seed alone: two hosts, one to four tunnels, and then whatever may happen to them,
 * under traffic. At its end the configuration is right on both sides again, and every tunnel must carry payloads both
 * ways in ESP.
 */
import type { LeakHost } from './host.ts';
import {
  type Ask,
  BREAKAGES,
  type Breakage,
  type HostSpec,
  type MarkSpec,
  PAIRS,
  PORTS,
  type TunnelSpec,
} from './spec.ts';
import { LeakWorld, type Tally } from './world.ts';

export interface Outcome {
  readonly violations: readonly string[];
  readonly tally: Tally;
  /** What was done, a line each. */
  readonly story: readonly string[];
  readonly logs: readonly string[];
}

const TYPES = ['gre', 'geneve', 'vxlan'] as const;
const MARKS = [undefined, 0, 1, 2, 3] as const;
const NAMES = ['t0', 't1', 't2', 't3'] as const;
const SECRETS = ['swordfish-one', 'swordfish-two', 'swordfish-six'] as const;
/** Options with no say in the policy; some of them replace the SAs. */
const EXTRAS: readonly Readonly<Record<string, string>>[] = [
  {},
  { csum: 'true' },
  { tos: '0x28', ttl: '9' },
  { df_default: 'false' },
  { ipsec_esp: 'aes128gcm16' },
  { ipsec_esp: 'chacha20poly1305' },
  { ipsec_salifetime: '60s', ipsec_margintime: '10s' },
  { ipsec_ikelifetime: '90s', ipsec_margintime: '10s' },
  { ipsec_dpddelay: '5s' },
  { ipsec_replay_window: '64' },
  { ipsec_pfs: 'no' },
];
/** A peer that lost its state is found out by liveness checks and given up after 165 s of retransmissions. */
const RECOVERY_STEPS = 120;
const RECOVERY_STEP_MS = 5000;

class Sequence {
  readonly world: LeakWorld;
  readonly story: string[] = [];

  constructor(seed: number, directory: string) {
    this.world = new LeakWorld(seed, directory);
    for (const secret of SECRETS) this.world.secrets.add(secret);
  }

  async play(): Promise<void> {
    const { world } = this;
    const first: HostSpec = {
      mark: this.#anyMark(),
      tunnels: NAMES.slice(0, 1 + Math.floor(world.fraction() * NAMES.length)).map((name) => this.#anyTunnel(name)),
    };
    for (const host of world.hosts) host.configure(this.#oneSecretAPair(first));
    this.#tell('both begin', first);
    for (const host of world.hosts) await host.start();
    const steps = 8 + Math.floor(world.fraction() * 14);
    for (let step = 0; step < steps; step++) {
      world.traffic();
      await this.#disturb();
      world.traffic();
      if (world.chance(0.5)) this.#forge();
      await world.turns();
    }
    await this.#recover();
  }

  /** One thing that may happen. */
  async #disturb(): Promise<void> {
    const { world } = this;
    const host = world.pick(world.hosts);
    const events: readonly (readonly [number, () => Promise<void> | void])[] = [
      [30, () => this.#change(host)],
      [8, () => this.#mirror(host)],
      [6, () => this.#crash(host)],
      [4, () => this.#stop(host)],
      [5, () => this.#restartWorker(host)],
      [6, () => host.wearOut(world.chance(0.7) ? 'child-soft-limit' : 'child-exhausted')],
      [5, () => world.replay()],
      [5, () => this.#network()],
      [12, () => this.#wait(world.fraction() * 3000)],
      [5, () => this.#wait(world.fraction() * 60_000)],
      [2, () => this.#wait(world.fraction() * 400_000)],
    ];
    let left = world.fraction() * events.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, event] of events) {
      left -= weight;
      if (left < 0) return event();
    }
  }

  // --- configuration

  #change(host: LeakHost): void {
    const { world } = this;
    const { tunnels, mark } = host.spec;
    const roll = world.fraction();
    let spec: HostSpec;
    if (roll < 0.15) spec = { mark: this.#anyMark(), tunnels };
    else if (roll < 0.25 && tunnels.length > 0) {
      const gone = world.pick(tunnels);
      spec = { mark, tunnels: tunnels.filter((tunnel) => tunnel !== gone) };
    } else if (roll < 0.35 && tunnels.length < NAMES.length) {
      const name = NAMES.find((free) => tunnels.every((tunnel) => tunnel.name !== free))!;
      spec = { mark, tunnels: [...tunnels, this.#anyTunnel(name)] };
    } else if (roll < 0.42) {
      // Several things in one transaction.
      spec = { mark: this.#anyMark(), tunnels: tunnels.map((tunnel) => this.#changed(tunnel)) };
    } else {
      const chosen = tunnels.length === 0 ? undefined : world.pick(tunnels);
      spec = { mark, tunnels: tunnels.map((tunnel) => (tunnel === chosen ? this.#changed(tunnel) : tunnel)) };
    }
    host.configure(spec);
    this.#tell(`host ${host.index} is configured`, spec);
  }

  #changed(tunnel: TunnelSpec): TunnelSpec {
    const { world } = this;
    const roll = world.fraction();
    if (roll < 0.35) return { ...tunnel, ask: this.#anyAsk() };
    if (roll < 0.5) return { ...tunnel, mark: world.pick(MARKS) };
    if (roll < 0.65) return { ...tunnel, extra: world.pick(EXTRAS) };
    if (roll < 0.75) return { ...tunnel, pair: world.fraction() < 0.5 ? 0 : 1 };
    if (roll < 0.85) return { ...tunnel, key: keyOf(tunnel.name, Math.floor(world.fraction() * 3)) };
    if (roll < 0.92) return { ...tunnel, port: world.pick(PORTS[tunnel.type]) };
    return { ...this.#anyTunnel(tunnel.name), ask: tunnel.ask };
  }

  /** Somebody has understood: the other host gets the same configuration. */
  #mirror(host: LeakHost): void {
    const other = this.world.hosts[1 - host.index]!;
    other.configure(host.spec);
    this.#tell(`host ${other.index} is configured as the other`, host.spec);
  }

  #anyTunnel(name: string): TunnelSpec {
    const { world } = this;
    const type = world.pick(TYPES);
    return {
      name,
      type,
      pair: world.chance(0.6) ? 0 : 1,
      key: keyOf(name, 0),
      port: world.chance(0.8) ? PORTS[type][0]! : world.pick(PORTS[type]),
      ask: this.#anyAsk(),
      mark: world.chance(0.6) ? undefined : world.pick(MARKS),
      extra: world.chance(0.7) ? {} : world.pick(EXTRAS),
    };
  }

  #anyAsk(): Ask {
    const { world } = this;
    const secret = world.chance(0.75) ? SECRETS[0] : world.pick(SECRETS);
    const roll = world.fraction();
    if (roll < 0.65) return { kind: 'psk', secret };
    if (roll < 0.82) return { kind: 'none' };
    return { kind: 'broken', secret, how: world.pick(Object.keys(BREAKAGES) as Breakage[]) };
  }

  #anyMark(): MarkSpec {
    const { world } = this;
    const roll = world.fraction();
    if (roll < 0.4) return 'unset';
    if (roll < 0.5) return 'malformed';
    const mask = world.pick([0, 1, 2, 3]);
    return { value: world.pick([0, 1, 2, 3]), mask };
  }

  #oneSecretAPair(spec: HostSpec): HostSpec {
    return {
      ...spec,
      tunnels: spec.tunnels.map((tunnel) =>
        tunnel.ask.kind === 'psk' ? { ...tunnel, ask: { kind: 'psk', secret: SECRETS[0] } } : tunnel,
      ),
    };
  }

  // --- what happens to processes and the network

  async #crash(host: LeakHost): Promise<void> {
    this.#tell(`host ${host.index} is killed`);
    host.crash();
    await this.#comeBack(host);
  }

  async #stop(host: LeakHost): Promise<void> {
    this.#tell(`host ${host.index} is stopped`);
    await host.stop();
    await this.#comeBack(host);
  }

  async #comeBack(host: LeakHost): Promise<void> {
    const { world } = this;
    world.tally.restarts++;
    if (world.chance(0.4)) this.#change(host);
    world.traffic();
    await this.#wait(world.chance(0.8) ? world.fraction() * 5000 : world.fraction() * 300_000);
    this.#tell(`host ${host.index} is started`);
    await host.start();
  }

  #restartWorker(host: LeakHost): void {
    this.#tell(`the packet worker of host ${host.index} dies`);
    host.restartWorker();
  }

  #network(): void {
    const { world } = this;
    world.loss = world.pick([0, 0, 0.2, 0.5]);
    world.cut = world.chance(0.2);
    world.slowness = world.pick([0, 2, 8]);
    this.#tell(
      `the network loses ${world.loss}${world.cut ? ', is cut' : ''}; workers take up to ${world.slowness} turns`,
    );
  }

  async #wait(ms: number): Promise<void> {
    this.#tell(`${(ms / 1000).toFixed(1)} s pass`);
    await this.world.run(ms);
  }

  #forge(): void {
    const { world } = this;
    const to = world.pick(world.hosts);
    const { tunnels } = to.spec;
    if (tunnels.length === 0) return;
    const { type, pair, port, key } = world.pick(tunnels);
    world.forge({ type, pair, port, key }, to);
  }

  // --- the end

  async #recover(): Promise<void> {
    const { world } = this;
    Object.assign(world, { loss: 0, cut: false, slowness: 0 });
    const spec: HostSpec = {
      mark: { value: 0, mask: 0 },
      tunnels: NAMES.slice(0, 3).map((name, index) => {
        const type = TYPES[index]!;
        const ask = { kind: 'psk', secret: SECRETS[0] } as const;
        return {
          name,
          type,
          pair: index % PAIRS.length,
          key: keyOf(name, 0),
          port: PORTS[type][0]!,
          ask,
          mark: undefined,
          extra: {},
        };
      }),
    };
    this.#tell('all is made well', spec);
    for (const host of world.hosts) {
      if (!host.alive) await host.start();
      host.configure(spec);
    }
    const before = world.tally.deliveredEsp;
    for (const host of world.hosts) await host.configured();
    const each = 2 * spec.tunnels.length;
    for (let step = 0; step < RECOVERY_STEPS; step++) {
      await world.run(RECOVERY_STEP_MS);
      const already = world.tally.deliveredEsp;
      world.traffic();
      await world.turns();
      if (world.tally.deliveredEsp - already >= each) return;
    }
    world.fail(new Error(`the tunnels did not come back: ${world.tally.deliveredEsp - before} payloads in ESP since`));
  }

  #tell(what: string, spec?: HostSpec): void {
    const at = (this.world.nowMs / 1000).toFixed(3);
    this.story.push(`${at} ${what}${spec === undefined ? '' : `: ${JSON.stringify(spec)}`}`);
  }
}

/** Each tunnel has its own keys, so that no two on a host are the same port. */
const keyOf = (name: string, variant: number): number => 100 * (1 + NAMES.indexOf(name as never)) + variant;

/** Plays the sequence of a seed; `directory` is for what the hosts put into OVS_RUNDIR. */
export async function playSequence(seed: number, directory: string): Promise<Outcome> {
  const sequence = new Sequence(seed, directory);
  const { world } = sequence;
  try {
    await sequence.play();
  } catch (error) {
    world.fail(error);
  }
  for (const host of world.hosts) host.crash();
  const logs = world.hosts.flatMap(({ log }) => log).sort();
  return { violations: world.violations(), tally: world.tally, story: sequence.story, logs };
}
