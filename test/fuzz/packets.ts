/**
 * Packets for the fuzzer: right ones of every encapsulation over both families, in the clear, in ESP and in ESP in UDP, and
 * what chance makes of them. It knows where lengths, types and checksums stand, so that damage reaches every decoder behind them.
 */
import { createCipheriv } from 'node:crypto';
import type { EngineCommand, InboundSa, TunnelSettings, TunnelType } from '../../dataplane/commands.ts';
import { encapState, encapsulationOf } from '../../dataplane/encap/encap.ts';
import { makeSpi } from '../../dataplane/steering.ts';
import { checksumOf, foldSum, sumBytes } from '../../dataplane/wire/checksum.ts';
import { damage, joined } from './damage.ts';
import type { Random } from './random.ts';

const TYPES: readonly TunnelType[] = ['gre', 'geneve', 'vxlan', 'stt'];
const KEY = { kind: 'fixed', key: 77 } as const;
const ALGORITHM = 'aes256gcm16';
const KEY_AND_SALT = Uint8Array.from({ length: 36 }, (_, i) => i);

/** A peer: its addresses, and how its packets travel. */
interface Way {
  readonly family: 4 | 6;
  readonly local: readonly number[];
  readonly remote: readonly number[];
  readonly localText: string;
  readonly remoteText: string;
  readonly esp: 'none' | 'raw' | 'udp';
  readonly spi: number;
}

const V6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const WAYS: readonly Way[] = (['none', 'raw', 'udp'] as const).flatMap((esp, i) =>
  ([4, 6] as const).map((family) => {
    const host = 2 + i;
    return {
      family,
      esp,
      local: family === 4 ? [192, 0, 2, 1] : [...V6, 1],
      remote: family === 4 ? [192, 0, 2, host] : [...V6, host],
      localText: family === 4 ? '192.0.2.1' : '2001:db8::1',
      remoteText: family === 4 ? `192.0.2.${host}` : `2001:db8::${host}`,
      spi: makeSpi(0, 5, 2 * i + (family === 4 ? 0 : 1)),
    };
  }),
);

function tunnelOf(type: TunnelType, way: Way, protection: number | undefined): TunnelSettings {
  const { defaultPort } = encapsulationOf(type);
  return {
    type,
    local: way.localText,
    remote: way.remoteText,
    inKey: KEY,
    outKey: KEY,
    checksum: false,
    destinationPort: defaultPort,
    ttl: 64,
    tos: 0,
    dontFragment: true,
    egressMark: undefined,
    protection,
    gbp: true,
  };
}

const any = (address: string): InboundSa['tsLocal'] => [
  { protocol: 0, startAddress: address, endAddress: address, startPort: 0, endPort: 65_535 },
];

/** What brings a worker to where these packets mean something: a bridge, a TAP, and each type of tunnel to each peer. */
export function commands(): EngineCommand[] {
  const result: EngineCommand[] = [
    { op: 'set-mark-policy', drop: undefined, uplinkMark: 0 },
    { op: 'set-bridge', bridge: 0, name: 'br0', ageingMs: 300_000, fdbSize: 1024 },
    { op: 'set-tap-port', port: 0, bridge: 0, name: 'br0', fds: [1000] },
  ];
  WAYS.forEach((way, i) => {
    const protection = way.esp === 'none' ? undefined : i;
    if (protection !== undefined) {
      const udp =
        way.esp === 'udp'
          ? { local: { address: way.localText, port: 4500 }, remote: { address: way.remoteText, port: 4500 } }
          : undefined;
      const sa = {
        slot: way.spi & 0xffff,
        spi: way.spi,
        protection,
        local: way.localText,
        remote: way.remoteText,
        udp,
        algorithm: ALGORITHM,
        keyAndSalt: KEY_AND_SALT,
        esn: false,
        tsLocal: any(way.localText),
        tsRemote: any(way.remoteText),
        softPackets: 0,
        softBytes: 0,
      } as const;
      result.push(
        { op: 'set-protection', protection, state: 'never-up' },
        { op: 'add-inbound-sa', sa: { ...sa, replayWindow: 64 } },
        { op: 'add-outbound-sa', sa: { ...sa, lastSequence: 0 } },
        { op: 'use-outbound-sa', protection, slot: sa.slot },
      );
    }
    TYPES.forEach((type, j) => {
      const port = 1 + 4 * i + j;
      result.push({
        op: 'set-tunnel-port',
        port,
        bridge: 0,
        name: `tun${port}`,
        tunnel: tunnelOf(type, way, protection),
      });
      result.push({ op: 'set-path-mtu', port, mtu: 1500 });
    });
  });
  return result;
}

export class Packets {
  private readonly random: Random;
  private readonly scratch = new Uint8Array(16_384);
  private readonly sequences = new Map<number, number>();

