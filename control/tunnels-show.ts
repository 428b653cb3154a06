/**
 * The text of `tunnels/show`: the fields of ovs-monitor-ipsec in its order and spelling, because scripts read
 * them, then what only this daemon knows: SA state, rekey times, packets, bytes, drops by reason.
 * A PSK is never printed: `PSK: (set)`.
 */
import { escapeControls } from './vlog.ts';

export interface ChildView {
  readonly name: string;
  readonly inboundSpi: number;
  readonly outboundSpi: number;
  readonly algorithm: string;
  readonly esn: boolean;
  /** Outbound packets of the tunnel leave on this one. */
  readonly sends: boolean;
  /** The only packet worker that sends on it; undefined: all. */
  readonly worker: number | undefined;
  readonly rekeyInSeconds: number | undefined;
  readonly packetsIn: number;
  readonly bytesIn: number;
  readonly packetsOut: number;
  readonly bytesOut: number;
}

export interface IkeView {
  readonly state: string;
  readonly suite: string;
  readonly localId: string;
  readonly remoteId: string;
  readonly ageSeconds: number | undefined;
  readonly rekeyInSeconds: number | undefined;
}

export interface TunnelView {
  readonly name: string;
  readonly version: number;
  readonly state: 'INIT' | 'CONFIGURED' | 'INVALID' | 'REMOVED';
  /** Why the configuration is INVALID. */
  readonly reason: string | undefined;
  readonly type: string;
  readonly localIp: string | undefined;
  readonly remoteIp: string | undefined;
  readonly family: 'IPv4' | 'IPv6' | undefined;
  readonly skbMark: string | undefined;
  readonly certificates: {
    readonly localCert?: string | undefined;
    readonly localName?: string | undefined;
    readonly localKey?: string | undefined;
    readonly remoteCert?: string | undefined;
    readonly remoteName?: string | undefined;
    readonly caCert?: string | undefined;
  };
  readonly pskSet: boolean;
  readonly customOptions: Readonly<Record<string, string>>;
  readonly ofport: number | undefined;
  readonly cfmFault: boolean | undefined;
  /** Traffic selectors of the policies in force, as `src … dst … proto …`. */
  readonly policies: readonly string[];
  /** `up`, or why there is none and what that means for packets. */
  readonly saState: string;
  readonly lastFailure: string | undefined;
  readonly ike: readonly IkeView[];
  readonly children: readonly ChildView[];
  readonly traffic: {
    readonly rxPackets: number;
    readonly rxBytes: number;
    readonly txPackets: number;
    readonly txBytes: number;
  };
  /** Packets dropped, by the name of the reason; only those above zero. */
  readonly drops: Readonly<Record<string, number>>;
}

/** Width of the label column of ovs-monitor-ipsec. */
const LABEL_WIDTH = 16;

export function tunnelsShow(tunnels: readonly TunnelView[]): string {
  if (tunnels.length === 0) return 'No tunnels configured with IPsec';
  return tunnels.map(tunnelBlock).join('\n');
}

function tunnelBlock(tunnel: TunnelView): string {
  const { certificates } = tunnel;
  const state = tunnel.reason === undefined ? tunnel.state : `${tunnel.state}: ${tunnel.reason}`;
  const fields: [string, string | undefined][] = [
    ['Tunnel Type', tunnel.type],
    ['Local IP', tunnel.localIp ?? '%defaultroute'],
    ['Remote IP', tunnel.remoteIp],
    ['Address Family', tunnel.family],
    ['SKB mark', tunnel.skbMark],
    ['Local cert', certificates.localCert],
    ['Local name', certificates.localName],
    ['Local key', certificates.localKey],
    ['Remote cert', certificates.remoteCert],
    ['Remote name', certificates.remoteName],
    ['CA cert', certificates.caCert],
    ['PSK', tunnel.pskSet ? '(set)' : undefined],
    ['Custom Options', pythonDictionary(tunnel.customOptions)],
    ['Ofport', tunnel.ofport === undefined ? 'Not assigned' : String(tunnel.ofport)],
    ['CFM state', tunnel.cfmFault === undefined ? 'Disabled' : tunnel.cfmFault ? 'Down' : 'Up'],
    ['SA state', tunnel.saState],
    ['Last failure', tunnel.lastFailure],
  ];
  const lines = [`Interface name: ${tunnel.name} v${tunnel.version} (${state})`];
  for (const [label, value] of fields)
    lines.push(`  ${`${label}:`.padEnd(LABEL_WIDTH)}${escapeControls(value ?? 'None')}`);
  lines.push('Kernel policies installed:', ...tunnel.policies.map((policy) => `  ${policy}`));
  lines.push('Kernel security associations installed:');
  for (const child of tunnel.children) lines.push(...childLines(child));
  lines.push('IPsec connections that are active:');
  for (const ike of tunnel.ike) lines.push(`  ${ikeLine(ike)}`);
  lines.push('Traffic:');
  const { traffic } = tunnel;
  lines.push(
    `  rx ${traffic.rxPackets} packets, ${traffic.rxBytes} bytes; tx ${traffic.txPackets} packets, ${traffic.txBytes} bytes`,
  );
  const drops = Object.entries(tunnel.drops);
  lines.push(
    `  drops: ${drops.length === 0 ? 'none' : drops.map(([reason, count]) => `${reason} ${count}`).join(', ')}`,
  );
  return `${lines.join('\n')}\n`;
}

export function childLines(child: ChildView): string[] {
  const rekey = child.rekeyInSeconds === undefined ? '' : `, rekey in ${child.rekeyInSeconds} s`;
  const worker = child.worker === undefined ? '' : `, worker ${child.worker}`;
  return [
    `  ${child.name}: ESP ${child.algorithm}${child.esn ? ', ESN' : ''}${worker}${child.sends ? ', sending' : ''}${rekey}`,
    `    in  SPI ${hex(child.inboundSpi)}, ${child.packetsIn} packets, ${child.bytesIn} bytes`,
    `    out SPI ${hex(child.outboundSpi)}, ${child.packetsOut} packets, ${child.bytesOut} bytes`,
  ];
}

export function ikeLine(ike: IkeView): string {
  const age = ike.ageSeconds === undefined ? '' : ` ${ike.ageSeconds} s ago`;
  const rekey = ike.rekeyInSeconds === undefined ? '' : `, rekey in ${ike.rekeyInSeconds} s`;
  const suite = ike.suite === '' ? '' : `, ${ike.suite}`;
  return `${ike.localId}...${ike.remoteId} IKEv2 ${ike.state}${age}${suite}${rekey}`;
}

function hex(spi: number): string {
  return `0x${spi.toString(16).padStart(8, '0')}`;
}

/** As Python's repr prints a dict of strings, which is what the real one shows. */
function pythonDictionary(options: Readonly<Record<string, string>>): string {
  const quoted = (text: string) => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  return `{${Object.entries(options)
    .map(([key, value]) => `${quoted(key)}: ${quoted(value)}`)
    .join(', ')}}`;
}
