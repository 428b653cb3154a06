/**
 * Real exchanges with one message of either end mutated, payload by payload, by somebody who has the keys: so the mutation is
 * authentic and reaches every handler. No exception escapes, every answer is one that its exchange may have, nothing leaks,
 * and when the network is honest again the tunnel comes back by itself.
 *
 * MUTATED_RUNS=500 for the long run, so many for each exchange and direction; fast-check prints the seed of one that fails.
 */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { emitMessage, parseMessage } from '../../../ike/wire/message.ts';
import { EXCHANGE_NUMBERS, type ExchangeName, NOTIFY } from '../../../ike/wire/names.ts';
import type { Payload } from '../../../ike/wire/payloads.ts';
import { findRuleViolation } from '../../../ike/wire/rules.ts';
import { unfinished } from '../simulation/invariants.ts';
import { A, B } from '../simulation/tunnels.ts';
import { type Host, type Sent, TEST_SETTINGS, World } from '../simulation/world.ts';
import { payload as anyPayload } from '../wire/arbitraries.ts';
import { connect, faultsOf, headerOf, type Pair } from './pair.ts';
import { contentsOf, rewritten } from './tamper.ts';

const RUNS = Number(process.env.MUTATED_RUNS ?? '10');

/** What is done to the payloads of one message. */
type Mutation =
  | { readonly kind: 'drop' | 'repeat' | 'last' | 'empty'; readonly at: number }
  | { readonly kind: 'replace' | 'insert'; readonly at: number; readonly payload: Payload }
  | { readonly kind: 'cut' | 'flip' | 'grow'; readonly at: number; readonly byte: number }
  | { readonly kind: 'number'; readonly at: number; readonly value: number };

const at = fc.nat(20);
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constantFrom('drop', 'repeat', 'last', 'empty'), at }),
  fc.record({ kind: fc.constantFrom('replace', 'insert'), at, payload: anyPayload }),
  fc.record({ kind: fc.constantFrom('cut', 'flip', 'grow'), at, byte: fc.nat(2000) }),
  fc.record({
    kind: fc.constant('number' as const),
    at,
    value: fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 14, 31, 35, 36, 37, ...Object.values(NOTIFY))),
  }),
);

function mutate(payloads: readonly Payload[], change: Mutation): Payload[] {
  const all = [...payloads];
  const index = all.length === 0 ? 0 : change.at % all.length;
  const target = all[index];
  switch (change.kind) {
    case 'empty':
      return [];
    case 'insert':
      return [...all.slice(0, index), change.payload, ...all.slice(index)];
    case 'drop':
      return all.filter((_, other) => other !== index);
    case 'repeat':
      return target === undefined ? [] : [...all.slice(0, index), target, ...all.slice(index)];
    case 'last':
      return target === undefined ? [] : [...all.filter((_, other) => other !== index), target];
    case 'replace':
      return all.map((payload, other) => (other === index ? change.payload : payload));
    case 'number':
      return all.map((payload, other) => (other === index ? renumbered(payload, change.value) : payload));
    default:
      return all.map((payload, other) => (other === index ? resized(payload, change) : payload));
  }
}

/** Another number where the payload has one that says what it is about. */
function renumbered(payload: Payload, value: number): Payload {
  switch (payload.type) {
    case 'KE':
      return { ...payload, group: value };
    case 'N':
      return { ...payload, notify: value };
    case 'IDi':
    case 'IDr':
      return { ...payload, idType: value & 0xff };
    case 'AUTH':
      return { ...payload, method: value & 0xff };
    case 'SA':
      return {
        ...payload,
        proposals: payload.proposals.map((proposal) => ({
          ...proposal,
          transforms: proposal.transforms.map((transform, index) =>
            index === value % proposal.transforms.length ? { ...transform, id: value } : transform,
          ),
        })),
      };
    default:
      return payload;
  }
}

/** The data of a payload shorter, longer, or with a bit changed. */
function resized(
  payload: Payload,
  { kind, byte }: { readonly kind: 'cut' | 'flip' | 'grow'; readonly byte: number },
): Payload {
  if (!('data' in payload)) return payload;
  const { data } = payload;
  const place = data.length === 0 ? 0 : byte % data.length;
  if (kind === 'cut') return { ...payload, data: data.slice(0, place) };
  const longer = new Uint8Array(data.length + (kind === 'grow' ? byte : 0));
  longer.set(data);
  if (kind === 'flip' && data.length > 0) longer[place] ^= 0x40;
  return { ...payload, data: longer };
}

