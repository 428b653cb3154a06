import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { News } from '../../../control/model/news.ts';
import { POLICY_ROWS, policyRowOf } from '../../../control/model/policy-rows.ts';
import type { Logger } from '../../../control/vlog.ts';
import {
  inboundEspVerdict,
  inboundPlaintextVerdict,
  outboundVerdict,
  PLAINTEXT,
  PROTECTION_STATE,
} from '../../../dataplane/policy.ts';
import { ROOT } from '../../rig/root.ts';

describe('the rows of the policy', () => {
  it('are those of docs/policy.md', () => {
    const page = readFileSync(join(ROOT, 'docs/policy.md'), 'utf8');
    const lines = POLICY_ROWS.map(
      (row) => `| ${row.tunnel} | ${row.sa} | ${row.out} | ${row.plaintextIn} | ${row.espIn} |`,
    );
    expect(page).toContain(`| --- | --- | --- | --- | --- |\n${lines.join('\n')}\n\n`);
  });

  it('say what the packet path does', () => {
    const state = {
      up: PROTECTION_STATE.protected,
      down: PROTECTION_STATE.protected,
      'never-up': PROTECTION_STATE.neverUp,
    };
    const states = { ...state, invalid: PROTECTION_STATE.invalid, none: PROTECTION_STATE.none };
    const rule = { set: true, value: 1, mask: 1 };
    const unset = { set: false, value: 0, mask: 0 };
    for (const { id, out, plaintextIn } of POLICY_ROWS) {
      const sends = id === 'up';
      const unmarked = outboundVerdict(states[id], sends, 0, rule);
      expect([id, unmarked === PLAINTEXT]).toEqual([id, out.endsWith('else plaintext')]);
      expect([id, unmarked < 0]).toEqual([id, out === 'ESP']);
      if (out !== 'ESP') expect(outboundVerdict(states[id], sends, 1, rule)).toBeGreaterThan(0);
      expect([id, inboundPlaintextVerdict(states[id], sends, unset) === PLAINTEXT]).toEqual([
        id,
        plaintextIn.startsWith('accept'),
      ]);
      expect([id, inboundPlaintextVerdict(states[id], sends, rule) === PLAINTEXT]).toEqual([
        id,
        plaintextIn === 'accept',
      ]);
    }
    expect(inboundEspVerdict(PROTECTION_STATE.invalid)).toBeGreaterThan(0);
  });

  it('are found for a tunnel, an invalid one first', () => {
    expect(policyRowOf(true, 'protected', true)).toBe('invalid');
    expect(policyRowOf(false, 'invalid', false)).toBe('invalid');
    expect(policyRowOf(false, undefined, false)).toBe('none');
    expect(policyRowOf(false, 'protected', true)).toBe('up');
    expect(policyRowOf(false, 'protected', false)).toBe('down');
    expect(policyRowOf(false, 'never-up', false)).toBe('never-up');
  });
});

describe('the news', () => {
  function listen() {
    const logged: string[] = [];
    const log = (level: string, text: string) => logged.push(`${level} ${text}`);
    const logger = {
      log,
      limited: (_key: string, level: string, text: string) => log(level, text),
    } as unknown as Logger;
    const news = new News(() => 7);
    return { logged, news, logger: news.listeningTo(logger) };
  }

  it('keep what an operator is told, and the log still gets everything', () => {
    const { logged, news, logger } = listen();
    logger.info('up');
    logger.dbg('detail');
    logger.warn('failed');
    logger.limited('key', 'warn', 'noise of a stranger');
    expect(news.lines().map(({ level, text, atMs }) => [level, text, atMs])).toEqual([
      ['info', 'up', 7],
      ['warn', 'failed', 7],
    ]);
    expect(logged).toEqual(['info up', 'dbg detail', 'warn failed', 'warn noise of a stranger']);
  });

  it('are bounded, the oldest go', () => {
    const { news, logger } = listen();
    for (let i = 0; i < 200; i++) logger.info(String(i));
    expect(news.lines()).toHaveLength(50);
    expect(news.lines().at(-1)!.text).toBe('199');
  });
});
