/** Messages as peers of OVS tunnels send them (for tests that want something real rather than arbitrary). */

import type { MessageHeader } from '../../../ike/wire/header.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import type { NotifyPayload, Payload } from '../../../ike/wire/payloads.ts';
import { patternKey } from './suites.ts';

const NO_BYTES = new Uint8Array(0);

export const INITIATOR_SPI = '0123456789abcdef';
export const RESPONDER_SPI = 'fedcba9876543210';

export function notify(name: keyof typeof NOTIFY, data: Uint8Array = NO_BYTES): NotifyPayload {
  return { type: 'N', protocol: 'NONE', spi: NO_BYTES, notify: NOTIFY[name], data };
}

export const INIT_HEADER: MessageHeader = {
  initiatorSpi: INITIATOR_SPI,
  responderSpi: '0000000000000000',
  exchange: 'IKE_SA_INIT',
  initiatorFlag: true,
  responseFlag: false,
  messageId: 0,
};

export const INIT_PAYLOADS: readonly Payload[] = [
  {
    type: 'SA',
    proposals: [
      {
        number: 1,
        protocol: 'IKE',
        spi: NO_BYTES,
        transforms: [
          { type: 'ENCR', id: 20, keyBits: 256 },
          { type: 'PRF', id: 5 },
          { type: 'DH', id: 14 },
          { type: 'DH', id: 19 },
        ],
        unknown: [],
      },
      {
        number: 2,
        protocol: 'IKE',
        spi: NO_BYTES,
        transforms: [
          { type: 'ENCR', id: 12, keyBits: 128 },
          { type: 'INTEG', id: 12 },
          { type: 'PRF', id: 5 },
          { type: 'DH', id: 14 },
        ],
        unknown: [{ transformType: 6, id: 36, attributes: NO_BYTES }],
      },
    ],
  },
  { type: 'KE', group: 14, data: patternKey(256, 3) },
  { type: 'NONCE', data: patternKey(32, 5) },
  notify('NAT_DETECTION_SOURCE_IP', patternKey(20, 6)),
  notify('NAT_DETECTION_DESTINATION_IP', patternKey(20, 7)),
];

export const AUTH_HEADER: MessageHeader = {
  initiatorSpi: INITIATOR_SPI,
  responderSpi: RESPONDER_SPI,
  exchange: 'IKE_AUTH',
  initiatorFlag: true,
  responseFlag: false,
  messageId: 1,
};

export const AUTH_PAYLOADS: readonly Payload[] = [
  { type: 'IDi', idType: 1, data: Uint8Array.of(10, 0, 0, 1) },
  notify('INITIAL_CONTACT'),
  { type: 'IDr', idType: 1, data: Uint8Array.of(10, 0, 0, 2) },
  { type: 'AUTH', method: 2, data: patternKey(32, 8) },
  notify('USE_TRANSPORT_MODE'),
  {
    type: 'SA',
    proposals: [
      {
        number: 1,
        protocol: 'ESP',
        spi: Uint8Array.of(0xc0, 0xff, 0xee, 0x01),
        transforms: [
          { type: 'ENCR', id: 20, keyBits: 256 },
          { type: 'ESN', id: 0 },
          { type: 'ESN', id: 1 },
        ],
        unknown: [],
      },
    ],
  },
  {
    type: 'TSi',
    selectors: [{ protocol: 17, startPort: 6081, endPort: 6081, startAddress: '10.0.0.1', endAddress: '10.0.0.1' }],
    unknownSelectors: 0,
  },
  {
    type: 'TSr',
    selectors: [{ protocol: 17, startPort: 0, endPort: 65535, startAddress: '10.0.0.2', endAddress: '10.0.0.2' }],
    unknownSelectors: 0,
  },
];
