import { describe, expect, it } from 'vitest';
import { stepsTo } from '../../../control/route/kernel-routing.ts';
import { type KernelRule, NO_ROUTING, type RoutedTunnel, routingPlan, wordsOf } from '../../../control/route/rules.ts';
import type { MarkMatch, ProtectionState } from '../../../dataplane/index.ts';

function tunnel(protection: ProtectionState | undefined, change: Partial<RoutedTunnel> = {}): RoutedTunnel {
  return { type: 'vxlan', local: '10.1.0.1', remote: '10.1.0.2', port: 4789, protection, ...change };
}

const MARKED: MarkMatch = { value: 1, mask: 1 };
const INTO_TUN = 'pref 5 to 10.1.0.2 iif lo ipproto 17 dport 4789 lookup 2423';
const NO_PLAINTEXT = 'pref 3 from 10.1.0.2 to 10.1.0.1 ipproto 17 dport 4789 blackhole';
const NOT_MARKED = 'pref 4 to 10.1.0.2 fwmark 0x1/0x1 iif lo ipproto 17 dport 4789 blackhole';
const NO_MARKED = 'pref 6 fwmark 0x1/0x1 iif lo ipproto 17 dport 4789 blackhole';

describe('the policy as rules of the kernel', () => {
  it.each([
    ['an SA, or once had one', 'protected', undefined, [INTO_TUN, NO_PLAINTEXT], [NOT_MARKED, NO_MARKED]],
    ['an SA, or once had one, and a mark rule', 'protected', MARKED, [INTO_TUN, NO_PLAINTEXT, NO_MARKED], [NOT_MARKED]],
    ['never an SA', 'never-up', undefined, [INTO_TUN], [NO_PLAINTEXT, NOT_MARKED, NO_MARKED]],
    ['never an SA, and a mark rule', 'never-up', MARKED, [INTO_TUN, NO_PLAINTEXT, NOT_MARKED, NO_MARKED], []],
    ['wrong settings', 'invalid', undefined, [INTO_TUN, NO_PLAINTEXT], [NOT_MARKED, NO_MARKED]],
    ['no IPsec, and a mark rule', undefined, MARKED, [NO_MARKED], [INTO_TUN, NO_PLAINTEXT, NOT_MARKED]],
  ] as const)('of a tunnel with %s', (_case, protection, drop, present, absent) => {
    const { rules } = routingPlan(4, [tunnel(protection)], drop);
    for (const rule of present) expect(rules).toContain(rule);
    for (const rule of absent) expect(rules).not.toContain(rule);
  });

  it('of a tunnel without IPsec are none while there is no mark rule', () => {
    expect(routingPlan(4, [tunnel(undefined)], undefined)).toEqual(NO_ROUTING);
  });

  it('put what is forbidden by mark last, behind the ways of protected tunnels, and the table local behind all', () => {
    const { rules } = routingPlan(4, [tunnel('protected')], MARKED);
    const preferences = rules.map((rule) => Number(rule.split(' ')[1]));
    expect(preferences).toEqual([...preferences].sort((a, b) => a - b));
    expect(rules.at(-1)).toBe('pref 9 lookup 255');
  });

  it('name no mark where every mark is forbidden, and every kind of tunnel packet, whether or not there is a tunnel of it', () => {
    const rules = routingPlan(6, [], { value: 0, mask: 0 }).rules.filter((rule) => rule.startsWith('pref 6'));
    expect(rules).toEqual([
      'pref 6 iif lo ipproto 47 blackhole',
      'pref 6 iif lo ipproto 17 dport 6081 blackhole',
      'pref 6 iif lo ipproto 17 dport 4789 blackhole',
      'pref 6 iif lo ipproto 6 dport 7471 blackhole',
    ]);
  });

  it('are of the family of the tunnel, with its own port, and the source that a device may leave open', () => {
    const six = tunnel('protected', { type: 'geneve', local: 'fd00::1', remote: 'fd00::2', port: 7000 });
    expect(routingPlan(4, [six], undefined)).toEqual(NO_ROUTING);
    const plan = routingPlan(6, [six, tunnel('protected')], undefined);
    expect(plan.rules).toContain('pref 5 to fd00::2 iif lo ipproto 17 dport 7000 lookup 2423');
    expect(plan.routes).toEqual(['fd00::2 dev espd-route src fd00::1']);
  });
});

