import { describe, expect, it } from 'vitest';
import { parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { notify } from '../../../ike/sa/notify.ts';
import { NOTIFY } from '../../../ike/wire/names.ts';
import type { Payload } from '../../../ike/wire/payloads.ts';
import { A, B, connectionOf, greChild, udpChildren } from '../simulation/tunnels.ts';
import { TEST_SETTINGS } from '../simulation/world.ts';
import { connect, connectedPair, faultsOf, headerOf, makePair, type Pair, secondsUntil } from './pair.ts';
import { contentsOf, rewritten, tamper } from './tamper.ts';

const LOGGING = { settingsOfB: { keyLog: true } };

const without = (payloads: readonly Payload[], type: number): Payload[] =>
  payloads.filter((payload) => payload.type !== 'N' || payload.notify !== type);

const rekey = ({ a }: Pair): void => a.command({ command: 'child-soft-limit', id: [...a.installed.keys()][0] });

/** Takes one message of `sender` in hand: the payloads it goes on with. */
function once(
  pair: Pair,
  exchange: string,
  response: boolean,
  change: (payloads: readonly Payload[]) => readonly Payload[],
): void {
  let done = false;
  tamper(response ? pair.b : pair.a, pair.b, (payloads, sent) => {
    const header = headerOf(sent);
    if (done || header.exchange !== exchange || header.responseFlag !== response) return undefined;
    done = true;
    return change(payloads);
  });
}

/** The notifies that B answered last. */
const lastAnswer = (pair: Pair): (number | string)[] => {
  const sent = pair.world.sent.findLast(({ local }) => local.address === B)!;
  return contentsOf(pair.b, sent.data).map((payload) => (payload.type === 'N' ? payload.notify : payload.type));
};

describe('a peer that wants tunnel mode', () => {
  it('is refused as initiator, the IKE SA stays, and the operator is told what to set', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', false, (payloads) => without(payloads, NOTIFY.USE_TRANSPORT_MODE));
    connect(pair);
    pair.world.run(500);
    expect(lastAnswer(pair)).toEqual(['IDr', 'AUTH', NOTIFY.NO_PROPOSAL_CHOSEN]);
    expect(pair.b.failures[0]).toMatch(/peer wants child gre in tunnel mode, we in transport mode: set the mode/);
    expect([pair.a.installed.size, pair.a.upIkeSas()]).toEqual([0, 1]);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });

  it('is refused as responder: its child is deleted there and never installed here', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', true, (payloads) => without(payloads, NOTIFY.USE_TRANSPORT_MODE));
    connect(pair);
    pair.world.run(500);
    expect(pair.a.failures[0]).toMatch(/peer wants child gre in tunnel mode/);
    expect([pair.a.installed.size, pair.b.installed.size]).toEqual([0, 0]);
    expect(pair.a.engine.counters()['refused: mode mismatch']).toBe(1);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });
});

describe('a responder that authenticates as somebody else', () => {
  it('is refused, although it knows the secret, and told so', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', false, (payloads) => payloads.filter(({ type }) => type !== 'IDr'));
    connect(pair, {}, { localId: { type: 'fqdn', value: 'somebody' } });
    pair.world.run(500);
    expect(pair.a.failures[0]).toBe('peer says it is somebody, expected 10.0.0.2');
    expect([pair.a.installed.size, pair.b.installed.size, pair.b.upIkeSas()]).toEqual([0, 0, 0]);
  });
});

