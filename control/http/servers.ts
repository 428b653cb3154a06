/** The HTTP servers that the command line asks for: metrics for Prometheus. None by default. */
import type { CommandLine } from '../command-line.ts';
import { EXPOSITION_TYPE, exposition } from '../metrics/exposition.ts';
import type { StatusModel } from '../model/model.ts';
import { ReadOnlyServer } from './read-only-server.ts';

export interface ServerSources {
  readonly model: () => StatusModel;
  readonly onBug: (path: string, error: unknown) => void;
}

export function httpServers(
  { metrics }: Pick<CommandLine, 'metrics'>,
  { model, onBug }: ServerSources,
): ReadOnlyServer[] {
  const servers: ReadOnlyServer[] = [];
  if (metrics !== undefined) {
    const resources = { '/metrics': () => ({ type: EXPOSITION_TYPE, body: exposition(model()) }) };
    servers.push(new ReadOnlyServer({ option: '--metrics', listen: metrics, resources, onBug }));
  }
  return servers;
}