const LOCAL: KernelRule = { priority: 0, src: 'all', table: '255' };
const MAIN: KernelRule = { priority: 32766, src: 'all', table: '254' };
const THEIRS: KernelRule = { priority: 100, src: 'all', dst: '10.9.0.0', table: '254' };
/** As the kernel would show rules of a plan. */
const shown = (rules: readonly string[]): KernelRule[] =>
  rules.map((words) => {
    const value = (key: string): string | undefined => new RegExp(`\\b${key} (\\S+)`).exec(words)?.[1];
    const [fwmark, fwmask] = value('fwmark')?.split('/') ?? [];
    return {
      priority: Number(value('pref')),
      src: value('from') ?? 'all',
      ...(value('to') === undefined ? {} : { dst: value('to')! }),
      ...(fwmark === undefined ? {} : { fwmark, fwmask: fwmask! }),
      ...(value('iif') === undefined ? {} : { iif: value('iif')! }),
      ...(value('ipproto') === undefined ? {} : { ipproto: `ipproto-${value('ipproto')}` }),
      ...(value('dport') === undefined ? {} : { dport: Number(value('dport')) }),
      ...(words.endsWith('blackhole') ? { action: '6' } : { table: value('lookup')! }),
      protocol: '242',
    };
  });

describe('the steps to a plan', () => {
  const plan = routingPlan(4, [tunnel('never-up')], MARKED);

  it('begin with the blackhole, and end with the rule of the table local, which is never missing', () => {
    const steps = stepsTo(plan, [LOCAL, THEIRS, MAIN], []);
    expect(steps[0]).toBe('route replace blackhole default table 2423 proto 242');
    expect(steps.at(-2)).toBe('rule add pref 9 lookup 255 protocol 242');
    expect(steps.at(-1)).toBe('rule del pref 0 lookup 255');
    expect(steps.findLastIndex((step) => step.startsWith('route'))).toBeLessThan(
      steps.findIndex((step) => step.startsWith('rule')),
    );
  });

  const routes = [
    { type: 'blackhole', dst: 'default' },
    { dst: '10.1.0.2', dev: 'espd-route', prefsrc: '10.1.0.1' },
  ];

  it('are none when the kernel has it already, and rules are read back in the words they were made with', () => {
    expect(shown(plan.rules).map(wordsOf)).toEqual(plan.rules);
    expect(stepsTo(plan, [...shown(plan.rules), THEIRS, MAIN], routes)).toEqual([]);
  });

  it('are those that differ: what is new comes before what goes', () => {
    const next = routingPlan(4, [tunnel('protected')], undefined);
    const steps = stepsTo(next, [...shown(plan.rules), MAIN], routes);
    expect(steps.filter((step) => step.includes('add'))).toEqual([]);
    expect(steps).toContain(`rule del ${NOT_MARKED} protocol 242`);
    expect(steps).not.toContain(`rule del ${INTO_TUN} protocol 242`);
  });

  it('take everything of ours away, put the table local back in its place first, and leave rules of others alone', () => {
    const steps = stepsTo(NO_ROUTING, [...shown(plan.rules), THEIRS, MAIN], routes);
    expect(steps[0]).toBe('rule add pref 0 lookup 255 protocol kernel');
    expect(steps.filter((step) => step.startsWith('rule del'))).toHaveLength(plan.rules.length);
    expect(steps.filter((step) => step.startsWith('route del'))).toHaveLength(2);
    expect(steps.join('\n')).not.toMatch(/32766|pref 100/);
  });

  it('put a route back that has gone with the TUN of a daemon that was killed', () => {
    expect(stepsTo(plan, [...shown(plan.rules), MAIN], [routes[0]!])).toEqual([
      'route replace 10.1.0.2 dev espd-route src 10.1.0.1 table 2423 proto 242',
    ]);
  });
});
