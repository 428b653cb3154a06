/** Proposal lines of operators, in strongSwan's and in Libreswan's spelling. */

import { describe, expect, it } from 'vitest';
import {
  DEFAULT_IKE_GROUPS,
  ProposalTextError,
  parseEspProposal,
  parseIkeProposal,
} from '../../../ike/crypto/proposal-text.ts';
import {
  ENCRYPTION_ROWS,
  GROUP_ROWS,
  INTEGRITY_ROWS,
  isAead,
  isSupported,
  PRF_ROWS,
} from '../../../ike/crypto/transforms.ts';
import type { ProposalConfig } from '../../../ike/types.ts';
import { describeTransforms } from '../../../ike/wire/pretty.ts';

const shown = (proposals: ProposalConfig[]) => proposals.map(({ transforms }) => describeTransforms(transforms));
const ALL_GROUPS = 'MODP_2048+ECP_256+CURVE_25519+MODP_3072+MODP_4096+ECP_384+ECP_521';

describe('an IKE proposal', () => {
  it.each([
    ["OVS's strongSwan", 'aes256gcm16-sha256-modp2048', 'AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048'],
    ['strongSwan, strict', 'aes128gcm16-prfsha384-x25519!', 'AES_GCM_16_128/PRF_HMAC_SHA2_384/CURVE_25519'],
    ['strongSwan, CBC', 'aes256-sha512-ecp384', 'AES_CBC_256/PRF_HMAC_SHA2_512/HMAC_SHA2_512_256/ECP_384'],
    [
      'strongSwan, CBC with a PRF of its own',
      'aes192-sha384-prfsha256-modp4096',
      'AES_CBC_192/PRF_HMAC_SHA2_256/HMAC_SHA2_384_192/MODP_4096',
    ],
    ["OVS's Libreswan", 'aes_gcm256-sha2_256', `AES_GCM_16_256/PRF_HMAC_SHA2_256/${ALL_GROUPS}`],
    ['Libreswan', 'aes_gcm256-sha2_512+sha2_256;dh14', 'AES_GCM_16_256/PRF_HMAC_SHA2_512+PRF_HMAC_SHA2_256/MODP_2048'],
    ['Libreswan, CBC', 'aes256-sha2;dh19', 'AES_CBC_256/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/ECP_256'],
    ['Libreswan, every key length', 'aes_gcm-sha2-dh31', 'AES_GCM_16_256+AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519'],
    [
      'no PRF',
      'chacha20poly1305-modp3072',
      'CHACHA20_POLY1305/PRF_HMAC_SHA2_256+PRF_HMAC_SHA2_384+PRF_HMAC_SHA2_512/MODP_3072',
    ],
    [
      'strongSwan 6',
      'aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke3_mlkem1024',
      'AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768/KE3_ML_KEM_1024',
    ],
    [
      'strongSwan 6, with choices',
      'aes256gcm16-sha256-x25519-ke1_mlkem768-ke1_mlkem512-ke1_none',
      'AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768+KE1_ML_KEM_512+KE1_NONE',
    ],
    ['strongSwan 6, without a group', 'aes256gcm16-sha256-mlkem768', 'AES_GCM_16_256/PRF_HMAC_SHA2_256/ML_KEM_768'],
    [
      'Libreswan 5',
      'aes_gcm256-sha2_256;dh31;addke1=ml_kem_768;addke2=none',
      'AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768/KE2_NONE',
    ],
    [
      'Libreswan 5, in short',
      'aes_gcm256-sha2_256-modp4096-ml_kem_768',
      'AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_4096/KE1_ML_KEM_768',
    ],
    ['capitals and repeats', 'AES256GCM16-aes256gcm16-SHA256-modp2048', 'AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048'],
  ])('as %s writes it', (_who, text, expected) => {
    expect(shown(parseIkeProposal(text))).toEqual([expected]);
  });

  it('may be one of a list', () => {
    expect(shown(parseIkeProposal(' aes256gcm16-sha256-modp2048, aes128-sha256-ecp256 ! '.replace(' !', '!')))).toEqual(
      ['AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048', 'AES_CBC_128/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/ECP_256'],
    );
  });

  it.each([
    ['aes256gcm16-sha256-modp9999', 'modp9999', /"modp9999".*known are.*aes256gcm16.*modp2048/],
    ['aes256gcm16-sha256-x25519-ke8_mlkem768', 'ke8_mlkem768', /"ke8_mlkem768".*ke1_mlkem768 and the like/],
    ['3des-sha1-modp1024', '3des', /"3des"/],
    ['aes256-modp2048', 'aes256-modp2048', /integrity.*sha256/],
    ['sha256-modp2048', 'sha256-modp2048', /names no cipher/],
    ['aes256gcm16-aes128-sha256-modp2048', 'aes256gcm16-aes128-sha256-modp2048', /two proposals/],
    ['aes256gcm16-sha256-modp2048-esn', 'aes256gcm16-sha256-modp2048-esn', /sequence numbers/],
    ['aes256gcm16-sha256-modp2048,', '', /empty proposal/],
    ['', '', /empty proposal/],
    [Array(17).fill('aes256gcm16').join(), Array(17).fill('aes256gcm16').join(), /17 proposals/],
  ])('"%s" is refused, and the word at fault named', (text, word, message) => {
    const error = errorOf(() => parseIkeProposal(text));
    expect(error.message).toMatch(message);
    expect(error.word).toBe(word);
  });
});

