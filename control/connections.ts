/**
 * From the tunnels' connections to IKE: pure.
 *
 * The SPD has one row for each tunnel type and port between two addresses; IKE has one connection for the two
 * addresses, because the peer knows us by address and would take a second IKE SA for a replacement of the
 * first (INITIAL_CONTACT). So all rows between two addresses become children of one IKE connection, as
 * strongSwan merges OVS's connections. Identity, secret and IKE proposals come of the first of them.
 *
 * With `ipsec_per_worker_sas` each child has further ones beside it with the same selectors, one for every packet worker but one
 * (RFC 9611).
 */
import { childSelectors, ESP_SOFT_PACKETS } from '../dataplane/index.ts';
import type { ChildConfig, Connection, TrafficSelector } from '../ike/index.ts';
import { DEFAULT_ESP_PROPOSALS, DEFAULT_IKE_PROPOSALS } from '../ike/index.ts';
import type { ConnectionState } from './config/desired-state.ts';

/** A child of an IKE connection and the SPD row it serves. */
export interface ChildPlan {
  readonly child: string;
  /** Key of the ConnectionState. */
  readonly key: string;
  /** Its selectors cover the packets that we send (remote port fixed, or no ports at all). */
  readonly sends: boolean;
  readonly replayWindow: number;
  /** Which packet worker it is for, of those of its row: 0 is the child that all fall back to. Undefined: no matter which. */
  readonly share: number | undefined;
}

export interface ConnectionPlan {
  readonly connection: Connection;
  readonly children: readonly ChildPlan[];
}

/** Every valid connection, grouped by its two addresses, as IKE wants it, a step for each. `workers`: packet workers of this host. */
export function* planSteps(
  states: readonly ConnectionState[],
  workers: number,
): Generator<undefined, ConnectionPlan[]> {
  const byAddresses = new Map<string, ConnectionState[]>();
  for (const state of states) {
    const addresses = `${state.local} ${state.remote}`;
    const group = byAddresses.get(addresses);
    if (group === undefined) byAddresses.set(addresses, [state]);
    else group.push(state);
  }
  const plans: ConnectionPlan[] = [];
  for (const group of byAddresses.values()) {
    plans.push(planOne(group, workers));
    yield;
  }
  return plans;
}

function planOne(states: readonly ConnectionState[], workers: number): ConnectionPlan {
  const first = states[0]!;
  const options = first.options;
  const children: ChildConfig[] = [];
  const plans: ChildPlan[] = [];
  for (const state of states) {
    for (const selector of childSelectors(state.type, state.port)) {
      const name = selector.suffix === '' ? state.tunnels[0]! : `${state.tunnels[0]!}-${selector.suffix}`;
      const shares = state.options.perWorker && workers > 1 ? workers : 1;
      for (let share = 0; share < shares; share++) {
        const child = share === 0 ? name : `${name}#${share}`;
        children.push({
          name: child,
          tsLocal: [trafficSelector(state.local, selector.protocol, selector.localPort)],
          tsRemote: [trafficSelector(state.remote, selector.protocol, selector.remotePort)],
          start: 'initiate',
          mode: state.options.mode,
          ...(share > 0 && { resource: { id: share, fallback: name } }),
        });
        plans.push({
          child,
          key: state.key,
          sends: selector.localPort === undefined,
          replayWindow: state.options.replayWindow,
          share: shares === 1 ? undefined : share,
        });
      }
    }
  }
  const connection: Connection = {
    name: `${first.local}-${first.remote}`,
    local: first.local,
    remote: first.remote,
    ...authenticationOf(first),
    ikeProposals: options.ikeProposals ?? DEFAULT_IKE_PROPOSALS,
    espProposals: options.espProposals ?? DEFAULT_ESP_PROPOSALS,
    pfs: options.pfs,
    // Those that a tunnel cannot be without come up first.
    children: children.toSorted((a, b) => Number(a.resource !== undefined) - Number(b.resource !== undefined)),
    lifetimes: {
      ikeSeconds: options.ikeSeconds,
      childSeconds: options.childSeconds,
      marginSeconds: options.marginSeconds,
      fuzzPercent: options.fuzzPercent,
      childPackets: ESP_SOFT_PACKETS,
      childBytes: 0,
    },
    dpdSeconds: options.dpdSeconds,
    encapsulation: options.encapsulation,
    fragmentation: options.fragmentation,
    reauthenticate: options.reauthenticate,
    ...(options.ppk && { ppk: { ...options.ppk, secret: options.ppk.secret.reveal() } }),
  };
  return { connection, children: plans };
}

/**
 * Identities: with a shared key the addresses (IKE's default), with certificates the common names as FQDN, as OVS has it of
 * Libreswan; `ipsec_leftid` and `ipsec_rightid` say otherwise.
 */
function authenticationOf({
  auth,
  options,
}: ConnectionState): Pick<Connection, 'authentication' | 'localId' | 'remoteId'> {
  const { localId, remoteId } = options;
  const configured = { ...(localId && { localId }), ...(remoteId && { remoteId }) };
  if (auth.method === 'psk') return { authentication: { method: 'psk', secret: auth.secret.reveal() }, ...configured };
  const { authentication, localName } = auth;
  return {
    authentication,
    localId: { type: 'fqdn', value: localName },
    remoteId: { type: 'fqdn', value: authentication.peerName },
    ...configured,
  };
}

/** `port` undefined: any port. */
function trafficSelector(address: string, protocol: number, port: number | undefined): TrafficSelector {
  return { protocol, startPort: port ?? 0, endPort: port ?? 65535, startAddress: address, endAddress: address };
}
