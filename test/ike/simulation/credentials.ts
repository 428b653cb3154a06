/** Certificates for simulated hosts: made once, used by all seeds. Needs OpenSSL; undefined without it. */

import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Connection, parseCertificate } from '../../../ike/index.ts';
import { type Issued, type KeyKind, Pki } from '../../rig/pki.ts';

/** How one host authenticates itself to the other. */
export type Credentials = Pick<Connection, 'authentication' | 'localId' | 'remoteId'>;

export interface CredentialPair {
  readonly a: Credentials;
  readonly b: Credentials;
}

const fqdn = (value: string) => ({ type: 'fqdn', value }) as const;

/** Two hosts of one authority; RSA is the cheapest whose signatures are computed elsewhere. Throws if OpenSSL is missing. */
export function makeCredentials(key: KeyKind = 'rsa'): CredentialPair {
  const pki = new Pki();
  try {
    const root = pki.authority('root');
    const [a, b] = ['host_a', 'host_b'].map((name) => pki.signed(root, name, { key }));
    const of = (own: Issued, peer: Issued): Credentials => ({
      authentication: {
        method: 'certificate',
        certificates: [parseCertificate(own.der)],
        privateKey: createPrivateKey(readFileSync(own.keyPath)),
        peerName: peer.name,
        trust: { kind: 'authorities', authorities: [parseCertificate(root.der)], revocationLists: undefined },
      },
      localId: fqdn(own.name),
      remoteId: fqdn(peer.name),
    });
    return { a: of(a, b), b: of(b, a) };
  } finally {
    pki.remove();
  }
}
