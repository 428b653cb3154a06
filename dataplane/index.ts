/** The public face of the packet engine: what control and benchmarks use. */

export { type Family, familyOf } from './address-pairs.ts';
export type { CaptureSettings } from './capture/capture.ts';
export { CAPTURE_POINTS, type CapturePoint, captureHeader, concat, statisticsBlock } from './capture/pcapng.ts';
export type {
  EngineCommand,
  EngineEvent,
  EspAlgorithm,
  FlowTunnel,
  HostAddress,
  InboundSa,
  MarkMatch,
  OutboundSa,
  PortVlans,
  ProtectionState,
  Selector,
  TunnelKey,
  TunnelSettings,
  TunnelType,
} from './commands.ts';
export { type CounterReader, type PortCounters, WORKER_COUNTERS } from './counters.ts';
export { DROP_REASONS, type DropName, type DropReason } from './drops.ts';
export { childSelectors, ENCAPSULATIONS, encapsulationOf, tunnelOverhead } from './encap/encap.ts';
export type { ChildSelectors } from './encap/encapsulation.ts';
export { Engine, type EngineOptions } from './engine.ts';
export { ESP_ALGORITHMS, type EspAlgorithmRow, espOverhead } from './esp/algorithms.ts';
export { REPLAY_WINDOW_MAX, REPLAY_WINDOW_MIN } from './esp/replay.ts';
export type { InboundStatus, OutboundStatus } from './esp/sa-memory.ts';
export { IKE_IN_UDP } from './io/bpf.ts';
export { DEFAULT_LIMITS, type EngineLimits, ESP_SOFT_PACKETS } from './limits.ts';
export { allOffloads, OFFLOADS, type OffloadName, type Offloads } from './offload/offloads.ts';
export { SMALLEST_PATH_MTU } from './path-mtu.ts';
export type { AeadName } from './shared-state.ts';
export { type StageCost, stageCosts, stageTotals } from './stage-meter.ts';
export type { FdbEntry } from './switch/fdb.ts';
export type { TraceOutcome, TraceStep } from './trace/narrator.ts';
export type { TraceRequest } from './trace/trace.ts';
export { VLAN_TAG_LENGTH } from './wire/ethernet.ts';
