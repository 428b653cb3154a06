/**
 * Which outbound SA each protection sends on, as the main thread remembers it for a worker that starts anew: one for all workers, and
 * some for one worker alone (protections.ts).
 */

import type { EngineCommand } from './commands.ts';

type UseOutboundSa = Extract<EngineCommand, { op: 'use-outbound-sa' }>;

export class SendingSas {
  /** By protection, then by worker; undefined stands for all. */
  readonly #slots = new Map<number, Map<number | undefined, number>>();

  set({ protection, slot, worker }: UseOutboundSa): void {
    const slots = this.#slots.get(protection) ?? new Map<number | undefined, number>();
    if (slot === undefined) slots.delete(worker);
    else slots.set(worker, slot);
    if (slots.size > 0) this.#slots.set(protection, slots);
    else this.#slots.delete(protection);
  }

  /** The SA in this slot is gone. */
  remove(protection: number, slot: number): void {
    for (const [worker, used] of this.#slots.get(protection) ?? [])
      if (used === slot) this.set({ op: 'use-outbound-sa', protection, slot: undefined, worker });
  }

  forget(protection: number): void {
    this.#slots.delete(protection);
  }

  commands(): UseOutboundSa[] {
    return [...this.#slots].flatMap(([protection, slots]) =>
      [...slots].map(([worker, slot]): UseOutboundSa => {
        const command = { op: 'use-outbound-sa', protection, slot } as const;
        return worker === undefined ? command : { ...command, worker };
      }),
    );
  }
}