describe('a peer whose answer is not what was offered', () => {
  it.each<[string, (payload: Payload) => Payload]>([
    [
      'selectors that are wider',
      (payload) =>
        payload.type === 'TSr' ? { ...payload, selectors: [{ ...payload.selectors[0], protocol: 0 }] } : payload,
    ],
    [
      'a cipher that was not offered',
      (payload) =>
        payload.type === 'SA'
          ? {
              ...payload,
              proposals: payload.proposals.map((one) => ({
                ...one,
                transforms: [{ type: 'ENCR', id: 12, keyBits: 256 }],
              })),
            }
          : payload,
    ],
    [
      'a reserved SPI',
      (payload) =>
        payload.type === 'SA'
          ? { ...payload, proposals: payload.proposals.map((one) => ({ ...one, spi: Uint8Array.of(0, 0, 0, 9) })) }
          : payload,
    ],
  ])('with %s gets its child deleted, and none is installed', (_, change) => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', true, (payloads) => payloads.map(change));
    connect(pair);
    pair.world.run(500);
    expect(pair.a.installed.size + pair.b.installed.size).toBe(0);
    expect(pair.a.failures).toHaveLength(1);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });

  it('holds nonsense ends the attempt, and the next one succeeds', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', true, (payloads) =>
      payloads.map((payload) => (payload.type === 'TSi' ? { ...payload, selectors: [] } : payload)),
    );
    connect(pair);
    pair.world.run(500);
    expect(pair.a.failures[0]).toMatch(/10\.0\.0\.2 sent a response that is not valid/);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });

  it('holds nonsense when the IKE SA is up: it is deleted at the peer too, and set up anew', () => {
    const pair = connectedPair(LOGGING);
    once(pair, 'CREATE_CHILD_SA', true, (payloads) => payloads.filter(({ type }) => type !== 'NONCE'));
    rekey(pair);
    pair.world.run(10);
    expect(pair.a.logs.join()).toMatch(/sent a response that is not valid/);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 10);
  });

  it('narrows the selectors: the child is taken as it is', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', true, (payloads) =>
      payloads.map((payload) =>
        payload.type === 'TSr'
          ? { ...payload, selectors: [{ ...payload.selectors[0], startPort: 5, endPort: 6 }] }
          : payload,
      ),
    );
    connect(pair, { children: udpChildren(A, B).slice(0, 1) }, { children: udpChildren(B, A, 'wait') });
    pair.world.run(500);
    expect(pair.a.childrenOf('tun-in')[0].sa.tsRemote).toMatchObject([{ startPort: 5, endPort: 6 }]);
  });
});

