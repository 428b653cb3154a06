// Chains of certificates: each rule of RFC 5280 §6.1 that can be broken, made by OpenSSL, and OpenSSL's own verdict beside ours.

import { X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { AsnConvert } from '@peculiar/asn1-schema';
import { Certificate as Asn1Certificate } from '@peculiar/asn1-x509';
import * as fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  CertificateError,
  canonicalNameOf,
  openCertificate,
  parseCertificate,
} from '../../../ike/certificates/certificate.ts';
import { findChain } from '../../../ike/certificates/chain.ts';
import { judgeCertificates, type Trust } from '../../../ike/certificates/peer.ts';
import { parseRevocationList } from '../../../ike/certificates/revocation.ts';
import { idPayload } from '../../../ike/identity.ts';
import type { Identity } from '../../../ike/types.ts';
import { CA, hostExtensions, type Issued, Pki } from '../../rig/pki.ts';

const pki = new Pki();
afterAll(() => pki.remove());

const DAY = 86_400_000;
/** A while after all of them were made. */
const now = Date.now() + 3_600_000;
const root = pki.authority('root');
const middle = pki.signed(root, 'middle', { extensions: CA });
const host = pki.signed(middle, 'host');
const near = pki.signed(root, 'near');
const parsed = ({ der }: Issued) => parseCertificate(der);

interface Question {
  readonly leaf: Issued;
  readonly sent?: readonly Issued[];
  readonly trusted?: readonly Issued[];
  readonly crls?: readonly string[];
  readonly atMs?: number;
}

const derOf = (path: string) => Buffer.from(readFileSync(path, 'utf8').replace(/-----.*-----|\s/g, ''), 'base64');

function problem({ leaf, sent = [], trusted = [root], crls, atMs = now }: Question): string | undefined {
  const answer = findChain({
    certificate: parsed(leaf),
    intermediates: sent.map(parsed),
    authorities: trusted.map(parsed),
    revocationLists: crls?.map((path) => parseRevocationList(derOf(path))),
    nowMs: atMs,
  });
  return 'problem' in answer ? answer.problem : undefined;
}

/** OpenSSL's verdict of the same: undefined, or its words. */
function opensslProblem({ leaf, sent = [], trusted = [root], crls, atMs = now }: Question): string | undefined {
  const file = (name: string, paths: readonly string[]) => {
    writeFileSync(pki.path(name), paths.map((path) => readFileSync(path, 'utf8')).join(''));
    return pki.path(name);
  };
  const words = [
    '-CAfile',
    file(
      'trusted.pem',
      trusted.map((ca) => ca.certificatePath),
    ),
    '-attime',
    String(Math.floor(atMs / 1000)),
  ];
  if (sent.length > 0)
    words.push(
      '-untrusted',
      file(
        'sent.pem',
        sent.map((ca) => ca.certificatePath),
      ),
    );
  if (crls !== undefined) words.push('-crl_check_all', '-CRLfile', file('crls.pem', crls));
  try {
    pki.openssl('verify', '-no-CApath', '-no-CAstore', ...words, leaf.certificatePath);
    return undefined;
  } catch (error) {
    return String((error as { stderr?: string }).stderr);
  }
}

