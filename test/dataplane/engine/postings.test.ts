/** What commands wait for on their way to the workers, and what they do not. */
import { describe, expect, it } from 'vitest';
import type { EngineCommand, InboundSa, OutboundSa } from '../../../dataplane/commands.ts';
import { Postings } from '../../../dataplane/postings.ts';

const use: EngineCommand = { op: 'use-outbound-sa', protection: 1, slot: 1 };
const remove = (slot: number): EngineCommand => ({ op: 'remove-outbound-sa', slot });
const add = (slot: number): EngineCommand => ({ op: 'add-outbound-sa', sa: { slot } as OutboundSa });
const removeInbound = (slot: number): EngineCommand => ({ op: 'remove-inbound-sa', slot });
const addInbound = (slot: number): EngineCommand => ({ op: 'add-inbound-sa', sa: { slot } as InboundSa });

function workers() {
  const posted: EngineCommand[] = [];
  const answers: { answer(): void; refuse(error: Error): void }[] = [];
  const postings = new Postings((command) => {
    posted.push(command);
    return new Promise((answer, refuse) => answers.push({ answer, refuse }));
  });
  return { posted, answers, postings };
}

describe('commands to the workers', () => {
  it('are posted within the call, whether those before them are answered or not', () => {
    const { posted, postings } = workers();
    postings.apply(use);
    postings.apply(add(1));
    expect(posted).toEqual([use, add(1)]);
  });

  it('resolve when answered and reject when refused, and rest() waits for both', async () => {
    const { answers, postings } = workers();
    const first = postings.apply(use);
    const second = postings.apply(use);
    let rests = false;
    const rest = postings.rest().then(() => {
      rests = true;
    });
    answers[1]!.refuse(new Error('no such protection'));
    await expect(second).rejects.toThrow('no such protection');
    expect(rests).toBe(false);
    answers[0]!.answer();
    await first;
    await rest;
  });

  it('enter no SA in a slot that a worker may still use for another one, and keep their order meanwhile', async () => {
    const { posted, answers, postings } = workers();
    const removed = postings.apply(remove(1));
    postings.apply(add(2));
    postings.apply(add(1));
    postings.apply(use);
    expect(posted).toEqual([remove(1), add(2)]);
    answers[0]!.answer();
    await removed;
    await Promise.resolve();
    expect(posted).toEqual([remove(1), add(2), add(1), use]);
  });

  it('enter no inbound SA either whose replay window a worker may still use for another one', async () => {
    const { posted, answers, postings } = workers();
    const removed = postings.apply(removeInbound(1));
    postings.apply(addInbound(1));
    postings.apply(use);
    expect(posted).toEqual([removeInbound(1)]);
    answers[0]!.answer();
    await removed;
    await Promise.resolve();
    expect(posted).toEqual([removeInbound(1), addInbound(1), use]);
  });

  it('do not wait for the slot of the same number in the other direction, which shares nothing', () => {
    const { posted, postings } = workers();
    const commands = [removeInbound(1), add(1), remove(2), addInbound(2)];
    for (const command of commands) postings.apply(command);
    expect(posted).toEqual(commands);
  });

  it('enter it also when the removal was refused', async () => {
    const { posted, answers, postings } = workers();
    const removed = postings.apply(remove(1));
    postings.apply(add(1));
    answers[0]!.refuse(new Error('the worker has died'));
    await expect(removed).rejects.toThrow('died');
    expect(posted).toEqual([remove(1), add(1)]);
  });
});
