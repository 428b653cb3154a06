/** Arbitrary IKE headers, payloads and messages over the full range of their fields (for property tests). */

import fc from 'fast-check';
import type { TrafficSelector, Transform, TransformType } from '../../../ike/types.ts';
import { readAddress } from '../../../ike/wire/address.ts';
import type { MessageHeader } from '../../../ike/wire/header.ts';
import {
  EXCHANGE_NAMES,
  PAYLOAD_NAMES,
  PROTOCOL_NAMES,
  TRANSFORM_TYPE,
  TRANSFORM_TYPE_NAMES,
} from '../../../ike/wire/names.ts';
import type { Payload, PayloadOf, PayloadType, Proposal, UnknownTransform } from '../../../ike/wire/payloads.ts';

const u8 = fc.integer({ min: 0, max: 0xff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const bytes = (minLength: number, maxLength: number) => fc.uint8Array({ minLength, maxLength });
const spi16 = bytes(8, 8).map((spi) => Buffer.from(spi).toString('hex'));
const protocol = u8.map((number) => PROTOCOL_NAMES.get(number) ?? number);

export const header: fc.Arbitrary<MessageHeader> = fc.record({
  initiatorSpi: spi16.filter((spi) => !/^0+$/.test(spi)),
  responderSpi: spi16,
  exchange: fc
    .oneof(fc.constantFrom(...EXCHANGE_NAMES.keys()), u8)
    .map((number) => EXCHANGE_NAMES.get(number) ?? number),
  initiatorFlag: fc.boolean(),
  responseFlag: fc.boolean(),
  messageId: u32,
});

const transform: fc.Arbitrary<Transform> = fc
  .record({
    type: fc.constantFrom(...(Object.keys(TRANSFORM_TYPE) as TransformType[])),
    id: u16,
    keyBits: fc.option(u16, { nil: undefined }),
  })
  .map(({ type, id, keyBits }) => (keyBits === undefined ? { type, id } : { type, id, keyBits }));

/** Of a type that RFC 7296 doesn't know, or with attributes that are not one Key Length. */
const unknownTransform: fc.Arbitrary<UnknownTransform> = fc.oneof(
  fc.record({
    transformType: u8.filter((type) => !TRANSFORM_TYPE_NAMES.has(type)),
    id: u16,
    attributes: bytes(0, 12),
  }),
  fc.record({
    transformType: fc.constantFrom(...TRANSFORM_TYPE_NAMES.keys()),
    id: u16,
    attributes: bytes(1, 12).filter((a) => !(a.length === 4 && a[0] === 0x80 && a[1] === 14)),
  }),
);

export const proposal: fc.Arbitrary<Proposal> = fc.record({
  number: u8,
  protocol,
  spi: bytes(0, 16),
  transforms: fc.array(transform, { maxLength: 8 }),
  unknown: fc.array(unknownTransform, { maxLength: 3 }),
});

const port = u16;
const selector = (size: 4 | 16): fc.Arbitrary<TrafficSelector> =>
  fc.record({
    protocol: u8,
    startPort: port,
    endPort: port,
    startAddress: address(size),
    endAddress: address(size),
  });
/** Zeros often, for the runs that IPv6 text shortens. */
const address = (size: 4 | 16) =>
  fc
    .array(fc.oneof(fc.constant(0), u8), { minLength: size, maxLength: size })
    .map((octets) => readAddress(Uint8Array.from(octets), 0, size));

const id = (type: 'IDi' | 'IDr'): fc.Arbitrary<PayloadOf<'IDi' | 'IDr'>> =>
  fc
    .record({
      idType: u8,
      data: bytes(0, 64),
      reserved: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffffff })),
    })
    .map(({ idType, data, reserved }) => ({ type, idType, data, ...(reserved === 0 ? {} : { reserved }) }));

const ts = (type: 'TSi' | 'TSr'): fc.Arbitrary<PayloadOf<'TSi' | 'TSr'>> =>
  fc.record({
    type: fc.constant(type),
    selectors: fc.array(fc.oneof(selector(4), selector(16)), { minLength: 1, maxLength: 6 }),
    unknownSelectors: fc.constant(0),
  });

const deletePayload = u8
  .chain((spiSize) =>
    fc.record({
      spiSize: fc.constant(spiSize),
      protocol,
      spis: fc.array(bytes(spiSize, spiSize), { maxLength: spiSize === 0 ? 0 : 5 }),
    }),
  )
  .map((fields): PayloadOf<'D'> => ({ type: 'D', ...fields }));

/** One arbitrary a payload type. */
export const PAYLOADS: { readonly [T in PayloadType]: fc.Arbitrary<Payload> } = {
  SA: fc.record({ type: fc.constant('SA' as const), proposals: fc.array(proposal, { minLength: 1, maxLength: 5 }) }),
  KE: fc.record({ type: fc.constant('KE' as const), group: u16, data: bytes(1, 520) }),
  IDi: id('IDi'),
  IDr: id('IDr'),
  CERT: fc.record({ type: fc.constant('CERT' as const), encoding: u8, data: bytes(0, 300) }),
  CERTREQ: fc.record({ type: fc.constant('CERTREQ' as const), encoding: u8, data: bytes(0, 100) }),
  AUTH: fc.record({ type: fc.constant('AUTH' as const), method: u8, data: bytes(1, 300) }),
  NONCE: fc.record({ type: fc.constant('NONCE' as const), data: bytes(16, 256) }),
  N: fc.record({ type: fc.constant('N' as const), protocol, spi: bytes(0, 255), notify: u16, data: bytes(0, 100) }),
  D: deletePayload,
  V: fc.record({ type: fc.constant('V' as const), data: bytes(0, 100) }),
  TSi: ts('TSi'),
  TSr: ts('TSr'),
  UNKNOWN: fc.record({
    type: fc.constant('UNKNOWN' as const),
    payloadType: u8.filter((type) => type !== 0 && (!PAYLOAD_NAMES.has(type) || type === 47 || type === 48)),
    critical: fc.boolean(),
    data: bytes(0, 64),
  }),
};

export const payload: fc.Arbitrary<Payload> = fc.oneof(...Object.values(PAYLOADS));

export const payloads: fc.Arbitrary<Payload[]> = fc.array(payload, { maxLength: 12 });
