import { describe, expect, it } from 'vitest';
import {
  DEFAULT_ESP_PROPOSALS,
  DEFAULT_IKE_PROPOSALS,
  parseEspProposal,
  parseIkeProposal,
  type Transform,
} from '../../../ike/index.ts';
import { acceptChoice, allows, choose, groupsOf, offer, suiteText, withGroups } from '../../../ike/negotiation.ts';
import type { Proposal } from '../../../ike/wire/payloads.ts';

const NO_SPI = new Uint8Array(0);
const SPI = Uint8Array.of(1, 2, 3, 4);
const IKE = { protocol: 'IKE', spiSize: 0, groups: 'required' } as const;
const ESP = { protocol: 'ESP', spiSize: 4 } as const;

const ikeOffer = (text: string): Proposal[] => offer(parseIkeProposal(text), 'IKE', NO_SPI);
const ofType = (type: Transform['type'], id: number): Transform => ({ type, id });

describe('choosing of an offer', () => {
  it('takes what strongSwan offers as OVS configures it', () => {
    const choice = choose(ikeOffer('aes256gcm16-sha256-modp2048'), DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 });
    expect(choice && suiteText(choice.suite)).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048');
    expect(choice?.proposal.transforms.filter(({ type }) => type === 'DH')).toHaveLength(1);
  });

  it('takes the group that the initiator sent a value for, although ours prefers another', () => {
    const offered = ikeOffer('aes256gcm16-sha256-modp2048-ecp256-x25519');
    expect(choose(offered, DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 31 })?.suite.DH?.id).toBe(31);
    expect(choose(offered, DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 18 })?.suite.DH?.id).toBe(14);
  });

  it('goes by our order of preference', () => {
    const offered = ikeOffer('aes128gcm16-sha256-modp2048,aes256gcm16-sha256-modp2048');
    expect(choose(offered, DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })?.proposal.number).toBe(1);
    const ours = parseIkeProposal('aes256gcm16-sha256-modp2048,aes128gcm16-sha256-modp2048');
    expect(choose(offered, ours, { ...IKE, keGroup: 14 })?.proposal.number).toBe(2);
  });

  it('takes a cipher with MAC where no AEAD is common', () => {
    const choice = choose(ikeOffer('aes256-sha256-modp2048'), DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 });
    expect(choice && suiteText(choice.suite)).toBe('AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048');
  });

  it('does not take another key length, PRF or group', () => {
    const ours = parseIkeProposal('aes256gcm16-sha256-modp2048');
    for (const theirs of ['aes128gcm16-sha256-modp2048', 'aes256gcm16-sha384-modp2048', 'aes256gcm16-sha256-ecp256']) {
      expect(choose(ikeOffer(theirs), ours, { ...IKE, keGroup: 14 })).toBeUndefined();
    }
  });

  it('passes over a proposal with a transform type that it does not know, but not over an unknown attribute', () => {
    const [good] = ikeOffer('aes256gcm16-sha256-modp2048');
    const strange = (transformType: number): Proposal => ({
      ...good,
      unknown: [{ transformType, id: 1, attributes: NO_SPI }],
    });
    expect(choose([strange(13)], DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })).toBeUndefined();
    expect(choose([strange(1)], DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })).toBeDefined();
  });

  it('passes over a proposal for another protocol or with an SPI of another size', () => {
    const [good] = ikeOffer('aes256gcm16-sha256-modp2048');
    expect(choose([{ ...good, protocol: 'ESP' }], DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })).toBeUndefined();
    expect(choose([{ ...good, spi: SPI }], DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })).toBeUndefined();
  });

  it('of ESP accepts a peer with and without a key exchange', () => {
    const terms = { ...ESP, keGroup: undefined, groups: { optional: [ofType('DH', 14), ofType('DH', 31)] } };
    const without = offer(withGroups(DEFAULT_ESP_PROPOSALS, { kind: 'without' }), 'ESP', SPI);
    expect(choose(without, DEFAULT_ESP_PROPOSALS, terms)?.suite.DH).toBeUndefined();
    const wanting = offer(withGroups(DEFAULT_ESP_PROPOSALS, { kind: 'these', groups: [31] }), 'ESP', SPI);
    expect(choose(wanting, DEFAULT_ESP_PROPOSALS, terms)?.suite.DH?.id).toBe(31);
    const other = offer(withGroups(DEFAULT_ESP_PROPOSALS, { kind: 'these', groups: [16] }), 'ESP', SPI);
    expect(choose(other, DEFAULT_ESP_PROPOSALS, terms)).toBeUndefined();
  });

  it('of ESP in IKE_AUTH leaves groups out that a peer should not have named', () => {
    const wanting = offer(withGroups(DEFAULT_ESP_PROPOSALS, { kind: 'these', groups: [14] }), 'ESP', SPI);
    const choice = choose(wanting, DEFAULT_ESP_PROPOSALS, { ...ESP, keGroup: undefined, groups: 'ignored' });
    expect(choice?.suite.DH).toBeUndefined();
    expect(choice?.proposal.transforms.some(({ type }) => type === 'DH')).toBe(false);
  });

  it('prefers extended sequence numbers, and goes without where the peer has none or says nothing of them', () => {
    const terms = { ...ESP, keGroup: undefined, groups: 'ignored' as const };
    const both = offer(DEFAULT_ESP_PROPOSALS, 'ESP', SPI);
    expect(choose(both, DEFAULT_ESP_PROPOSALS, terms)?.suite.ESN?.id).toBe(1);
    for (const esn of [[ofType('ESN', 0)], []]) {
      const theirs = both.map((proposal) => ({
        ...proposal,
        transforms: [...proposal.transforms.filter(({ type }) => type !== 'ESN'), ...esn],
      }));
      expect(choose(theirs, DEFAULT_ESP_PROPOSALS, terms)).toMatchObject({ suite: { ENCR: { id: 20 } } });
      expect(choose(theirs, DEFAULT_ESP_PROPOSALS, terms)?.suite.ESN).toBeUndefined();
    }
  });
});

