/** The SPD of a worker: what a command may change, and that no way leads back to plaintext. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PROTECTION_STATE } from '../../dataplane/policy.ts';
import { Protections } from '../../dataplane/protections.ts';

const LIMIT = 4;
const ID = 2;
const { none, neverUp, protected: wasUp, invalid } = PROTECTION_STATE;

const fresh = (state?: 'never-up' | 'protected' | 'invalid'): Protections => {
  const protections = new Protections(LIMIT);
  if (state !== undefined) protections.set(ID, state);
  return protections;
};

describe('a protection', () => {
  it('is invalid until it is set, and without SA; a tunnel without protection has no IPsec', () => {
    const protections = fresh();
    for (let id = 0; id < LIMIT; id++) {
      expect(protections.stateOf(id)).toBe(invalid);
      expect(protections.outboundSa[id]).toBe(-1);
      expect(protections.wantedAt[id]).toBe(Number.NEGATIVE_INFINITY);
    }
    expect(protections.stateOf(-1)).toBe(none);
  });

  it('is what it was set to', () => {
    expect(fresh('never-up').stateOf(ID)).toBe(neverUp);
    expect(fresh('protected').stateOf(ID)).toBe(wasUp);
    expect(fresh('invalid').stateOf(ID)).toBe(invalid);
    expect(fresh('never-up').stateOf(ID - 1)).toBe(invalid);
  });

  it('is protected from its first SA on, and sends on the SA it was told last', () => {
    const protections = fresh('never-up');
    protections.use(ID, 0);
    expect(protections.stateOf(ID)).toBe(wasUp);
    expect(protections.outboundSa[ID]).toBe(0);
    protections.use(ID, 9);
    expect(protections.outboundSa[ID]).toBe(9);
    expect(protections.stateOf(ID)).toBe(wasUp);
  });

  it('stays protected without SA, and however it is set again', () => {
    const protections = fresh('never-up');
    protections.use(ID, 5);
    protections.use(ID, undefined);
    expect(protections.outboundSa[ID]).toBe(-1);
    expect(protections.stateOf(ID)).toBe(wasUp);
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(wasUp);
    protections.set(ID, 'invalid');
    expect(protections.stateOf(ID)).toBe(invalid);
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(wasUp);
  });

  it('stays protected where control has said that it once was', () => {
    const protections = fresh('protected');
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(wasUp);
  });

  it('was not up yet when it is told to use no SA', () => {
    const protections = fresh('never-up');
    protections.use(ID, undefined);
    expect(protections.stateOf(ID)).toBe(neverUp);
    protections.set(ID, 'invalid');
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(neverUp);
  });

  it('that is invalid is not made valid by an SA, but remembers it', () => {
    const protections = fresh('invalid');
    protections.use(ID, 1);
    expect(protections.stateOf(ID)).toBe(invalid);
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(wasUp);
  });

  it('loses its SA when that one goes, and keeps it when another goes', () => {
    const protections = fresh('protected');
    protections.use(ID, 5);
    protections.stopUsing(ID, 6);
    expect(protections.outboundSa[ID]).toBe(5);
    protections.stopUsing(ID, 5);
    expect(protections.outboundSa[ID]).toBe(-1);
    expect(protections.stateOf(ID)).toBe(wasUp);
  });

  it('leaves nothing behind for another one of its number', () => {
    const protections = fresh('protected');
    protections.use(ID, 5);
    protections.wantedAt[ID] = 1000;
    protections.remove(ID);
    expect(protections.stateOf(ID)).toBe(invalid);
    expect(protections.outboundSa[ID]).toBe(-1);
    expect(protections.wantedAt[ID]).toBe(Number.NEGATIVE_INFINITY);
    protections.set(ID, 'never-up');
    expect(protections.stateOf(ID)).toBe(neverUp);
  });

  it('once up is never in a state that lets plaintext pass, whatever it is told but its removal', () => {
    const states = fc.constantFrom('never-up', 'protected', 'invalid');
    fc.assert(
      fc.property(
        fc.array(fc.oneof(states, fc.nat(3), fc.constant(undefined)), { maxLength: 12 }),
        fc.array(fc.oneof(states, fc.nat(3), fc.constant(undefined)), { maxLength: 12 }),
        (before, after) => {
          const protections = fresh('never-up');
          const tell = (what: (typeof before)[number]): void => {
            if (typeof what === 'string') protections.set(ID, what as 'never-up');
            else protections.use(ID, what);
          };
          before.forEach(tell);
          protections.use(ID, 0);
          for (const what of after) {
            tell(what);
            expect([wasUp, invalid]).toContain(protections.stateOf(ID));
          }
        },
      ),
    );
  });
});
