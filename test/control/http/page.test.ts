import { existsSync } from 'node:fs';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ReadOnlyServer } from '../../../control/http/read-only-server.ts';
import { httpServers } from '../../../control/http/servers.ts';
import type { StatusModel } from '../../../control/model/model.ts';
import { until } from '../../rig/process.ts';
import { sampleModel } from '../metrics/model-sample.ts';

const CHROMIUM = '/usr/bin/chromium';
const missing = !existsSync(CHROMIUM);

describe.skipIf(missing)(
  `the live page${missing ? ' (skipped: chromium not installed)' : ''}`,
  { timeout: 120_000 },
  () => {
    let browser: Browser;
    const servers: ReadOnlyServer[] = [];

    beforeAll(async () => {
      browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    }, 180_000);
    afterAll(() => browser.close());
    afterEach(async () => {
      for (const server of servers.splice(0)) await server.close();
    });

    /** The page of a daemon whose state is `model`; `faults` gets console errors and requests that go elsewhere. */
    async function open(model: () => StatusModel): Promise<{ page: Page; faults: string[]; origin: string }> {
      const listen = { address: '127.0.0.1', port: 0 };
      const [server] = httpServers({ metrics: undefined, http: listen }, { model, onBug: () => {} });
      servers.push(server!);
      const origin = `http://${await server!.listen()}`;
      const page = await browser.newPage();
      const faults: string[] = [];
      page.on('console', (message) => message.type() === 'error' && faults.push(message.text()));
      page.on('pageerror', (error) => faults.push(error.message));
      page.on('request', (request) => request.url().startsWith(`${origin}/`) || faults.push(request.url()));
      await page.goto(origin);
      return { page, faults, origin };
    }

    /** A state whose counters have moved on at each look. */
    function moving(change: Partial<StatusModel> = {}): () => StatusModel {
      let looks = 0;
      return () => {
        const model = sampleModel(change);
        looks++;
        const [tunnel] = model.tunnels;
        const traffic = { ...tunnel!.traffic, rxBytes: 1000 + 125_000 * looks * looks };
        return { ...model, nowMs: model.nowMs + 1000 * looks, tunnels: [{ ...tunnel!, traffic }] };
      };
    }

    it('shows tunnels, SAs with time to rekey, drops and negotiations, and moves', async () => {
      const { page, faults } = await open(moving());
      await page.waitForSelector('#throughput polyline[points*=" "]');
      const text = await page.innerText('main');
      expect(text).toMatch(/tun\s+geneve\s+10\.1\.0\.1\s+10\.1\.0\.2\s+up/);
      expect(text).toMatch(
        /tun-out\s+aes256gcm16, sending\s+0x01020304, 11 packets\s+0xf0000001, 12 packets\s+5 min 0 s/,
      );
      expect(text).toMatch(/policy-no-sa 3/);
      expect(text).toMatch(/00:17:30 IKE_SA established/);
      expect(await page.innerText('#throughput-now')).toMatch(/^\d+\.\d Mbit\/s received, 0 bit\/s sent$/);
      const before = await page.getAttribute('#throughput polyline.rx', 'points');
      const points = () => page.getAttribute('#throughput polyline.rx', 'points');
      await until('a chart that moves', async () => (await points()) !== before);
      expect(faults).toEqual([]);
      await page.close();
    });

    it.each(['up', 'down', 'never-up', 'invalid', 'none'] as const)(
      'lights the row %s of the policy, and only that',
      async (policyRow) => {
        const [tunnel] = sampleModel().tunnels;
        const { page } = await open(() => sampleModel({ tunnels: [{ ...tunnel!, policyRow }] }));
        await page.waitForSelector('#policy tr.lit');
        expect(await page.$$eval('#policy tr.lit', (rows) => rows.map((row) => row.id))).toEqual([
          `policy-${policyRow}`,
        ]);
        expect(await page.innerText(`#policy-${policyRow} .who`)).toBe('tun');
        await page.close();
      },
    );

    it('takes no name for markup', async () => {
      const [tunnel] = sampleModel().tunnels;
      const name = '<img src=x onerror="document.title=1"><b>tun';
      const { page, faults } = await open(() => sampleModel({ tunnels: [{ ...tunnel!, name }] }));
      await page.waitForSelector('#tunnels tbody td');
      expect(await page.innerText('#tunnels tbody td')).toBe(name);
      expect(await page.$$('main img, main b')).toEqual([]);
      expect(faults).toEqual([]);
      await page.close();
    });

    it('says so when the daemon answers no more', async () => {
      const { page } = await open(moving());
      await page.waitForSelector('#tunnels tbody td');
      await servers[0]!.close();
      await page.waitForSelector('body.stale');
      expect(await page.innerText('#summary')).toMatch(/^no answer: /);
      await page.close();
    });
  },
);
