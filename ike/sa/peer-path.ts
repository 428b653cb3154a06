/**
 * Where the peer of an IKE SA is (RFC 7296 §2.11, §2.23), and how much of a message fits on the way there (RFC 7383): which source of a datagram is believed, and what follows when a
 * peer behind a NAT has moved. Only an authentic message moves anything; a peer in front of which there is no NAT, and one
 * that we reach through our own, stays where it is.
 */

import { encapsulates, natText } from '../nat-detection.ts';
import { sameAddress } from '../traffic-selectors.ts';
import type { Datagram, Endpoint, UdpPath } from '../types.ts';
import type { IkeSa } from './ike-sa.ts';

const IKE_PORT = 500;
/** IKE and ESP in UDP share it (RFC 3948 §2). */
export const NAT_T_PORT = 4500;

/** IP header, UDP header and, on port 4500, the non-ESP marker. */
const IPV4_AND_UDP = 28;
const IPV6_AND_UDP = 48;
const NON_ESP_MARKER = 4;
/** Of an IP packet: what IPv6 carries everywhere (RFC 7383 §2.5.1), and what strongSwan takes for IPv4 too. */
const DEFAULT_FRAGMENT_BYTES = 1280;

/** The largest IKE message that is sent to a peer who takes fragments without fragmenting it. */
export function datagramBytes(sa: IkeSa): number {
  const packet = sa.context.settings.fragmentBytes ?? DEFAULT_FRAGMENT_BYTES;
  const headers = sa.remote.address.includes(':') ? IPV6_AND_UDP : IPV4_AND_UDP;
  return packet - headers - (sa.local.port === NAT_T_PORT ? NON_ESP_MARKER : 0);
}

const sameEndpoint = (a: Endpoint, b: Endpoint): boolean => a.port === b.port && sameAddress(a.address, b.address);

/** A peer behind a NAT may move, as long as we are not behind one ourselves: then the NAT would tell us wrong. */
const peerMayMove = (sa: IkeSa): boolean => sa.nat.peer && !sa.nat.us;

/** Whether a message from there can be of this IKE SA at all; nothing else of it has been looked at yet. */
export function isPlausibleSource(sa: IkeSa, { remote }: Datagram): boolean {
  if (sameAddress(remote.address, sa.remote.address)) return true;
  return sa.establishedAtMs !== undefined && peerMayMove(sa);
}

/** An authentic message of the peer: it lives, and there. */
export function heard(sa: IkeSa, datagram: Datagram): void {
  sa.lastHeardMs = sa.context.nowMs();
  follow(sa, datagram);
}

/** Takes over the endpoints of an authentic message that was not seen before. */
function follow(sa: IkeSa, { local, remote }: Datagram): void {
  // Ports change once in the life of any IKE SA: when the initiator floats to 4500, with IKE_AUTH.
  if (sa.state === 'connecting' || !sa.nat.us) move(sa, local, remote);
}

/** A packet of the peer's was authenticated, in UDP, from this endpoint. */
export function followPacket(sa: IkeSa, remote: Endpoint): void {
  if (peerMayMove(sa) && sa.establishedAtMs !== undefined) move(sa, sa.local, remote);
}

function move(sa: IkeSa, local: Endpoint, remote: Endpoint): void {
  if (sameEndpoint(local, sa.local) && sameEndpoint(remote, sa.remote)) return;
  const before = sa.remote;
  sa.local = local;
  sa.remote = remote;
  if (sa.establishedAtMs === undefined) return;
  const path = udpPath(sa);
  const [from, to] = [before, remote].map(({ address, port }) => `${address}[${port}]`);
  sa.context.log('info', sa.connection?.name, `peer of ${sa.label} moved from ${from} to ${to}`);
  if (path === undefined) return;
  for (const child of sa.children) {
    sa.context.emit({ action: 'child-path', id: child.id, udpEncapsulation: path });
  }
}

/** Before IKE_AUTH, if ESP will go in UDP (RFC 7296 §2.23). */
export function floatToNatPort(sa: IkeSa): void {
  sa.context.log('info', sa.connection?.name, `NAT: ${natText(sa.nat)}; ${sa.label} goes on at port ${NAT_T_PORT}`);
  sa.local = { ...sa.local, port: NAT_T_PORT };
  sa.remote = { ...sa.remote, port: sa.remote.port === IKE_PORT ? NAT_T_PORT : sa.remote.port };
}

/** The way of ESP in UDP, or undefined: plain ESP. */
export function udpPath(sa: IkeSa): UdpPath | undefined {
  // On port 500 ESP could not be told from IKE: a peer that stays there gets plain ESP, or none.
  if (!encapsulates(sa.nat) || sa.local.port === IKE_PORT) return undefined;
  return { local: sa.local, remote: sa.remote };
}
