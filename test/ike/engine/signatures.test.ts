// Our signatures of IKE_AUTH that another thread makes: who gets one, what waits for it, and what must not happen meanwhile.
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { Computations } from '../../../ike/computations.ts';
import { chooseScheme, SIGNATURE_HASH, signatureProblem } from '../../../ike/crypto/auth-signature.ts';
import {
  type CertificateAuthentication,
  type Connection,
  type IkeAction,
  parseCertificate,
  parseIkeProposal,
} from '../../../ike/index.ts';
import { HeldMessages } from '../../../ike/sa/held-messages.ts';
import { Signatures } from '../../../ike/sa/signatures.ts';
import { type Issued, type KeyKind, Pki } from '../../rig/pki.ts';
import { A, B, connectionOf } from '../simulation/tunnels.ts';
import { type Host, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, conversation, faultsOf, type Pair } from './pair.ts';

const pki = new Pki();
afterAll(() => pki.remove());
const root = pki.authority('root');
const elsewhere = pki.authority('elsewhere');

interface Ends extends Pick<Connection, 'localId' | 'remoteId'> {
  readonly authentication: CertificateAuthentication;
}

function signsAs(own: Issued, peerName: string): Ends {
  const fqdn = (value: string) => ({ type: 'fqdn', value }) as const;
  return {
    authentication: {
      method: 'certificate',
      certificates: [parseCertificate(own.der)],
      privateKey: createPrivateKey(readFileSync(own.keyPath)),
      peerName,
      trust: { kind: 'authorities', authorities: [parseCertificate(root.der)], revocationLists: undefined },
    },
    localId: fqdn(own.name),
    remoteId: fqdn(peerName),
  };
}

const issued = (name: string, key: KeyKind = 'rsa'): Issued => pki.signed(root, name, { key });
const ofA = signsAs(issued('host_a'), 'host_b');
const ofB = signsAs(issued('host_b'), 'host_a');
// Made before the worlds, whose time begins when they are.
const anew = { a: signsAs(issued('host_a'), 'host_b'), b: signsAs(issued('host_b'), 'host_a') };
const untrustedA = signsAs(pki.signed(elsewhere, 'host_a', { key: 'rsa' }), 'host_b');
const misnamedA = signsAs(issued('host_c'), 'host_b');

function pairThatComputes(roomOfA = 8, roomOfB = 8): Pair {
  const world = new World(7);
  const a = world.addHost(A, { ...TEST_SETTINGS, computations: roomOfA });
  const b = world.addHost(B, { ...TEST_SETTINGS, computations: roomOfB });
  return { world, a, b };
}

const isUp = (pair: Pair): boolean => faultsOf(pair).length === 0;
const stepsOf = (host: Host): string[] =>
  host.actions.flatMap((action) => (action.action === 'compute' ? [action.job.step] : []));

/** What is asked of a host's other threads is done only when the function that comes back is called. */
function stall(host: Host): () => void {
  const { compute } = host;
  host.compute = () => {
    host.computing = host.computing.map((one) => ({ ...one, atMs: Number.POSITIVE_INFINITY }));
  };
  return () => {
    host.compute = compute;
    host.computing = host.computing.map((one) => ({ ...one, atMs: host.world.nowMs }));
  };
}

/** How often certificates are judged from now on, at either end: each time the engine asks what date it is. */
function countJudgements(world: World): () => number {
  const { epochMs } = world;
  let count = 0;
  Object.defineProperty(world, 'epochMs', {
    get: () => {
      count += 1;
      return epochMs;
    },
  });
  return () => count;
}

/** The first signatures that come from elsewhere are wrong ones. */
function spoil(host: Host, first = Number.POSITIVE_INFINITY): void {
  const { computed } = host.engine;
  let left = first;
  host.engine.computed = (nowMs, id, result) => {
    if (result?.step === 'sign' && left-- > 0) result.data[result.data.length - 1] ^= 1;
    return computed.call(host.engine, nowMs, id, result);
  };
}

