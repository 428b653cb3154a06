/**
 * Identities (RFC 7296 §3.5): as configured, as ID payloads, as text. With a shared key the default identity is the
 * address of the endpoint, as strongSwan and Libreswan have it.
 */

import { isIP, isIPv4 } from 'node:net';
import type { Connection, Identity } from './types.ts';
import { addressBytes, readAddress } from './wire/address.ts';
import { ID_TYPE } from './wire/names.ts';
import type { IdPayload } from './wire/payloads.ts';

const ID_TYPES: Readonly<Record<Identity['type'], number>> = {
  ipv4: ID_TYPE.ID_IPV4_ADDR,
  ipv6: ID_TYPE.ID_IPV6_ADDR,
  fqdn: ID_TYPE.ID_FQDN,
  rfc822: ID_TYPE.ID_RFC822_ADDR,
  dn: ID_TYPE.ID_DER_ASN1_DN,
  'key-id': ID_TYPE.ID_KEY_ID,
};

/** The identity that an endpoint has unless configured otherwise. */
function addressIdentity(address: string): Identity {
  return { type: isIPv4(address) ? 'ipv4' : 'ipv6', value: address };
}

export function localIdentity(connection: Connection): Identity {
  return connection.localId ?? addressIdentity(connection.local);
}

export function remoteIdentity(connection: Connection): Identity {
  return connection.remoteId ?? addressIdentity(connection.remote);
}

function identityBytes(identity: Identity): Uint8Array {
  switch (identity.type) {
    case 'ipv4':
    case 'ipv6':
      return addressBytes(identity.value);
    case 'fqdn':
    case 'rfc822':
      return new TextEncoder().encode(identity.value);
    case 'dn':
    case 'key-id':
      return Uint8Array.from(Buffer.from(identity.value, 'hex'));
  }
}

export function idPayload(type: 'IDi' | 'IDr', identity: Identity): IdPayload {
  return { type, idType: ID_TYPES[identity.type], data: identityBytes(identity) };
}

/** Whether an ID payload names this identity: same type, same bytes; names of hosts without regard to case. */
export function matchesIdentity(payload: IdPayload, identity: Identity): boolean {
  if (payload.idType !== ID_TYPES[identity.type]) return false;
  const [theirs, ours] = [Buffer.from(payload.data), Buffer.from(identityBytes(identity))];
  if (theirs.equals(ours)) return true;
  const nameOfHost = identity.type === 'fqdn' || identity.type === 'rfc822';
  return nameOfHost && theirs.toString('latin1').toLowerCase() === ours.toString('latin1').toLowerCase();
}

export function sameIdentity(a: Identity, b: Identity): boolean {
  return matchesIdentity(idPayload('IDi', a), b);
}

/** For logs: the value; of dn and key-id the hex. */
export function identityText(identity: Identity): string {
  return identity.type === 'dn' || identity.type === 'key-id' ? `${identity.type}:${identity.value}` : identity.value;
}

/** What a peer calls itself, for logs: printable characters only. */
export function idPayloadText(payload: IdPayload): string {
  const size = payload.data.length;
  if (payload.idType === ID_TYPE.ID_IPV4_ADDR && size === 4) return readAddress(payload.data, 0, 4);
  if (payload.idType === ID_TYPE.ID_IPV6_ADDR && size === 16) return readAddress(payload.data, 0, 16);
  if (payload.idType === ID_TYPE.ID_FQDN || payload.idType === ID_TYPE.ID_RFC822_ADDR) {
    return Buffer.from(payload.data.subarray(0, 128))
      .toString('latin1')
      .replace(/[^\x21-\x7e]/g, '?');
  }
  return `type ${payload.idType} ${Buffer.from(payload.data.subarray(0, 64)).toString('hex')}`;
}

/**
 * What is wrong with a configured identity, or undefined. A wrong one would only show up as a peer that refuses us.
 */
export function identityProblem(identity: Identity): string | undefined {
  const { type, value } = identity;
  if ((type === 'ipv4' && isIP(value) !== 4) || (type === 'ipv6' && isIP(value) !== 6)) {
    return `identity "${value}" is not an ${type === 'ipv4' ? 'IPv4' : 'IPv6'} address`;
  }
  if ((type === 'dn' || type === 'key-id') && !/^([0-9a-fA-F]{2})+$/.test(value)) {
    return `identity of type ${type} has to be bytes in hex, got "${value}"`;
  }
  return value === '' ? `identity of type ${type} is empty` : undefined;
}
