/**
 * What is measured on a tunnel that stands: TCP streams, UDP datagrams of one size sent as fast as they go, round trips
 * idle and under a fixed load. One row each; a row gives its headline number and everything else the run told.
 */
import type { Rig } from '../../test/rig/rig.ts';
import type { TunnelEnds } from '../peers/peer.ts';
import { iperf, parseTcp, parseUdp, tcpWords, udpWords } from '../traffic/iperf.ts';
import { measureRoundTrips, pingWords, type RoundTrips } from '../traffic/round-trips.ts';

/** What one run gave. */
export type Reading = {
  readonly value: number;
  readonly values: Readonly<Record<string, number>>;
  /** Bits of user data carried while CPU time was counted, and that of the traffic generator; 0 where that says nothing. */
  readonly bits: number;
  readonly generatorCpu: number;
};

/** A measurement as a row. */
export type Measurement = {
  readonly id: string;
  readonly title: string;
  readonly unit: 'Gbit/s' | 'kpackets/s' | 'ms';
  /** The command as the report shows it. */
  readonly command: (seconds: number) => string;
  run(rig: Rig, ends: TunnelEnds, seconds: number): Promise<Reading>;
};

/** TCP's slow start does not count. */
const WARM_UP_SECONDS = 1;
/** Every contender carries this without loss when it is alone: 200 Mbit/s of 1400 bytes is 18,000 packets a second. */
const LOAD_BITS = 200_000_000;
const LOAD_SIZE = 1350;
const PINGS_PER_SECOND = 400;
const CONGESTION = ['--congestion', 'cubic'];

function tcp(streams: number): Measurement {
  const words = (seconds: number) => [...tcpWords(streams, seconds, WARM_UP_SECONDS), ...CONGESTION];
  return {
    id: `tcp-${streams}`,
    title: streams === 1 ? 'One TCP stream' : `${streams} TCP streams`,
    unit: 'Gbit/s',
    command: (seconds) => `iperf3 --client SERVER --bind CLIENT --json ${words(seconds).join(' ')}`,
    async run(rig, ends, seconds) {
      const { gigabitsPerSecond, retransmits, bitsInAll, cpuSeconds } = parseTcp(
        await iperf(rig, ends, words(seconds)),
      );
      return { value: gigabitsPerSecond, values: { retransmits }, bits: bitsInAll, generatorCpu: cpuSeconds };
    },
  };
}

/** IPv4 and UDP headers within the tunnel: with them a datagram of 1400 bytes passes every contender's MTU in one piece. */
const HEADERS = 28;

function udp(size: number): Measurement {
  const words = (seconds: number) => udpWords(size - HEADERS, seconds);
  return {
    id: `udp-${size}`,
    title: `UDP in IP packets of ${size} bytes, sent as fast as they go`,
    unit: 'kpackets/s',
    command: (seconds) => `iperf3 --client SERVER --bind CLIENT --json ${words(seconds).join(' ')}`,
    async run(rig, ends, seconds) {
      const result = parseUdp(await iperf(rig, ends, words(seconds)));
      const values = {
        offered: result.offeredKilopackets,
        loss: result.loss,
      };
      return { value: result.kilopacketsPerSecond, values, bits: 0, generatorCpu: result.cpuSeconds };
    },
  };
}

const roundTripReading = (times: RoundTrips): Reading => ({
  value: times.p50,
  values: { ...times },
  bits: 0,
  generatorCpu: 0,
});

const idle: Measurement = {
  id: 'latency-idle',
  title: 'Round trip, idle',
  unit: 'ms',
  command: (seconds) => `ping -I CLIENT ${pingWords(seconds * PINGS_PER_SECOND).join(' ')} SERVER`,
  async run(_rig, ends, seconds) {
    return roundTripReading(await measureRoundTrips(ends, Math.round(seconds * PINGS_PER_SECOND)));
  },
};

const loaded: Measurement = {
  id: 'latency-load',
  title: `Round trip beside ${LOAD_BITS / 1e6} Mbit/s of UDP`,
  unit: 'ms',
  command: (seconds) => {
    const load = udpWords(LOAD_SIZE, seconds + 1, LOAD_BITS).join(' ');
    return `iperf3 --client SERVER --bind CLIENT --json ${load} & ${idle.command(seconds)}`;
  },
  async run(rig, ends, seconds) {
    const load = iperf(rig, ends, udpWords(LOAD_SIZE, seconds + 1, LOAD_BITS));
    // A failure of the load must not go unseen while the pings run.
    const [json, times] = await Promise.all([
      load,
      new Promise((resolve) => setTimeout(resolve, 300)).then(() =>
        measureRoundTrips(ends, Math.round(seconds * PINGS_PER_SECOND)),
      ),
    ]);
    const { loss, kilopacketsPerSecond } = parseUdp(json);
    const reading = roundTripReading(times);
    return { ...reading, values: { ...reading.values, loadLoss: loss, loadKilopackets: kilopacketsPerSecond } };
  },
};

/** All measurements, in the order of the report. */
export const MEASUREMENTS: readonly Measurement[] = [
  tcp(1),
  tcp(4),
  tcp(16),
  udp(64),
  udp(512),
  udp(1400),
  idle,
  loaded,
];
