/**
 * Certificates and keys that the database names: whether they can be used, and for how long. Who may read a key beside us is
 * among the warnings of the configuration (checks/tunnels.ts).
 */
import { ownProblem } from '../../../ike/index.ts';
import { type Check, type Finding, fail, ok, warn } from '../check.ts';

const DAY_MS = 86_400_000;
const SOON_DAYS = 30;
const RENEW = 'make a new one, for instance with ovs-pki; the daemon reads it again when the file changes';

export const certificatesCheck: Check = {
  name: 'certificates',
  about: 'expiry of certificates, whether certificate and key are a pair',
  run({ configuration, nowMs }) {
    if (configuration === undefined) return [];
    const { credentials, paths, desired } = configuration;
    const findings = [...paths.certificates].map((path): Finding => {
      const { value, problem } = credentials.certificate(path);
      if (value === undefined) return fail(problem ?? `${path}: it has not been read`, RENEW);
      const wrong = ownProblem(value, nowMs);
      if (wrong !== undefined) return fail(`${path}: ${wrong}`, RENEW);
      const days = Math.floor((value.notAfterMs - nowMs) / DAY_MS);
      return days < SOON_DAYS ? warn(`${path}: expires in ${days} days`, RENEW) : ok(`${path}: valid for ${days} days`);
    });
    const { certificate, privateKey } = desired.global;
    if (certificate === undefined || privateKey === undefined) return findings;
    const { problem } = credentials.local(certificate, privateKey);
    const pair =
      problem === undefined
        ? ok(`${certificate} and ${privateKey} are a pair`)
        : fail(problem, 'set certificate and private_key to two that belong together');
    return [...findings, pair];
  },
};
