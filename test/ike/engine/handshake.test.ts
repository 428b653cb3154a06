import { describe, expect, it } from 'vitest';
import { createIkeEngine, DEFAULT_IKE_PROPOSALS, parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { A, B, connectionOf, greChild, udpChildren } from '../simulation/tunnels.ts';
import { TEST_SETTINGS } from '../simulation/world.ts';
import { connect, connectedPair, conversation, faultsOf, headerOf, makePair, secondsUntil } from './pair.ts';

describe('IKE_SA_INIT and IKE_AUTH', () => {
  it('set up the IKE SA and the first child in four messages, with the same keys crossed', () => {
    const pair = makePair();
    connect(pair);
    pair.world.run(100);
    expect(conversation(pair.world)).toEqual([
      'A IKE_SA_INIT',
      'B IKE_SA_INIT response',
      'A IKE_AUTH',
      'B IKE_AUTH response',
    ]);
    expect(faultsOf(pair)).toEqual([]);
    const [child] = pair.a.installed.values();
    expect(child.sa).toMatchObject({ mode: 'transport', algorithm: 'aes256gcm16', esn: true, initiator: true });
    expect(pair.a.logs.join('\n')).toContain(
      'IKE_SA 10.0.0.1-10.0.0.2 established between 10.0.0.1[10.0.0.1]...10.0.0.2[10.0.0.2]',
    );
  });

  it.each([
    'aes256gcm16-sha256-modp2048',
    'aes128gcm16-sha384-ecp256',
    'aes256-sha256-ecp384',
    'aes128-sha512-ecp521',
    'chacha20poly1305-sha256-x25519',
  ])('work with %s', (text) => {
    const pair = makePair();
    connect(pair, { ikeProposals: parseIkeProposal(text) }, { ikeProposals: parseIkeProposal(text) });
    pair.world.run(100);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('agree on the child cipher, key length and sequence numbers that both allow', () => {
    for (const [text, algorithm, esn] of [
      ['aes128gcm16-noesn', 'aes128gcm16', false],
      ['aes192gcm16-esn', 'aes192gcm16', true],
      ['chacha20poly1305', 'chacha20poly1305', true],
    ] as const) {
      const pair = connectedPair({}, { espProposals: parseEspProposal(text) });
      expect([...pair.b.installed.values()][0].sa).toMatchObject({ algorithm, esn });
    }
  });

  it('work between names and between IPv6 addresses', () => {
    const named = {
      localId: { type: 'fqdn', value: 'a.example' },
      remoteId: { type: 'fqdn', value: 'b.example' },
    } as const;
    const pair = connectedPair({}, named, { localId: named.remoteId, remoteId: { type: 'fqdn', value: 'A.Example' } });
    expect(pair.b.engine.status()[0].ikeSas[0]).toMatchObject({ localId: 'b.example' });

    const six = makePair();
    const [host, peer] = ['fd00::1', 'fd00:0:0::2'];
    const world = six.world;
    const a6 = world.addHost(host);
    const b6 = world.addHost('fd00::2');
    b6.set(connectionOf('fd00::2', host, { start: 'wait' }));
    a6.set(connectionOf(host, peer));
    world.hosts.set(peer, b6);
    world.run(100);
    expect([a6.installed.size, b6.installed.size]).toEqual([1, 1]);
  });

  it('repeat the exchange with the cookie that a loaded responder asks for', () => {
    const pair = makePair({ settingsOfB: { cookieThreshold: 0 } });
    connect(pair);
    pair.world.run(100);
    expect(conversation(pair.world).slice(0, 4)).toEqual([
      'A IKE_SA_INIT',
      'B IKE_SA_INIT response',
      'A IKE_SA_INIT',
      'B IKE_SA_INIT response',
    ]);
    expect(pair.b.engine.counters()).toMatchObject({ 'sent: cookies': 1, 'established: IKE SAs': 1 });
    expect(faultsOf(pair)).toEqual([]);
  });

  it('take the group that INVALID_KE_PAYLOAD asks for, also together with a cookie', () => {
    for (const cookieThreshold of [30, 0]) {
      const pair = makePair({ settingsOfB: { cookieThreshold } });
      connect(
        pair,
        { ikeProposals: parseIkeProposal('aes256gcm16-sha256-x25519-ecp256') },
        { ikeProposals: parseIkeProposal('aes256gcm16-sha256-ecp256') },
      );
      pair.world.run(100);
      expect(pair.b.engine.counters()['refused: wrong key exchange group']).toBe(1);
      expect(pair.a.engine.status()[0].ikeSas[0].suite).toBe('AES_GCM_16_256/PRF_HMAC_SHA2_256/ECP_256');
      expect(faultsOf(pair)).toEqual([]);
    }
  });

  it('fail with different PSKs: no SA, the reason at both ends, and the PSK nowhere', () => {
    const pair = makePair();
    connect(pair, { psk: 'swordfish' }, { psk: 'sailfish', start: 'initiate' });
    pair.world.run(20_000);
    expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
    expect(pair.a.failures).toContain(
      'peer refused our authentication (AUTHENTICATION_FAILED): is options:psk the same on both ends?',
    );
    expect(pair.b.failures.join('\n')).toMatch(/10\.0\.0\.1\[10\.0\.0\.1\]: peer did not prove to know our secret/);
    expect(pair.a.engine.status()[0].lastFailure).toMatch(/options:psk/);
    for (const host of [pair.a, pair.b]) {
      const all = JSON.stringify([
        host.actions.filter(({ action }) => action !== 'send'),
        host.engine.status(),
        host.engine.counters(),
      ]);
      expect(all).not.toMatch(/swordfish|sailfish/);
      expect(all).not.toContain(Buffer.from('swordfish').toString('hex'));
    }
  });

  it('go on trying with growing pauses, and come up when the PSK is corrected', () => {
    const pair = makePair();
    connect(pair, { psk: 'swordfish' }, { psk: 'sailfish' });
    pair.world.run(300_000);
    const attempts = pair.a.failures.length;
    expect(attempts).toBeGreaterThan(6);
    expect(attempts).toBeLessThan(16);
    pair.b.set(connectionOf(B, A, { psk: 'swordfish', start: 'wait' }));
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThanOrEqual(61);
    expect(pair.a.engine.status()[0].lastFailure).toBeUndefined();
  });

  it('refuse a responder that does not know the secret, although it took ours for good', () => {
    // B answers IKE_AUTH although the secret differs: forged by giving A another secret after it was sent.
    const pair = makePair();
    const secret = new TextEncoder().encode('swordfish');
    const connection = connectionOf(A, B, { authentication: { method: 'psk', secret } });
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.a.set(connection);
    pair.world.pass = (sent) => {
      if (headerOf(sent).exchange === 'IKE_AUTH' && headerOf(sent).responseFlag) secret.fill(0x78);
      return true;
    };
    pair.world.run(500);
    expect(pair.a.installed.size).toBe(0);
    expect(pair.a.failures[0]).toMatch(/peer did not prove to know our secret/);
    expect(pair.a.engine.counters()['refused: authentication failed']).toBe(1);
    expect(pair.b.installed.size).toBe(0);
  });

  it('refuse an identity that no connection has', () => {
    const pair = makePair();
    connect(pair, { localId: { type: 'fqdn', value: 'stranger' } });
    pair.world.run(100);
    expect(pair.b.failures.join('\n')).toMatch(
      /10\.0\.0\.1\[stranger\] wants to talk to 10\.0\.0\.2: no tunnel has these identities/,
    );
    expect(pair.a.failures[0]).toMatch(/AUTHENTICATION_FAILED/);
  });

  it('find among several connections between two addresses the one whose identities and secret fit', () => {
    const pair = makePair();
    for (const [name, psk] of [
      ['one', 'red herring'],
      ['two', 'swordfish'],
    ]) {
      pair.b.set(connectionOf(B, A, { name, psk, start: 'wait' }));
    }
    pair.a.set(connectionOf(A, B));
    pair.world.run(100);
    expect([...pair.b.installed.values()].map(({ sa }) => sa.connection)).toEqual(['two']);
  });

  it('say why proposals do not meet, at both ends, and try again', () => {
    const pair = makePair();
    connect(pair, { ikeProposals: parseIkeProposal('aes128gcm16-sha256-x25519') });
    pair.world.run(10_000);
    expect(pair.a.failures[0]).toMatch(/peer refused IKE_SA_INIT \(NO_PROPOSAL_CHOSEN\).*AES_GCM_16_128/);
    expect(pair.b.failures[0]).toMatch(/10\.0\.0\.1 offers .*AES_GCM_16_128.*we allow .*AES_GCM_16_256/);
    expect(pair.a.failures.length).toBeGreaterThan(1);
    pair.a.set(connectionOf(A, B));
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThan(1);
  });

  it('leave whom they may know unanswered until all connections are set, but answer at once whom they know', () => {
    const pair = makePair();
    pair.b.command({ command: 'configuration-known', known: false });
    pair.a.set(connectionOf(A, B));
    pair.world.run(9000);
    expect(pair.world.sent.filter(({ local }) => local.address === B)).toEqual([]);
    expect(pair.b.engine.counters()['dropped: not configured yet']).toBeGreaterThan(1);
    expect(pair.b.engine.counters()['refused: no connection']).toBe(0);
    expect(pair.b.logs.filter((line) => / (warn|err) /.test(line))).toEqual([]);
    expect(pair.a.failures).toEqual([]);
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThan(20);
    expect(pair.a.failures).toEqual([]);
  });

  it('know nobody when they begin: neither a stranger nor another major version gets a word', () => {
    const pair = makePair();
    pair.a.set(connectionOf(A, B));
    const { local, remote, data } = pair.world.sent[0]!;
    const ofVersion3 = data.slice();
    ofVersion3[17] = 0x30;
    const engine = createIkeEngine(TEST_SETTINGS, {
      dateMs: () => 0,
      random: (bytes) => new Uint8Array(bytes),
      allocateSpi: () => 1,
      releaseSpi: () => {},
    });
    const sends = () =>
      [data, ofVersion3]
        .flatMap((message) => engine.input(0, { local: remote, remote: local, data: message }))
        .filter(({ action }) => action === 'send');
    expect(sends()).toEqual([]);
    expect(engine.counters()['dropped: not configured yet']).toBe(2);
    engine.command(0, { command: 'configuration-known', known: true });
    expect(sends()).toHaveLength(2);
    engine.command(0, { command: 'shutdown' });
    expect(sends()).toEqual([]);
  });

  it('refuse an address without connection, and say so once in a while', () => {
    const pair = makePair();
    pair.a.set(connectionOf(A, B));
    pair.world.run(9000);
    expect(pair.b.engine.counters()['refused: no connection']).toBeGreaterThan(1);
    expect(pair.b.logs.filter((line) => line.includes('no IPsec tunnel from 10.0.0.1'))).toHaveLength(1);
    expect(pair.a.failures[0]).toMatch(/is this host's tunnel configured there/);
  });

  it('keep the IKE SA when only the child is refused, and try the child again', () => {
    const pair = makePair();
    connect(pair, {}, { children: udpChildren(B, A, 'wait') });
    pair.world.run(2000);
    expect(pair.a.failures[0]).toMatch(
      /peer refused child gre \(TS_UNACCEPTABLE\): are the tunnel type.*10\.0\.0\.1\[gre\] === 10\.0\.0\.2\[gre\]/,
    );
    expect(pair.b.failures[0]).toMatch(
      /peer asks for 10\.0\.0\.2\[gre\] === 10\.0\.0\.1\[gre\], which no tunnel of ours has/,
    );
    expect([pair.a.upIkeSas(), pair.b.upIkeSas()]).toEqual([1, 1]);
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 60);
  });

  it('report a peer that never answers, give the attempt up after 165 s and start another', () => {
    const pair = makePair();
    pair.world.pass = () => false;
    pair.a.set(connectionOf(A, B));
    pair.world.run(20_000);
    expect(pair.a.engine.status()[0].lastFailure).toBe('10.0.0.2 has not answered for 11 s');
    pair.world.run(150_000);
    expect(pair.a.failures).toEqual([expect.stringMatching(/10\.0\.0\.2 did not answer IKE_SA_INIT/)]);
    pair.world.run(15_000);
    pair.world.pass = () => true;
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.a.command({ command: 'acquire', connection: `${A}-${B}` });
    expect(secondsUntil(pair.world, () => faultsOf(pair).length === 0)).toBeLessThan(5);
  });

  it('send an unanswered request again when traffic waits, instead of sleeping out the pause', () => {
    const pair = makePair();
    pair.a.set(connectionOf(A, B));
    pair.world.pass = () => false;
    pair.world.run(50_000);
    pair.world.pass = () => true;
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.world.run(3000);
    pair.a.command({ command: 'acquire', connection: `${A}-${B}` });
    pair.world.run(100);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('wait for traffic when the children should wait', () => {
    const pair = makePair();
    connect(pair, { start: 'wait' });
    pair.world.run(60_000);
    expect(pair.world.sent).toEqual([]);
    pair.a.command({ command: 'acquire', connection: `${A}-${B}` });
    pair.world.run(100);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('give IKE keys only to who asks for a key log', () => {
    const { a } = connectedPair();
    expect(a.actions.some(({ action }) => action === 'ike-keys')).toBe(false);
    const { b } = connectedPair({ settingsOfB: { keyLog: true } });
    const keys = b.actions.filter(({ action }) => action === 'ike-keys');
    expect(keys).toHaveLength(1);
    expect(keys[0]).toMatchObject({ keys: { encryption: { id: 20, keyBits: 256 }, integrity: undefined } });
  });

  it('answer on the port that the peer used', () => {
    const pair = makePair();
    pair.b.set(connectionOf(B, A, { start: 'wait' }));
    pair.world.pass = (sent) => {
      if (sent.local.address === B) expect(sent.remote.port).toBe(1234);
      return true;
    };
    const { deliver } = pair.world;
    pair.world.deliver = (sent, data) => {
      const moved = sent.local.address === A ? { ...sent, local: { address: A, port: 1234 } } : sent;
      deliver.call(pair.world, moved, data);
    };
    pair.a.set(connectionOf(A, B));
    pair.world.run(100);
    expect(pair.b.installed.size).toBe(1);
    expect(pair.b.engine.status()[0].ikeSas[0].remote.port).toBe(1234);
  });
});

describe('a configuration that the engine cannot run', () => {
  it('is refused with what is at fault', () => {
    const { a } = makePair();
    const set = (choices: Parameters<typeof connectionOf>[2]) => () => a.set(connectionOf(A, B, choices));
    expect(set({ psk: '' })).toThrow('connection 10.0.0.1-10.0.0.2: the shared key is empty; set options:psk');
    expect(set({ localId: { type: 'ipv4', value: 'host' } })).toThrow(/identity "host" is not an IPv4 address/);
    expect(set({ ikeProposals: [] })).toThrow(/no IKE proposal/);
    expect(set({ espProposals: parseIkeProposal('aes256-sha256-modp2048') })).toThrow(/is not implemented for ESP/);
    expect(
      set({ ikeProposals: [{ transforms: DEFAULT_IKE_PROPOSALS[0].transforms.filter(({ type }) => type !== 'DH') }] }),
    ).toThrow(/every IKE proposal needs a key exchange group/);
    expect(set({ children: [greChild(A, B), greChild(A, B)] })).toThrow(/two children have one name: gre, gre/);
    expect(a.engine.status()).toEqual([]);
  });
});
