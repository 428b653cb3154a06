/**
 * What is offered and how long is waited unless configured otherwise. Chosen to negotiate in one round trip with the
 * peers of OVS: strongSwan as ovs-monitor-ipsec configures it (AES-256-GCM, SHA2-256, MODP_2048, no ESN), and Libreswan
 * (AES-256-GCM, SHA2-256, its list of groups, ESN if it can). What comes first is the same with ML-KEM-768 on top, which
 * two ovs-espd and other peers that know RFC 9370 agree on; who does not know it has to pass over that proposal.
 */

import { DEFAULT_IKE_GROUPS } from './crypto/proposal-text.ts';
import type { EngineSettings, ProposalConfig, Transform } from './types.ts';
import { TRANSFORM_ID } from './wire/names.ts';

const { ENCR, PRF, INTEG, DH, ESN } = TRANSFORM_ID;

const groups: readonly Transform[] = DEFAULT_IKE_GROUPS.map((id) => ({ type: 'DH', id }));

const prfs: readonly Transform[] = [PRF.PRF_HMAC_SHA2_256, PRF.PRF_HMAC_SHA2_384, PRF.PRF_HMAC_SHA2_512].map((id) => ({
  type: 'PRF',
  id,
}));

const aead: readonly Transform[] = [
  { type: 'ENCR', id: ENCR.AES_GCM_16, keyBits: 256 },
  { type: 'ENCR', id: ENCR.AES_GCM_16, keyBits: 128 },
  ...prfs,
  ...groups,
];

/** An AEAD and a cipher with a MAC cannot share a proposal (RFC 7296 §3.3.3). */
export const DEFAULT_IKE_PROPOSALS: readonly ProposalConfig[] = [
  { transforms: [...aead, { type: 'ADDKE1', id: DH.ML_KEM_768 }] },
  { transforms: aead },
  {
    transforms: [
      { type: 'ENCR', id: ENCR.AES_CBC, keyBits: 256 },
      { type: 'ENCR', id: ENCR.AES_CBC, keyBits: 128 },
      { type: 'INTEG', id: INTEG.HMAC_SHA2_256_128 },
      { type: 'INTEG', id: INTEG.HMAC_SHA2_384_192 },
      { type: 'INTEG', id: INTEG.HMAC_SHA2_512_256 },
      ...prfs,
      ...groups,
    ],
  },
];

export const DEFAULT_ESP_PROPOSALS: readonly ProposalConfig[] = [
  {
    transforms: [
      { type: 'ENCR', id: ENCR.AES_GCM_16, keyBits: 256 },
      { type: 'ENCR', id: ENCR.AES_GCM_16, keyBits: 128 },
      { type: 'ENCR', id: ENCR.AES_GCM_16, keyBits: 192 },
      { type: 'ENCR', id: ENCR.CHACHA20_POLY1305 },
      { type: 'ESN', id: ESN.EXT_SEQ },
      { type: 'ESN', id: ESN.NO_EXT_SEQ },
    ],
  },
];

/** Retransmission as strongSwan has it: 4 s, 7 s, 13 s, 23 s, 42 s, given up after 165 s. */
export const DEFAULT_ENGINE_SETTINGS: EngineSettings = {
  retransmitMs: 4000,
  retransmitFactor: 1.8,
  retransmitTries: 5,
  retryMs: 1000,
  retryMaxMs: 60_000,
  cookieThreshold: 30,
  halfOpenLimit: 1000,
};