describe('an ESP proposal', () => {
  it.each([
    ["OVS's strongSwan", 'aes256gcm16-modp2048', 'AES_GCM_16_256/MODP_2048/NO_EXT_SEQ+EXT_SEQ'],
    ["OVS's Libreswan", 'aes_gcm256', 'AES_GCM_16_256/NO_EXT_SEQ+EXT_SEQ'],
    ['Libreswan with null integrity', 'aes_gcm128-null', 'AES_GCM_16_128/NO_EXT_SEQ+EXT_SEQ'],
    ['strongSwan with ESN', 'aes192gcm16-esn', 'AES_GCM_16_192/EXT_SEQ'],
    ['strongSwan without ESN', 'chacha20poly1305-noesn', 'CHACHA20_POLY1305/NO_EXT_SEQ'],
    ['both', 'aes128gcm16-ecp256-esn-noesn', 'AES_GCM_16_128/ECP_256/EXT_SEQ+NO_EXT_SEQ'],
    ['a hash that an AEAD does not need', 'aes_gcm256-sha2_256', 'AES_GCM_16_256/NO_EXT_SEQ+EXT_SEQ'],
  ])('as %s writes it', (_who, text, expected) => {
    expect(shown(parseEspProposal(text))).toEqual([expected]);
  });

  it.each([
    ['aes256-sha256', 'aes256', /"aes256".*not for ESP.*aes256gcm16/],
    ['sha256', 'sha256', /names no cipher/],
    ['aes256gcm8', 'aes256gcm8', /"aes256gcm8"/],
    ['aes256gcm16-ke1_mlkem768', 'aes256gcm16-ke1_mlkem768', /no first one; add x25519/],
  ])('"%s" is refused, and the word at fault named', (text, word, message) => {
    const error = errorOf(() => parseEspProposal(text));
    expect(error.message).toMatch(message);
    expect(error.word).toBe(word);
  });
});

describe('the table of transforms', () => {
  it('has no word that means two things', () => {
    const words = [...ENCRYPTION_ROWS, ...INTEGRITY_ROWS, ...PRF_ROWS, ...GROUP_ROWS].flatMap(({ spellings }) => [
      ...new Set(spellings),
    ]);
    expect(new Set(words).size).toBe(words.length);
  });

  it('offers in a default proposal only what is implemented', () => {
    for (const { transforms } of [...parseIkeProposal('aes_gcm256-sha2_256'), ...parseIkeProposal('aes128-sha256')]) {
      for (const transform of transforms) expect(isSupported(transform, 'IKE')).toBe(true);
    }
    for (const { transforms } of parseEspProposal('aes_gcm256-dh14')) {
      for (const transform of transforms) expect(isSupported(transform, 'ESP')).toBe(true);
    }
    for (const group of DEFAULT_IKE_GROUPS) expect(GROUP_ROWS.map(({ id }) => id)).toContain(group);
  });

  it('knows what it does not support', () => {
    expect(isSupported({ type: 'ENCR', id: 12, keyBits: 128 }, 'ESP')).toBe(false);
    expect(isSupported({ type: 'ENCR', id: 20 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'ENCR', id: 20, keyBits: 512 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'PRF', id: 5, keyBits: 128 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'PRF', id: 2 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'DH', id: 2 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'ESN', id: 1 }, 'IKE')).toBe(false);
    expect(isSupported({ type: 'ESN', id: 1 }, 'ESP')).toBe(true);
    expect(isAead({ id: 28 })).toBe(true);
    expect(isAead({ id: 12, keyBits: 128 })).toBe(false);
  });
});

function errorOf(attempt: () => unknown): ProposalTextError {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ProposalTextError) return error;
    throw error;
  }
  throw new Error('accepted');
}