describe('a peer that asks for other things', () => {
  it('is answered TS_UNACCEPTABLE or NO_PROPOSAL_CHOSEN for the child alone', () => {
    const pair = connectedPair(LOGGING);
    once(pair, 'CREATE_CHILD_SA', false, (payloads) =>
      payloads.map((payload) =>
        payload.type === 'SA'
          ? { ...payload, proposals: payload.proposals.map((one) => ({ ...one, protocol: 'AH' })) }
          : payload,
      ),
    );
    rekey(pair);
    pair.world.run(100);
    expect(lastAnswer(pair)).toEqual([NOTIFY.NO_PROPOSAL_CHOSEN]);
    expect(faultsOf(pair)).toEqual([]);
    expect(pair.b.failures[0]).toMatch(/peer offers .* for child gre, we allow/);
  });

  it('is told which group to use, and as initiator we do as we are told', () => {
    const pair = connectedPair(
      LOGGING,
      { espProposals: parseEspProposal('aes256gcm16-modp2048-ecp256') },
      { ikeProposals: parseIkeProposal('aes256gcm16-sha256-x25519-ecp256') },
    );
    rekey(pair);
    pair.world.run(100);
    expect(pair.b.engine.counters()['refused: wrong key exchange group']).toBe(1);
    expect(pair.a.engine.counters()).toMatchObject({ 'rekeyed: child SAs': 1, 'failed: children': 0 });
    expect(pair.b.logs.join()).toContain('AES_GCM_16_256/ECP_256/EXT_SEQ');
    expect(faultsOf(pair)).toEqual([]);
  });

  it('sends a critical payload that nobody knows: it is refused and the IKE SA lives', () => {
    const pair = connectedPair(LOGGING);
    const extra = (critical: boolean): Payload => ({
      type: 'UNKNOWN',
      payloadType: 201,
      critical,
      data: new Uint8Array(3),
    });
    once(pair, 'CREATE_CHILD_SA', false, (payloads) => [...payloads, extra(true)]);
    rekey(pair);
    pair.world.run(100);
    expect(lastAnswer(pair)).toEqual([NOTIFY.UNSUPPORTED_CRITICAL_PAYLOAD]);
    expect(faultsOf(pair)).toEqual([]);
    once(pair, 'CREATE_CHILD_SA', false, (payloads) => [...payloads, extra(false)]);
    pair.world.run(60_000);
    expect(pair.a.engine.counters()['rekeyed: child SAs']).toBe(1);
  });

  it('sends an authentic request that makes no sense: INVALID_SYNTAX, both forget the IKE SA, and it comes back', () => {
    const pair = connectedPair(LOGGING);
    once(pair, 'CREATE_CHILD_SA', false, (payloads) => payloads.filter(({ type }) => type !== 'NONCE'));
    rekey(pair);
    pair.world.run(2);
    expect(pair.b.upIkeSas()).toBe(0);
    expect(pair.b.engine.counters()['refused: invalid syntax']).toBe(1);
    secondsUntil(pair.world, () => faultsOf(pair).length === 0, 200);
  });

  it('sends status and error notifies that nobody knows: they are passed over', () => {
    const pair = makePair(LOGGING);
    once(pair, 'IKE_AUTH', false, (payloads) => [
      notify(NOTIFY.ESP_TFC_PADDING_NOT_SUPPORTED),
      notify(NOTIFY.NON_FIRST_FRAGMENTS_ALSO),
      notify(NOTIFY.MOBIKE_SUPPORTED),
      notify(40_961),
      ...payloads,
      { type: 'V', data: new Uint8Array(16) },
    ]);
    connect(pair);
    pair.world.run(500);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('says TEMPORARY_FAILURE or NO_ADDITIONAL_SAS: the child is tried again later', () => {
    for (const [type, limit] of [
      [NOTIFY.TEMPORARY_FAILURE, 4],
      [NOTIFY.NO_ADDITIONAL_SAS, 2],
    ]) {
      const pair = makePair(LOGGING);
      once(pair, 'CREATE_CHILD_SA', true, () => [notify(type)]);
      const children = [greChild(A, B), ...udpChildren(A, B)];
      connect(pair, { children }, { children: [greChild(B, A, 'wait'), ...udpChildren(B, A, 'wait')] });
      // Its answer was rewritten, so B has a child that A knows nothing of: it is only A that counts here.
      secondsUntil(pair.world, () => children.every(({ name }) => pair.a.childrenOf(name).length > 0), limit);
      expect(pair.a.failures.length).toBe(type === NOTIFY.NO_ADDITIONAL_SAS ? 1 : 0);
    }
  });

  it('deletes an SPI that nobody has, and the IKE SA of another: nothing happens', () => {
    const pair = connectedPair(LOGGING);
    const ghost: Payload = {
      type: 'D',
      protocol: 'ESP',
      spiSize: 4,
      spis: [Uint8Array.of(9, 9, 9, 9), Uint8Array.of(0, 0, 0, 1)],
    };
    once(pair, 'INFORMATIONAL', false, () => [ghost, { ...ghost, protocol: 'AH' }]);
    pair.world.run(31_000);
    expect(lastAnswer(pair)).toEqual([]);
    expect(faultsOf(pair)).toEqual([]);
  });

  it('has set up as many children as are allowed: NO_ADDITIONAL_SAS', async () => {
    const { CHILDREN_LIMIT } = await import('../../../ike/sa/ike-sa.ts');
    const pair = connectedPair(LOGGING);
    // One request, sealed again and again with the next message id and another SPI.
    const held: Parameters<typeof rewritten>[1][] = [];
    pair.world.pass = (sent) => {
      held.push(sent);
      return false;
    };
    rekey(pair);
    pair.world.pass = () => false;
    const [request] = held;
    const payloads = without(contentsOf(pair.b, request.data), NOTIFY.REKEY_SA);
    for (let turn = 0; turn < CHILDREN_LIMIT; turn++) {
      const data = request.data.slice();
      new DataView(data.buffer).setUint32(20, 2 + turn);
      const header = { ...request, data };
      const next = payloads.map((payload) =>
        payload.type === 'SA'
          ? { ...payload, proposals: payload.proposals.map((one) => ({ ...one, spi: Uint8Array.of(1, 2, 3, turn) })) }
          : payload,
      );
      pair.b.receive({ local: request.remote, remote: request.local, data: rewritten(pair.b, header, next) });
    }
    expect(pair.b.installed.size).toBe(CHILDREN_LIMIT);
    expect(lastAnswer(pair)).toEqual([NOTIFY.NO_ADDITIONAL_SAS]);
  });
});

describe('a peer that makes a second IKE SA beside the first, without INITIAL_CONTACT', () => {
  it('has the older one deleted when its children have moved', () => {
    const pair = connectedPair(LOGGING);
    pair.b.reboot({ ...TEST_SETTINGS, keyLog: true });
    tamper(pair.b, pair.b, (payloads, sent) =>
      headerOf(sent).exchange === 'IKE_AUTH' ? without(payloads, NOTIFY.INITIAL_CONTACT) : undefined,
    );
    pair.b.set(connectionOf(B, A));
    pair.world.run(5000);
    expect(pair.a.upIkeSas()).toBe(2);
    pair.world.run(400_000);
    expect(faultsOf(pair)).toEqual([]);
  });
});