describe('additional key exchanges', () => {
  const kes = (ours: string, theirs: string, additional = true): string => {
    const terms = { ...IKE, keGroup: 31, additional };
    const choice = choose(ikeOffer(theirs), parseIkeProposal(ours), terms);
    return choice === undefined ? 'none' : suiteText(choice.suite).split('/').slice(2).join(' ');
  };
  const [ONE, WITH, EITHER] = ['x25519', 'x25519-ke1_mlkem768', 'x25519-ke1_mlkem768-ke1_none'].map(
    (groups) => `aes256gcm16-sha256-${groups}`,
  );

  it('are chosen where both ends have them, left out where both ends allow that, and refused otherwise', () => {
    expect(kes(WITH, WITH)).toBe('CURVE_25519 KE1_ML_KEM_768');
    expect(kes(EITHER, WITH)).toBe('CURVE_25519 KE1_ML_KEM_768');
    expect(kes(WITH, EITHER)).toBe('CURVE_25519 KE1_ML_KEM_768');
    expect(kes(EITHER, ONE)).toBe('CURVE_25519');
    expect(kes(ONE, EITHER)).toBe('CURVE_25519');
    expect(kes(ONE, WITH)).toBe('none');
    expect(kes(WITH, ONE)).toBe('none');
  });

  it('are left out or refused where the peer cannot carry them out', () => {
    expect(kes(WITH, WITH, false)).toBe('none');
    expect(kes(EITHER, EITHER, false)).toBe('CURVE_25519');
    expect(kes(`${WITH},${ONE}`, `${WITH},${ONE}`, false)).toBe('CURVE_25519');
  });

  it('use no method twice: an earlier one gives way where a later one has no other', () => {
    const two = 'aes256gcm16-sha256-x25519-ke1_mlkem768-ke1_mlkem1024-ke2_mlkem768';
    expect(kes(two, two)).toBe('CURVE_25519 KE1_ML_KEM_1024 KE2_ML_KEM_768');
    const same = 'aes256gcm16-sha256-x25519-ke1_mlkem768-ke2_mlkem768';
    expect(kes(same, same)).toBe('none');
    const [offered] = ikeOffer(same);
    expect(acceptChoice([offered], [offered])).toBeUndefined();
  });

  it('may not be missing from an IKE SA of a connection that demands them', () => {
    const suite = (text: string) => choose(ikeOffer(text), parseIkeProposal(text), { ...IKE, keGroup: 31 })!.suite;
    expect(allows(parseIkeProposal(WITH), suite(ONE))).toBe(false);
    expect(allows(parseIkeProposal(EITHER), suite(ONE))).toBe(true);
    expect(allows(parseIkeProposal(WITH), suite(WITH))).toBe(true);
    expect(allows(parseIkeProposal(ONE), suite(WITH))).toBe(false);
  });

  it('of a child are taken from a peer that wants those of the IKE SA, and not asked for in IKE_AUTH', () => {
    const wanting = offer(parseEspProposal('aes256gcm16-x25519-ke1_mlkem768'), 'ESP', SPI);
    const optional = [ofType('DH', 31), ofType('ADDKE1', 36)];
    const choice = choose(wanting, DEFAULT_ESP_PROPOSALS, { ...ESP, keGroup: 31, groups: { optional } });
    expect(choice?.suite.ADDKE1?.id).toBe(36);
    const other = { optional: [ofType('DH', 31)] };
    expect(choose(wanting, DEFAULT_ESP_PROPOSALS, { ...ESP, keGroup: 31, groups: other })).toBeUndefined();
    const [inAuth] = withGroups(parseEspProposal('aes256gcm16-x25519-ke1_mlkem768'), { kind: 'without' });
    expect(inAuth.transforms.map(({ type }) => type)).toEqual(['ENCR', 'ESN', 'ESN']);
  });
});

