import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DAEMON_COMMANDS } from '../../../control/commands.ts';
import { ALL_KEYS } from '../../../control/config/keys.ts';
import { pageText } from '../../../control/manual/roff.ts';
import { manualFiles } from '../../../control/manual/write.ts';
import { OPTIONS } from '../../../control/options.ts';
import { missingPrograms } from '../../rig/rig.ts';
import { ROOT } from '../../rig/root.ts';

const FILES = manualFiles();
const missing = missingPrograms('groff');
const skipped = missing.length === 0 ? '' : ' (skipped: groff not installed)';

function rendered(name: string): { text: string; warnings: string } {
  const { stdout, stderr } = spawnSync('groff', ['-man', '-Tascii', '-P-cbou', '-ww', '-rLL=200n'], {
    input: FILES[name],
    encoding: 'utf8',
  });
  return { text: stdout, warnings: stderr };
}

describe('docs/man', () => {
  it.each(Object.keys(FILES))('%s is what the tables give (else: node dist/control/manual/write.js)', (name) => {
    expect(readFileSync(join(ROOT, 'docs/man', name), 'utf8')).toBe(FILES[name]);
  });

  it.skipIf(missing.length > 0)(
    `names every option and command in ovs-espd(8), without a warning of groff${skipped}`,
    () => {
      const { text, warnings } = rendered('ovs-espd.8');
      expect(warnings).toBe('');
      for (const { name } of OPTIONS) expect(text).toContain(`--${name}`);
      for (const { name } of DAEMON_COMMANDS) expect(text).toContain(name);
    },
  );

  it.skipIf(missing.length > 0)(`names every key in ovs-espd.conf(5), without a warning of groff${skipped}`, () => {
    const { text, warnings } = rendered('ovs-espd.conf.5');
    expect(warnings).toBe('');
    for (const { key } of ALL_KEYS) expect(text).toContain(key);
  });

  it('takes no text for a request or an escape', () => {
    const page = {
      name: 'x',
      section: 1,
      version: '1',
      sections: [{ title: 'T', paragraphs: ['.SH', "'tis a\\b-c"] }],
    };
    expect(pageText(page)).toContain('.PP\n\\&.SH\n.PP\n\\(aqtis a\\eb\\-c\n');
  });
});

describe('the completion of bash', () => {
  function complete(line: string): string[] {
    const script = `${FILES['ovs-espd.bash-completion']}
      compopt() { :; }
      COMP_LINE=${JSON.stringify(line)} COMP_POINT=${line.length}
      _ovs_espd && printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync('bash', ['-c', script], { encoding: 'utf8' })
      .split('\n')
      .filter((word) => word !== '');
  }

  it.each([
    ['ovs-espd --met', ['--metrics=']],
    ['ovs-espd --pidfile --aead=n', ['native', 'node', 'noble']],
    ['ovs-espd --uplink-io=', ['mmsg', 'packet', 'raw-socket']],
    ['ovs-espd uni', ['unix:']],
    [`ovs-espd file:${ROOT}/packag`, [`${ROOT}/package.json`, `${ROOT}/package-lock.json`]],
  ])('completes %j', (line, expected) => {
    expect(complete(line).sort()).toEqual([...expected].sort());
  });
});
