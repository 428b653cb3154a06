/**
 * The VLANs of a Port row (ovs-vswitchd.conf.db(5), "VLAN Configuration"): columns `tag`, `trunks`, `vlan_mode`. What cannot be
 * done, or read, gives a reason to have no such port at all, as frames of one VLAN must not end up in another; beside a real
 * ovs-vswitchd it is no matter of ours.
 */
import type { PortVlans } from '../../dataplane/commands.ts';
import { mapOf, numbersOf, type Row, textOf } from '../ovsdb/database.ts';
import { type Issue, issueReason } from './issue.ts';
import { PORT_KEYS } from './keys.ts';
import { OptionReader } from './option-reader.ts';

export interface VlansRead {
  /** Undefined: a trunk of all VLANs. */
  readonly vlans: PortVlans | undefined;
  /** Why the port cannot be, one line. */
  readonly reason: string | undefined;
}

const MODES: readonly PortVlans['mode'][] = ['access', 'trunk', 'native-tagged', 'native-untagged'];
const MAX_VLAN = 4095;

export function readVlans(row: Row, issues: Issue[]): VlansRead {
  const name = textOf(row, 'name') ?? '';
  const subject = `port ${name}`;
  const reader = new OptionReader(subject, `ovs-vsctl set port ${name}`, mapOf(row, 'other_config'));
  const priorityTags = reader.readOrWarn(PORT_KEYS.priorityTags) ?? 'never';
  issues.push(...reader.warnings);

  const tags = numbersOf(row, 'tag');
  const trunks = numbersOf(row, 'trunks');
  const modeText = textOf(row, 'vlan_mode') ?? (tags.length > 0 ? 'access' : 'trunk');
  const mode = MODES.find((each) => each === modeText);
  const refuse = (key: string, value: string, expected: string): VlansRead => {
    const mend = `the port is left out; ovs-vsctl clear port ${name} ${key}`;
    return { vlans: undefined, reason: issueReason({ subject, key, value, expected, mend }) };
  };
  if (mode === undefined) return refuse('vlan_mode', modeText, `${MODES.join(', ')} (dot1q-tunnel is not supported)`);
  for (const [key, values] of Object.entries({ tag: tags, trunks })) {
    const wrong = values.find((vlan) => !Number.isInteger(vlan) || vlan < 0 || vlan > MAX_VLAN);
    if (wrong !== undefined) return refuse(key, String(wrong), `0 to ${MAX_VLAN}`);
  }
  const ignore = (key: string, values: readonly number[]) => {
    const mend = `ignored; ovs-vsctl clear port ${name} ${key}`;
    if (values.length > 0)
      issues.push({ subject, key, value: values.join(','), expected: `none with vlan_mode ${mode}`, mend });
  };
  if (mode === 'trunk') ignore('tag', tags);
  if (mode === 'access') ignore('trunks', trunks);
  const isDefault = mode === 'trunk' && trunks.length === 0 && priorityTags === 'never';
  const vlans = {
    mode,
    tag: mode === 'trunk' ? 0 : (tags[0] ?? 0),
    trunks: mode === 'access' ? [] : trunks,
    priorityTags,
  };
  return { vlans: isDefault ? undefined : vlans, reason: undefined };
}
