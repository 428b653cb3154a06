// Certificate files of the configuration: what is read of them, what is said of those that cannot be, what stays in force.

import { createPrivateKey } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type CredentialPaths, CredentialStore } from '../../../control/credentials/credentials.ts';
import { ContentError, certificatesIn, privateKeyIn, revocationListsIn } from '../../../control/credentials/pem.ts';
import { CredentialWatcher } from '../../../control/credentials/watcher.ts';
import { systemTimers } from '../../../control/ovsdb/timers.ts';
import { CA, type Issued, Pki } from '../../rig/pki.ts';
import { until } from '../../rig/process.ts';
import { ManualTimers } from '../ovsdb/manual-timers.ts';

const pki = new Pki();
afterAll(() => pki.remove());
const root = pki.authority('root');
const host = pki.signed(root, 'host', { key: 'rsa' });
const other = pki.signed(root, 'other');

const paths = ({
  certificates = [],
  privateKeys = [],
  revocationLists = [],
}: {
  certificates?: string[];
  privateKeys?: string[];
  revocationLists?: string[];
}): CredentialPaths => ({
  certificates: new Set(certificates),
  privateKeys: new Set(privateKeys),
  revocationLists: new Set(revocationLists),
});

async function localOf(
  { certificatePath, keyPath }: Pick<Issued, 'certificatePath' | 'keyPath'>,
  store = new CredentialStore(),
) {
  await store.read(paths({ certificates: [certificatePath], privateKeys: [keyPath] }));
  return store.local(certificatePath, keyPath);
}

const file = (name: string, content: string | Uint8Array, mode = 0o600): string => {
  const path = pki.path(name);
  writeFileSync(path, content, { mode });
  chmodSync(path, mode);
  return path;
};

