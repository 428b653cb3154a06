/**
 * How a charon of the rig authenticates: blocks of swanctl.conf for a shared key, and for certificates as ovs-monitor-ipsec has
 * strongSwan use them (leftid and rightid are common names, leftcert, rightcert or a CA). swanctl reads private keys from a
 * directory only, so they are copied there.
 */
import { copyFileSync, mkdirSync } from 'node:fs';
import { basename, join } from 'node:path';

/** Certificates of one connection; all are paths of PEM files. */
export type CharonCertificates = {
  /** Ours: identity, certificate, further certificates to send, private key. */
  readonly id: string;
  readonly certificate: string;
  readonly intermediates?: readonly string[];
  readonly privateKey: string;
  readonly peerId: string;
  /** The peer's certificate, pinned, or the authority that has to vouch for it. */
  readonly peerCertificate?: string;
  readonly authority?: string;
  /** `pubkey`, or with signature schemes: `ike:rsa/pkcs1-sha256`. */
  readonly auth?: string;
};

/** Puts the private key and what goes with the certificate beside swanctl.conf, where `swanctl --load-creds --file` looks. */
export function installCredentials(directory: string, { privateKey, intermediates = [] }: CharonCertificates): void {
  const install = (folder: string, path: string) => {
    mkdirSync(join(directory, folder), { recursive: true, mode: 0o700 });
    copyFileSync(path, join(directory, folder, basename(path)));
  };
  install('private', privateKey);
  for (const path of intermediates) install('x509ca', path);
}

/** The `local` and `remote` blocks. */
export function authenticationBlocks(
  { local, remote }: { readonly local: string; readonly remote: string },
  certificates: CharonCertificates | undefined,
): string {
  if (certificates === undefined) return `local { auth = psk\nid = ${local} }\nremote { auth = psk\nid = ${remote} }`;
  const { id, certificate, peerId, peerCertificate, authority, auth = 'pubkey' } = certificates;
  const trusted = [
    ...(peerCertificate === undefined ? [] : [`certs = ${peerCertificate}`]),
    ...(authority === undefined ? [] : [`cacerts = ${authority}`]),
  ];
  return `local { auth = ${auth}\nid = ${id}\ncerts = ${certificate} }
remote { auth = pubkey\nid = ${peerId}\n${trusted.join('\n')} }`;
}
