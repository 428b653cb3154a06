/**
 * The IPsec side of a tunnel: who proves what to whom, in the order and the words of ovs-monitor-ipsec
 * (people search for its sentences), and the `ipsec_*` options.
 */
import { isDeepStrictEqual } from 'node:util';
import type { ProposalConfig } from '../../ike/types.ts';
import { messageOf } from '../message-of.ts';
import type { GlobalSettings, IpsecOptions, PpkOptions } from './desired-state.ts';
import { IPSEC_KEYS } from './ipsec-keys.ts';
import type { OvsdbKey } from './key-row.ts';
import type { OptionReader } from './option-reader.ts';
import { Secret } from './secret.ts';
import type { TrustVerdict } from './trust.ts';

/** Reads `ipsec_ike` and `ipsec_esp`; throws Error with one line for what it does not know. */
export type ProposalParser = (protocol: 'ike' | 'esp', text: string) => readonly ProposalConfig[];

const DEFAULTS = {
  ikeSeconds: 3 * 3600,
  childSeconds: 3600,
  marginSeconds: 9 * 60,
  fuzzPercent: 100,
  dpdSeconds: 30,
  replayWindow: 1024,
  pfs: true,
  perWorker: false,
  fragmentation: true,
  reauthenticate: false,
} as const;

/** `ipsec_forceencaps` has truth values. */
const ENCAPSULATIONS = { yes: 'yes', true: 'yes', no: 'no', auto: 'auto', false: 'auto' } as const;

/** The options that decide how peers authenticate, as they are in the row; empty counts as unset. */
export interface AuthOptions {
  readonly remoteIp: string;
  readonly psk: string;
  readonly remoteCert: string;
  readonly remoteName: string;
}

/** `certificates`: the paths that have to be set are; trust.ts looks at what they lead to. */
export type AuthVerdict = TrustVerdict | 'certificates';

const CERT_FOR = 'when using CA-signed certificate or self-signed certificate to authenticate peers';

/** The first rule of ovs-monitor-ipsec that is broken, or how to authenticate. */
export function judgeAuth(options: AuthOptions, global: GlobalSettings): AuthVerdict {
  const { remoteIp, psk, remoteCert, remoteName } = options;
  const { certificate, privateKey, caCert } = global;
  if (remoteIp === '') return { reason: "'remote_ip' is not set" };
  if (psk !== '') {
    if (
      [certificate, privateKey, caCert, remoteCert, remoteName].some((value) => value !== undefined && value !== '')
    ) {
      return {
        reason: "'certificate', 'private_key', 'ca_cert', 'remote_cert', and 'remote_name' must be unset with PSK",
      };
    }
    return { auth: { method: 'psk', secret: Secret.ofText(psk) } };
  }
  if (remoteCert === '' && remoteName === '') return { reason: 'must choose a authentication method' };
  if (certificate === undefined) return { reason: `must set 'certificate' as local certificate ${CERT_FOR}` };
  if (privateKey === undefined) return { reason: `must set 'private_key' as local private key ${CERT_FOR}` };
  if (remoteCert === '' && caCert === undefined) {
    return {
      reason:
        "must set 'remote_cert' when using self-signed certificate authentication or 'ca_cert' when using CA-signed certificate authentication",
    };
  }
  return 'certificates';
}