describe('the certificate and key of this host', () => {
  it('are read with their common name, and nothing is to be said of them', async () => {
    const found = await localOf(host);
    expect(found.warnings).toEqual([]);
    expect(found.value).toMatchObject({ name: 'host' });
    expect(found.value?.certificates.map(({ commonNames }) => commonNames)).toEqual([['host']]);
  });

  it('may have text before and between, as ovs-pki writes it, and intermediates behind', async () => {
    const middle = pki.signed(root, 'middle', { extensions: CA });
    const below = pki.signed(middle, 'below');
    const listing = 'Certificate:\n    Data:\n        Version: 3 (0x2)\n    Signature Value:\n        ab:cd\n';
    const content = `${listing}${readFileSync(below.certificatePath, 'utf8')}${listing}${readFileSync(middle.certificatePath, 'utf8')}`;
    const found = await localOf({ certificatePath: file('chain.pem', content), keyPath: below.keyPath });
    expect(found.value?.certificates.map(({ commonNames }) => commonNames[0])).toEqual(['below', 'middle']);
  });

  it.each([
    ['in DER', () => host.der],
    ['with CRLF line ends', () => readFileSync(host.certificatePath, 'utf8').replaceAll('\n', '\r\n')],
  ])('may be %s', async (name, content) => {
    const certificatePath = file(`host-${name.replaceAll(' ', '-')}`, content());
    expect((await localOf({ certificatePath, keyPath: host.keyPath })).problem).toBeUndefined();
  });

  it.each(['pkcs1', 'sec1'] as const)('may have their key as %s', async (type) => {
    const issued = type === 'pkcs1' ? host : other;
    const key = createPrivateKey(readFileSync(issued.keyPath)).export({ type, format: 'pem' } as {
      type: 'pkcs1';
      format: 'pem';
    });
    expect(
      (await localOf({ certificatePath: issued.certificatePath, keyPath: file(`${type}.pem`, key) })).problem,
    ).toBeUndefined();
  });

  const encrypted = () =>
    createPrivateKey(readFileSync(host.keyPath)).export({
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'x',
    });
  const missing = pki.path('nowhere.pem');
  it.each([
    [
      'the certificate is not there',
      () => ({ ...host, certificatePath: missing }),
      /nowhere\.pem": there is no such file/,
    ],
    ['the key is not there', () => ({ ...host, keyPath: missing }), /nowhere\.pem": there is no such file/],
    [
      'the certificate is a directory',
      () => ({ ...host, certificatePath: pki.directory }),
      /: it is not a regular file$/,
    ],
    [
      'the certificate is empty',
      () => ({ ...host, certificatePath: file('empty.pem', '') }),
      /: it holds no certificate$/,
    ],
    [
      'the paths are swapped',
      () => ({ certificatePath: host.keyPath, keyPath: host.certificatePath }),
      /holds no certificate, but PRIVATE KEY/,
    ],
    [
      'the certificate is cut',
      () => ({ ...host, certificatePath: file('cut', host.der.subarray(0, 200)) }),
      /not a valid X\.509 certificate/,
    ],
    [
      'the key is of another certificate',
      () => ({ ...host, keyPath: other.keyPath }),
      /is not the private key of certificate ".*host.*-cert\.pem"/,
    ],
    [
      'the key is encrypted',
      () => ({ ...host, keyPath: file('encrypted', encrypted()) }),
      /the private key is encrypted/,
    ],
    [
      'the key is garbage',
      () => ({ ...host, keyPath: file('garbage', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n') }),
      /the private key cannot be read$/,
    ],
    [
      'there is no common name',
      () => pki.signed(root, 'anonymous', { subject: '/O=Nobody' }),
      /it has no common name \(CN\)/,
    ],
    [
      'the key is too weak',
      () => pki.signed(root, 'weak', { key: 'rsa1024' }),
      /the key is RSA of 1024 bits, expected at least 2048/,
    ],
  ])('are refused in one line that names the file if %s', async (_what, issued, words) => {
    const { problem } = await localOf(issued());
    expect(problem).toMatch(words);
    expect(problem).not.toMatch(/\n/);
    const secret = readFileSync(host.keyPath, 'utf8').split('\n')[1]!;
    expect(problem).not.toContain(secret.slice(0, 16));
  });

  it('are warned of when every user may read the key', async () => {
    const keyPath = file('open.pem', readFileSync(host.keyPath), 0o644);
    const found = await localOf({ ...host, keyPath });
    expect(found.value).toBeDefined();
    expect(found.warnings).toEqual([
      `${JSON.stringify(keyPath)}: every user of this host may read the private key: chmod 600 it`,
    ]);
  });

  it('stay in force while new ones are no pair yet, and then follow', async () => {
    const store = new CredentialStore();
    const pair = { certificatePath: pki.path('live-cert.pem'), keyPath: pki.path('live-key.pem') };
    copyFileSync(host.certificatePath, pair.certificatePath);
    copyFileSync(host.keyPath, pair.keyPath);
    const first = (await localOf(pair, store)).value!;
    copyFileSync(other.certificatePath, pair.certificatePath);
    const between = await localOf(pair, store);
    expect(between.value).toBe(first);
    expect(between.warnings).toEqual([
      expect.stringMatching(/is not the private key of .*the certificate and key from before stay in force/),
    ]);
    rmSync(pair.keyPath);
    expect((await localOf(pair, store)).value).toBe(first);
    copyFileSync(other.keyPath, pair.keyPath);
    expect((await localOf(pair, store)).value).toMatchObject({ name: 'other' });
    expect((await localOf(pair, store)).warnings).toEqual([]);
  });

  it('are forgotten when they are no longer configured', async () => {
    const store = new CredentialStore();
    await localOf(host, store);
    await store.read(paths({}));
    expect((await localOf({ ...host, certificatePath: missing }, store)).value).toBeUndefined();
  });
});

describe('the certificates of others', () => {
  it('are authorities only with CA:TRUE', async () => {
    const store = new CredentialStore();
    const both = file(
      'both.pem',
      readFileSync(host.certificatePath, 'utf8') + readFileSync(root.certificatePath, 'utf8'),
    );
    await store.read(paths({ certificates: [root.certificatePath, host.certificatePath, both] }));
    expect(store.authorities(root.certificatePath).value).toHaveLength(1);
    expect(store.authorities(both).value?.map(({ commonNames }) => commonNames[0])).toEqual(['root']);
    expect(store.authorities(host.certificatePath).problem).toMatch(/CN=host is no certificate authority/);
  });

  it('stay in force when the file turns to garbage, with a warning', async () => {
    const store = new CredentialStore();
    const path = pki.path('peer.pem');
    copyFileSync(host.certificatePath, path);
    await store.read(paths({ certificates: [path] }));
    writeFileSync(path, 'half a fi');
    expect(await store.read(paths({ certificates: [path] }))).toBe(true);
    const found = store.certificate(path);
    expect(found.value?.commonNames).toEqual(['host']);
    expect(found.warnings).toEqual([expect.stringMatching(/holds no certificate; what it held before stays in force/)]);
    expect(await store.read(paths({ certificates: [path] }))).toBe(false);
  });

  it('come with revocation lists in PEM and DER, several in a file', async () => {
    const one = pki.revocationList(root, [host]);
    const store = new CredentialStore();
    const bundle = file('crls.pem', readFileSync(one, 'utf8') + readFileSync(pki.revocationList(root, []), 'utf8'));
    await store.read(paths({ revocationLists: [bundle, root.certificatePath] }));
    expect(store.revocationLists(bundle).value).toHaveLength(2);
    expect(store.revocationLists(root.certificatePath).problem).toMatch(/holds no revocation list, but CERTIFICATE/);
    expect(
      revocationListsIn(Buffer.from(readFileSync(one, 'utf8').replace(/-----.*-----|\s/g, ''), 'base64')),
    ).toHaveLength(1);
  });

  it('are bounded', () => {
    const pem = readFileSync(root.certificatePath, 'utf8');
    expect(() => certificatesIn(Buffer.from(pem.repeat(257)))).toThrow(/257 certificates, expected at most 256/);
    expect(() => privateKeyIn(Buffer.from(pem))).toThrow(ContentError);
  });
});

describe('watching', () => {
  let watcher: CredentialWatcher | undefined;
  afterEach(() => watcher?.close());

  async function watched(path: string): Promise<() => number> {
    let looks = 0;
    watcher = new CredentialWatcher(systemTimers, () => {
      looks += 1;
    });
    watcher.set(new Set([path]));
    return () => looks;
  }

  it.each(['written in place', 'renamed into place', 'made later'] as const)('sees a file that is %s', async (how) => {
    const directory = pki.path(how.replaceAll(' ', '-'));
    mkdirSync(directory);
    const path = `${directory}/cert.pem`;
    if (how !== 'made later') copyFileSync(host.certificatePath, path);
    const looks = await watched(path);
    if (how === 'renamed into place') {
      copyFileSync(other.certificatePath, `${directory}/new`);
      renameSync(`${directory}/new`, path);
    } else copyFileSync(other.certificatePath, path);
    await until('a look', () => looks() > 0, 4000);
  });

  it('looks again and again, for symlinks whose target changes elsewhere', async () => {
    const timers = new ManualTimers();
    const store = new CredentialStore();
    const [link, target] = [pki.path('link.pem'), pki.path('target.pem')];
    copyFileSync(host.certificatePath, target);
    symlinkSync(target, link);
    await store.read(paths({ certificates: [link] }));
    let looks = 0;
    watcher = new CredentialWatcher(timers, () => {
      looks += 1;
    });
    watcher.set(new Set(['/nonexistent/cert.pem']));
    timers.advance(5000);
    timers.advance(5000);
    expect(looks).toBe(2);
    copyFileSync(other.certificatePath, target);
    expect(await store.read(paths({ certificates: [link] }))).toBe(true);
    expect(store.certificate(link).value?.commonNames).toEqual(['other']);
    watcher.close();
    timers.advance(60_000);
    expect(looks).toBe(2);
  });
});