  constructor(random: Random) {
    this.random = random;
  }

  /** One packet as it arrives from the wire. */
  next(): Uint8Array {
    const { random } = this;
    const way = random.pick(WAYS);
    const type = random.pick(TYPES);
    const { protocol } = encapsulationOf(type);
    if (random.once(5000)) return this.outer(protocol, new Uint8Array(10_000), way);
    if (random.once(1000)) return this.outer(17, Uint8Array.of(0x11, 0x94, 0x11, 0x94, 0, 9, 0, 0, 0xff), way);
    let payload = this.tunnelPacket(type, way);
    if (!random.once(8)) payload = damage(random, payload);
    if (type === 'stt' && !random.once(4)) this.sumTcp(payload, way);
    if (way.esp !== 'none' && random.once(20)) payload = damage(random, payload);
    const packet = this.wrap(payload, protocol, way, (sealed) => (random.once(3) ? damage(random, sealed) : sealed));
    if (random.once(10)) return damage(random, packet);
    return random.once(50) ? packet.subarray(0, random.below(packet.length + 1)) : packet;
  }

  /** What `carry` takes: a way, a type, and a tunnel packet of that type. */
  content(): Uint8Array {
    const { random } = this;
    const which = random.below(WAYS.length);
    const type = random.below(TYPES.length);
    return joined([which, type], this.tunnelPacket(TYPES[type]!, WAYS[which]!));
  }

  /** The packet that carries a content: checksum of TCP right, and authentic where the way is one of ESP. */
  carry(content: Uint8Array): Uint8Array {
    const way = WAYS[(content[0] ?? 0) % WAYS.length]!;
    const { protocol } = encapsulationOf(TYPES[(content[1] ?? 0) % TYPES.length]!);
    const payload = content.slice(2);
    if (protocol === 6) this.sumTcp(payload, way);
    return this.wrap(payload, protocol, way);
  }

  /** Frames that let the switch learn where most others are for, so that few are flooded. */
  greetings(): readonly Uint8Array[] {
    return Array.from({ length: 6 }, (_, i) => Uint8Array.of(2, 0, 0, 0, 0, i, 2, 0, 0, 0, 0, i, 0x88, 0xb5, 0, 0));
  }

  /** A frame as a host behind the TAP may send it. */
  frame(): Uint8Array {
    const { random } = this;
    const frame = this.innerFrame(random.below(random.once(10) ? 9000 : 1600));
    return random.once(3) ? damage(random, frame) : frame;
  }

  private tunnelPacket(type: TunnelType, way: Way): Uint8Array {
    const { random, scratch } = this;
    const frame = this.innerFrame(random.below(random.once(8) ? 3000 : 300));
    const encapsulation = encapsulationOf(type);
    const state = encapState(encapsulation, { ...tunnelOf(type, way, undefined), checksum: random.once(10) });
    const at = 512;
    scratch.set(frame, at);
    const start = encapsulation.push(scratch, at, frame.length, state, random.word() | 0);
    const packet = scratch.slice(start, at + frame.length);
    if (type === 'geneve' && random.once(3)) return this.withOptions(packet);
    return type === 'stt' ? this.sttSegment(packet) : packet;
  }

  /** Makes of a whole STT packet a piece of one of a few frames, so that others of it may come, again, across it, or not at all. */
  private sttSegment(packet: Uint8Array): Uint8Array {
    const { random } = this;
    if (!random.once(2)) return packet;
    const id = random.below(12);
    const total = 1200 + id;
    const from = random.once(4) ? random.below(total) : 30 * random.below(40);
    const length = random.once(3) ? 1 + random.below(200) : random.pick([30, 30, 30, 60, total - from]);
    const piece = new Uint8Array(20 + Math.max(1, Math.min(length, total - from)));
    piece.set(packet.subarray(0, Math.min(packet.length, piece.length)));
    piece.set([0xc0, 0, 0x1d, 0x2f, total >> 8, total, from >> 8, from, 0, 0, 0, id]);
    if (from === 0 && random.once(3) && piece.length > 38)
      piece.set([random.below(16), random.below(80), 0, 0, random.below(256), random.below(32), 5], 21);
    return piece;
  }

  /** Options behind the base header of Geneve, some of them critical. */
  private withOptions(packet: Uint8Array): Uint8Array {
    const { random } = this;
    const options: number[] = [];
    for (let count = 1 + random.below(3); count > 0; count--) {
      const words = random.below(3);
      options.push(1, 2, random.once(4) ? 0x83 : 3, words, ...new Array<number>(4 * words).fill(random.below(256)));
    }
    const result = joined(packet.subarray(0, 16), options, packet.subarray(16));
    result[8] = options.length / 4;
    result.set([result.length >> 8, result.length], 4);
    return result;
  }

