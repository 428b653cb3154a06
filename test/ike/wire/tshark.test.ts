/**
 * Wireshark as judge: sealed messages of ours decrypt in tshark with the keys given, show the payloads inside and verify.
 *
 * Each suite gets one capture with a message of either direction, on UDP 500, and one line of the decryption table.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIvSource } from '../../../ike/crypto/sk-cipher.ts';
import { emitMessage, sealMessage } from '../../../ike/wire/message.ts';
import { ikev2Capture } from './capture.ts';
import { AUTH_HEADER, AUTH_PAYLOADS, INIT_HEADER, INIT_PAYLOADS, INITIATOR_SPI, RESPONDER_SPI } from './samples.ts';
import { allSuites, type NamedKeys, patternKey } from './suites.ts';

const hasTshark = spawnSync('tshark', ['--version']).status === 0;

/** What Wireshark calls the algorithms in its table, by our name. */
const ENCRYPTION_NAMES: Readonly<Record<string, string>> = {
  AES_GCM_16_256: 'AES-GCM-256 with 16 octet ICV [RFC5282]',
  AES_GCM_16_192: 'AES-GCM-192 with 16 octet ICV [RFC5282]',
  AES_GCM_16_128: 'AES-GCM-128 with 16 octet ICV [RFC5282]',
  AES_CBC_256: 'AES-CBC-256 [RFC3602]',
  AES_CBC_192: 'AES-CBC-192 [RFC3602]',
  AES_CBC_128: 'AES-CBC-128 [RFC3602]',
};
const INTEGRITY_NAMES: Readonly<Record<string, string>> = {
  none: 'NONE [RFC4306]',
  HMAC_SHA2_256_128: 'HMAC_SHA2_256_128 [RFC4868]',
  HMAC_SHA2_384_192: 'HMAC_SHA2_384_192 [RFC4868]',
  HMAC_SHA2_512_256: 'HMAC_SHA2_512_256 [RFC4868]',
};

/** Wireshark 4.0 has no ChaCha20-Poly1305 for IKE. */
const SUITES = allSuites(1).filter(({ name }) => ENCRYPTION_NAMES[name.split('/')[0]] !== undefined);

function tableLine(initiator: NamedKeys, responder: NamedKeys): string {
  const [encryption, integrity = 'none'] = initiator.name.split('/');
  const hex = (key: Uint8Array) => Buffer.from(key).toString('hex');
  return [
    INITIATOR_SPI,
    RESPONDER_SPI,
    hex(initiator.skE),
    hex(responder.skE),
    `"${ENCRYPTION_NAMES[encryption]}"`,
    hex(initiator.skA),
    hex(responder.skA),
    `"${INTEGRITY_NAMES[integrity]}"`,
  ].join(',');
}

describe.skipIf(!hasTshark)(`tshark${hasTshark ? '' : ' (skipped: no tshark on this machine)'}`, () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'ike-tshark-'));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function dissect(messages: readonly Uint8Array[], table: string): string {
    const file = join(directory, 'ike.pcap');
    writeFileSync(file, ikev2Capture(messages));
    writeFileSync(join(directory, 'ikev2_decryption_table'), table);
    const env = { ...process.env, WIRESHARK_CONFIG_DIR: directory, HOME: directory };
    return execFileSync('tshark', ['-r', file, '-O', 'isakmp'], {
      env,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  }

  it('reads IKE_SA_INIT without complaint', () => {
    const text = dissect([emitMessage(INIT_HEADER, INIT_PAYLOADS)], '');
    expect(text).toContain('Exchange type: IKE_SA_INIT (34)');
    expect(text).toContain('AES-GCM with a 16 octet ICV (20)');
    expect(text).toContain('2048 bit MODP group');
    expect(text).toContain('NAT_DETECTION_DESTINATION_IP');
    expect(text).not.toMatch(/Malformed|Expert Info/);
  });

  it.each(SUITES)('decrypts and verifies both directions under $name', (initiator) => {
    const responder = allSuites(50).find(({ name }) => name === initiator.name)!;
    const random = (bytes: number) => patternKey(bytes, 200);
    const request = sealMessage(AUTH_HEADER, AUTH_PAYLOADS, initiator, createIvSource(initiator.encryption, random));
    const response = sealMessage(
      { ...AUTH_HEADER, exchange: 'INFORMATIONAL', initiatorFlag: false, messageId: 0 },
      [{ type: 'D', protocol: 'ESP', spiSize: 4, spis: [Uint8Array.of(0xc0, 0xff, 0xee, 0x02)] }],
      responder,
      createIvSource(responder.encryption, random),
    );
    const text = dissect([request, response], `${tableLine(initiator, responder)}\n`);
    const [first, second] = text.split('Exchange type: INFORMATIONAL');
    for (const inside of [
      'Payload: Identification - Initiator (35)',
      '10.0.0.2',
      'Payload: Authentication (39)',
      'Shared Key Message Integrity Code (2)',
      'USE_TRANSPORT_MODE',
      'SPI: c0ffee01',
      'Payload: Traffic Selector - Responder (45)',
    ]) {
      expect(first).toContain(inside);
    }
    expect(second).toContain('Payload: Delete (42)');
    expect(second).toContain('Delete SPI: c0ffee02');
    expect(text.match(/\[correct\]/g)).toHaveLength(2);
    expect(text).not.toMatch(/incorrect|Malformed/);
  });
});
