/** Two engines that authenticate with certificates: what comes up, what is refused and with what words, what a change does. */
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type CertificateAuthentication,
  parseCertificate,
  parseRevocationList,
  type RevocationList,
} from '../../../ike/index.ts';
import { CA, type Issued, type KeyKind, Pki } from '../../rig/pki.ts';
import { A, B, connectionOf } from '../simulation/tunnels.ts';
import { connect, connectedPair, conversation, faultsOf, makePair, type Pair } from './pair.ts';

const pki = new Pki();
afterAll(() => pki.remove());
const root = pki.authority('root');
const hostA = pki.signed(root, 'host_a');
const hostB = pki.signed(root, 'host_b');

const certificateOf = ({ der }: Issued) => parseCertificate(der);
const fqdn = (value: string) => ({ type: 'fqdn', value }) as const;

interface Choices {
  readonly chain?: readonly Issued[];
  readonly authorities?: readonly Issued[];
  readonly pinned?: Issued;
  readonly revocationLists?: readonly RevocationList[];
}

/** The authentication of `own` towards `peer`, as control makes it. */
function signsAs(own: Issued, peer: string, choices: Choices = {}) {
  const { chain = [], authorities = [root], pinned, revocationLists } = choices;
  const authentication: CertificateAuthentication = {
    method: 'certificate',
    certificates: [certificateOf(own), ...chain.map(certificateOf)],
    privateKey: createPrivateKey(readFileSync(own.keyPath)),
    peerName: peer,
    trust:
      pinned === undefined
        ? { kind: 'authorities', authorities: authorities.map(certificateOf), revocationLists }
        : { kind: 'pinned', certificate: certificateOf(pinned) },
  };
  return { authentication, localId: fqdn(own.name), remoteId: fqdn(peer) };
}

const reasons = ({ a, b }: Pair) => ({ a: a.failures.join('\n'), b: b.failures.join('\n') });

/** Runs a pair that must not come up. */
function refused(ofA: ReturnType<typeof signsAs>, ofB: ReturnType<typeof signsAs>): { a: string; b: string } {
  const pair = makePair();
  connect(pair, ofA, ofB);
  pair.world.run(5000);
  expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
  expect(pair.a.upIkeSas()).toBe(0);
  return reasons(pair);
}

