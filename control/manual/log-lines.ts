/**
 * The lines of the log that an operator or a program searches for: what they mean, and what to do. … stands for what changes.
 * A test finds each of them in the source, so that none is documented that the daemon no longer says.
 */
export interface LogLine {
  /** Where it is in `MODULE|LEVEL|`: vlog/set turns it off or on by this name. */
  readonly module: string;
  readonly level: 'INFO' | 'WARN' | 'ERR';
  readonly line: string;
  readonly meaning: string;
}

export const LOG_LINES: readonly LogLine[] = [
  {
    ...{ module: 'main', level: 'INFO', line: '… … started, database …, … packet workers, AEAD …' },
    meaning: 'The daemon runs, and with what.',
  },
  {
    ...{ module: 'main', level: 'WARN' },
    line: 'the lock … is held by another process (an ovs-vswitchd?): waiting until it goes away',
    meaning: 'An ovs-vswitchd has this database. To run beside it: howto/ovs-userspace.md.',
  },
  {
    ...{ module: 'main', level: 'WARN' },
    line: 'the lock … is held by another daemon that keys the tunnels of …: standing by until it ends; what is protected stays closed',
    meaning: 'A second ovs-espd, which takes over when the first ends.',
  },
  {
    ...{ module: 'main', level: 'WARN' },
    line: 'no configuration is in force … s after the start: who waits for it goes on without, and tunnels are down until it is',
    meaning:
      'The database cannot be read: see the line of module ovsdb. Devices that were protected before stay closed.',
  },
  {
    ...{ module: 'dataplane', level: 'ERR', line: 'packet worker … died and is replaced: …' },
    meaning: 'Only packets that it held are lost. A bug: please report it.',
  },
  {
    ...{ module: 'ovsdb', level: 'WARN', line: '…: …; trying again' },
    meaning: 'The database is not reachable. Tunnels go on as they were last configured.',
  },
  {
    ...{ module: 'ovsdb', level: 'WARN', line: 'writing state to the database failed: …' },
    meaning: 'Another program changed the same rows; it is written again with the next change.',
  },
  {
    ...{ module: 'reconcile', level: 'INFO', line: 'Tunnel … appeared in OVSDB' },
    meaning: 'As ovs-monitor-ipsec says it.',
  },
  {
    ...{ module: 'reconcile', level: 'INFO', line: 'Tunnel … configuration changed in OVSDB to …' },
    meaning: 'The number is the version that tunnels/show has.',
  },
  {
    ...{ module: 'reconcile', level: 'INFO', line: 'Tunnel … disappeared from OVSDB' },
    meaning: 'Its SAs are deleted.',
  },
  {
    ...{ module: 'reconcile', level: 'WARN', line: 'Tunnel … contains invalid configuration: …' },
    meaning: 'Nothing of this tunnel is sent or accepted. The reason names key, value and remedy.',
  },
  {
    ...{ module: 'reconcile', level: 'ERR' },
    line: 'routes and devices cannot be read, trying again in … ms: …',
    meaning: 'The program `ip` failed. Everything stays as it is, changes of the configuration wait.',
  },
  {
    ...{ module: 'bridge', level: 'WARN', line: 'interface …: …' },
    meaning: 'The interface cannot be set up: the reason, as in its `error` column.',
  },
  {
    ...{ module: 'bridge', level: 'WARN', line: 'bridge …: flows could not be put in: …; tried again until they can' },
    meaning:
      'espd=port: the bridge’s OpenFlow socket is away. Tunnel packets do not leave it before its flows are back.',
  },
  {
    ...{ module: 'bridge', level: 'WARN' },
    line: 'bridge …: flows of ours were changed or removed by somebody else; they are put back',
    meaning: 'espd=port: a controller or an operator removed flows with our cookie.',
  },
  {
    ...{ module: 'bridge', level: 'WARN' },
    line: "rules of the kernel's routing were gone and are put back: another program takes them away",
    meaning:
      'espd=route: something like systemd-networkd cleans up rules; meanwhile packets were in the clear (policy.md).',
  },
  {
    ...{
      module: 'bridge',
      level: 'ERR',
      line: "the rules of the kernel's routing cannot be set, tried again in … s: …",
    },
    meaning: 'espd=route does not work until then.',
  },
  {
    ...{ module: 'dataplane', level: 'INFO', line: 'ESP from … for SPI 0x…, which nobody here has; dropped' },
    meaning: 'The peer still uses SAs of before a restart, or somebody guesses. Said once in a while.',
  },
  {
    ...{ module: 'ike', level: 'INFO', line: '…: initiating IKE_SA … to …' },
    meaning: 'A negotiation begins.',
  },
  {
    ...{ module: 'ike', level: 'INFO', line: 'IKE_SA … established between …[…]...…[…]' },
    meaning: 'The peer has proved who it is. The identities are in brackets.',
  },
  {
    ...{ module: 'ike', level: 'INFO', line: 'CHILD_SA … established with SPIs …_i …_o ' },
    meaning: 'ESP is possible; traffic selectors follow.',
  },
  { ...{ module: 'ike', level: 'INFO', line: 'CHILD_SA … removed: …' }, meaning: 'And why.' },
  {
    ...{ module: 'ike', level: 'INFO', line: 'both ends set up an IKE SA at once: … will be deleted' },
    meaning: 'Normal when both start together.',
  },
  {
    ...{ module: 'ike', level: 'INFO', line: 'peer of … moved from … to …' },
    meaning: 'A NAT gave it another address or port; ESP follows.',
  },
  {
    ...{ module: 'ike', level: 'WARN', line: 'no IPsec tunnel from … to … is configured here' },
    meaning: 'A peer asks for one. Is the tunnel missing here, INVALID, or its remote_ip another?',
  },
  {
    ...{ module: 'ike', level: 'WARN' },
    line: 'cannot send IKE to … port … from …: …',
    meaning: 'The kernel refuses: no route, or local_ip is no address of this host.',
  },
  {
    ...{ module: 'ike', level: 'WARN', line: '…: … will not be heard; stop the program that has the port' },
    meaning: 'Another IKE daemon has UDP port 500 or 4500.',
  },
];
