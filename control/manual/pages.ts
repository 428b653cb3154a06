/** The manual pages ovs-espd(8) and ovs-espd.conf(5), made of the tables that the daemon runs by. */

import { DAEMON_COMMANDS } from '../commands.ts';
import { ALL_KEYS } from '../config/keys.ts';
import { CHECKS } from '../doctor/doctor.ts';
import { optionText } from '../help.ts';
import { IGNORED, OPTIONS } from '../options.ts';
import { PROGRAM, VERSION } from '../version.ts';
import type { Entry, Page, Section } from './roff.ts';

function optionSections(): Section[] {
  const groups = [...new Set(OPTIONS.map((row) => row.group))];
  return groups.map((group) => ({
    title: group,
    entries: OPTIONS.filter((row) => row.group === group).map((row) => ({
      tag: optionText(row),
      text: `${sentence(row.help)}${row.values === undefined ? '' : ` One of ${row.values.join(', ')}.`}`,
    })),
    ...(group === IGNORED
      ? { paragraphs: ['Accepted, so that the command line of ovs-monitor-ipsec works as it is.'] }
      : {}),
  }));
}

function commandEntries(): Entry[] {
  return DAEMON_COMMANDS.map(({ name, usage, help }) => ({ tag: `${name} ${usage}`.trim(), text: sentence(help) }));
}

/** With a capital and a full stop. */
function sentence(text: string): string {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return ended.charAt(0).toUpperCase() + ended.slice(1);
}

export function daemonPage(): Page {
  return {
    ...{ name: PROGRAM, section: 8, version: VERSION },
    sections: [
      { title: 'NAME', paragraphs: [`${PROGRAM} - IPsec for Open vSwitch tunnels in userspace`] },
      {
        title: 'SYNOPSIS',
        paragraphs: [
          `\`${PROGRAM}\` [OPTIONS] [DATABASE]`,
          `\`${PROGRAM}\` top [\`--once\`]`,
          `\`${PROGRAM}\` doctor [\`--json\`] [DATABASE]`,
        ],
      },
      {
        title: 'DESCRIPTION',
        paragraphs: [
          `\`${PROGRAM}\` protects GRE, Geneve and VXLAN tunnels of Open vSwitch with IPsec where the kernel cannot: it reads the settings that ovs-monitor-ipsec reads, speaks IKEv2 itself, and encapsulates and seals packets in its own threads. It is the datapath of the bridges in the database, and holds the lock of ovs-vswitchd(8) for it; while another process has that lock, it waits.`,
          'DATABASE is `unix:`PATH, `tcp:`HOST:PORT or `ssl:`HOST:PORT of an ovsdb-server(1), or `file:`PATH, a JSON file (see ovs-espd.conf(5)). The default is the socket of Open vSwitch.',
          `\`${PROGRAM} top\` shows in the terminal what a running daemon does, each second; it finds it by its pidfile in OVS_RUNDIR.`,
          `\`${PROGRAM} doctor\` looks at this host and says what is well, what is not and what to do, a line each; it changes nothing. Its exit status is 1 when something fails. It looks at: ${CHECKS.map(({ about }) => about).join('; ')}.`,
          'A tunnel that has once been protected sends and accepts no plaintext any more, also after a crash and a restart of the daemon; `other_config:ipsec_skb_mark` decides what may pass before.',
        ],
      },
      { title: 'OPTIONS', subsections: optionSections() },
      {
        title: 'COMMANDS',
        paragraphs: [
          `\`ovs-appctl -t ${PROGRAM}\` COMMAND, beside those that every daemon of Open vSwitch has (\`vlog/set\`, \`vlog/list\`, \`list-commands\`, \`version\`):`,
        ],
        entries: commandEntries(),
      },
      {
        title: 'EXIT STATUS',
        paragraphs: ['0 after `exit` or SIGTERM, 1 with one line on standard error when a start cannot work.'],
      },
      {
        title: 'ENVIRONMENT',
        entries: [
          {
            tag: 'OVS_RUNDIR, OVS_LOGDIR, OVS_DBDIR, OVS_SYSCONFDIR',
            text: 'Directories, as for the other daemons of Open vSwitch.',
          },
          {
            tag: 'NOTIFY_SOCKET, WATCHDOG_USEC',
            text: 'From systemd: the daemon says when it is ready, and that it is alive as long as every packet worker makes progress.',
          },
        ],
      },
      {
        title: 'FILES',
        entries: [
          {
            tag: `RUNDIR/${PROGRAM}.protected`,
            text: 'Which tunnels were ever protected. Removing it allows plaintext again where ipsec_skb_mark does.',
          },
          { tag: `RUNDIR/${PROGRAM}.taps`, text: 'The TAP devices that the daemon has made.' },
          { tag: `RUNDIR/${PROGRAM}.PID.ctl`, text: 'The control socket.' },
        ],
      },
      {
        title: 'SEE ALSO',
        paragraphs: ['ovs-espd.conf(5), ovs-appctl(8), ovs-vsctl(8), ovsdb-server(1), ovs-vswitchd.conf.db(5)'],
      },
    ],
  };
}

export function configurationPage(): Page {
  const columns = [...new Set(ALL_KEYS.map((key) => `${key.table}.${key.column}`))];
  return {
    ...{ name: `${PROGRAM}.conf`, section: 5, version: VERSION },
    sections: [
      { title: 'NAME', paragraphs: [`${PROGRAM}.conf - settings of ${PROGRAM} in OVSDB or in a file`] },
      {
        title: 'DESCRIPTION',
        paragraphs: [
          'The settings stand in the Open_vSwitch database, where ovs-vsctl(8) puts them, or in a JSON file with the same tables, columns and keys, named as `file:`PATH on the command line and read again whenever it changes. The file holds secrets: give it mode 600.',
          'A wrong value makes the one tunnel INVALID that it belongs to; `tunnels/show` says in one line which key it is, what came, what was expected and how to mend it. An INVALID tunnel sends and accepts nothing.',
        ],
      },
      {
        title: 'EXAMPLE',
        paragraphs: ['In OVSDB:'],
        example: [
          'ovs-vsctl add-port br-ipsec tun -- set interface tun type=gre \\',
          '    options:remote_ip=10.1.0.2 options:psk=swordfish',
        ],
        subsections: [
          {
            title: 'The same in a file',
            example: [
              '{',
              '  "Bridge": [{ "name": "br-ipsec", "ports": ["tun"] }],',
              '  "Interface": [{ "name": "tun", "type": "gre",',
              '    "options": { "remote_ip": "10.1.0.2", "psk": "swordfish" } }]',
              '}',
            ],
          },
        ],
      },
      ...columns.map((column) => ({ title: column, entries: keyEntries(column) })),
      { title: 'SEE ALSO', paragraphs: [`${PROGRAM}(8), ovs-vswitchd.conf.db(5), ovs-vsctl(8)`] },
    ],
  };
}

function keyEntries(column: string): Entry[] {
  return ALL_KEYS.filter((key) => `${key.table}.${key.column}` === column).map((key) => {
    const aliases = key.aliases === undefined ? '' : ` Also spelled ${key.aliases.join(', ')}.`;
    return {
      tag: key.key,
      text: `${key.documentation} Value: ${key.expected}. Default: ${key.byDefault ?? 'none'}.${aliases}`,
    };
  });
}
