// Additional key exchanges: RFC 9370 over IKE_INTERMEDIATE (RFC 9242) and IKE_FOLLOWUP_KE.
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { EngineContext } from '../../../ike/context.ts';
import { DEFAULT_IKE_PROPOSALS, type EngineSettings, parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { notify } from '../../../ike/sa/notify.ts';
import { emitMessage, parseMessage } from '../../../ike/wire/message.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import { partnerOf } from '../simulation/invariants.ts';
import { A, B, connectionOf, FAST_IKE, udpChildren } from '../simulation/tunnels.ts';
import { type Host, type Sent, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, type Pair } from './pair.ts';
import { contentsOf, tamper } from './tamper.ts';

const HYBRID = parseIkeProposal('aes256gcm16-prfsha256-x25519-ke1_mlkem768');
const TWO = parseIkeProposal('aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke3_ecp256');
const CLASSIC = FAST_IKE;
const HYBRID_ESP = parseEspProposal('aes256gcm16-x25519-ke1_mlkem512');

const suiteOf = (host: Host): string => host.engine.status()[0].ikeSas[0]?.suite ?? 'none';

function pairOf(ike: typeof HYBRID, choices: Parameters<typeof connect>[1] = {}): Pair {
  return connectedPair({}, { ikeProposals: ike, ...choices }, { ikeProposals: ike, ...choices });
}

/** With a key log at both ends, and packets so small that everything goes in fragments. */
function keyLoggedPair(ike: typeof HYBRID, settings: Partial<EngineSettings> = {}): Pair {
  const world = new World(1);
  const all = { ...TEST_SETTINGS, keyLog: true, ...settings };
  const pair = { world, a: world.addHost(A, all), b: world.addHost(B, all) };
  connect(pair, { ikeProposals: ike }, { ikeProposals: ike });
  return pair;
}

describe('an IKE SA with an additional key exchange', () => {
  it('is set up in IKE_SA_INIT, one IKE_INTERMEDIATE for each, and IKE_AUTH', () => {
    const pair = pairOf(HYBRID);
    expect(conversation(pair.world)).toEqual([
      'A IKE_SA_INIT',
      'B IKE_SA_INIT response',
      'A IKE_INTERMEDIATE',
      'B IKE_INTERMEDIATE response',
      'A IKE_AUTH',
      'B IKE_AUTH response',
    ]);
    expect(suiteOf(pair.a)).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519/KE1_ML_KEM_768');
    expect(suiteOf(pair.b)).toBe(suiteOf(pair.a));
    expect(faultsOf(pairOf(TWO))).toEqual([]);
    expect(suiteOf(pairOf(TWO).a)).toMatch(/CURVE_25519\/KE1_ML_KEM_768\/KE3_ECP_256$/);
  });

  it.each(['mlkem512', 'mlkem768', 'mlkem1024'])('comes up with %s, and with it as the only key exchange', (kem) => {
    expect(faultsOf(pairOf(parseIkeProposal(`aes256gcm16-sha256-modp2048-ke1_${kem}`)))).toEqual([]);
    const alone = pairOf(parseIkeProposal(`aes256gcm16-sha256-${kem}`));
    expect(suiteOf(alone.a)).toMatch(/ML_KEM_\d+$/);
    expect(faultsOf(alone)).toEqual([]);
  });

  it('is what two ends come to that have nothing configured', () => {
    const pair = pairOf([...DEFAULT_IKE_PROPOSALS]);
    expect(suiteOf(pair.a)).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/MODP_2048/KE1_ML_KEM_768');
  });

  it('is done without where either end does not know it, if the other allows that', () => {
    for (const [ofA, ofB] of [
      [DEFAULT_IKE_PROPOSALS, CLASSIC],
      [CLASSIC, DEFAULT_IKE_PROPOSALS],
    ]) {
      const pair = connectedPair({}, { ikeProposals: ofA }, { ikeProposals: ofB });
      expect(suiteOf(pair.a)).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519');
      expect(conversation(pair.world).some((line) => line.includes('INTERMEDIATE'))).toBe(false);
    }
    const optional = parseIkeProposal('aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke1_none');
    expect(suiteOf(connectedPair({}, { ikeProposals: optional }, { ikeProposals: CLASSIC }).b)).not.toContain('KEM');
  });

  it('is never done without where it was configured, whoever initiates', () => {
    for (const [ofA, ofB] of [
      [HYBRID, CLASSIC],
      [CLASSIC, HYBRID],
    ]) {
      const pair = makePair();
      connect(pair, { ikeProposals: ofA }, { ikeProposals: ofB });
      pair.world.run(2000);
      expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
      expect(pair.a.failures[0]).toMatch(/NO_PROPOSAL_CHOSEN/);
      expect(pair.b.failures[0]).toContain('KE1_ML_KEM_768');
    }
  });

  it('is not chosen for a peer that offers it but cannot do IKE_INTERMEDIATE', () => {
    const pair = makePair();
    pair.b.set(connectionOf(B, A, { start: 'wait', ikeProposals: DEFAULT_IKE_PROPOSALS }));
    pair.world.pass = () => false;
    pair.a.set(connectionOf(A, B, { ikeProposals: DEFAULT_IKE_PROPOSALS }));
    const parsed = parseMessage(pair.world.sent[0].data);
    if (!parsed.ok) throw new Error(parsed.reason);
    const { header, payloads } = parsed.message;
    const isAnnouncement = (payload: (typeof payloads)[number]): boolean =>
      payload.type === 'N' && payload.notify === NOTIFY.INTERMEDIATE_EXCHANGE_SUPPORTED;
    expect(payloads.some(isAnnouncement)).toBe(true);
    const data = emitMessage(
      header,
      payloads.filter((payload) => !isAnnouncement(payload)),
    );
    pair.b.receive({ local: { address: B, port: 500 }, remote: { address: A, port: 500 }, data });
    const answer = parseMessage(pair.world.sent.at(-1)!.data);
    if (!answer.ok) throw new Error(answer.reason);
    const [sa] = answer.message.payloads;
    if (sa.type !== 'SA') throw new Error('no SA');
    expect(sa.proposals[0].transforms.some(({ type }) => type === 'ADDKE1')).toBe(false);
  });

  it('goes in fragments, whose loss and repetition under the former keys change nothing', () => {
    for (const lost of [0, 1, 2, 5]) {
      const pair = keyLoggedPair(HYBRID, { fragmentBytes: 300 });
      let count = 0;
      // One fragment of the first response to IKE_INTERMEDIATE is lost: the whole request comes again.
      pair.world.pass = (sent) =>
        !(sent.local.address === B && headerOf(sent).exchange === 'IKE_INTERMEDIATE' && count++ === lost);
      expect(pair.world.run(6000, () => faultsOf(pair).length === 0)).toBe(true);
      expect(pair.a.engine.counters()['sent: retransmitted requests']).toBe(1);
      expect(pair.b.engine.counters()['sent: repeated responses']).toBe(1);
    }
  });

  it('wipes the keys of each generation when the next has come, and all at the end', () => {
    const pair = makePair();
    const held = new Map<Uint8Array, string>();
    pair.world.pass = () => {
      for (const host of [pair.a, pair.b]) {
        for (const sa of (host.engine as unknown as EngineContext).ikeSas.values()) {
          for (const [name, key] of Object.entries(sa.protection?.keys ?? {})) held.set(key, `${host.address} ${name}`);
        }
      }
      return true;
    };
    connect(pair, { ikeProposals: TWO }, { ikeProposals: TWO });
    pair.world.run(3000, () => faultsOf(pair).length === 0);
    const live = (): string[] => [...held].filter(([key]) => key.some((byte) => byte !== 0)).map(([, name]) => name);
    // Three generations at each end, of which the last is in use: SK_a are empty with an AEAD.
    expect(held.size).toBe(2 * 3 * 7);
    expect(live()).toHaveLength(2 * 5);
    pair.a.command({ command: 'shutdown' });
    pair.world.run(100);
    expect(live()).toEqual([]);
  });
});

describe('IKE_AUTH after IKE_INTERMEDIATE', () => {
  it('covers every byte of both messages, as RFC 9242 §3.3.2 says', () => {
    const pair = keyLoggedPair(HYBRID, { fragmentBytes: 300 });
    expect(pair.world.run(3000, () => faultsOf(pair).length === 0)).toBe(true);
    // Somebody in the middle with all keys changes the ciphertext: both ends would have other keys, and no AUTH holds.
    for (const from of ['a', 'b'] as const) {
      const broken = keyLoggedPair(HYBRID);
      tamper(broken[from], broken.a, (payloads, sent) => {
        if (headerOf(sent).exchange !== 'IKE_INTERMEDIATE') return undefined;
        return [...payloads, { type: 'V', data: Uint8Array.of(1, 2, 3) }];
      });
      broken.world.run(2000);
      expect(broken.a.installed.size + broken.b.installed.size).toBe(0);
      expect(broken.b.engine.counters()['refused: authentication failed']).toBeGreaterThan(0);
    }
  });

  it('has a shared key sign IKE_SA_INIT, nonce, identity, and IntAuth of both messages, computed here apart', () => {
    const pair = keyLoggedPair(HYBRID);
    const generations: Record<string, Uint8Array>[] = [];
    pair.world.pass = (sent) => {
      if (sent.local.address !== A) return true;
      const [sa] = (pair.a.engine as unknown as EngineContext).ikeSas.values();
      const keys = Object.entries(sa.protection?.keys ?? {}).map(([name, key]) => [name, (key as Uint8Array).slice()]);
      generations.push(Object.fromEntries(keys));
      return true;
    };
    pair.world.run(3000, () => faultsOf(pair).length === 0);
    const [init, initAnswer, request, response, auth] = pair.world.sent;
    const prf = (key: Uint8Array, ...data: Uint8Array[]): Buffer =>
      createHmac('sha256', key).update(Buffer.concat(data)).digest();
    // A | P: header and generic header with lengths that count neither IV nor ICV, then the KE payload.
    const octets = ({ data }: Sent): Buffer => {
      const [ke] = contentsOf(pair.a, data);
      if (ke.type !== 'KE') throw new Error('no KE');
      const payload = Buffer.concat([Buffer.from([0, 0, 0, 0, 0, 36, 0, 0]), ke.data]);
      payload.writeUInt16BE(payload.length, 2);
      const head = Buffer.concat([data.subarray(0, 28), Buffer.from([34, 0, 0, 0])]);
      head.writeUInt32BE(32 + payload.length, 24);
      head.writeUInt16BE(4 + payload.length, 30);
      return Buffer.concat([head, payload]);
    };
    const [before, after] = generations;
    // The responder's SK_pr of the first generation, out of the initiator's copy of it.
    const intAuth = [prf(before.skPi, octets(request)), prf(before.skPr, octets(response)), Buffer.from([0, 0, 0, 2])];
    const nonce = contentsOf(pair.a, initAnswer.data).find(({ type }) => type === 'NONCE');
    const payloads = contentsOf(pair.a, auth.data);
    const idi = payloads.find(({ type }) => type === 'IDi');
    const proof = payloads.find(({ type }) => type === 'AUTH');
    if (nonce?.type !== 'NONCE' || idi?.type !== 'IDi' || proof?.type !== 'AUTH')
      throw new Error('a payload is missing');
    const id = Buffer.concat([Buffer.from([idi.idType, 0, 0, 0]), idi.data]);
    const signed = Buffer.concat([init.data, nonce.data, prf(after.skPi, id), ...intAuth]);
    const padded = prf(Buffer.from('swordfish'), Buffer.from('Key Pad for IKEv2'));
    expect(Buffer.from(proof.data).toString('hex')).toBe(prf(padded, signed).toString('hex'));
  });

  it('is answered nothing before its IKE_INTERMEDIATE, nor is a second IKE_INTERMEDIATE', () => {
    // An initiator that skips what it negotiated: its IKE_AUTH comes at the turn of IKE_INTERMEDIATE.
    const pair = keyLoggedPair(HYBRID);
    let skipped = 0;
    pair.world.pass = (sent) => {
      if (sent.local.address !== A || headerOf(sent).exchange !== 'IKE_INTERMEDIATE') return true;
      const data = sent.data.slice();
      data[18] = 35;
      const drops = pair.b.engine.counters()['dropped: unexpected exchange'];
      pair.b.receive({ local: sent.remote, remote: sent.local, data });
      skipped += pair.b.engine.counters()['dropped: unexpected exchange'] - drops;
      return true;
    };
    pair.world.run(3000, () => faultsOf(pair).length === 0);
    expect(skipped).toBe(1);
    const before = pair.b.engine.counters()['dropped: unexpected exchange'];
    const again = pair.world.sent.find((sent) => headerOf(sent).exchange === 'IKE_AUTH')!.data.slice();
    again[18] = 43;
    again[23] += 1;
    pair.b.receive({ local: { address: B, port: 500 }, remote: { address: A, port: 500 }, data: again });
    expect(pair.b.engine.counters()['dropped: unexpected exchange']).toBe(before + 1);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('is never reached with a key exchange value that is wrong: both ends say why', () => {
    for (const wrong of [{ group: 37 }, { data: new Uint8Array(1184).fill(0xff) }, { data: new Uint8Array(1183) }]) {
      const pair = keyLoggedPair(HYBRID);
      tamper(pair.a, pair.a, (payloads, sent) =>
        headerOf(sent).exchange === 'IKE_INTERMEDIATE'
          ? payloads.map((payload) => (payload.type === 'KE' ? { ...payload, ...wrong } : payload))
          : undefined,
      );
      pair.world.run(500);
      expect(pair.a.failures[0]).toMatch(/refused the additional key exchange KE1_ML_KEM_768 \(INVALID_SYNTAX\)/);
      expect(pair.b.engine.load().ikeSas).toBe(0);
      expect(pair.b.engine.counters()['refused: invalid syntax']).toBe(1);
    }
    const pair = keyLoggedPair(HYBRID);
    tamper(pair.b, pair.a, (_, sent) =>
      headerOf(sent).exchange === 'IKE_INTERMEDIATE' ? [{ type: 'KE', group: 36, data: new Uint8Array(3) }] : undefined,
    );
    pair.world.run(500);
    expect(pair.a.failures[0]).toMatch(/3 bytes, expected 1088/);
  });
});

describe('additional key exchanges of CREATE_CHILD_SA', () => {
  const CHOICES = { ikeProposals: HYBRID, espProposals: HYBRID_ESP };
  const exchangesSince = ({ world }: Pair, from: number): string[] => conversation(world).slice(from);
  /** Requests, each of which may be several fragments. */
  const followUps = ({ world }: Pair, from = 0): number => {
    const headers = world.sent.slice(from).map(headerOf);
    const requests = headers.filter(({ exchange, responseFlag }) => exchange === 'IKE_FOLLOWUP_KE' && !responseFlag);
    return new Set(requests.map(({ messageId }) => messageId)).size;
  };

  it('follow in IKE_FOLLOWUP_KE when a child is rekeyed, whoever does, and the keys of both ends agree', () => {
    for (const from of ['a', 'b'] as const) {
      const pair = connectedPair({}, CHOICES, CHOICES);
      const before = pair.world.sent.length;
      const [{ sa }] = pair[from].installed.values();
      pair[from].command({ command: 'child-soft-limit', id: sa.id });
      pair.world.run(500);
      expect(exchangesSince(pair, before).map((line) => line.slice(2))).toEqual([
        'CREATE_CHILD_SA',
        'CREATE_CHILD_SA response',
        'IKE_FOLLOWUP_KE',
        'IKE_FOLLOWUP_KE response',
        'INFORMATIONAL',
        'INFORMATIONAL response',
      ]);
      pair.world.run(10_000);
      expect(faultsOf(pair)).toEqual([]);
      expect([...pair.a.installed.values()].map(({ sa: { id } }) => id)).not.toContain(sa.id);
    }
  });

  it('follow when a second child is created, several of them in their order', () => {
    const espProposals = parseEspProposal('aes256gcm16-x25519-ke2_mlkem512-ke5_mlkem768');
    const pair = makePair();
    const choices = { ikeProposals: HYBRID, espProposals };
    pair.b.set(connectionOf(B, A, { ...choices, children: udpChildren(B, A, 'wait') }));
    pair.a.set(connectionOf(A, B, { ...choices, children: udpChildren(A, B) }));
    expect(pair.world.run(3000, () => faultsOf(pair, ['tun-in', 'tun-out']).length === 0)).toBe(true);
    expect(followUps(pair)).toBe(2);
    expect(
      pair.a.engine
        .journalOf(`${A}-${B}`)
        .map(({ text }) => text)
        .join('\n'),
    ).toMatch(
      /sent IKE_FOLLOWUP_KE request \d+ \[KE\(ML_KEM_512\) N\(ADDITIONAL_KEY_EXCHANGE\)\][\s\S]*KE\(ML_KEM_768\)/,
    );
  });

  it('follow when the IKE SA is rekeyed, whoever does, and what comes after is under its keys', () => {
    for (const from of ['a', 'b'] as const) {
      const lifetimes = {
        ikeSeconds: 200,
        childSeconds: 3600,
        marginSeconds: from === 'a' ? 100 : 20,
        fuzzPercent: 0,
        childPackets: 0,
        childBytes: 0,
      };
      const other = { ...lifetimes, ikeSeconds: 3000 };
      const pair = connectedPair(
        {},
        { ikeProposals: TWO, lifetimes: from === 'a' ? lifetimes : other },
        { ikeProposals: TWO, lifetimes: from === 'b' ? lifetimes : other },
      );
      const before = pair.world.sent.length;
      const first = pair.a.engine.status()[0].ikeSas[0].initiatorSpi;
      expect(pair.world.run(190_000, () => pair[from].engine.counters()['rekeyed: IKE SAs'] === 1)).toBe(true);
      pair.world.run(1000);
      expect(followUps(pair, before)).toBe(2);
      const [sa] = pair.a.engine.status()[0].ikeSas;
      expect(sa.initiatorSpi).not.toBe(first);
      expect(sa.suite).toMatch(/KE1_ML_KEM_768\/KE3_ECP_256$/);
      const [{ sa: child }] = pair.a.installed.values();
      pair.a.command({ command: 'child-soft-limit', id: child.id });
      pair.world.run(10_000);
      expect(faultsOf(pair)).toEqual([]);
    }
  });

  it('collide when both ends rekey at once, and one child stays', () => {
    for (const seed of [1, 2, 3, 4, 5, 6]) {
      const pair = connectedPair({ seed }, CHOICES, CHOICES);
      for (const host of [pair.a, pair.b]) {
        const [{ sa }] = host.installed.values();
        host.command({ command: 'child-soft-limit', id: sa.id });
      }
      pair.world.run(60_000);
      expect(faultsOf(pair)).toEqual([]);
    }
  });

  it('are answered STATE_NOT_FOUND when nothing waits for them, and the child is made another time', () => {
    const world = new World(1);
    const settings = { ...TEST_SETTINGS, keyLog: true };
    const pair = { world, a: world.addHost(A, settings), b: world.addHost(B, settings) };
    connect(pair, CHOICES, CHOICES);
    pair.world.run(3000, () => faultsOf(pair).length === 0);
    let changed = false;
    tamper(pair.a, pair.a, (payloads, sent) => {
      if (changed || headerOf(sent).exchange !== 'IKE_FOLLOWUP_KE') return undefined;
      changed = true;
      const [ke] = payloads;
      return [ke, notify(NOTIFY.ADDITIONAL_KEY_EXCHANGE, new Uint8Array(8))];
    });
    const [{ sa }] = pair.a.installed.values();
    pair.a.command({ command: 'child-soft-limit', id: sa.id });
    pair.world.run(1000);
    expect(pair.b.engine.counters()['refused: follow-up to nothing']).toBe(1);
    expect(pair.a.failures.at(-1)).toMatch(/KE1_ML_KEM_512: peer answered STATE_NOT_FOUND/);
    pair.world.run(100_000);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.a.engine.counters()['rekeyed: child SAs']).toBe(1);
    // The first attempt's SPI at the responder was given back when it expired or was replaced.
    expect(partnerOf([...pair.a.installed.values()][0], pair.b)).toBeDefined();
  });

  it('that an initiator never goes on with are forgotten after a minute, with all that they held', () => {
    const pair = connectedPair({}, CHOICES, CHOICES);
    const [{ sa }] = pair.a.installed.values();
    pair.world.pass = (sent) => headerOf(sent).exchange !== 'IKE_FOLLOWUP_KE';
    pair.a.command({ command: 'child-soft-limit', id: sa.id });
    pair.world.run(1000);
    expect(pair.b.allocated.size).toBe(2);
    pair.world.run(60_000);
    expect(pair.b.engine.counters()['expired: follow-up key exchanges']).toBe(1);
    expect(pair.b.allocated.size).toBe(1);
    pair.world.pass = () => true;
    pair.world.run(300_000);
    expect(faultsOf(pair)).toEqual([]);
  });
});
