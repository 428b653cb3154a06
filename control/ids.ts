/**
 * Small integers for things that come and go, below a limit: the packet engine finds them by index.
 *
 * A number that was given back is the last to be given again, so that what still carries it somewhere (a packet under
 * way, an SA that drains) does not meet its next owner.
 */
export class Ids {
  readonly #first: number;
  readonly #limit: number;
  readonly #taken = new Set<number>();
  #next: number;

  /** Gives `first` to `limit` - 1. */
  constructor(first: number, limit: number) {
    this.#first = first;
    this.#limit = limit;
    this.#next = first;
  }

  /** @throws Error with one line, which begins with `what`, when all are taken. */
  take(what: string): number {
    const room = this.#limit - this.#first;
    if (this.#taken.size >= room) throw new Error(`${what}: there are ${room} already, and that is the limit`);
    while (this.#taken.has(this.#next)) this.#advance();
    const id = this.#next;
    this.#taken.add(id);
    this.#advance();
    return id;
  }

  release(id: number): void {
    this.#taken.delete(id);
  }

  #advance(): void {
    this.#next = this.#next + 1 === this.#limit ? this.#first : this.#next + 1;
  }
}