/** The message with its payloads mutated; undefined if no sender could write that. */
function forged(logger: Host, sent: Sent, change: Mutation): Uint8Array | undefined {
  const payloads = mutate(contentsOf(logger, sent.data), change);
  try {
    const parsed = parseMessage(sent.data);
    if (!parsed.ok) return undefined;
    return parsed.message.encrypted === undefined
      ? emitMessage(parsed.message.header, payloads)
      : rewritten(logger, sent, payloads);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Everything that a tunnel of these has in its life: additional key exchanges, a PPK, rekeying of both kinds, Deletes. */
function begin(seed: number, pass: (sent: Sent, pair: Pair) => boolean = () => true): Pair {
  const world = new World(seed);
  const settings = { ...TEST_SETTINGS, keyLog: true, fragmentBytes: 4000 };
  const pair = { world, a: world.addHost(A, settings), b: world.addHost(B, settings) };
  world.pass = (sent) => pass(sent, pair);
  const lifetimes = { childSeconds: 60, marginSeconds: 20, fuzzPercent: 0, childPackets: 0, childBytes: 0 };
  const choices = {
    ikeProposals: parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512'),
    espProposals: parseEspProposal('aes256gcm16-x25519-ke1_ecp256'),
    ppk: { id: 'one', secret: new Uint8Array(32).fill(1), required: false },
  };
  connect(
    pair,
    { ...choices, lifetimes: { ...lifetimes, ikeSeconds: 90 } },
    { ...choices, lifetimes: { ...lifetimes, ikeSeconds: 900 } },
  );
  return pair;
}

/** What an engine may answer: the exchange of the request, and payloads that it may hold, or none at all. */
function wrongAnswers({ world, a }: Pair): string[] {
  return world.sent.flatMap((sent) => {
    const header = headerOf(sent);
    if (!header.responseFlag || header.exchange === 'IKE_SA_INIT') return [];
    const violation = findRuleViolation(header, contentsOf(a, sent.data));
    return violation === undefined
      ? []
      : [`${String(header.exchange)} response: ${violation.reason} ${violation.payload}`];
  });
}

const CASES = (Object.keys(EXCHANGE_NUMBERS) as ExchangeName[]).flatMap((exchange) =>
  (['request', 'response'] as const).map((direction) => ({ exchange, direction })),
);

/** Exchanges of which there is one in a life that nothing disturbs. */
const ONCE: ReadonlySet<ExchangeName> = new Set(['IKE_SA_INIT', 'IKE_INTERMEDIATE', 'IKE_AUTH']);

describe('one mutated message of a real exchange', () => {
  it.each(CASES)('breaks nothing for good: $exchange $direction', { timeout: 240_000 }, ({ exchange, direction }) => {
    let reached = 0;
    fc.assert(
      fc.property(fc.record({ world: fc.nat(1000), skip: fc.nat(2), change: mutation }), (drawn) => {
        let left = ONCE.has(exchange) ? 0 : drawn.skip;
        let done = false;
        const pair = begin(drawn.world, (sent, { a, world }) => {
          const header = headerOf(sent);
          const meant = header.exchange === exchange && header.responseFlag === (direction === 'response');
          if (done || !meant || left-- > 0) return true;
          const data = forged(a, sent, drawn.change);
          if (data === undefined) return true;
          done = true;
          reached += 1;
          world.deliver(sent, data);
          return false;
        });
        const { world } = pair;
        world.run(150_000);
        expect(world.run(500_000, () => faultsOf(pair).length === 0)).toBe(true);
        expect(world.run(400_000, () => [pair.a, pair.b].every((host) => unfinished(host).length === 0))).toBe(true);
        expect(wrongAnswers(pair)).toEqual([]);
      }),
      { numRuns: RUNS },
    );
    // A test that mutates nothing finds nothing.
    expect(reached).toBeGreaterThan(RUNS / 3);
  });

  it('leaves no IKE SA behind whose Delete was answered with a payload that has no place there', () => {
    const foreign: Payload = { type: 'IDr', idType: 1, data: new Uint8Array(4) };
    let deleteId: number | undefined;
    let done = false;
    const pair = begin(0, (sent, { a, world }) => {
      const header = headerOf(sent);
      if (done || header.exchange !== 'INFORMATIONAL') return true;
      const isIkeDelete = contentsOf(a, sent.data).some(
        (payload) => payload.type === 'D' && payload.protocol === 'IKE',
      );
      if (isIkeDelete) deleteId = header.messageId;
      if (!header.responseFlag || header.messageId !== deleteId) return true;
      done = true;
      world.deliver(sent, rewritten(a, sent, [foreign]));
      return false;
    });
    pair.world.run(150_000);
    expect(done).toBe(true);
    expect(pair.world.run(60_000, () => [pair.a, pair.b].every((host) => unfinished(host).length === 0))).toBe(true);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('sent again, in any order, with others between, changes nothing and draws no new answer', () => {
    const pair = begin(7);
    pair.world.run(100_000);
    const before = JSON.stringify([...pair.a.installed.keys(), ...pair.b.installed.keys()]);
    const protectedOnes = pair.world.sent.filter((sent) => headerOf(sent).exchange !== 'IKE_SA_INIT');
    fc.assert(
      fc.property(fc.shuffledSubarray(protectedOnes, { minLength: 1 }), (messages) => {
        for (const sent of messages) {
          const host = sent.local.address === A ? pair.b : pair.a;
          const first = host.actions.length;
          host.receive({ local: sent.remote, remote: sent.local, data: sent.data });
          const answers = host.actions.slice(first).filter(({ action }) => action !== 'log');
          // At most the response that it had before, byte for byte.
          for (const answer of answers) {
            if (answer.action !== 'send') throw new Error(`a repeated message made ${answer.action}`);
            expect(pair.world.sent.some(({ data }) => Buffer.from(data).equals(answer.data))).toBe(true);
          }
        }
        expect(JSON.stringify([...pair.a.installed.keys(), ...pair.b.installed.keys()])).toBe(before);
      }),
      { numRuns: 20 },
    );
    expect(faultsOf(pair)).toEqual([]);
  });
});