/** Reads the `ipsec_*` options; wrong ones are in the reader's `fault`, ignored ones in its warnings. */
export function readIpsecOptions(reader: OptionReader, parseProposals: ProposalParser): IpsecOptions {
  const ikeProposals = readProposals(reader, IPSEC_KEYS.ike, 'ike', parseProposals);
  const espProposals = readProposals(reader, IPSEC_KEYS.esp, 'esp', parseProposals);
  const ikeSeconds = reader.read(IPSEC_KEYS.ikeLifetime) ?? DEFAULTS.ikeSeconds;
  const childSeconds = reader.read(IPSEC_KEYS.childLifetime) ?? DEFAULTS.childSeconds;
  const shorter = Math.min(ikeSeconds, childSeconds);
  const fuzzPercent = reader.read(IPSEC_KEYS.fuzz) ?? DEFAULTS.fuzzPercent;
  const margin = reader.read(IPSEC_KEYS.margin);
  if (margin !== undefined && margin * (1 + fuzzPercent / 100) >= shorter) {
    const stretched = Math.ceil(margin * (1 + fuzzPercent / 100));
    reader.refuse(
      IPSEC_KEYS.margin,
      `${margin}s`,
      `less than the shorter lifetime (${shorter}s) when stretched by ipsec_rekeyfuzz (to ${stretched}s)`,
    );
  }
  const defaultMargin = Math.max(1, Math.min(DEFAULTS.marginSeconds, Math.floor(shorter / 10)));
  return {
    ikeProposals,
    espProposals,
    ikeSeconds,
    childSeconds,
    marginSeconds: margin ?? defaultMargin,
    // A large fuzz on a default margin must not eat the whole life either.
    fuzzPercent: margin === undefined ? Math.min(fuzzPercent, 400) : fuzzPercent,
    dpdSeconds: reader.read(IPSEC_KEYS.dpdDelay) ?? DEFAULTS.dpdSeconds,
    replayWindow: reader.read(IPSEC_KEYS.replayWindow) ?? DEFAULTS.replayWindow,
    pfs: reader.read(IPSEC_KEYS.pfs) ?? DEFAULTS.pfs,
    perWorker: reader.read(IPSEC_KEYS.perWorker) ?? DEFAULTS.perWorker,
    encapsulation: ENCAPSULATIONS[reader.read(IPSEC_KEYS.encapsulation) ?? 'auto'],
    mode: reader.read(IPSEC_KEYS.type) ?? 'transport',
    fragmentation: reader.read(IPSEC_KEYS.fragmentation) ?? DEFAULTS.fragmentation,
    reauthenticate: reader.read(IPSEC_KEYS.reauthenticate) ?? DEFAULTS.reauthenticate,
    localId: reader.read(IPSEC_KEYS.localId),
    remoteId: reader.read(IPSEC_KEYS.remoteId),
    ppk: readPpk(reader),
  };
}

/** A PPK has a name, or the peer could not tell which it is; and what is demanded has to be there. */
function readPpk(reader: OptionReader): PpkOptions | undefined {
  const { ppk, ppkId, ppkRequired } = IPSEC_KEYS;
  const secret = reader.read(ppk);
  const id = reader.read(ppkId);
  const required = reader.read(ppkRequired) ?? false;
  if (secret !== undefined && id !== undefined) return { id, secret: Secret.ofText(secret), required };
  if (secret !== undefined) reader.refuse(ppkId, undefined, `${ppkId.expected} with options:${ppk.key}`);
  else if (required || id !== undefined) {
    reader.refuse(ppk, undefined, `${ppk.expected} with options:${(required ? ppkRequired : ppkId).key}`);
  }
  return undefined;
}

/** Whether two tunnels ask for the same; a Secret hides itself from a comparison of plain data. */
export function sameIpsecOptions(a: IpsecOptions, b: IpsecOptions): boolean {
  const sameSecret = a.ppk === undefined || b.ppk === undefined ? a.ppk === b.ppk : a.ppk.secret.equals(b.ppk.secret);
  return sameSecret && isDeepStrictEqual(a, b);
}

function readProposals(
  reader: OptionReader,
  row: OvsdbKey<string>,
  protocol: 'ike' | 'esp',
  parse: ProposalParser,
): readonly ProposalConfig[] | undefined {
  const text = reader.read(row);
  if (text === undefined) return undefined;
  try {
    return parse(protocol, text);
  } catch (error) {
    const why = messageOf(error);
    reader.refuse(row, text, `${row.expected} like ${row.example} (${why})`);
    return undefined;
  }
}
