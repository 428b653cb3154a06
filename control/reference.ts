/**
 * docs/reference.md, made of the tables that the daemon runs by: command line, OVSDB keys, unixctl commands.
 * `node dist/control/reference.js > docs/reference.md` writes it; a test fails when it is stale.
 */
import { fileURLToPath } from 'node:url';
import { COUNTER_MEANINGS } from '../ike/index.ts';
import { DAEMON_COMMANDS } from './commands.ts';
import { ALL_KEYS } from './config/keys.ts';
import { CHECKS } from './doctor/doctor.ts';
import { KEYING_LOCK, STATUS_KEYS } from './interface-status.ts';
import { LOG_LINES } from './manual/log-lines.ts';
import { METRICS } from './metrics/metrics.ts';
import { OPTIONS } from './options.ts';

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

export function referenceText(): string {
  const options = OPTIONS.map((row) => {
    const argument = { none: '', optional: `[=${row.argumentName}]`, required: `=${row.argumentName}` }[row.argument];
    const values = row.values === undefined ? '' : ` (${row.values.join(', ')})`;
    return [
      row.group,
      `\`--${row.name}${argument}\`${row.short === undefined ? '' : `, \`-${row.short}\``}`,
      `${row.help}${values}`,
    ];
  });
  const keys = ALL_KEYS.map((key) => [
    `${key.table}.${key.column}`,
    `\`${key.key}\``,
    key.expected,
    key.byDefault ?? 'none',
    `${key.documentation}${key.aliases === undefined ? '' : ` Also spelled ${key.aliases.map((alias) => `\`${alias}\``).join(', ')}.`}`,
  ]);
  const state = STATUS_KEYS.map(({ key, values, meaning }) => [`\`${key}\``, values, meaning]);
  const commands = DAEMON_COMMANDS.map(({ name, usage, help }) => [`\`${`${name} ${usage}`.trim()}\``, help]);
  const metrics = METRICS.map(({ name, type, labels, help }) => [`\`${name}\``, type, labels.join(', '), help]);
  const lines = LOG_LINES.map(({ module, level, line, meaning }) => [
    `\`${module}\``,
    level,
    `\`${line.trim()}\``,
    meaning,
  ]);
  return `# Reference

Made from the tables in the code by \`node dist/control/reference.js\`; a test fails when this page is stale.
Reasons for dropping packets are in [drops.md](drops.md).

## Command line

\`ovs-espd [OPTIONS] [DATABASE]\`

${table(['group', 'option', 'what it does'], options)}

\`ovs-espd top [--once]\` shows what a running daemon does. \`ovs-espd doctor [--json] [DATABASE]\` looks at this host and says what is well,
what is not and what to do, changing nothing; its exit status is 1 when something fails:

${table(
  ['check', 'what it looks at'],
  CHECKS.map(({ name, about }) => [`\`${name}\``, about]),
)}

## OVSDB keys

${table(['column', 'key', 'value', 'default', 'meaning'], keys)}

## State in OVSDB

Keys of \`Interface.external_ids\` of every tunnel that asks for IPsec, written when they change and removed when the daemon ends;
they are left as they were when it is killed. Written only by the daemon that holds the lock \`${KEYING_LOCK}\`; not to a \`file:\` database.
\`ovs-vsctl get interface tun external_ids\` shows them.

${table(['key', 'value', 'meaning'], state)}

## Commands

\`ovs-appctl -t ovs-espd COMMAND\`; \`vlog/*\`, \`list-commands\`, \`help\` and \`version\` as every OVS daemon has them.

${table(['command', 'what it shows or does'], commands)}

## Metrics

With \`--metrics=[ADDR:]PORT\`, at \`/metrics\`, in the text format of Prometheus; [grafana-dashboard.json](grafana-dashboard.json) draws them.
Reading them costs the packet path nothing.

${table(['metric', 'type', 'labels', 'meaning'], metrics)}

## Counters of IKE

In \`coverage/show\`. Messages that do not parse or verify are counted as \`dropped:\` and the reason.

${table(['counter', 'meaning'], Object.entries(COUNTER_MEANINGS))}

## Log lines

In \`/var/log/openvswitch/ovs-espd.log\` with \`--log-file\`: time, serial number, module, level, text. … stands for what changes.
Why a negotiation failed is in [troubleshooting.md](troubleshooting.md).

${table(['module', 'level', 'line', 'meaning'], lines)}
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.stdout.write(referenceText());
