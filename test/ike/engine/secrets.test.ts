// What an attacker must not learn: secrets in words, or by how long a comparison takes.
import { timingSafeEqual } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';
import type { EngineContext } from '../../../ike/context.ts';
import { verifyPskAuth } from '../../../ike/crypto/auth-psk.ts';
import { createCookieJar } from '../../../ike/crypto/cookie.ts';
import { openBody, sealBody } from '../../../ike/crypto/sk-cipher.ts';
import { parseEspProposal, parseIkeProposal } from '../../../ike/index.ts';
import { samePpk } from '../../../ike/tasks/ppk.ts';
import { A, B } from '../simulation/tunnels.ts';
import { type Host, TEST_SETTINGS, World } from '../simulation/world.ts';
import { connect, faultsOf, headerOf } from './pair.ts';

vi.mock('node:crypto', async (importOriginal) => {
  const actual = await importOriginal<typeof import('node:crypto')>();
  return { ...actual, default: actual, timingSafeEqual: vi.fn(actual.timingSafeEqual) };
});

const compared = vi.mocked(timingSafeEqual);

/** How many bytes were compared in constant time meanwhile. */
function bytesCompared(act: () => void): number[] {
  compared.mockClear();
  act();
  return compared.mock.calls.map(([a]) => a.byteLength);
}

describe('a comparison with a secret', () => {
  const prf = { type: 'PRF', id: 5 } as const;
  const secret = new TextEncoder().encode('swordfish');
  const octets = new Uint8Array(100).fill(3);

  it.each([0, 31])('of AUTH looks at all of it, whether byte %i is the first that differs', (at) => {
    const forged = new Uint8Array(32);
    forged[at] = 1;
    expect(bytesCompared(() => expect(verifyPskAuth(prf, secret, octets, forged)).toBe(false))).toEqual([32]);
  });

  it.each([1, 32])('of a COOKIE looks at all of it, whether byte %i is the first that differs', (at) => {
    const jar = createCookieJar((bytes) => new Uint8Array(bytes).fill(9));
    const subject = { nonce: octets.subarray(0, 32), address: A, initiatorSpi: '0123456789abcdef' };
    const cookie = jar.make(0, subject);
    cookie[at] ^= 1;
    expect(bytesCompared(() => expect(jar.verify(0, subject, cookie)).toBe(false))).toEqual([33]);
  });

  it('of the MAC of a message looks at all of it before anything is decrypted', () => {
    const keys = {
      encryption: { type: 'ENCR', id: 12, keyBits: 256 },
      integrity: { type: 'INTEG', id: 12 },
      skE: new Uint8Array(32).fill(1),
      skA: new Uint8Array(32).fill(2),
    } as const;
    const message = new Uint8Array(32 + 16 + 32 + 16);
    sealBody(message, 32, keys);
    for (const at of [message.length - 16, message.length - 1]) {
      const forged = message.slice();
      forged[at] ^= 1;
      expect(bytesCompared(() => expect(openBody(forged, 32, keys)).toBeUndefined())).toEqual([16]);
    }
  });

  it('of two PPKs looks at all of them', () => {
    const ppk = { id: 'one', secret: new Uint8Array(40), required: false };
    const other = { ...ppk, secret: Uint8Array.from(ppk.secret, (_, index) => (index === 39 ? 1 : 0)) };
    expect(bytesCompared(() => expect(samePpk(ppk, other)).toBe(false))).toEqual([40]);
  });
});