describe('certificates', () => {
  it.each(['rsa', 'p256', 'p384', 'p521', 'ed25519', 'ed448'] as const)(
    'of %s keys bring up a pair',
    (key: KeyKind) => {
      const one = pki.signed(root, 'one', { key });
      const two = pki.signed(root, 'two', { key });
      const pair = connectedPair({}, signsAs(one, 'two'), signsAs(two, 'one'));
      expect(conversation(pair.world).slice(0, 4)).toEqual([
        'A IKE_SA_INIT',
        'B IKE_SA_INIT response',
        'A IKE_AUTH',
        'B IKE_AUTH response',
      ]);
      expect(pair.a.engine.status()[0].ikeSas[0]).toMatchObject({ localId: 'one', remoteId: 'two' });
    },
  );

  it('may differ in their kind of key at the two ends', () => {
    const rsa = pki.signed(root, 'rsa host', { key: 'rsa' });
    const pair = connectedPair({}, signsAs(rsa, 'host_b'), signsAs(hostB, 'rsa host'));
    expect(faultsOf(pair)).toEqual([]);
  });

  it('come with their intermediates, so the other end needs the root only', () => {
    const middle = pki.signed(root, 'middle', { extensions: CA });
    const below = pki.signed(middle, 'below');
    expect(faultsOf(connectedPair({}, signsAs(below, 'host_b', { chain: [middle] }), signsAs(hostB, 'below')))).toEqual(
      [],
    );
    const { b } = refused(signsAs(below, 'host_b'), signsAs(hostB, 'below'));
    expect(b).toMatch(/issued by .*CN=middle, which is not in ca_cert and was not sent by the peer/);
  });

  it('that are self-signed are pinned at both ends', () => {
    const own = pki.selfSigned('own', { key: 'rsa' });
    const other = pki.selfSigned('other', { key: 'rsa' });
    const pair = connectedPair({}, signsAs(own, 'other', { pinned: other }), signsAs(other, 'own', { pinned: own }));
    expect(faultsOf(pair)).toEqual([]);
    const twin = pki.selfSigned('other', { key: 'rsa' });
    const { a } = refused(signsAs(own, 'other', { pinned: twin }), signsAs(other, 'own', { pinned: own }));
    expect(a).toMatch(/another certificate than the one in remote_cert/);
  });

  it('of another authority are refused: the reason at the end that refuses, a hint at the other', () => {
    const elsewhere = pki.signed(pki.authority('elsewhere'), 'host_a');
    const { a, b } = refused(signsAs(elsewhere, 'host_b'), signsAs(hostB, 'host_a'));
    expect(b).toMatch(/^10\.0\.0\.1\[host_a\]: peer's certificate is refused: .*CN=elsewhere, which is not in ca_cert/);
    expect(a).toMatch(/AUTHENTICATION_FAILED\): does it trust our certificate .*CN=host_a, issued by .*CN=elsewhere/);
  });

  it('of the responder are judged as strictly by the initiator', () => {
    const elsewhere = pki.signed(pki.authority('elsewhere'), 'host_b');
    const { a } = refused(signsAs(hostA, 'host_b'), signsAs(elsewhere, 'host_a'));
    expect(a).toMatch(/^peer's certificate is refused: .*CN=elsewhere, which is not in ca_cert/);
  });

  it('for another name are refused, whatever identity is claimed', () => {
    const claims = { ...signsAs(hostB, 'host_a'), localId: fqdn('host_c') };
    expect(refused(signsAs(hostA, 'host_c'), claims).a).toMatch(/is for "host_b", expected remote_name "host_c"/);
    const honest = signsAs(hostB, 'host_a');
    expect(refused(signsAs(hostA, 'host_c'), honest).b).toMatch(
      /wants to talk to host_c: no tunnel has these identities/,
    );
  });

  it('are refused when they expired on the way', () => {
    const pair = makePair();
    pair.world.epochMs += 4000 * 86_400_000;
    connect(pair, signsAs(hostA, 'host_b'), signsAs(hostB, 'host_a'));
    pair.world.run(5000);
    expect(reasons(pair).b).toMatch(/certificate .*CN=host_a expired at 20/);
    expect(reasons(pair).a).toMatch(/AUTHENTICATION_FAILED\): our own certificate .*CN=host_a expired at 20/);
    expect(pair.b.installed.size).toBe(0);
  });

  it('that are revoked are refused', () => {
    const pem = readFileSync(pki.revocationList(root, [hostA]), 'utf8');
    const list = parseRevocationList(Buffer.from(pem.replace(/-----.*-----|\s/g, ''), 'base64'));
    const { b } = refused(signsAs(hostA, 'host_b'), signsAs(hostB, 'host_a', { revocationLists: [list] }));
    expect(b).toMatch(/certificate .*CN=host_a is revoked/);
  });

  it('without their private key are of no use', () => {
    const thief = signsAs(hostA, 'host_b');
    const own = pki.signed(root, 'thief');
    const pair = makePair();
    const { authentication } = thief;
    // Past the engine's own check of its configuration: the key is another one than the certificate's.
    const forged = certificateOf(hostA);
    Object.defineProperty(forged.x509, 'checkPrivateKey', { value: () => true });
    const privateKey = createPrivateKey(readFileSync(own.keyPath));
    connect(
      pair,
      { ...thief, authentication: { ...authentication, certificates: [forged], privateKey } },
      signsAs(hostB, 'host_a'),
    );
    pair.world.run(5000);
    expect(reasons(pair).b).toMatch(/peer sent a wrong signature \(ECDSA_SHA2_256\): it does not have the private key/);
    expect(pair.b.installed.size).toBe(0);
  });

  it.each([
    ['initiator', 'a'],
    ['responder', 'b'],
  ] as const)('and a shared key do not go together: %s with the key', (_role, who) => {
    const withKey = {
      localId: fqdn(who === 'a' ? 'host_a' : 'host_b'),
      remoteId: fqdn(who === 'a' ? 'host_b' : 'host_a'),
    };
    const pair = makePair();
    if (who === 'a') connect(pair, withKey, signsAs(hostB, 'host_a'));
    else connect(pair, signsAs(hostA, 'host_b'), withKey);
    pair.world.run(5000);
    expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
    const methods =
      who === 'a'
        ? /authenticates by SHARED_KEY, we by certificates/
        : /authenticates by ECDSA_256, we by a shared key/;
    expect(reasons(pair).b).toMatch(methods);
  });

  it('stand in no IKE_SA_INIT of ends that share keys, and sign with the old methods for a peer without RFC 7427', () => {
    const pair = connectedPair();
    const init = Buffer.from(pair.world.sent[0].data).toString('hex');
    expect(init).not.toContain((16431).toString(16));
    const signed = makePair();
    connect(signed, signsAs(hostA, 'host_b'), signsAs(hostB, 'host_a'));
    expect(Buffer.from(signed.world.sent[0].data).toString('hex')).toContain((16431).toString(16));
  });

  it('that are garbage, or a hundred, end in a refusal', () => {
    const garbage = signsAs(hostA, 'host_b');
    const { authentication } = garbage;
    const [own] = authentication.certificates;
    const certificates = (rest: readonly Uint8Array[]) =>
      [own, ...rest.map((der) => ({ ...own, der }))] as unknown as CertificateAuthentication['certificates'];
    const send = (rest: readonly Uint8Array[]) =>
      refused(
        { ...garbage, authentication: { ...authentication, certificates: certificates(rest) } },
        signsAs(hostB, 'host_a'),
      ).b;
    expect(send([new Uint8Array(64).fill(0x30)])).toMatch(/peer sent a certificate that cannot be read/);
    expect(send(Array.from({ length: 20 }, () => own.der))).toMatch(/peer sent 21 certificates, expected at most 8/);
  });
});

