/**
 * Who a certificate speaks for (RFC 5280 §4.2.1.6, RFC 4945 §5.1.1): the identities of IKE that it proves, and the peer's name as
 * OVS configures it (`remote_name`, the common name).
 *
 * A name counts if it is one of the subjectAltNames or a common name, whole, without regard to case; wildcards are names
 * like any other. ovs-pki puts the same name in both; its certificates made without `-u` have the common name
 * `NAME id:UUID`, which Libreswan sends as FQDN and others as KEY_ID.
 */

import { addressBytes, readAddress } from '../wire/address.ts';
import { ID_TYPE } from '../wire/names.ts';
import type { IdPayload } from '../wire/payloads.ts';
import { type Certificate, canonicalNameOf } from './certificate.ts';

const sameText = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

/** Whether the certificate is that of the peer which OVS calls `name`. */
export function speaksFor(certificate: Certificate, name: string): boolean {
  return [...certificate.commonNames, ...certificate.dnsNames].some((own) => sameText(own, name));
}

/** The identity as text; undefined for a DN and for types that have none. */
function textOf({ idType, data }: IdPayload): string | undefined {
  switch (idType) {
    case ID_TYPE.ID_FQDN:
    case ID_TYPE.ID_RFC822_ADDR:
    case ID_TYPE.ID_KEY_ID:
      return Buffer.from(data).toString('utf8');
    case ID_TYPE.ID_IPV4_ADDR:
      return data.length === 4 ? readAddress(data, 0, 4) : undefined;
    case ID_TYPE.ID_IPV6_ADDR:
      return data.length === 16 ? readAddress(data, 0, 16) : undefined;
    default:
      return undefined;
  }
}

/**
 * Whether an ID payload may be that of the end called `name`: it says so in one of the types that strongSwan and
 * Libreswan make of a name, or it is a distinguished name, which only the certificate can tell.
 */
export function mayName(id: IdPayload, name: string): boolean {
  if (id.idType === ID_TYPE.ID_DER_ASN1_DN) return true;
  const text = textOf(id);
  return text !== undefined && sameText(text, name);
}

/** Whether the certificate proves the identity that was sent. */
export function proves(certificate: Certificate, id: IdPayload): boolean {
  if (id.idType === ID_TYPE.ID_DER_ASN1_DN) return canonicalNameOf(id.data) === certificate.subjectName;
  const text = textOf(id);
  if (text === undefined) return false;
  const names: readonly string[] =
    id.idType === ID_TYPE.ID_RFC822_ADDR
      ? [...certificate.emails, ...certificate.commonNames]
      : [...certificate.dnsNames, ...certificate.commonNames];
  if (names.some((own) => sameText(own, text))) return true;
  const isAddress = id.idType === ID_TYPE.ID_IPV4_ADDR || id.idType === ID_TYPE.ID_IPV6_ADDR;
  return isAddress && certificate.addresses.some((own) => Buffer.from(addressBytes(own)).equals(id.data));
}
