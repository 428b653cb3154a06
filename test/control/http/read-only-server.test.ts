import { request } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { parseListenAddress } from '../../../control/http/listen-address.ts';
import { ReadOnlyServer } from '../../../control/http/read-only-server.ts';

const running: ReadOnlyServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.close();
});

async function start(bugs: string[] = []): Promise<number> {
  const server = new ReadOnlyServer({
    option: '--metrics',
    listen: { address: '127.0.0.1', port: 0 },
    resources: {
      '/metrics': () => ({ type: 'text/plain', body: 'a 1\n' }),
      '/broken': () => {
        throw new Error('secret detail');
      },
    },
    onBug: (path) => bugs.push(path),
  });
  running.push(server);
  return Number(/:(\d+)$/.exec(await server.listen())![1]);
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

function ask(port: number, path: string, options: { method?: string; host?: string } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = 'GET', host = `127.0.0.1:${port}` } = options;
    request({ host: '127.0.0.1', port, path, method, headers: { host } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body, headers: response.headers }));
    })
      .on('error', reject)
      .end();
  });
}

describe('the read-only server', () => {
  it('shows its resources, whole or as headers, and forbids anything from elsewhere', async () => {
    const port = await start();
    const whole = await ask(port, '/metrics?x=1');
    expect(whole).toMatchObject({ status: 200, body: 'a 1\n' });
    expect(whole.headers['content-security-policy']).toMatch(/^default-src 'none'/);
    expect(whole.headers['cache-control']).toBe('no-store');
    expect(await ask(port, '/metrics', { method: 'HEAD' })).toMatchObject({ status: 200, body: '' });
  });

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'])('refuses %s', async (method) => {
    expect(await ask(await start(), '/metrics', { method })).toMatchObject({ status: 405 });
  });

  it.each(['/', '/metrics/', '/../etc/passwd', '/constructor', '/__proto__', '//metrics'])(
    'has no %s',
    async (path) => {
      expect(await ask(await start(), path)).toMatchObject({ status: 404, body: 'there are: /metrics, /broken\n' });
    },
  );

  it.each(['evil.example', 'evil.example:80', '127.0.0.1.evil.example', 'localhost.evil.example'])(
    'on loopback does not answer to the name %j',
    async (host) => {
      expect((await ask(await start(), '/metrics', { host })).status).toBe(403);
    },
  );

  it.each(['localhost', '127.0.0.1:9475', '[::1]:9475', 'LOCALHOST:1'])('on loopback answers to %s', async (host) => {
    expect((await ask(await start(), '/metrics', { host })).status).toBe(200);
  });

  it('tells nothing of a bug but to its own log', async () => {
    const bugs: string[] = [];
    const answer = await ask(await start(bugs), '/broken');
    expect(answer).toMatchObject({ status: 500, body: 'internal error, see the log\n' });
    expect(bugs).toEqual(['/broken']);
  });

  it('ends a connection that sends no HTTP, or headers without end', async () => {
    const port = await start();
    for (const bytes of ['\x00\x01\x02\r\n\r\n', `GET / HTTP/1.1\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`]) {
      await new Promise<void>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
        socket.on('error', () => undefined);
        socket.resume().on('close', () => resolve());
      });
    }
    expect((await ask(port, '/metrics')).status).toBe(200);
  });

  it('says in one line why it cannot listen', async () => {
    const port = await start();
    const second = new ReadOnlyServer({
      ...{ option: '--metrics', listen: { address: '127.0.0.1', port }, resources: {}, onBug: () => {} },
    });
    await expect(second.listen()).rejects.toThrow(
      `--metrics=127.0.0.1:${port}: cannot listen (EADDRINUSE); choose an address of this host and a free port`,
    );
  });
});

describe('an address to listen on', () => {
  it.each([
    ['9475', '127.0.0.1', 9475],
    ['0.0.0.0:80', '0.0.0.0', 80],
    ['[::1]:0', '::1', 0],
  ])('%s is %s and %i', (text, address, port) => {
    expect(parseListenAddress(text)).toEqual({ address, port });
  });

  it.each(['', ':80', 'localhost:80', '::1:80', '1.2.3.4', '[1.2.3.4]:80', '65536', '1.2.3.4:', '80 ', '-1'])(
    '%j is none',
    (text) => {
      expect(parseListenAddress(text)).toBeUndefined();
    },
  );
});