describe('dear signatures', () => {
  it.each(['rsa', 'p384', 'p521'] as const)(
    'of %s keys are made elsewhere at both ends, and the tunnel comes up by the same messages',
    (key) => {
      const ends = [signsAs(issued('one', key), 'two'), signsAs(issued('two', key), 'one')] as const;
      const pair = pairThatComputes();
      connect(pair, ...ends);
      expect(pair.world.run(3000, () => isUp(pair))).toBe(true);
      expect([stepsOf(pair.a), stepsOf(pair.b)]).toEqual([['sign'], ['sign']]);
      expect(pair.b.engine.counters()['computed: signatures']).toBe(1);
      expect(conversation(pair.world)).toEqual([
        'A IKE_SA_INIT',
        'B IKE_SA_INIT response',
        'A IKE_AUTH',
        'B IKE_AUTH response',
      ]);
    },
  );

  it.each(['p256', 'ed25519', 'ed448'] as const)('are none of %s keys', (key) => {
    const ends = [signsAs(issued('one', key), 'two'), signsAs(issued('two', key), 'one')] as const;
    const pair = pairThatComputes();
    connect(pair, ...ends);
    expect(pair.world.run(3000, () => isUp(pair))).toBe(true);
    expect([...stepsOf(pair.a), ...stepsOf(pair.b)]).toEqual([]);
  });

  it.each(['a', 'b'] as const)('are what the peer of %s gets to verify', (end) => {
    const pair = pairThatComputes();
    spoil(pair[end]);
    connect(pair, ofA, ofB);
    pair.world.run(500);
    expect(isUp(pair)).toBe(false);
    const peer = end === 'a' ? pair.b : pair.a;
    expect(peer.failures.join()).toContain('sent a wrong signature (RSA_PSS_SHA2_256)');
  });

  it('are made in place where a thread fails', () => {
    const pair = pairThatComputes();
    pair.world.computing = { maximumMs: 20, failure: 1 };
    connect(pair, ofA, ofB);
    expect(pair.world.run(3000, () => isUp(pair))).toBe(true);
    expect([stepsOf(pair.a), stepsOf(pair.b)]).toEqual([['sign'], ['sign']]);
    expect(pair.b.engine.counters()['computed: in place after all']).toBe(1);
  });

  it('are made in place while there is no room', () => {
    const pair = pairThatComputes(1, 1);
    for (const [host, local] of [
      [pair.a, A],
      [pair.b, B],
    ] as const) {
      stall(host);
      host.set(connectionOf(local, '10.0.0.9', { ikeProposals: parseIkeProposal('aes256gcm16-sha256-modp2048') }));
    }
    connect(pair, ofA, ofB);
    expect(pair.world.run(3000, () => pair.a.installed.size === 1 && pair.b.installed.size === 1)).toBe(true);
    expect([stepsOf(pair.a), stepsOf(pair.b)]).toEqual([['begin'], ['begin']]);
  });

  it('are made once by a responder, however often the request comes meanwhile, and its certificates judged once', () => {
    const pair = pairThatComputes(0, 8);
    const { world, b } = pair;
    const finish = stall(b);
    const judged = countJudgements(world);
    connect(pair, ofA, ofB);
    world.run(25_000);
    expect(stepsOf(b)).toEqual(['sign']);
    expect(b.engine.counters()['dropped: repetition of a held message']).toBeGreaterThanOrEqual(2);
    expect(judged()).toBe(1);
    expect(b.engine.load()).toMatchObject({ halfOpen: 1, ikeSas: 1, children: 0 });
    finish();
    expect(world.run(100, () => isUp(pair))).toBe(true);
    // The other time is A's.
    expect(judged()).toBe(2);
    expect(stepsOf(b)).toEqual(['sign']);
  });

  it('keep nobody waiting for ever: what is half open ends in its time', () => {
    const pair = pairThatComputes(0, 8);
    stall(pair.b);
    connect(pair, ofA, ofB);
    pair.world.run(20, () => stepsOf(pair.b).length > 0);
    pair.a.command({ command: 'remove-connection', name: `${A}-${B}` });
    pair.world.run(31_000);
    expect(pair.b.engine.counters()['expired: half-open']).toBe(1);
    expect(pair.b.engine.load()).toMatchObject({ halfOpen: 0, ikeSas: 0, children: 0 });
  });

  it('are none for a peer that has not proved who it is', () => {
    const untrusted = pairThatComputes(0, 8);
    connect(untrusted, untrustedA, ofB);
    const forged = pairThatComputes(8, 8);
    spoil(forged.a);
    connect(forged, ofA, ofB);
    const misnamed = pairThatComputes(0, 8);
    connect(misnamed, misnamedA, ofB);
    for (const { world, b } of [untrusted, forged, misnamed]) {
      world.run(500);
      expect(b.engine.counters()['refused: authentication failed']).toBe(1);
      expect(stepsOf(b)).toEqual([]);
    }
  });

  it('are two of an initiator with a PPK that the peer need not have, of which it takes the one it can verify', () => {
    for (const room of [1, 8]) {
      for (const peerHasIt of [true, false]) {
        const pair = pairThatComputes(room, 8);
        const ppk = { id: 'one', secret: new Uint8Array(32).fill(7), required: false };
        const other = peerHasIt ? ppk : { ...ppk, id: 'two' };
        connect(pair, { ...ofA, ppk }, { ...ofB, ppk: other });
        expect(pair.world.run(3000, () => isUp(pair))).toBe(true);
        expect([stepsOf(pair.a), stepsOf(pair.b)]).toEqual([['sign', 'sign'], ['sign']]);
        expect(pair.b.engine.status()[0].ikeSas[0].ppk).toBe(peerHasIt);
      }
    }
  });
});

