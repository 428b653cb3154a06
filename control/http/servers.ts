/** The HTTP servers that the command line asks for: metrics for Prometheus, the live page. None by default. */
import type { CommandLine } from '../command-line.ts';
import { EXPOSITION_TYPE, exposition } from '../metrics/exposition.ts';
import type { StatusModel } from '../model/model.ts';
import { ICON, PAGE, STYLE } from './page-document.ts';
import { SCRIPT } from './page-script.ts';
import { ReadOnlyServer } from './read-only-server.ts';

export interface ServerSources {
  readonly model: () => StatusModel;
  readonly onBug: (path: string, error: unknown) => void;
}

export function httpServers(
  { metrics, http }: Pick<CommandLine, 'metrics' | 'http'>,
  { model, onBug }: ServerSources,
): ReadOnlyServer[] {
  const servers: ReadOnlyServer[] = [];
  if (metrics !== undefined) {
    const resources = { '/metrics': () => ({ type: EXPOSITION_TYPE, body: exposition(model()) }) };
    servers.push(new ReadOnlyServer({ option: '--metrics', listen: metrics, resources, onBug }));
  }
  if (http !== undefined) {
    const resources = {
      '/': () => ({ type: 'text/html; charset=utf-8', body: PAGE }),
      '/icon.svg': () => ({ type: 'image/svg+xml', body: ICON }),
      '/page.css': () => ({ type: 'text/css; charset=utf-8', body: STYLE }),
      '/page.js': () => ({ type: 'text/javascript; charset=utf-8', body: SCRIPT }),
      '/status.json': () => ({ type: 'application/json', body: JSON.stringify(model()) }),
    };
    servers.push(new ReadOnlyServer({ option: '--http', listen: http, resources, onBug }));
  }
  return servers;
}
