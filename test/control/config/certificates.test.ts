// Tunnels with certificates: which files are asked for, what IKE gets, which tunnel is INVALID and with what words.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { credentialPaths } from '../../../control/config/trust.ts';
import { type ConnectionPlan, planSteps } from '../../../control/connections.ts';
import { CredentialStore } from '../../../control/credentials/credentials.ts';
import { inOneGo } from '../../../control/slices.ts';
import { Pki } from '../../rig/pki.ts';
import { replicaOf, stateOf, withRemote } from './rows.ts';

const pki = new Pki();
afterAll(() => pki.remove());
const root = pki.authority('root');
const own = pki.signed(root, 'host_1');
const peer = pki.selfSigned('host_2');
const renewed = pki.selfSigned('host_2');
const stranger = pki.selfSigned('host_3');
const list = pki.revocationList(root, []);

const PAIR = { certificate: own.certificatePath, private_key: own.keyPath };
const WITH_CA = { ...PAIR, ca_cert: root.certificatePath };
const credentials = new CredentialStore();
beforeAll(async () => {
  const remote = [peer, renewed, stranger].map(({ certificatePath }) => certificatePath);
  await credentials.read({
    certificates: new Set([own.certificatePath, root.certificatePath, ...remote]),
    privateKeys: new Set([own.keyPath, peer.keyPath]),
    revocationLists: new Set([list]),
  });
});

type Options = Readonly<Record<string, string>>;
const stateWith = (tunnels: readonly Options[], otherConfig: Options = WITH_CA) =>
  stateOf(
    tunnels.map((options, index) => ({ name: `tun${index}`, options: withRemote(options) })),
    otherConfig,
    { credentials },
  );

describe('a tunnel with certificates', () => {
  it('authenticates by ca_cert and remote_name, and goes by the common name of its own certificate', () => {
    const state = stateWith([{ remote_name: 'host_2' }]);
    expect(state.tunnels[0]).toMatchObject({ state: 'CONFIGURED', remoteName: 'host_2' });
    expect(state.global.localName).toBe('host_1');
    const [{ connection }] = inOneGo(planSteps(state.connections, 1)) as [ConnectionPlan];
    expect(connection).toMatchObject({
      localId: { type: 'fqdn', value: 'host_1' },
      remoteId: { type: 'fqdn', value: 'host_2' },
      authentication: {
        method: 'certificate',
        peerName: 'host_2',
        trust: { kind: 'authorities', revocationLists: undefined },
      },
    });
  });

  it('pins remote_cert, whose common name is the remote name, even if ca_cert and remote_name are set too', () => {
    const state = stateWith([{ remote_cert: peer.certificatePath, remote_name: 'somebody' }]);
    expect(state.tunnels[0]).toMatchObject({ state: 'CONFIGURED', remoteName: 'host_2' });
    expect(state.connections[0]?.auth).toMatchObject({
      authentication: { peerName: 'host_2', trust: { kind: 'pinned' } },
    });
  });

  it('checks revocation if ca_crl is set, and trusts nobody without the lists', () => {
    const state = stateWith([{ remote_name: 'host_2' }], { ...WITH_CA, ca_crl: list });
    expect(state.connections[0]?.auth).toMatchObject({
      authentication: { trust: { revocationLists: [expect.anything()] } },
    });
    const without = stateWith([{ remote_name: 'host_2' }], { ...WITH_CA, ca_crl: '/nowhere/crl.pem' });
    expect(without.tunnels[0]?.reason).toMatch(/^other_config:ca_cert: "\/nowhere\/crl\.pem": .*; expected/);
  });

  it.each([
    [
      'its remote_cert',
      { remote_cert: '/nowhere/peer.pem' },
      WITH_CA,
      /^options:remote_cert: "\/nowhere\/peer\.pem": .*; expected the path of a PEM certificate$/,
    ],
    [
      'the certificate of the host',
      { remote_name: 'x' },
      { ...WITH_CA, certificate: '/nowhere/c.pem' },
      /^other_config:certificate: "\/nowhere\/c\.pem": /,
    ],
    [
      'a key of another certificate',
      { remote_name: 'x' },
      { ...WITH_CA, private_key: peer.keyPath },
      /is not the private key of certificate/,
    ],
    [
      'a ca_cert that is no authority',
      { remote_name: 'x' },
      { ...PAIR, ca_cert: own.certificatePath },
      /^other_config:ca_cert: .*is no certificate authority/,
    ],
  ])('is INVALID with the file at fault: %s', async (_what, options, otherConfig, words) => {
    const fresh = new CredentialStore();
    const tunnel = { name: 'tun', type: 'gre', options: withRemote(options) };
    await fresh.read(credentialPaths(replicaOf({ Open_vSwitch: { other_config: otherConfig }, Interface: [tunnel] })));
    const state = stateOf([tunnel], otherConfig, { credentials: fresh });
    expect(state.tunnels[0]).toMatchObject({ state: 'INVALID', ipsec: undefined });
    expect(state.tunnels[0]?.reason).toMatch(words);
  });

  it('cannot have another peer than the other tunnels to the same address', () => {
    const state = stateWith([
      { remote_name: 'host_2', key: '1' },
      { remote_name: 'host_3', key: '2' },
      { remote_name: 'host_2', key: '3' },
    ]);
    expect(state.tunnels.map((tunnel) => tunnel.state)).toEqual(['CONFIGURED', 'INVALID', 'CONFIGURED']);
    expect(state.tunnels[1]?.reason).toMatch(
      /^options:remote_cert and remote_name of interface tun1 differs from that of interface tun0/,
    );
    expect(state.connections).toHaveLength(1);
  });

  it('leaves a PSK on the same host INVALID, in the words of ovs-monitor-ipsec', () => {
    const state = stateWith([{ psk: 'swordfish' }, { remote_name: 'host_2', key: '2', remote_ip: '10.0.0.3' }]);
    expect(state.tunnels.map((tunnel) => tunnel.state)).toEqual(['INVALID', 'CONFIGURED']);
    expect(state.tunnels[0]?.reason).toBe(
      "'certificate', 'private_key', 'ca_cert', 'remote_cert', and 'remote_name' must be unset with PSK",
    );
  });

  it('shows no private key to JSON', () => {
    const text = JSON.stringify(stateWith([{ remote_name: 'host_2' }]));
    expect(text).not.toMatch(/PRIVATE|"d":/);
  });
});

describe('the files that are read', () => {
  it('are those that the rows name, empty values left out', () => {
    const replica = replicaOf({
      Open_vSwitch: { other_config: { certificate: '/c', private_key: '/k', ca_cert: '/ca', ca_crl: '' } },
      Interface: [
        { name: 'a', type: 'gre', options: { remote_cert: '/r' } },
        { name: 'b', type: 'gre', options: { remote_cert: '' } },
      ],
    });
    expect(credentialPaths(replica)).toEqual({
      certificates: new Set(['/c', '/ca', '/r']),
      privateKeys: new Set(['/k']),
      revocationLists: new Set(),
    });
  });
});
