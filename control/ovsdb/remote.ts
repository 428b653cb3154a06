/**
 * DATABASE as OVS spells it, `unix:PATH`, `tcp:HOST[:PORT]`, `ssl:HOST[:PORT]` (ovsdb(7) "Connection
 * Methods"), or `file:PATH`; and opening a stream to the first three.
 */
import { readFileSync } from 'node:fs';
import { connect as connectPlain, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { ConfigurationError } from '../config/issue.ts';
import { messageOf } from '../message-of.ts';

/** IANA's port for OVSDB (RFC 7047 §4.1). */
const DEFAULT_PORT = 6640;

export type Remote =
  | { readonly kind: 'unix' | 'file'; readonly path: string }
  | { readonly kind: 'tcp' | 'ssl'; readonly host: string; readonly port: number };

/** PEM file paths, as --private-key, --certificate and --ca-cert give them. */
export interface TlsFiles {
  readonly privateKey?: string;
  readonly certificate?: string;
  readonly caCert?: string;
}

/** @throws ConfigurationError with the one line for anything else. */
export function parseRemote(text: string): Remote {
  const [, kind = '', rest = ''] = /^([a-z]+):(.*)$/.exec(text) ?? [];
  if ((kind === 'unix' || kind === 'file') && rest !== '') return { kind, path: rest };
  if (kind === 'tcp' || kind === 'ssl') {
    const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(rest) ?? [];
    const host = bracketed ?? plain;
    const number = port === undefined ? DEFAULT_PORT : Number(port);
    const hostIsWell = bracketed === undefined || isIP(bracketed) === 6;
    if (host !== undefined && hostIsWell && number >= 1 && number <= 65535) return { kind, host, port: number };
  }
  throw new ConfigurationError({
    subject: 'ovs-espd',
    key: 'DATABASE',
    value: text,
    expected: 'unix:PATH, tcp:HOST:PORT, ssl:HOST:PORT or file:PATH',
    mend: 'for instance unix:/var/run/openvswitch/db.sock',
  });
}

/**
 * Opens a stream; `onConnected` or `onFailed` (one line) is called once, never both. Gives a function that gives up.
 * The server's certificate is checked against the CA but not its name: OVS does the same, for ovs-pki's
 * certificates carry none.
 */
export function openStream(
  remote: Remote,
  tls: TlsFiles,
  onConnected: (stream: Duplex) => void,
  onFailed: (reason: string) => void,
): () => void {
  let settled = false;
  const settle = (act: () => void): void => {
    if (settled) return;
    settled = true;
    act();
  };
  let stream: ReturnType<typeof connectPlain>;
  let event: 'connect' | 'secureConnect' = 'connect';
  try {
    if ('path' in remote) {
      stream = connectPlain({ path: remote.path });
    } else if (remote.kind === 'tcp') {
      stream = connectPlain({ host: remote.host, port: remote.port, noDelay: true });
    } else {
      event = 'secureConnect';
      const { host, port } = remote;
      stream = connectTls({ host, port, checkServerIdentity: () => undefined, ...readTls(tls) });
    }
  } catch (error) {
    settle(() => onFailed(messageOf(error)));
    return () => {};
  }
  const failed = (error: NodeJS.ErrnoException): void =>
    settle(() => {
      stream.destroy();
      onFailed(connectReason(remote, error));
    });
  stream.once('error', failed);
  stream.once(event, () =>
    settle(() => {
      stream.off('error', failed);
      onConnected(stream);
    }),
  );
  return () =>
    settle(() => {
      // A failure that is still on its way must not surface as an unhandled error.
      stream.on('error', () => {});
      stream.destroy();
    });
}

function readTls(files: TlsFiles): { key?: Buffer; cert?: Buffer; ca?: Buffer } {
  return {
    ...(files.privateKey === undefined ? {} : { key: readFileSync(files.privateKey) }),
    ...(files.certificate === undefined ? {} : { cert: readFileSync(files.certificate) }),
    ...(files.caCert === undefined ? {} : { ca: readFileSync(files.caCert) }),
  };
}

/** One line: what is wrong, and what to do about it. */
function connectReason(remote: Remote, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return 'no such socket (ENOENT); is ovsdb-server running, and is its socket there?';
    case 'ECONNREFUSED':
      return 'connection refused (ECONNREFUSED); nobody listens there, start ovsdb-server';
    case 'EACCES':
      return 'permission denied (EACCES); run as root or as a user who may open it';
    default:
      return `cannot connect${error.code === undefined ? '' : ` (${error.code})`}: ${error.message}${remote.kind === 'ssl' ? '; check --private-key, --certificate and --ca-cert' : ''}`;
  }
}
