import { describe, expect, it } from 'vitest';
import { parseIkeProposal } from '../../../ike/index.ts';
import { JOURNAL_LINES, JOURNAL_TOTAL, Journal } from '../../../ike/journal.ts';
import { A, B, greChild } from '../simulation/tunnels.ts';
import type { Host } from '../simulation/world.ts';
import { connect, connectedPair, makePair } from './pair.ts';

const journalOf = (host: Host): string =>
  host.engine
    .journalOf(host.engine.status()[0].connection)
    .map(({ text }) => text)
    .join('\n');

describe('the journal of a peer', () => {
  it('tells every message of a negotiation with what was offered and chosen, at both ends', () => {
    const { a, b } = connectedPair();
    expect(journalOf(a)).toMatch(
      /sent IKE_SA_INIT request 0 \[SA\(1:IKE AES_GCM_16_256\/.*\n.*received IKE_SA_INIT response 0 \[/s,
    );
    expect(journalOf(a)).toMatch(/sent IKE_AUTH request 1 .*TSi\(10\.0\.0\.1\[gre\]\) TSr\(10\.0\.0\.2\[gre\]\)/);
    expect(journalOf(a)).toMatch(/received IKE_AUTH response 1 .*SA\(1:ESP:[0-9a-f]{8} AES_GCM_16_256\/EXT_SEQ\)/);
    expect(journalOf(b)).toMatch(/received IKE_SA_INIT request 0 .*\nsent IKE_SA_INIT response 0 /);
    expect(journalOf(b)).toMatch(/CHILD_SA gre\{1\} established/);
  });

  it('says why something was refused, with what came and what is allowed', () => {
    const pair = makePair();
    connect(pair, { ikeProposals: parseIkeProposal('aes128-sha256-ecp384') });
    pair.world.run(1000);
    expect(journalOf(pair.b)).toMatch(/received IKE_SA_INIT request 0 .*AES_CBC_128/);
    expect(journalOf(pair.b)).toMatch(/failed: 10\.0\.0\.1 offers AES_CBC_128.* we allow AES_GCM_16_256/);
    expect(journalOf(pair.a)).toMatch(
      /failed: peer refused IKE_SA_INIT \(NO_PROPOSAL_CHOSEN\).* We offered AES_CBC_128/,
    );

    const other = makePair();
    connect(other, { children: [greChild('10.9.9.9', B)] });
    other.world.run(1000);
    expect(journalOf(other.b)).toMatch(/received IKE_AUTH request 1 .*TSi\(10\.9\.9\.9\[gre\]\)/);
    expect(journalOf(other.b)).toMatch(/failed: peer asks for .*10\.9\.9\.9.* which no tunnel of ours has/);
  });

  it('holds no secret: neither the PSK nor a nonce, key or authentication value', () => {
    const { a, b, world } = connectedPair({}, { psk: 'correct horse' }, { psk: 'correct horse' });
    const text = journalOf(a) + journalOf(b);
    expect(text).not.toContain('correct horse');
    const nonceHex = Buffer.from(world.sent[0].data.subarray(-60, -28)).toString('hex');
    expect(text).not.toContain(nonceHex);
    expect(text).not.toMatch(/[0-9a-f]{33}/);
  });

  it('is bounded, keeps the newest, and goes with its connection', () => {
    const pair = connectedPair();
    pair.world.run(3_000_000);
    const lines = pair.a.engine.journalOf(`${A}-${B}`);
    expect(lines).toHaveLength(JOURNAL_LINES);
    expect(lines.at(-1)!.atMs).toBeGreaterThan(2_900_000);
    pair.a.command({ command: 'remove-connection', name: `${A}-${B}` });
    expect(pair.a.engine.journalOf(`${A}-${B}`).length).toBeLessThan(4);
  });

  it('is bounded over all peers: the oldest lines of anybody go first', () => {
    const journal = new Journal();
    for (let peer = 0; peer < JOURNAL_TOTAL; peer++) journal.note(`c${peer}`, peer, 'first');
    journal.note('c0', 0, 'second');
    journal.note('late', 0, 'third');
    expect(journal.of('c0').map(({ text }) => text)).toEqual(['second']);
    expect(journal.of('c1')).toEqual([]);
    expect(journal.of('c2')).toHaveLength(1);
    expect(journal.of('late')).toHaveLength(1);
  });
});
