/**
 * The document and style of the live page. Nothing in it comes from elsewhere, and its policy (read-only-server.ts)
 * would not let it. What is shown is filled in by page-script.ts.
 */
import { POLICY_ROWS } from '../model/policy-rows.ts';
import { PROGRAM } from '../version.ts';

const html = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;').replaceAll('`', '');

function policyTable(): string {
  const rows = POLICY_ROWS.map(
    ({ id, tunnel, sa, out, plaintextIn, espIn }) =>
      `<tr id="policy-${id}">${[tunnel, sa, out, plaintextIn, espIn].map((cell) => `<td>${html(cell)}</td>`).join('')}<td class="who"></td></tr>`,
  );
  const head = ['tunnel', 'SA', 'out', 'in, plaintext', 'in, ESP', 'now'];
  return `<table id="policy"><thead><tr>${head.map((cell) => `<th>${cell}</th>`).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table>`;
}

export const PAGE = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${PROGRAM}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="page.css"><link rel="icon" href="icon.svg"></head><body>
<header><h1>${PROGRAM}</h1><p id="summary">asking…</p></header>
<main>
<section class="chart"><h2>Throughput <small id="throughput-now"></small></h2><svg id="throughput" viewBox="0 0 600 140" preserveAspectRatio="none"></svg>
<p class="key"><span class="rx">received</span> <span class="tx">sent</span></p></section>
<section class="chart"><h2>Drops <small id="drops-now"></small></h2><svg id="drops" viewBox="0 0 600 140" preserveAspectRatio="none"></svg>
<p class="key"><span class="drop">packets a second</span> <span id="reasons"></span></p></section>
<section><h2>Tunnels</h2><table id="tunnels"><thead><tr><th>tunnel</th><th>type</th><th>local</th><th>remote</th><th>SA</th><th>rx</th><th>tx</th><th>drops</th></tr></thead><tbody></tbody></table></section>
<section><h2>Security associations</h2><table id="sas"><thead><tr><th>connection</th><th>child</th><th>cipher</th><th>in</th><th>out</th><th>rekey in</th></tr></thead><tbody></tbody></table></section>
<section><h2>Policy</h2>${policyTable()}</section>
<section><h2>Negotiations</h2><ol id="news"></ol></section>
</main><script src="page.js"></script></body></html>
`;

export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M8 1 14 4v4q0 5-6 7Q2 13 2 8V4z" fill="#2a9d5c"/></svg>`;

export const STYLE = `:root { color-scheme: light dark; --rx: #2a78c8; --tx: #2a9d5c; --drop: #d1495b; --line: #8884; --lit: #2a9d5c33; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1200px; padding: 1rem; }
header { display: flex; align-items: baseline; gap: 1rem; }
h1 { font-size: 1.3rem; margin: 0; } h2 { font-size: 1rem; margin: 0 0 .4rem; } small { font-weight: normal; opacity: .75; }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
section { border: 1px solid var(--line); border-radius: 6px; padding: .7rem; grid-column: 1 / -1; overflow-x: auto; }
.chart { grid-column: auto; } svg { width: 100%; height: 140px; border-bottom: 1px solid var(--line); }
polyline { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; }
polyline.rx { stroke: var(--rx); } polyline.tx { stroke: var(--tx); } polyline.drop { stroke: var(--drop); }
.key { margin: .3rem 0 0; } .key .rx { color: var(--rx); } .key .tx { color: var(--tx); } .key .drop { color: var(--drop); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .2rem .5rem; border-bottom: 1px solid var(--line); }
#tunnels td:is(:nth-child(6), :nth-child(7)) { white-space: nowrap; }
tr.lit { background: var(--lit); } td.who { font-weight: bold; } tr.bad td { color: var(--drop); }
#news { margin: 0; padding: 0; list-style: none; font-family: ui-monospace, monospace; font-size: 12px; max-height: 16em; overflow-y: auto; }
#news .warn, #news .err { color: var(--drop); } body.stale main { opacity: .4; }
@media (max-width: 800px) { main { grid-template-columns: 1fr; } .chart { grid-column: 1 / -1; } }
`;
