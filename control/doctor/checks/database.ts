/** Whether the database answers, has the columns that are read and written, and who holds its locks. */

import { KEYING_LOCK } from '../../interface-status.ts';
import { isCompanion } from '../../mark-policy.ts';
import { PROGRAM } from '../../version.ts';
import { DATAPATH_LOCK } from '../../write-back.ts';
import { type Check, type Finding, fail, ok, warn } from '../check.ts';
import { describeProcess, runningAs } from '../processes.ts';

export const databaseCheck: Check = {
  name: 'database',
  about: 'whether the database answers, its schema, and who holds the locks ovs_vswitchd and ovs_ipsec',
  run({ database, processes, configuration }) {
    if ('problem' in database) return [fail(database.problem, 'start it, or name another DATABASE')];
    const { name, missingColumns, heldLocks, isShared } = database;
    const findings: Finding[] = [ok(`${name} answers`)];
    if (missingColumns.length > 0) {
      findings.push(
        warn(
          `its schema lacks ${missingColumns.join(', ')}`,
          'upgrade it: ovs-vswitchd.ovsschema of Open vSwitch 2.13 or newer has them',
        ),
      );
    }
    if (!isShared) return findings;
    const us = runningAs(processes, PROGRAM).filter(({ pid }) => pid !== process.pid);
    if (!heldLocks.has(KEYING_LOCK)) findings.push(ok(`nobody holds ${KEYING_LOCK}: ${PROGRAM} does not run on it`));
    else if (us.length > 0)
      findings.push(ok(`${KEYING_LOCK} is held, ${us.map(describeProcess).join(', ')} runs here`));
    else {
      findings.push(
        warn(
          `${KEYING_LOCK} is held by a daemon that is not in this network namespace`,
          'one started here would stand by: stop the other',
        ),
      );
    }
    findings.push(datapathFinding(heldLocks.has(DATAPATH_LOCK), processes, us.length > 0, configuration));
    return findings;
  },
};

function datapathFinding(
  isHeld: boolean,
  processes: Parameters<typeof runningAs>[0],
  weRun: boolean,
  configuration: Parameters<Check['run']>[0]['configuration'],
): Finding {
  const besideOvs = configuration !== undefined && isCompanion(configuration.desired);
  const [switchd] = runningAs(processes, 'ovs-vswitchd');
  if (!isHeld && !besideOvs) return ok(`nobody holds ${DATAPATH_LOCK}: ${PROGRAM} would be the datapath`);
  if (!isHeld) {
    return warn(
      `an interface has external_ids:espd, but nobody holds ${DATAPATH_LOCK}`,
      'start ovs-vswitchd: its tunnels are what is protected',
    );
  }
  if (besideOvs) return ok(`${DATAPATH_LOCK} is held by ovs-vswitchd, and ${PROGRAM} runs beside it`);
  if (switchd === undefined && weRun) return ok(`${DATAPATH_LOCK} is held, ${PROGRAM} is the datapath`);
  return fail(
    `${DATAPATH_LOCK} is held${switchd === undefined ? ' by another process' : ` by ${describeProcess(switchd)}`}, and no interface has external_ids:espd: ${PROGRAM} would wait for ever`,
    'stop it, or say which interface is the uplink: docs/howto/ovs-userspace.md',
  );
}
