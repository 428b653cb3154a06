/**
 * The clocks of an established IKE SA: when it is rekeyed, when it ends, when a silent peer is asked whether it is still
 * there (RFC 7296 §2.4, §2.8), and when the NAT in front of us is reminded of us (RFC 3948 §4).
 */

import { type LifeSpan, lifeSpan } from '../lifetimes.ts';
import { reauthenticate } from '../retirement.ts';
import { IkeRekey } from '../tasks/ike-rekey.ts';
import { Liveness } from '../tasks/liveness.ts';
import type { Timer } from '../timers.ts';
import type { Connection } from '../types.ts';
import { readU32 } from '../wire/bytes.ts';
import { NOTIFY } from '../wire/names.ts';
import type { Payload } from '../wire/payloads.ts';
import type { IkeSa } from './ike-sa.ts';
import { findNotify } from './notify.ts';

/** Default of RFC 3948 §4. */
const KEEPALIVE_MS = 20_000;
const SHORTEST_AUTH_SECONDS = 60;

function freshSpan({ context }: IkeSa, { lifetimes }: Connection): LifeSpan {
  return lifeSpan(context.nowMs(), lifetimes.ikeSeconds, lifetimes, context.fraction());
}

/** Sets the timers; `sa.stopLife` ends them. */
export function superviseLife(sa: IkeSa, config: Connection, span = freshSpan(sa, config)): void {
  const { context } = sa;
  const { timers } = context;
  sa.rekeyAtMs = span.rekeyAtMs;
  sa.expiresAtMs = span.expiresAtMs;
  const anew = (): void => {
    if (sa.connection !== undefined) reauthenticate(sa.connection, sa);
  };
  const rekey = timers.at(span.rekeyAtMs, () => {
    if (config.reauthenticate === true) anew();
    else if (sa.state === 'established' && sa.retiring === undefined) sa.enqueue(new IkeRekey());
  });
  const asked = sa.reauthenticateByMs === undefined ? undefined : timers.at(sa.reauthenticateByMs, anew);
  const expiry = timers.at(span.expiresAtMs, () => {
    context.count('expired: IKE SAs');
    sa.connection?.close(sa, 'its lifetime is over');
  });
  let liveness: Timer | undefined;
  const check = (): void => {
    const idleUntilMs = sa.lastHeardMs + config.dpdSeconds * 1000;
    if (context.nowMs() >= idleUntilMs && sa.tasks.isIdle) sa.enqueue(new Liveness());
    // While a request is outstanding its retransmissions are the check.
    liveness = timers.at(Math.max(idleUntilMs, context.nowMs() + config.dpdSeconds * 1000), check);
  };
  if (config.dpdSeconds > 0) liveness = timers.at(sa.lastHeardMs + config.dpdSeconds * 1000, check);
  let keepalive: Timer | undefined;
  const keepAliveLater = (): void => {
    keepalive = timers.at(context.nowMs() + (context.settings.keepaliveMs ?? KEEPALIVE_MS), () => {
      context.emit({ action: 'keepalive', local: sa.local, remote: sa.remote });
      keepAliveLater();
    });
  };
  if (sa.nat.us) keepAliveLater();
  sa.stopLife = () => {
    for (const timer of [rekey, asked, expiry, liveness, keepalive]) timers.cancel(timer);
  };
}

/**
 * The peer said in IKE_AUTH how long it takes us for authenticated (RFC 4478): we begin anew before, by the same jittered
 * margin as for a lifetime of our own.
 */
export function heedAuthLifetime(sa: IkeSa, config: Connection, payloads: readonly Payload[]): void {
  const data = findNotify(payloads, NOTIFY.AUTH_LIFETIME)?.data;
  if (data?.length !== 4) return;
  const seconds = readU32(data, 0);
  const { context } = sa;
  // A peer that asks for less than a minute would have us do nothing else.
  const span = lifeSpan(
    context.nowMs(),
    Math.max(seconds, SHORTEST_AUTH_SECONDS),
    config.lifetimes,
    context.fraction(),
  );
  sa.reauthenticateByMs = span.rekeyAtMs;
  context.log('info', config.name, `peer wants ${sa.label} to be authenticated anew within ${seconds} s`);
}

/** Rekeying did not succeed: tries again after a while, until the IKE SA's end of life. */
export function rekeyIkeLater(sa: IkeSa, pauseMs: number): void {
  const { context } = sa;
  const stop = sa.stopLife;
  const timer = context.timers.at(context.nowMs() + pauseMs, () => {
    if (sa.state === 'established' && sa.retiring === undefined) sa.enqueue(new IkeRekey());
  });
  sa.stopLife = () => {
    stop();
    context.timers.cancel(timer);
  };
}