describe('what the engine says', () => {
  it('holds no key and no secret of a whole life: logs at every level, journal, status, counters, failures', () => {
    const world = new World(3);
    const pair = { world, a: world.addHost(A, TEST_SETTINGS), b: world.addHost(B, TEST_SETTINGS) };
    const secrets = new Set<string>();
    const keep = (bytes: Uint8Array): void => {
      if (bytes.some((byte) => byte !== 0)) secrets.add(Buffer.from(bytes).toString('latin1'));
    };
    world.pass = () => {
      for (const host of [pair.a, pair.b]) {
        for (const { protection } of (host.engine as unknown as EngineContext).ikeSas.values()) {
          for (const key of Object.values(protection?.keys ?? {})) keep(key as Uint8Array);
        }
        for (const { inboundKey, outboundKey } of host.installed.values()) {
          for (const key of [inboundKey, outboundKey]) keep(Buffer.from(key, 'hex'));
        }
      }
      return true;
    };
    const psk = 'sword and fish and more';
    const ppk = { id: 'named', secret: new TextEncoder().encode('correct horse battery staple'), required: true };
    keep(Buffer.from(psk));
    keep(ppk.secret);
    const lifetimes = {
      ikeSeconds: 90,
      childSeconds: 60,
      marginSeconds: 20,
      fuzzPercent: 0,
      childPackets: 0,
      childBytes: 0,
    };
    const choices = {
      psk,
      ppk,
      lifetimes,
      ikeProposals: parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512'),
      espProposals: parseEspProposal('aes256gcm16-x25519-ke1_mlkem512'),
    };
    connect(pair, choices, choices);
    world.run(200_000);
    expect(faultsOf(pair)).toEqual([]);
    // Then one end gets another secret: failures say why, and not what.
    const { name } =
      pair.a.engine.status()[0] === undefined ? { name: '' } : { name: pair.a.engine.status()[0].connection };
    connect(pair, { ...choices, psk: `${psk}!` }, choices);
    world.run(60_000);
    expect(pair.a.failures.length + pair.b.failures.length).toBeGreaterThan(0);

    const words = [pair.a, pair.b].map((host: Host) =>
      JSON.stringify([
        host.logs,
        host.failures,
        host.engine.journalOf(name),
        host.engine.status(),
        host.engine.counters(),
        host.engine.load(),
      ]),
    );
    expect(words.join()).toContain('IKE_FOLLOWUP_KE');
    expect(secrets.size).toBeGreaterThan(30);
    for (const secret of secrets) {
      const bytes = Buffer.from(secret, 'latin1');
      for (const spelling of [secret, bytes.toString('hex'), bytes.toString('base64')]) {
        expect(words.join().includes(spelling)).toBe(false);
      }
    }
  });
});

describe('a stranger who does the first key exchange', () => {
  it('gets no memory beyond its half-open IKE SA: fragments that never become whole go with it', () => {
    const world = new World(1);
    const settings = { ...TEST_SETTINGS, fragmentBytes: 200 };
    const pair = { world, a: world.addHost(A, settings), b: world.addHost(B, settings) };
    let fragments = 0;
    // Of IKE_INTERMEDIATE, the last fragment never comes.
    world.pass = (sent) => {
      if (sent.local.address !== A || headerOf(sent).exchange !== 'IKE_INTERMEDIATE') return true;
      fragments += 1;
      return sent.data[28 + 5] !== sent.data[28 + 7];
    };
    const ikeProposals = parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512');
    connect(pair, { ikeProposals }, { ikeProposals });
    world.run(2000);
    expect(fragments).toBeGreaterThan(4);
    expect(pair.b.engine.counters()['received: fragments']).toBe(fragments - 1);
    expect(pair.b.engine.load()).toMatchObject({ halfOpen: 1, children: 0 });
    pair.a.command({ command: 'remove-connection', name: `${A}-${B}` });
    world.run(31_000);
    expect(pair.b.engine.load()).toEqual({ computations: 0, ikeSas: 0, halfOpen: 0, children: 0, timers: 0 });
  });

  it('makes us do each key exchange once: the same request again, whole or in fragments, gets the answer there is', () => {
    for (const fragmentBytes of [4000, 200]) {
      const world = new World(1);
      const settings = { ...TEST_SETTINGS, fragmentBytes };
      let drawn = 0;
      const pair = {
        world,
        a: world.addHost(A, settings),
        b: world.addHost(B, settings, {
          random: (bytes) => {
            drawn += 1;
            return world.bytes(bytes);
          },
        }),
      };
      world.pass = (sent) => headerOf(sent).exchange !== 'IKE_AUTH';
      const ikeProposals = parseIkeProposal('aes256gcm16-sha256-x25519-ke1_mlkem512');
      connect(pair, { ikeProposals }, { ikeProposals });
      world.run(500);
      const requests = world.sent.filter((sent) => {
        const { exchange, responseFlag } = headerOf(sent);
        return exchange === 'IKE_INTERMEDIATE' && !responseFlag;
      });
      const answers = world.sent.filter(({ local }) => local.address === B).length;
      const before = drawn;
      for (let again = 0; again < 20; again++) {
        for (const { local, remote, data } of requests) pair.b.receive({ local: remote, remote: local, data });
      }
      expect(drawn).toBe(before);
      expect(pair.b.engine.counters()['sent: repeated responses']).toBe(20);
      expect(world.sent.filter(({ local }) => local.address === B).length).toBeGreaterThan(answers);
    }
  });
});