describe('a chain of certificates', () => {
  it.each([
    ['directly below a trusted authority', { leaf: near }],
    ['with an intermediate', { leaf: host, sent: [middle] }],
    ['with what else the peer sent, in any order', { leaf: host, sent: [near, root, middle] }],
    ['below an intermediate that is trusted with its root', { leaf: host, trusted: [middle, root] }],
  ] satisfies [string, Question][])('is accepted %s, as by OpenSSL', (_what, question) => {
    expect(problem(question)).toBeUndefined();
    expect(opensslProblem(question)).toBeUndefined();
  });

  it('may end at an intermediate that is trusted without its root', () => {
    expect(problem({ leaf: host, trusted: [middle] })).toBeUndefined();
  });

  const stranger = pki.authority('stranger');
  const impostor = pki.authority('root');
  const noCa = pki.signed(root, 'middle', { extensions: ['basicConstraints=CA:FALSE'] });
  const plain = pki.signed(root, 'middle', { extensions: ['subjectKeyIdentifier=hash'] });
  const noSign = pki.signed(root, 'middle', {
    extensions: ['basicConstraints=critical,CA:TRUE', 'keyUsage=digitalSignature'],
  });
  const short = pki.authority('short', { extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0'] });
  const belowShort = pki.signed(short, 'below', { extensions: CA });
  const expiring = pki.signed(root, 'expiring', { days: 1 });
  const expiringCa = pki.signed(root, 'expiring CA', { extensions: CA, days: 1 });
  const restricted = pki.signed(root, 'restricted', {
    extensions: [...CA, 'nameConstraints=critical,permitted;DNS:example.org'],
  });
  const unknown = pki.signed(root, 'unknown', {
    extensions: [...hostExtensions('unknown'), '1.2.3.4=critical,ASN1:UTF8String:x'],
  });

  it.each([
    [
      'issued by another authority',
      { leaf: near, trusted: [stranger] },
      /issued by .*CN=root, which is not in ca_cert/,
    ],
    [
      'signed by another key of the same name',
      { leaf: near, trusted: [impostor] },
      /not signed by the key of .*CN=root/,
    ],
    [
      'whose intermediate is missing',
      { leaf: host },
      /issued by .*CN=middle, which is not in ca_cert and was not sent/,
    ],
    ['whose intermediate is no CA', { leaf: pki.signed(noCa, 'x'), sent: [noCa] }, /is no CA \(basicConstraints\)/],
    ['whose intermediate has no basicConstraints', { leaf: pki.signed(plain, 'x'), sent: [plain] }, /is no CA/],
    [
      'whose intermediate may not sign',
      { leaf: pki.signed(noSign, 'x'), sent: [noSign] },
      /keyUsage of CA certificate/,
    ],
    [
      'with more CAs than pathlen allows',
      { leaf: pki.signed(belowShort, 'x'), sent: [belowShort], trusted: [short] },
      /allows 0 CAs below it, the chain has 1/,
    ],
    ['that expired', { leaf: expiring, atMs: now + 2 * DAY }, /CN=expiring expired at 20/],
    ['that is not valid yet', { leaf: near, atMs: now - 2 * DAY }, /CN=near is not valid before 20/],
    [
      'whose intermediate expired',
      { leaf: pki.signed(expiringCa, 'x'), sent: [expiringCa], atMs: now + 2 * DAY },
      /CN=expiring CA expired at/,
    ],
    ['whose trusted authority expired', { leaf: near, atMs: now + 3651 * DAY }, /expired at/],
    ['that is self-signed', { leaf: pki.selfSigned('alone') }, /is self-signed and not one of ca_cert/],
    ['with a critical extension that nobody knows', { leaf: unknown }, /not understood here \(1\.2\.3\.4\)/],
  ] satisfies [string, Question, RegExp][])('is refused %s, as by OpenSSL', (_what, question, words) => {
    expect(problem(question)).toMatch(words);
    expect(opensslProblem(question)).toBeDefined();
  });

  it('is refused with name constraints, which are not implemented', () => {
    const leaf = pki.signed(restricted, 'host.example.org');
    expect(problem({ leaf, sent: [restricted] })).toMatch(/restrictions that are not understood here \(2\.5\.29\.30\)/);
  });

  it.each([
    ['RSA of 1024 bits', 'rsa1024', /RSA of 1024 bits, expected at least 2048/],
    ['a curve that IKE does not have', 'secp256k1', /of curve secp256k1/],
  ] as const)('is refused with a key that is %s', (_what, key, words) => {
    expect(problem({ leaf: pki.signed(root, 'weak', { key }) })).toMatch(words);
  });

  it('is refused when SHA-1 signed it, but a trusted authority may have signed itself with anything', () => {
    const old = pki.authority('old', { key: 'rsa', digest: 'sha1' });
    expect(problem({ leaf: pki.signed(old, 'x', { digest: 'sha1' }), trusted: [old] })).toMatch(/signed with SHA-1/);
    expect(problem({ leaf: pki.signed(old, 'x'), trusted: [old] })).toBeUndefined();
  });

  it('has at most six intermediates, and two authorities that vouch for each other do not trap us', () => {
    const cas: Issued[] = [root];
    for (let i = 1; i <= 7; i++) cas.push(pki.signed(cas.at(-1)!, `ca ${i}`, { extensions: CA }));
    const leafOf = (count: number) => ({ leaf: pki.signed(cas[count], 'deep'), sent: cas.slice(1, count + 1) });
    expect(problem(leafOf(6))).toBeUndefined();
    expect(problem(leafOf(7))).toMatch(/more than 6 CAs/);

    const subject = '/CN=loop';
    const a = pki.authority('a', { subject });
    const many = Array.from({ length: 7 }, () => pki.signed(a, 'b', { subject, extensions: CA }));
    expect(problem({ leaf: pki.signed(many[0], 'x'), sent: many })).toMatch(
      /too many chains|not signed by|self-signed/,
    );
  });

  it('is found beside certificates of the same authority that have expired', () => {
    const old = pki.authority('renewing', { days: 1 });
    const fresh = pki.authority('renewing', { keyOf: old });
    const leaf = pki.signed(old, 'leaf');
    const atMs = now + 2 * DAY;
    expect(problem({ leaf, trusted: [old], atMs })).toMatch(/CN=renewing expired at/);
    for (const trusted of [
      [old, fresh],
      [fresh, old],
    ]) {
      expect(problem({ leaf, trusted, atMs })).toBeUndefined();
    }
  });

  it('is not read before a trusted key has signed it: a stranger costs us a few signatures', () => {
    const names = Array.from({ length: 900 }, (_, index) => `DNS:h${index}`).join(',');
    const stranger = pki.authority('root');
    const costly = pki.signed(stranger, 'costly', { extensions: [`subjectAltName=${names}`] });
    const opened = openCertificate(costly.der);
    let reads = 0;
    const watched = new Proxy(opened, {
      ownKeys: (target) => {
        // Reading copies what was opened into a whole certificate.
        reads += 1;
        return Reflect.ownKeys(target);
      },
    });
    const question = { intermediates: [], revocationLists: undefined, nowMs: now };
    expect(findChain({ ...question, certificate: watched, authorities: [parsed(root)] })).toHaveProperty('problem');
    expect(reads).toBe(0);
    expect(findChain({ ...question, certificate: watched, authorities: [parsed(stranger)] })).toHaveProperty(
      'certificate',
    );
    expect(reads).toBe(1);
  });

  it('ends at once if the certificate itself is trusted', () => {
    const own = pki.selfSigned('own');
    expect(problem({ leaf: own, trusted: [own] })).toBeUndefined();
  });
});

describe('revocation lists', () => {
  const fine = pki.revocationList(root, []);
  const ofMiddle = pki.revocationList(middle, []);
  it.each([
    ['clear it', { leaf: near, crls: [fine] }, undefined],
    ['clear each certificate of the chain', { leaf: host, sent: [middle], crls: [fine, ofMiddle] }, undefined],
    ['have it', { leaf: near, crls: [pki.revocationList(root, [near])] }, /certificate .*CN=near is revoked/],
    [
      'have its intermediate',
      { leaf: host, sent: [middle], crls: [pki.revocationList(root, [middle]), ofMiddle] },
      /CN=middle is revoked/,
    ],
    [
      'are missing for an authority',
      { leaf: host, sent: [middle], crls: [fine] },
      /ca_crl holds no revocation list of .*CN=middle/,
    ],
    [
      'are out of date',
      { leaf: near, crls: [pki.revocationList(root, [], { days: 1 })], atMs: now + 2 * DAY },
      /out of date since/,
    ],
    [
      'were signed by another of the same name',
      { leaf: near, crls: [pki.revocationList(pki.authority('root'), [])] },
      /holds no revocation list/,
    ],
  ] satisfies [string, Question, RegExp | undefined][])('%s, and OpenSSL agrees', (_what, question, words) => {
    const found = problem(question);
    if (words === undefined) expect(found).toBeUndefined();
    else expect(found).toMatch(words);
    expect(opensslProblem(question) === undefined).toBe(words === undefined);
  });

  it('are checked with the keys of ECDSA, RSA and Ed25519 authorities', () => {
    for (const key of ['rsa', 'p384', 'ed25519'] as const) {
      const ca = pki.authority('crl issuer', { key });
      const leaf = pki.signed(ca, 'leaf');
      expect(problem({ leaf, trusted: [ca], crls: [pki.revocationList(ca, [])] }), key).toBeUndefined();
      expect(problem({ leaf, trusted: [ca], crls: [pki.revocationList(ca, [leaf])] }), key).toMatch(/is revoked/);
    }
  });

  it('that are garbage are refused in words', () => {
    const der = derOf(fine);
    expect(() => parseRevocationList(der.subarray(0, der.length - 1))).toThrow(CertificateError);
    expect(() => parseRevocationList(new Uint8Array(100))).toThrow(/not a valid X\.509 certificate revocation list/);
  });
});

describe('the bytes of a certificate', () => {
  it('are refused in one kind of error, wherever they are cut or changed', () => {
    const { der } = near;
    for (let length = 0; length < der.length; length++) {
      expect(() => parseCertificate(der.subarray(0, length)), `${length} bytes`).toThrow(CertificateError);
    }
    expect(() => parseCertificate(Uint8Array.from([...der, 0]))).toThrow(/behind the certificate/);
    expect(() => parseCertificate(new Uint8Array(20_000))).toThrow(/at most 16384/);
    fc.assert(
      fc.property(fc.nat(der.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = der.slice();
        changed[at] ^= flip;
        try {
          const certificate = parseCertificate(changed);
          // What still parses is another certificate, for which nobody vouches.
          const question = { certificate, intermediates: [], authorities: [parsed(root)], revocationLists: undefined };
          expect(findChain({ ...question, nowMs: now })).toHaveProperty('problem');
        } catch (error) {
          if (!(error instanceof CertificateError)) throw error;
        }
      }),
      { numRuns: 400 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
        expect(() => parseCertificate(bytes)).toThrow(CertificateError);
      }),
    );
  });

  it('never throw as a distinguished name, whatever a peer calls itself', () => {
    const der = subjectDer(near);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(der.length - 1), fc.nat(255), (bytes, at, value) => {
        expect(() => canonicalNameOf(bytes)).not.toThrow();
        const changed = der.slice();
        changed[at] = value;
        expect(() => canonicalNameOf(changed)).not.toThrow();
      }),
    );
    expect(canonicalNameOf(der)).toBe(parsed(near).subjectName);
  });

  it('are refused when nested deeper than any certificate is', () => {
    const nested = Buffer.concat(Array.from({ length: 4000 }, () => Buffer.from([0x30, 0x80])));
    expect(() => parseCertificate(nested)).toThrow(CertificateError);
  });
});

