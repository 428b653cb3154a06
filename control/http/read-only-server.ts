/**
 * A small HTTP server that only shows: GET and HEAD of a fixed table of paths, nothing a request could change.
 *
 * Bounded in connections, header bytes and time. On loopback it answers only to names of this host, so that a web page
 * from elsewhere, whose name resolves to 127.0.0.1, cannot read it through somebody's browser (DNS rebinding).
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { isLoopback, type ListenAddress, listenAddressText } from './listen-address.ts';

export interface Resource {
  readonly type: string;
  readonly body: string;
}

export interface ReadOnlyServerOptions {
  /** The option that asked for it, for messages: `--metrics`. */
  readonly option: string;
  readonly listen: ListenAddress;
  /** By path; made at the moment of asking. */
  readonly resources: Readonly<Record<string, () => Resource>>;
  /** A resource threw: a bug, for the log. */
  readonly onBug: (path: string, error: unknown) => void;
}

const CONNECTIONS = 32;
const HEADER_BYTES = 8192;
const REQUEST_MS = 5000;
const LOCAL_NAMES = /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i;
/** Nothing from elsewhere, no frames around it, no guessing of types. */
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
} as const;

export class ReadOnlyServer {
  readonly #options: ReadOnlyServerOptions;
  readonly #server: Server;

  constructor(options: ReadOnlyServerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        ...{ maxHeaderSize: HEADER_BYTES, requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS },
        connectionsCheckingInterval: REQUEST_MS,
      },
      (request, response) => this.#answer(request, response),
    );
    this.#server.maxConnections = CONNECTIONS;
  }

  get option(): string {
    return this.#options.option;
  }

  /** Resolves with where it listens, as text; rejects with one line when it can't. */
  listen(): Promise<string> {
    const { option, listen } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          new Error(
            `${option}=${listenAddressText(listen)}: cannot listen (${error.code}); choose an address of this host and a free port`,
          ),
        ),
      );
      this.#server.listen(listen.port, listen.address, () => {
        const bound = this.#server.address();
        const port = typeof bound === 'object' && bound !== null ? bound.port : listen.port;
        resolve(listenAddressText({ address: listen.address, port }));
      });
    });
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    // A body would be the start of something else than asking; it is not read.
    request.resume();
    const { method, url = '', headers } = request;
    if (isLoopback(this.#options.listen.address) && !LOCAL_NAMES.test(headers.host ?? '')) {
      send(response, 403, 'this server answers to localhost only\n');
      return;
    }
    if (method !== 'GET' && method !== 'HEAD') {
      response.setHeader('Allow', 'GET, HEAD');
      send(response, 405, 'read only: GET and HEAD\n');
      return;
    }
    const path = url.split('?', 1)[0]!;
    const { resources } = this.#options;
    const make = Object.hasOwn(resources, path) ? resources[path] : undefined;
    if (make === undefined) {
      send(response, 404, `there are: ${Object.keys(resources).join(', ')}\n`);
      return;
    }
    try {
      const { type, body } = make();
      response.setHeader('Content-Type', type);
      send(response, 200, method === 'HEAD' ? '' : body);
    } catch (error) {
      this.#options.onBug(path, error);
      send(response, 500, 'internal error, see the log\n');
    }
  }
}

function send(response: ServerResponse, status: number, body: string): void {
  if (!response.hasHeader('Content-Type')) response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.writeHead(status, HEADERS);
  response.end(body);
}
