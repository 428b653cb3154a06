import { describe, expect, it } from 'vitest';
import { DROP, DROP_REASONS } from '../../../dataplane/drops.ts';
import {
  ESP,
  inboundEspVerdict,
  inboundPlaintextVerdict,
  type MarkRule,
  markForbids,
  outboundVerdict,
  PLAINTEXT,
  PROTECTION_STATE,
} from '../../../dataplane/policy.ts';

const { none, neverUp, protected: wasUp, invalid } = PROTECTION_STATE;

/** The truth table of the design, row by row: what leaves, what comes in as plaintext, what comes in as ESP. */
interface Row {
  readonly tunnel: string;
  readonly state: number;
  readonly saUp: boolean;
  readonly out: (forbidden: boolean) => number;
  readonly plaintextIn: (ruleSet: boolean) => number;
  readonly espIn: number;
}

const mark = DROP['policy-mark'];
const noSa = DROP['policy-no-sa'];
const bad = DROP['policy-invalid'];
const plaintextIn = DROP['policy-plaintext-in'];
const espIn = DROP['policy-esp-in'];

const TABLE: readonly Row[] = [
  {
    tunnel: 'IPsec configured, SA up',
    state: wasUp,
    saUp: true,
    out: () => ESP,
    plaintextIn: () => plaintextIn,
    espIn: ESP,
  },
  {
    tunnel: 'IPsec configured, first SA just up',
    state: neverUp,
    saUp: true,
    out: () => ESP,
    plaintextIn: () => plaintextIn,
    espIn: ESP,
  },
  {
    tunnel: 'IPsec configured, SA down after it was up',
    state: wasUp,
    saUp: false,
    out: () => noSa,
    plaintextIn: () => plaintextIn,
    espIn: ESP,
  },
  {
    tunnel: 'IPsec configured, SA never up yet',
    state: neverUp,
    saUp: false,
    out: (forbidden) => (forbidden ? mark : PLAINTEXT),
    plaintextIn: (ruleSet) => (ruleSet ? plaintextIn : PLAINTEXT),
    espIn: ESP,
  },
  {
    tunnel: 'IPsec configuration invalid',
    state: invalid,
    saUp: false,
    out: (forbidden) => (forbidden ? mark : bad),
    plaintextIn: () => bad,
    espIn: bad,
  },
  {
    tunnel: 'IPsec configuration invalid, an SA left over',
    state: invalid,
    saUp: true,
    out: (forbidden) => (forbidden ? mark : bad),
    plaintextIn: () => bad,
    espIn: bad,
  },
  {
    tunnel: 'no IPsec',
    state: none,
    saUp: false,
    out: (forbidden) => (forbidden ? mark : PLAINTEXT),
    plaintextIn: () => PLAINTEXT,
    espIn,
  },
  {
    tunnel: 'no IPsec, an SA left over',
    state: none,
    saUp: true,
    out: (forbidden) => (forbidden ? mark : PLAINTEXT),
    plaintextIn: () => PLAINTEXT,
    espIn,
  },
];

/** Values of ipsec_skb_mark, and for each the marks it forbids and those it does not. */
const RULES: readonly {
  readonly text: string;
  readonly rule: MarkRule;
  readonly forbids: readonly number[];
  readonly allows: readonly number[];
}[] = [
  { text: 'unset', rule: { set: false, value: 0, mask: 0 }, forbids: [], allows: [0, 1, 0x80000000, 0xffffffff] },
  { text: '0/1', rule: { set: true, value: 0, mask: 1 }, forbids: [0, 2, 0xfffffffe], allows: [1, 3, 0xffffffff] },
  { text: '1/1', rule: { set: true, value: 1, mask: 1 }, forbids: [1, 3, 0xffffffff], allows: [0, 2, 0xfffffffe] },
  { text: '0/0', rule: { set: true, value: 0, mask: 0 }, forbids: [0, 1, 0xffffffff], allows: [] },
  { text: '5/0', rule: { set: true, value: 5, mask: 0 }, forbids: [0, 1, 0xffffffff], allows: [] },
  {
    text: '0x80000000/0x80000000',
    rule: { set: true, value: 0x80000000, mask: 0x80000000 },
    forbids: [0x80000000, 0xffffffff, -1],
    allows: [0, 0x7fffffff],
  },
  {
    text: '0x12/0xff',
    rule: { set: true, value: 0x12, mask: 0xff },
    forbids: [0x12, 0xab12],
    allows: [0, 0x13, 0x1200],
  },
  { text: '0xf12/0xff', rule: { set: true, value: 0xf12, mask: 0xff }, forbids: [0x12, 0xab12], allows: [0, 0xf13] },
];

describe('the skb-mark rule', () => {
  for (const { text, rule, forbids, allows } of RULES) {
    const marks = [
      ...forbids.map((value) => [value, true] as const),
      ...allows.map((value) => [value, false] as const),
    ];
    for (const [value, forbidden] of marks) {
      it(`ipsec_skb_mark ${text} ${forbidden ? 'forbids' : 'allows'} plaintext with mark ${value}`, () => {
        expect(markForbids(rule, value)).toBe(forbidden);
      });
      for (const row of TABLE) {
        it(`${row.tunnel}: a packet with mark ${value} leaves as the table says under ${text}`, () => {
          expect(outboundVerdict(row.state, row.saUp, value, rule)).toBe(row.out(forbidden));
        });
      }
    }
    for (const row of TABLE) {
      it(`${row.tunnel}: a plaintext packet comes in as the table says under ${text}`, () => {
        expect(inboundPlaintextVerdict(row.state, row.saUp, rule)).toBe(row.plaintextIn(rule.set));
      });
      it(`${row.tunnel}: an ESP packet comes in as the table says under ${text}`, () => {
        expect(inboundEspVerdict(row.state)).toBe(row.espIn);
      });
    }
  }

  it('treats an unknown state as invalid', () => {
    expect(outboundVerdict(9, true, 0, RULES[0].rule)).toBe(bad);
    expect(inboundPlaintextVerdict(9, false, RULES[0].rule)).toBe(bad);
    expect(inboundEspVerdict(9)).toBe(bad);
  });
});

describe('the table of drop reasons', () => {
  it('has none that could be taken for a verdict that lets a packet go on', () => {
    expect(DROP_REASONS.map((_, reason) => reason)).not.toContain(ESP);
    expect(DROP_REASONS[PLAINTEXT].name).toBe('none');
    for (const reason of [mark, noSa, bad, plaintextIn, espIn]) expect(reason).toBeGreaterThan(PLAINTEXT);
  });

  it('names each reason once, in kebab case, with a sentence', () => {
    expect(new Set(DROP_REASONS.map((reason) => reason.name)).size).toBe(DROP_REASONS.length);
    for (const { name, sentence } of DROP_REASONS) {
      expect(name).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(sentence).toMatch(/^[A-Z0-9].*\.$/);
    }
  });
});