describe('a new certificate', () => {
  const ofB = (choices: ReturnType<typeof signsAs>) => connectionOf(B, A, { start: 'wait', ...choices });
  const up = () => connectedPair({}, signsAs(hostA, 'host_b'), signsAs(hostB, 'host_a'));

  it('takes effect on a new IKE SA before the old one goes, without a moment without a child that sends', () => {
    const pair = up();
    const { world, a, b } = pair;
    const [before] = a.engine.status()[0].ikeSas;
    const renewed = pki.signed(root, 'host_a');
    let gap = false;
    a.set(connectionOf(A, B, signsAs(renewed, 'host_b')));
    const moved = world.run(10_000, () => {
      gap ||= a.sending.size === 0 || b.sending.size === 0;
      const { ikeSas } = a.engine.status()[0];
      return ikeSas.length === 1 && ikeSas[0].initiatorSpi !== before.initiatorSpi;
    });
    expect(moved).toBe(true);
    world.run(2000);
    expect(gap).toBe(false);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('that the peer refuses leaves the old IKE SA in place until the peer has learned of it', () => {
    const pair = up();
    const { world, a } = pair;
    const elsewhere = pki.authority('elsewhere');
    a.set(connectionOf(A, B, signsAs(pki.signed(elsewhere, 'host_a'), 'host_b')));
    world.run(5 * 60_000);
    expect(a.sending.size).toBe(1);
    expect(a.failures.join('\n')).toMatch(/AUTHENTICATION_FAILED/);
    pair.b.set(ofB(signsAs(hostB, 'host_a', { authorities: [root, elsewhere] })));
    world.run(5 * 60_000);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('of the peer that is trusted no more costs it the IKE SA within a minute', () => {
    const pair = up();
    const { world, b } = pair;
    b.set(ofB(signsAs(hostB, 'host_a', { authorities: [pki.authority('other')] })));
    world.run(65_000);
    expect(b.installed.size).toBe(0);
  });
});