/** The subject as it stands in the certificate. */
const subjectDer = ({ der }: Issued) =>
  new Uint8Array(AsnConvert.serialize(AsnConvert.parse(der, Asn1Certificate).tbsCertificate.subject));

const fqdn = (value: string): Identity => ({ type: 'fqdn', value });

describe('the certificates of a peer', () => {
  const authorities: Trust = { kind: 'authorities', authorities: [parsed(root)], revocationLists: undefined };
  const judge = (
    certificates: readonly Uint8Array[],
    { name = 'near', id = fqdn(name), trust = authorities }: { name?: string; id?: Identity; trust?: Trust } = {},
  ) => {
    const judged = judgeCertificates({ id: idPayload('IDi', id), certificates, name, trust, nowMs: now });
    return 'problem' in judged ? judged.problem : undefined;
  };

  it('are those of remote_name by common name or by subjectAltName, without regard to case', () => {
    expect(judge([near.der])).toBeUndefined();
    expect(judge([near.der], { name: 'NEAR' })).toBeUndefined();
    const alias = pki.signed(root, 'cn only', {
      extensions: ['subjectAltName=DNS:alias,DNS:other,IP:10.1.0.7,email:a@b.c'],
    });
    for (const name of ['cn only', 'alias', 'other']) expect(judge([alias.der], { name })).toBeUndefined();
    expect(judge([alias.der], { name: 'ali' })).toMatch(
      /is for "cn only", "alias", "other", expected remote_name "ali"/,
    );
    expect(judge([near.der], { name: 'near', id: fqdn('far') })).toMatch(/identity is not confirmed/);
  });

  it('prove identities of every type that strongSwan and Libreswan make of a name', () => {
    const subject = (issued: Issued) => Buffer.from(subjectDer(issued)).toString('hex');
    expect(judge([near.der], { id: { type: 'dn', value: subject(near) } })).toBeUndefined();
    expect(judge([near.der], { id: { type: 'dn', value: subject(host) } })).toMatch(/not confirmed/);
    expect(judge([near.der], { id: { type: 'dn', value: '300100' } })).toMatch(/not confirmed/);
    // The same name, but as PrintableString, in capitals and with more space: what charon makes of text.
    const printable = pki.signed(root, 'x', { subject: '/C=US/O=OPEN   vSwitch/CN=NEAR' });
    expect(subject(printable)).not.toBe(subject(near));
    expect(judge([near.der], { id: { type: 'dn', value: subject(printable) } })).toBeUndefined();
    expect(judge([near.der], { id: { type: 'key-id', value: Buffer.from('near').toString('hex') } })).toBeUndefined();
    expect(judge([near.der], { id: { type: 'ipv4', value: '10.0.0.9' } })).toMatch(/not confirmed/);
    const address = pki.signed(root, '10.0.0.9');
    expect(judge([address.der], { name: '10.0.0.9', id: { type: 'ipv4', value: '10.0.0.9' } })).toBeUndefined();
  });

  it('need a certificate, and few of them', () => {
    expect(judge([])).toBe('peer sent no X.509 certificate');
    expect(judge(Array.from({ length: 100 }, () => near.der))).toBe('peer sent 100 certificates, expected at most 8');
    expect(judge([near.der, new Uint8Array(50)])).toMatch(/cannot be read: not a valid X\.509 certificate in DER/);
  });

  it.each([
    ['keyUsage', 'keyUsage=keyEncipherment', /keyUsage of certificate .* does not allow signatures/],
    ['extendedKeyUsage', 'extendedKeyUsage=codeSigning', /does not allow IKE: it has 1\.3\.6\.1\.5\.5\.7\.3\.3/],
  ])('are refused if %s forbids it', (_what, extension, words) => {
    const forbidden = pki.signed(root, 'near', { extensions: [...hostExtensions('near'), extension] });
    expect(judge([forbidden.der])).toMatch(words);
  });

  it.each(['ipsecIKE', 'anyExtendedKeyUsage', 'clientAuth', '1.3.6.1.5.5.8.2.2'])(
    'may have extendedKeyUsage %s',
    (purpose) => {
      const allowed = pki.signed(root, 'near', {
        extensions: [...hostExtensions('near'), `extendedKeyUsage=${purpose}`],
      });
      expect(judge([allowed.der])).toBeUndefined();
    },
  );

  it('are exactly the pinned one, sent or not, whatever another says of itself', () => {
    const own = pki.selfSigned('pin', { key: 'rsa' });
    const twin = pki.selfSigned('pin', { key: 'rsa' });
    const trust: Trust = { kind: 'pinned', certificate: parsed(own) };
    expect(judge([own.der], { name: 'pin', trust })).toBeUndefined();
    expect(judge([], { name: 'pin', trust })).toBeUndefined();
    expect(judge([twin.der], { name: 'pin', trust })).toMatch(/another certificate than the one in remote_cert/);
    expect(judge([twin.der, own.der], { name: 'pin', trust })).toMatch(/another certificate/);
    expect(judge([own.der], { name: 'pin', trust, id: fqdn('else') })).toMatch(/identity is not confirmed/);
  });

  it('that are pinned are held to their validity', () => {
    const trust: Trust = { kind: 'pinned', certificate: parsed(pki.selfSigned('pin', { days: 1 })) };
    const claim = { id: idPayload('IDi', fqdn('pin')), certificates: [], name: 'pin', trust };
    expect(judgeCertificates({ ...claim, nowMs: now })).toHaveProperty('certificate');
    expect(judgeCertificates({ ...claim, nowMs: now + 2 * DAY })).toHaveProperty(
      'problem',
      expect.stringMatching(/expired at/),
    );
  });

  it('with control characters in their names do not break the line of a log', () => {
    const nasty = pki.signed(root, 'x', { subject: '/CN=evil\u0007\u001b[31mname', extensions: [] });
    const problem = judge([nasty.der], { name: 'near' });
    expect(problem).toMatch(/^[\x20-\x7e]+$/);
    expect(new X509Certificate(nasty.der).subject).not.toBe('');
  });
});
