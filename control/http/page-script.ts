/**
 * The script of the live page: asks for status.json every second and draws it. Charts are differences between two
 * answers, the last two minutes of them. Whatever a tunnel is called, it goes into the page as text and never as markup.
 */
export const SCRIPT = `'use strict';
const POINTS = 120;
const byId = (id) => document.getElementById(id);
const history = { rx: [], tx: [], drop: [] };
let last;

function unit(number, names, step) {
  let i = 0;
  while (number >= step && i < names.length - 1) { number /= step; i++; }
  return number.toFixed(number >= 100 || i === 0 ? 0 : 1) + ' ' + names[i];
}
const bits = (rate) => unit(rate, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s'], 1000);
const bytes = (count) => unit(count, ['B', 'kB', 'MB', 'GB', 'TB'], 1000);
const hex = (spi) => '0x' + (spi >>> 0).toString(16).padStart(8, '0');
function time(seconds) {
  if (seconds === undefined) return '';
  const h = Math.floor(seconds / 3600), m = Math.floor(seconds / 60) % 60, s = Math.floor(seconds) % 60;
  return (h > 0 ? h + ' h ' : '') + (h > 0 || m > 0 ? m + ' min ' : '') + (h > 0 ? '' : s + ' s');
}

function fill(id, rows) {
  const body = byId(id).tBodies[0];
  body.replaceChildren(...rows.map(({ cells, bad }) => {
    const row = document.createElement('tr');
    if (bad) row.className = 'bad';
    row.append(...cells.map((text) => Object.assign(document.createElement('td'), { textContent: text })));
    return row;
  }));
}

function draw(id, series) {
  const top = Math.max(1, ...series.flatMap((name) => history[name]));
  byId(id).replaceChildren(...series.map((name) => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    const from = POINTS - history[name].length;
    line.setAttribute('class', name);
    line.setAttribute('points', history[name].map((value, i) => ((from + i) * 600 / (POINTS - 1)).toFixed(1) + ',' + (138 - value / top * 132).toFixed(1)).join(' '));
    return line;
  }));
}

function remember(name, value) {
  history[name].push(Math.max(0, value));
  if (history[name].length > POINTS) history[name].shift();
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const totals = (model) => ({
  rx: sum(model.tunnels.map((t) => t.traffic.rxBytes)),
  tx: sum(model.tunnels.map((t) => t.traffic.txBytes)),
  drop: sum(Object.values(model.drops).flat()),
});

function charts(model) {
  const now = totals(model);
  if (last !== undefined && model.nowMs > last.nowMs && model.startedAtMs === last.startedAtMs) {
    const seconds = (model.nowMs - last.nowMs) / 1000;
    remember('rx', (now.rx - last.rx) * 8 / seconds);
    remember('tx', (now.tx - last.tx) * 8 / seconds);
    remember('drop', (now.drop - last.drop) / seconds);
    byId('throughput-now').textContent = bits(history.rx.at(-1)) + ' received, ' + bits(history.tx.at(-1)) + ' sent';
    byId('drops-now').textContent = history.drop.at(-1).toFixed(0) + ' a second, ' + now.drop + ' in all';
  }
  last = { ...now, nowMs: model.nowMs, startedAtMs: model.startedAtMs };
  draw('throughput', ['rx', 'tx']);
  draw('drops', ['drop']);
  byId('reasons').textContent = Object.entries(model.drops).map(([reason, counts]) => reason + ' ' + sum(counts)).join(', ');
}

function show(model) {
  const count = model.tunnels.length;
  byId('summary').textContent = model.isConfigured
    ? 'version ' + model.version + ', up ' + time((model.nowMs - model.startedAtMs) / 1000) + ', ' + count + (count === 1 ? ' tunnel' : ' tunnels') + ', ipsec_skb_mark ' + (model.skbMark ?? 'unset')
    : 'waiting for the database';
  charts(model);
  fill('tunnels', model.tunnels.map((t) => ({
    bad: t.policyRow === 'invalid' || t.policyRow === 'down',
    cells: [t.name, t.type, t.localIp ?? '', t.remoteIp ?? '', t.wantsIpsec ? t.reason ?? t.lastFailure ?? t.saState : 'no IPsec',
      bytes(t.traffic.rxBytes), bytes(t.traffic.txBytes), Object.entries(t.drops).map(([reason, n]) => reason + ' ' + n).join(', ')],
  })));
  fill('sas', model.protections.flatMap(({ key, children }) => children.map((sa) => ({
    cells: [key, sa.name, sa.algorithm + (sa.sends ? ', sending' : ''), hex(sa.inboundSpi) + ', ' + sa.packetsIn + ' packets',
      hex(sa.outboundSpi) + ', ' + sa.packetsOut + ' packets', time(sa.rekeyInSeconds)],
  }))));
  for (const row of byId('policy').tBodies[0].rows) {
    const names = model.tunnels.filter((t) => 'policy-' + t.policyRow === row.id).map((t) => t.name);
    row.className = names.length > 0 ? 'lit' : '';
    row.lastElementChild.textContent = names.slice(0, 8).join(', ') + (names.length > 8 ? ' and ' + (names.length - 8) + ' more' : '');
  }
  byId('news').replaceChildren(...[...model.news].reverse().map(({ atMs, level, text }) =>
    Object.assign(document.createElement('li'), { className: level, textContent: new Date(atMs).toISOString().slice(11, 19) + ' ' + text })));
}

async function ask() {
  try {
    const answer = await fetch('status.json');
    if (!answer.ok) throw new Error(answer.statusText);
    show(await answer.json());
    document.body.classList.remove('stale');
  } catch (error) {
    document.body.classList.add('stale');
    byId('summary').textContent = 'no answer: ' + error.message;
  }
  setTimeout(ask, 1000);
}
ask();
`;