describe('while a dear signature is made', () => {
  it.each(['a', 'b'] as const)('%s may get another certificate: what is signed with the old key is not used', (end) => {
    const pair = pairThatComputes(end === 'a' ? 8 : 0, end === 'b' ? 8 : 0);
    const host = pair[end];
    const finish = stall(host);
    spoil(host, 1);
    const [connectionA, connectionB] = connect(pair, ofA, ofB);
    expect(pair.world.run(500, () => stepsOf(host).length === 1)).toBe(true);
    host.set({ ...(end === 'a' ? connectionA : connectionB), ...anew[end] });
    finish();
    expect(pair.world.run(2000, () => isUp(pair))).toBe(true);
    expect([...pair.a.failures, ...pair.b.failures]).toEqual([]);
  });

  it('the responder may lose its trust in the peer, which then is refused', () => {
    const pair = pairThatComputes(0, 8);
    const finish = stall(pair.b);
    const [, connection] = connect(pair, ofA, ofB);
    expect(pair.world.run(500, () => stepsOf(pair.b).length === 1)).toBe(true);
    const trust = {
      kind: 'authorities',
      authorities: [parseCertificate(elsewhere.der)],
      revocationLists: undefined,
    } as const;
    pair.b.set({ ...connection, authentication: { ...ofB.authentication, trust } });
    finish();
    pair.world.run(500);
    expect(pair.b.engine.counters()).toMatchObject({ 'refused: authentication failed': 1, 'established: IKE SAs': 0 });
    expect(pair.b.failures.join()).toMatch(/peer's certificate is refused: .*CN=root, which is not in ca_cert/);
  });

  it.each([
    ['initiator', 'remove-connection', 'nothing'],
    ['initiator', 'shutdown', 'nothing'],
    ['responder', 'remove-connection', 'a refusal'],
    ['responder', 'shutdown', 'nothing'],
  ] as const)('the %s may obey %s: with the late signature comes %s', (role, command, what) => {
    const pair = role === 'initiator' ? pairThatComputes(8, 0) : pairThatComputes(0, 8);
    const host = role === 'initiator' ? pair.a : pair.b;
    const finish = stall(host);
    connect(pair, ofA, ofB);
    expect(pair.world.run(500, () => stepsOf(host).length === 1)).toBe(true);
    const [{ connection }] = host.engine.status();
    host.command(command === 'shutdown' ? { command } : { command, name: connection });
    const before = host.actions.length;
    finish();
    pair.world.run(1);
    expect(host.computed).toBe(1);
    const done = host.actions.slice(before).flatMap(({ action }) => (action === 'log' ? [] : [action]));
    expect(done).toEqual(what === 'nothing' ? [] : ['send']);
    expect(host.engine.counters()['refused: authentication failed']).toBe(done.length);
    pair.world.run(31_000);
    expect(host.engine.load()).toMatchObject({ ikeSas: 0, halfOpen: 0, children: 0, computations: 0 });
  });
});

describe('a signature that was made of some octets', () => {
  const { privateKey: key, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const scheme = chooseScheme(key, [SIGNATURE_HASH.SHA2_256])!;
  const wanted = { scheme, key, octets: new Uint8Array(100).fill(1) };

  /** Whether the signature has to be waited for. */
  const isWaitedFor = (signatures: Signatures, then: () => void): boolean => signatures.prepare(() => [wanted], then);

  function prepared(): { readonly signatures: Signatures; readonly made: Uint8Array } {
    const asked: IkeAction[] = [];
    const computations = new Computations(1, (action) => asked.push(action));
    const signatures = new Signatures(computations, new HeldMessages(computations));
    let told = 0;
    expect(isWaitedFor(signatures, () => told++)).toBe(true);
    const made = new Uint8Array(8).fill(9);
    const [action] = asked;
    if (action?.action !== 'compute') throw new Error('nothing was asked for');
    computations.computed(action.id, { step: 'sign', data: made });
    expect(told).toBe(1);
    return { signatures, made };
  }

  it('is used for them, once', () => {
    const { signatures, made } = prepared();
    expect(isWaitedFor(signatures, () => {})).toBe(false);
    expect(signatures.sign({ ...wanted, octets: wanted.octets.slice() })).toBe(made);
    expect(signatures.sign(wanted)).not.toEqual(made);
  });

  it.each([
    ['octets', { ...wanted, octets: wanted.octets.map((byte, index) => (index === 99 ? 2 : byte)) }],
    ['keys', { ...wanted, key: generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey }],
    ['schemes', { ...wanted, scheme: chooseScheme(key, [SIGNATURE_HASH.SHA2_512])! }],
  ])('is not used for other %s', (_, other) => {
    expect(prepared().signatures.sign(other)).not.toEqual(prepared().made);
  });

  it('changes nothing when it comes after the end of the IKE SA, whose request or held message nobody handles any more', () => {
    const asked: IkeAction[] = [];
    const computations = new Computations(2, (action) => asked.push(action));
    const held = new HeldMessages(computations);
    const signatures = new Signatures(computations, held);
    let told = 0;
    expect(isWaitedFor(signatures, () => told++)).toBe(true);
    expect(
      signatures.hold(
        new Uint8Array(5),
        () => wanted,
        () => told++,
      ),
    ).toBe(true);
    held.drop();
    signatures.drop();
    for (const action of asked) {
      if (action.action === 'compute') computations.computed(action.id, { step: 'sign', data: new Uint8Array(8) });
    }
    expect([told, computations.outstanding]).toEqual([0, 0]);
    expect(signatures.sign(wanted)).not.toHaveLength(8);
  });

  it('gives way to a true one in place for other octets', () => {
    const octets = new Uint8Array(100).fill(3);
    const data = prepared().signatures.sign({ ...wanted, octets });
    const peerHashes = [SIGNATURE_HASH.SHA2_256];
    expect(signatureProblem(publicKey, octets, { method: scheme.method, data, peerHashes })).toBeUndefined();
  });
});
