import { describe, expect, it } from 'vitest';
import { top, topText } from '../../control/top.ts';
import { sampleModel } from './metrics/model-sample.ts';

describe('top', () => {
  it('shows tunnels with rates, drops and the last negotiations', () => {
    const before = sampleModel();
    const [tunnel] = before.tunnels;
    const traffic = { ...tunnel!.traffic, rxBytes: 1000 + 250_000 };
    const model = sampleModel({ nowMs: before.nowMs + 2000, tunnels: [{ ...tunnel!, traffic }] });
    expect(topText(model, before, 120, 24).split('\n')).toEqual([
      'ovs-espd 1.2.3: 1 tunnel, 1 with an SA',
      '',
      'TUNNEL          TYPE    REMOTE                  POLICY    RX           TX           DROPS',
      'tun             geneve  10.1.0.2                up        1.0 Mbit/s   0 bit/s      3',
      '',
      'drops: policy-no-sa 3',
      '',
      'last negotiations:',
      '  00:17:30 IKE_SA established',
      '',
    ]);
  });

  it('stays within its screen, and lets no name move the cursor', () => {
    const [tunnel] = sampleModel().tunnels;
    const tunnels = Array.from({ length: 100 }, (_, i) => ({ ...tunnel!, name: `t${i}\x1b[2J${'x'.repeat(200)}` }));
    const lines = topText(sampleModel({ tunnels }), undefined, 80, 24).trimEnd().split('\n');
    expect(lines.length).toBeLessThanOrEqual(23);
    for (const line of lines) {
      expect(line.length).toBeLessThanOrEqual(80);
      expect(line).not.toMatch(/\p{Cc}/u);
    }
  });

  it('says in one line what is wrong', async () => {
    await expect(top(['--twice'], {})).rejects.toThrow('top: unknown argument "--twice", expected --once or none');
    await expect(top(['--once'], { OVS_RUNDIR: '/nonexistent' })).rejects.toThrow(
      'top: no /nonexistent/ovs-espd.pid: start the daemon with --pidfile, or set OVS_RUNDIR to its directory',
    );
  });
});
