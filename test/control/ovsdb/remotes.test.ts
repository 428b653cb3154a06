import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OvsdbClient } from '../../../control/ovsdb/client.ts';
import { parseRemote, type TlsFiles } from '../../../control/ovsdb/remote.ts';
import { COLUMNS } from '../../../control/ovsdb/switch-columns.ts';
import { missingOvs, TestOvsdbServer } from './ovsdb-server.ts';

const missing = missingOvs() ?? (existsSync('/usr/bin/openssl') ? undefined : 'openssl is missing');

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

describe.skipIf(missing !== undefined)(
  `remotes of a real ovsdb-server${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  () => {
    const directory = mkdtempSync(join(tmpdir(), 'espd-pki-'));
    const certificate = (name: string): TlsFiles & { readonly privateKey: string; readonly certificate: string } => ({
      privateKey: join(directory, `${name}.key`),
      certificate: join(directory, `${name}.pem`),
    });
    let server: TestOvsdbServer;
    let tcp = '';
    let ssl = '';

    beforeAll(async () => {
      for (const name of ['server', 'client', 'stranger']) {
        const { privateKey, certificate: pem } = certificate(name);
        const args = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', `/CN=${name}`];
        execFileSync('openssl', [...args, '-keyout', privateKey, '-out', pem], { stdio: 'ignore' });
      }
      const ports = [await freePort(), await freePort()];
      tcp = `tcp:127.0.0.1:${ports[0]}`;
      ssl = `ssl:127.0.0.1:${ports[1]}`;
      const { privateKey, certificate: pem } = certificate('server');
      server = new TestOvsdbServer(
        [`ptcp:${ports[0]}:127.0.0.1`, `pssl:${ports[1]}:127.0.0.1`],
        [`--private-key=${privateKey}`, `--certificate=${pem}`, `--ca-cert=${certificate('client').certificate}`],
      );
      await server.start();
    });

    afterAll(async () => {
      await server?.remove();
      rmSync(directory, { recursive: true, force: true });
    });

    async function outcome(name: string, tls: TlsFiles): Promise<string> {
      const client = new OvsdbClient({ name, remote: parseRemote(name), columns: COLUMNS, tls });
      const synced = once(client, 'synced').then(() => 'synced');
      const failed = once(client, 'disconnected').then(([reason]) => String(reason));
      client.start();
      const first = await Promise.race([synced, failed]);
      await client.close();
      return first;
    }

    it('are reached over TCP', async () => {
      expect(await outcome(tcp, {})).toBe('synced');
    });

    it('are reached over TLS with the right certificates, whatever name the server has', async () => {
      expect(await outcome(ssl, { ...certificate('client'), caCert: certificate('server').certificate })).toBe(
        'synced',
      );
    });

    it('are refused over TLS when the server is not signed by the CA', async () => {
      const reason = await outcome(ssl, { ...certificate('client'), caCert: certificate('stranger').certificate });
      expect(reason).toMatch(
        /^ssl:.*cannot connect \(.*CERT.*\).*check --private-key, --certificate and --ca-cert; trying again$/,
      );
    });

    it('say which file is missing', async () => {
      const reason = await outcome(ssl, { ...certificate('client'), caCert: '/nonexistent/ca.pem' });
      expect(reason).toMatch(/ENOENT.*\/nonexistent\/ca\.pem/);
    });
  },
);
