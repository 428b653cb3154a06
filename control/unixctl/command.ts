/**
 * A unixctl command as a table row, and the table: lookup, argument counts, and the sentences OVS says when
 * something is wrong with them. Scripts match those sentences, so they are OVS's to the letter.
 */

/** Text for people, or a JSON value for `ovs-appctl -f json` (only when `context.format` is `json`). */
export type CommandReply = string | { readonly json: unknown };

export interface CommandContext {
  /** What this connection asked for with set-options. */
  readonly format: 'text' | 'json';
}

export interface Command {
  readonly name: string;
  /** Arguments as list-commands shows them, for instance `[--no-cleanup]`. */
  readonly usage: string;
  /** Fewest and most arguments. */
  readonly min: number;
  readonly max: number;
  /** May throw CommandError for an error reply. */
  run(args: readonly string[], context: CommandContext): CommandReply | Promise<CommandReply>;
}

/** The command can't do what was asked. ovs-appctl prints the message and exits 2. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
}

export class CommandTable {
  readonly #commands = new Map<string, Command>();

  /** @throws Error when two rows have one name: a programming error. */
  constructor(commands: readonly Command[]) {
    for (const command of commands) {
      if (this.#commands.has(command.name)) throw new Error(`unixctl command ${command.name} is registered twice`);
      this.#commands.set(command.name, command);
    }
  }

  /** Sorted by name. */
  all(): readonly Command[] {
    return [...this.#commands.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /**
   * The command of that name, if these are arguments it can take.
   * @throws CommandError with OVS's sentence otherwise.
   */
  find(name: string, argumentCount: number): Command {
    const command = this.#commands.get(name);
    if (command === undefined) {
      throw new CommandError(`"${name}" is not a valid command (use "list-commands" to see a list of valid commands)`);
    }
    if (argumentCount < command.min) {
      throw new CommandError(`"${name}" command requires at least ${command.min} arguments`);
    }
    if (argumentCount > command.max) {
      throw new CommandError(`"${name}" command takes at most ${command.max} arguments`);
    }
    return command;
  }

  /** The text of list-commands. */
  list(): string {
    const rows = this.all().map((command) => `  ${command.name.padEnd(23)} ${command.usage}\n`);
    return `The available commands are:\n${rows.join('')}`;
  }
}