describe('accepting a choice', () => {
  const offered = offer(DEFAULT_IKE_PROPOSALS, 'IKE', NO_SPI);
  const good = choose(offered, DEFAULT_IKE_PROPOSALS, { ...IKE, keGroup: 14 })!.proposal;

  it('takes every choice that a responder makes of our offer', () => {
    for (const text of ['aes128gcm16-sha512-ecp384', 'aes256-sha384-x25519', 'aes256gcm16-sha256-modp2048']) {
      const choice = choose(offered, parseIkeProposal(text), { ...IKE, keGroup: undefined });
      expect(acceptChoice(offered, [choice!.proposal])?.suite).toEqual(choice?.suite);
    }
  });

  it('takes an answer that a responder numbered 1 whatever it chose', () => {
    const second = choose(offered, parseIkeProposal('aes256-sha256-modp2048'), { ...IKE, keGroup: 14 })!.proposal;
    expect(second.number).toBe(3);
    expect(acceptChoice(offered, [{ ...second, number: 1 }])?.suite.ENCR?.id).toBe(12);
  });

  it('refuses none, two, transforms that were not offered, two of one type, and a missing one', () => {
    const without = (type: Transform['type']): Transform[] => good.transforms.filter((one) => one.type !== type);
    const bad: Proposal[][] = [
      [],
      [good, good],
      [{ ...good, transforms: [...without('ENCR'), { type: 'ENCR', id: 20, keyBits: 192 }] }],
      [{ ...good, transforms: [...good.transforms, ofType('DH', 19)] }],
      [{ ...good, transforms: without('PRF') }],
      [{ ...good, transforms: [...good.transforms, ofType('INTEG', 12)] }],
      [{ ...good, protocol: 'ESP' }],
      [{ ...good, unknown: [{ transformType: 6, id: 1, attributes: NO_SPI }] }],
    ];
    for (const answer of bad) expect(acceptChoice(offered, answer)).toBeUndefined();
  });
});

describe('proposals', () => {
  it('name each group once, in order', () => {
    expect(groupsOf(DEFAULT_IKE_PROPOSALS)).toEqual([14, 19, 31, 15, 16, 20, 21]);
  });

  it('get the groups of the connection only where they name none', () => {
    const [own] = withGroups(parseEspProposal('aes256gcm16-modp3072'), { kind: 'these', groups: [14] });
    expect(groupsOf([own])).toEqual([15]);
  });

  it('allow a suite only if one of them holds all of it', () => {
    const { suite } = choose(offer(DEFAULT_IKE_PROPOSALS, 'IKE', NO_SPI), DEFAULT_IKE_PROPOSALS, {
      ...IKE,
      keGroup: 14,
    })!;
    expect(allows(DEFAULT_IKE_PROPOSALS, suite)).toBe(true);
    expect(allows(parseIkeProposal('aes256gcm16-sha256-ecp256'), suite)).toBe(false);
  });
});