  private innerFrame(length: number): Uint8Array {
    const { random } = this;
    const frame = new Uint8Array(Math.max(14, length)).fill(random.below(256));
    frame.set([2, 0, 0, 0, 0, random.below(6), 2, 0, 0, 0, 1, random.below(6)]);
    if (random.once(40)) frame.fill(255, 0, 6);
    let at = 12;
    for (let tags = random.once(4) ? 1 + random.below(3) : 0; tags > 0 && at + 6 < frame.length; tags--, at += 4)
      frame.set([random.pick([0x81, 0x88]), random.pick([0, 0xa8]), random.below(256), random.below(256)], at);
    const ip = at + 2;
    const rest = frame.length - ip;
    if (random.once(2)) {
      frame.set([8, 0], at);
      if (rest >= 20)
        frame.set(
          [
            0x45,
            random.below(256),
            rest >> 8,
            rest,
            0,
            1,
            random.pick([0, 0x40]),
            0,
            random.below(256),
            random.pick([1, 6, 17]),
            0,
            0,
            10,
            0,
            0,
            1,
            10,
            0,
            0,
            2,
          ],
          ip,
        );
    } else if (random.below(2) === 0) {
      frame.set([0x86, 0xdd], at);
      if (rest >= 40)
        frame.set(
          [
            0x60 | random.below(16),
            random.below(256),
            0,
            0,
            (rest - 40) >> 8,
            rest - 40,
            random.pick([6, 17, 58]),
            64,
            ...V6,
            1,
            ...V6,
            2,
          ],
          ip,
        );
    }
    return frame;
  }

  /** In outer headers, and in ESP of its own key where the way is one: so what is inside is authentic, however wrong. */
  private wrap(payload: Uint8Array, protocol: number, way: Way, spoil = (sealed: Uint8Array) => sealed): Uint8Array {
    if (way.esp === 'none') return this.outer(protocol, payload, way);
    const sealed = spoil(this.sealed(payload, protocol, way));
    if (way.esp === 'raw') return this.outer(50, sealed, way);
    const length = sealed.length + 8;
    return this.outer(17, joined([0x11, 0x94, 0x11, 0x94, length >> 8, length, 0, 0], sealed), way);
  }

  private sealed(payload: Uint8Array, protocol: number, way: Way): Uint8Array {
    const { random } = this;
    const last = this.sequences.get(way.spi) ?? 0;
    const sequence = random.once(10) ? Math.max(0, last - random.below(100)) : last + 1;
    this.sequences.set(way.spi, Math.max(last, sequence));
    const padding = -(payload.length + 2) & 3;
    const text = new Uint8Array(payload.length + padding + 2);
    text.set(payload);
    text.set([1, 2, 3].slice(0, padding), payload.length);
    text[text.length - 2] = random.once(20) ? random.below(256) : padding;
    text[text.length - 1] = random.once(30) ? random.pick([59, random.below(256)]) : protocol;
    const packet = Buffer.alloc(16 + text.length + 16);
    packet.writeUInt32BE(way.spi, 0);
    packet.writeUInt32BE(sequence, 4);
    packet.writeUInt32BE(sequence, 12);
    const nonce = Buffer.concat([KEY_AND_SALT.subarray(32), packet.subarray(8, 16)]);
    const cipher = createCipheriv('aes-256-gcm', KEY_AND_SALT.subarray(0, 32), nonce);
    cipher.setAAD(packet.subarray(0, 8));
    packet.set(cipher.update(text), 16);
    cipher.final();
    packet.set(cipher.getAuthTag(), 16 + text.length);
    return packet;
  }

  private outer(protocol: number, payload: Uint8Array, way: Way): Uint8Array {
    const { random } = this;
    const tos = random.once(4) ? random.below(256) : 0;
    if (way.family === 6) {
      const length = payload.length;
      return joined(
        [0x60 | (tos >> 4), (tos & 15) << 4, 0, 0, length >> 8, length, protocol, 64, ...way.remote, ...way.local],
        payload,
      );
    }
    const length = 20 + payload.length;
    return joined(
      [0x45, tos, length >> 8, length, 0, 0, 0, 0, 64, protocol, 0, 0, ...way.remote, ...way.local],
      payload,
    );
  }

  private sumTcp(payload: Uint8Array, way: Way): void {
    if (payload.length < 20) return;
    payload.set([0, 0], 16);
    const addresses = Uint8Array.of(...way.remote, ...way.local);
    const pseudo = foldSum(sumBytes(addresses, 0, addresses.length, 0) + 6 + payload.length);
    const sum = checksumOf(sumBytes(payload, 0, payload.length, pseudo));
    payload.set([sum >> 8, sum & 255], 16);
  }
}
