/**
 * An IKE message in one line, for logs and test failures: exchange, direction, id, payloads, proposals, selectors.
 *
 * Nothing secret and nothing random is shown: of KE, NONCE, AUTH, certificates and notify data only lengths. Bytes that a
 * peer chose (identities) are escaped, so that no peer writes a line of our log.
 */

import type { TrafficSelector, Transform } from '../types.ts';
import { IPV4_BYTES, IPV6_BYTES, readAddress } from './address.ts';
import { readHex } from './bytes.ts';
import type { MessageHeader } from './header.ts';
import { AUTH_METHOD_NAMES, ID_TYPE, ID_TYPE_NAMES, notifyName, payloadName, transformName } from './names.ts';
import type { DeletePayload, IdPayload, NotifyPayload, Payload, Proposal, Protocol } from './payloads.ts';

/** For instance `IKE_SA_INIT request 0 [SA(1:IKE AES_GCM_16_256/…) KE(MODP_2048) NONCE(32)]`. */
export function describeMessage(
  header: Pick<MessageHeader, 'exchange' | 'responseFlag' | 'messageId'>,
  payloads: readonly Payload[],
): string {
  const exchange = typeof header.exchange === 'number' ? `EXCHANGE_${header.exchange}` : header.exchange;
  const direction = header.responseFlag ? 'response' : 'request';
  return `${exchange} ${direction} ${header.messageId} [${payloads.map(describePayload).join(' ')}]`;
}

export function describePayload(payload: Payload): string {
  switch (payload.type) {
    case 'SA':
      return `SA(${payload.proposals.map(describeProposal).join(' ')})`;
    case 'KE':
      return `KE(${transformName({ type: 'DH', id: payload.group })})`;
    case 'IDi':
    case 'IDr':
      return `${payload.type}(${describeIdentity(payload)})`;
    case 'CERT':
    case 'CERTREQ':
      return `${payload.type}(${payload.encoding},${payload.data.length})`;
    case 'AUTH':
      return `AUTH(${AUTH_METHOD_NAMES.get(payload.method) ?? payload.method})`;
    case 'NONCE':
    case 'V':
      return `${payload.type}(${payload.data.length})`;
    case 'N':
      return `N(${describeNotify(payload)})`;
    case 'D':
      return `D(${describeDelete(payload)})`;
    case 'TSi':
    case 'TSr':
      return `${payload.type}(${payload.selectors.map(describeSelector).join(' ')})`;
    case 'UNKNOWN':
      return `${payloadName(payload.payloadType)}${payload.critical ? '!' : ''}(${payload.data.length})`;
  }
}

/** For instance `1:ESP:c0ffee01 AES_GCM_16_256/NO_EXT_SEQ`. */
export function describeProposal(proposal: Proposal): string {
  const spi = proposal.spi.length === 0 ? '' : `:${hex(proposal.spi)}`;
  const unknown = proposal.unknown.map(({ transformType, id }) => `T${transformType}_${id}`);
  const transforms = [describeTransforms(proposal.transforms), ...unknown].filter((text) => text !== '');
  return `${proposal.number}:${protocolName(proposal.protocol)}${spi} ${transforms.join('/')}`;
}

/** The field's notation: types joined by `/`, choices of one type by `+`. A chosen suite reads `A/B/C`. */
export function describeTransforms(transforms: readonly Transform[]): string {
  const types = [...new Set(transforms.map(({ type }) => type))];
  return types
    .map((type) =>
      transforms
        .filter((t) => t.type === type)
        .map(transformName)
        .join('+'),
    )
    .join('/');
}

/** For instance `10.0.0.1[udp/6081]`, `10.0.0.0-10.0.0.7`; what is not limited is left out. */
export function describeSelector(selector: TrafficSelector): string {
  const { startAddress, endAddress, startPort, endPort } = selector;
  const addresses = startAddress === endAddress ? startAddress : `${startAddress}-${endAddress}`;
  const anyPort = startPort === 0 && endPort === 0xffff;
  if (selector.protocol === 0 && anyPort) return addresses;
  const protocol = PROTOCOL_TEXT.get(selector.protocol) ?? String(selector.protocol);
  const ports = startPort === endPort ? String(startPort) : `${startPort}-${endPort}`;
  return `${addresses}[${anyPort ? protocol : `${protocol}/${ports}`}]`;
}

const PROTOCOL_TEXT: ReadonlyMap<number, string> = new Map([
  [0, 'any'],
  [1, 'icmp'],
  [6, 'tcp'],
  [17, 'udp'],
  [47, 'gre'],
  [58, 'icmpv6'],
]);

/** Address or name of an identity; other types as their name and hex. */
export function describeIdentity(id: Pick<IdPayload, 'idType' | 'data'>): string {
  if (id.idType === ID_TYPE.ID_IPV4_ADDR && id.data.length === IPV4_BYTES) return readAddress(id.data, 0, IPV4_BYTES);
  if (id.idType === ID_TYPE.ID_IPV6_ADDR && id.data.length === IPV6_BYTES) return readAddress(id.data, 0, IPV6_BYTES);
  if (id.idType === ID_TYPE.ID_FQDN || id.idType === ID_TYPE.ID_RFC822_ADDR) return printable(id.data);
  return `${ID_TYPE_NAMES.get(id.idType) ?? `ID_${id.idType}`}:${hex(id.data)}`;
}

function describeNotify(payload: NotifyPayload): string {
  const name = notifyName(payload.notify);
  return payload.spi.length === 0 ? name : `${name} ${protocolName(payload.protocol)}:${hex(payload.spi)}`;
}

function describeDelete(payload: DeletePayload): string {
  return [protocolName(payload.protocol), ...payload.spis.map(hex)].join(' ');
}

function protocolName(protocol: Protocol): string {
  return typeof protocol === 'number' ? `PROTO_${protocol}` : protocol;
}

/** Longer bytes are cut: a line of a log is no dump. */
const MAX_SHOWN_BYTES = 64;

function hex(bytes: Uint8Array): string {
  const shown = readHex(bytes, 0, Math.min(bytes.length, MAX_SHOWN_BYTES));
  return bytes.length > MAX_SHOWN_BYTES ? `${shown}…` : shown;
}

function printable(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes.subarray(0, MAX_SHOWN_BYTES)) {
    const isPlain = byte > 0x20 && byte < 0x7f && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\x${readHex(Uint8Array.of(byte), 0, 1)}`;
  }
  return bytes.length > MAX_SHOWN_BYTES ? `${text}…` : text;
}
