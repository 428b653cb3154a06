/** The one line that a message is in a log: what it says, and what it must not. */

import { expect, it } from 'vitest';
import { NOTIFY, notifyName, payloadName, transformName } from '../../../ike/wire/names.ts';
import {
  describeIdentity,
  describeMessage,
  describePayload,
  describeProposal,
  describeSelector,
  describeTransforms,
} from '../../../ike/wire/pretty.ts';
import { AUTH_HEADER, AUTH_PAYLOADS, INIT_HEADER, INIT_PAYLOADS } from './samples.ts';

it('a message is one line with its exchange, id, proposals, notifies and selectors', () => {
  expect(describeMessage(INIT_HEADER, INIT_PAYLOADS)).toBe(
    'IKE_SA_INIT request 0 [SA(1:IKE AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048+ECP_256 ' +
      '2:IKE AES_CBC_128/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048/T6_36) KE(MODP_2048) NONCE(32) ' +
      'N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP)]',
  );
  expect(describeMessage({ ...AUTH_HEADER, responseFlag: true }, AUTH_PAYLOADS)).toBe(
    'IKE_AUTH response 1 [IDi(10.0.0.1) N(INITIAL_CONTACT) IDr(10.0.0.2) AUTH(SHARED_KEY) N(USE_TRANSPORT_MODE) ' +
      'SA(1:ESP:c0ffee01 AES_GCM_16_256/NO_EXT_SEQ+EXT_SEQ) TSi(10.0.0.1[udp/6081]) TSr(10.0.0.2[udp])]',
  );
});

it('key exchange data, nonces, AUTH data, certificates and notify data never show', () => {
  const secret = new Uint8Array(32).fill(0xab);
  const line = describeMessage({ ...INIT_HEADER, exchange: 240 }, [
    { type: 'KE', group: 99, data: secret },
    { type: 'NONCE', data: secret },
    { type: 'AUTH', method: 14, data: secret },
    { type: 'CERT', encoding: 4, data: secret },
    { type: 'CERTREQ', encoding: 4, data: secret },
    { type: 'V', data: secret },
    { type: 'N', protocol: 'NONE', spi: new Uint8Array(0), notify: NOTIFY.COOKIE, data: secret },
    { type: 'UNKNOWN', payloadType: 200, critical: true, data: secret },
  ]);
  expect(line).toBe(
    'EXCHANGE_240 request 0 [KE(DH_99) NONCE(32) AUTH(DIGITAL_SIGNATURE) CERT(4,32) CERTREQ(4,32) V(32) N(COOKIE) P_200!(32)]',
  );
  expect(line).not.toMatch(/ab/);
});

it('a peer can not write lines of our log by its identity', () => {
  const id = (text: string) => describeIdentity({ idType: 2, data: Buffer.from(text) });
  expect(id('host-1.example.org')).toBe('host-1.example.org');
  expect(id('a\n2026|ERR|\u001b[2J')).toBe('a\\x0a2026|ERR|\\x1b[2J');
  expect(id('x'.repeat(300))).toHaveLength(65);
});

it('identities of other types show their type and bytes', () => {
  expect(describeIdentity({ idType: 5, data: Uint8Array.from([0x20, 1, ...Array(13).fill(0), 9]) })).toBe('2001::9');
  expect(describeIdentity({ idType: 11, data: Uint8Array.of(1, 2) })).toBe('ID_KEY_ID:0102');
  expect(describeIdentity({ idType: 1, data: Uint8Array.of(1, 2) })).toBe('ID_IPV4_ADDR:0102');
  expect(describeIdentity({ idType: 99, data: new Uint8Array(100) })).toBe(`ID_99:${'00'.repeat(64)}…`);
});

it('selectors leave out what they do not limit', () => {
  const base = { protocol: 0, startPort: 0, endPort: 65535, startAddress: '10.0.0.0', endAddress: '10.0.0.255' };
  expect(describeSelector(base)).toBe('10.0.0.0-10.0.0.255');
  expect(describeSelector({ ...base, endAddress: '10.0.0.0', protocol: 47 })).toBe('10.0.0.0[gre]');
  expect(describeSelector({ ...base, protocol: 99, startPort: 5, endPort: 9 })).toBe('10.0.0.0-10.0.0.255[99/5-9]');
  expect(describeSelector({ ...base, startPort: 5, endPort: 5 })).toBe('10.0.0.0-10.0.0.255[any/5]');
});

it('a delete lists its SPIs, a proposal of an unknown protocol its number', () => {
  const spis = [Uint8Array.of(0, 0, 1, 0), Uint8Array.of(0xff, 0, 0, 1)];
  expect(describePayload({ type: 'D', protocol: 'ESP', spiSize: 4, spis })).toBe('D(ESP 00000100 ff000001)');
  expect(describeProposal({ number: 3, protocol: 9, spi: new Uint8Array(0), transforms: [], unknown: [] })).toBe(
    '3:PROTO_9 ',
  );
});

it('a chosen suite reads as the field writes it', () => {
  const suite = describeTransforms([
    { type: 'ENCR', id: 20, keyBits: 256 },
    { type: 'PRF', id: 5 },
    { type: 'DH', id: 14 },
  ]);
  expect(suite).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048');
});

it('numbers without name show as numbers', () => {
  expect(transformName({ type: 'ENCR', id: 1000, keyBits: 64 })).toBe('ENCR_1000_64');
  expect(notifyName(40961)).toBe('N_40961');
  expect(notifyName(14)).toBe('NO_PROPOSAL_CHOSEN');
  expect(payloadName(99)).toBe('P_99');
  expect(payloadName(46)).toBe('SK');
  expect(transformName({ type: 'DH', id: 31 })).toBe('CURVE_25519');
});
