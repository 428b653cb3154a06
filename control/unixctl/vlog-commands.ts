/** The vlog/* commands of every OVS daemon (ovs-appctl(8), "LOGGING COMMANDS"). */

import { messageOf } from '../message-of.ts';
import type { Vlog } from '../vlog.ts';
import { type Command, CommandError } from './command.ts';

/** No arguments stand for the empty specification: everything to dbg. */
const ANY_NUMBER = 1000;

export function vlogCommands(vlog: Vlog): readonly Command[] {
  const checked = (error: string | undefined): string => {
    if (error !== undefined) throw new CommandError(error);
    return '';
  };
  return [
    {
      name: 'vlog/set',
      usage: '{spec | PATTERN:destination:pattern}',
      min: 1,
      max: ANY_NUMBER,
      run: (args) => {
        for (const spec of args) checked(vlog.set(spec));
        return '';
      },
    },
    { name: 'vlog/list', usage: '', min: 0, max: 0, run: () => vlog.list() },
    { name: 'vlog/list-pattern', usage: '', min: 0, max: 0, run: () => vlog.listPatterns() },
    {
      name: 'vlog/enable-rate-limit',
      usage: '[module]...',
      min: 0,
      max: ANY_NUMBER,
      run: (args) => checked(vlog.setRateLimit(args, true)),
    },
    {
      name: 'vlog/disable-rate-limit',
      usage: '[module]...',
      min: 0,
      max: ANY_NUMBER,
      run: (args) => checked(vlog.setRateLimit(args, false)),
    },
    {
      name: 'vlog/reopen',
      usage: '',
      min: 0,
      max: 0,
      run: () => {
        try {
          vlog.reopen();
        } catch (error) {
          throw new CommandError(messageOf(error));
        }
        return '';
      },
    },
    {
      name: 'vlog/close',
      usage: '',
      min: 0,
      max: 0,
      run: () => {
        vlog.close();
        return '';
      },
    },
  ];
}
