// Development fixture: answers the portal's API with invented data in the documented shape, so that pages can be
// worked on without a platform. Not part of the product and not shipped in dist. Start it with `npm run mock`, then
// open http://127.0.0.1:8000 after `npm run build`, or run `npm run dev` beside it.
import { createReadStream, existsSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { WebSocketServer } from 'ws';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const PORT = Number(process.env.PORT ?? 8000);
const SPEED = Number(process.env.MOCK_SPEED ?? 300); // market seconds per second
const EMPTY = process.env.MOCK_EMPTY === '1'; // a platform that has seen nothing yet

const ns = (ms) => Math.round(ms) * 1e6;
let seed = 7;
const rnd = () => ((seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff);
const pick = (a) => a[Math.floor(rnd() * a.length)];
const startedMs = Date.now() - 5 * 3600e3 - 734e3;
const marketStart = Date.UTC(2024, 7, 20, 6);
let marketMs = marketStart + 38 * 3600e3;

function electricity(ms) {
  const h = (ms / 3600e3) % 24;
  const day = Math.floor(ms / 86400e3);
  const wobble = Math.sin(ms / 1.7e6) * 2.2 + Math.sin(ms / 0.71e6) * 1.4;
  const peak = (day % 2 ? 180 : 74) * Math.exp(-(((((h + 24 - 1) % 24) - 0.6) / 1.3) ** 2));
  return 23 + 8 * Math.sin((h - 14) / 3.7) + wobble + peak;
}
const btcAt = (ms) => 59400 + 900 * Math.sin(ms / 2.9e7) + 160 * Math.sin(ms / 3.1e6);
const STEP = 900e3;
const quarter = (ms) => Math.floor(ms / STEP) * STEP;

const CLASSES = [
  { device_class: 'h100-sxm', kind: 'gpu', total: 64, w: 690, ths: 0.0021, price: 2_690_000, facility: 'wtx-1', region: 'us-south' },
  { device_class: 'l40s', kind: 'gpu', total: 48, w: 345, ths: 0.0009, price: 1_040_000, facility: 'wtx-1', region: 'us-south' },
  { device_class: 'antminer-s21', kind: 'asic', total: 420, w: 3500, ths: 200, price: 0, facility: 'wtx-1', region: 'us-south' },
  { device_class: 'whatsminer-m60s', kind: 'asic', total: 180, w: 3422, ths: 185, price: 0, facility: 'wtx-2', region: 'us-south' },
];

function targets(price) {
  return CLASSES.map((c) => {
    const gpu = c.kind === 'gpu';
    const serve = gpu ? Math.round(c.total * (c.device_class === 'h100-sxm' ? 0.72 : 0.44)) : 0;
    const mineNet = gpu ? -0.012 : (c.ths / 1000) * 43.1 / 24 - (c.w / 1e6) * price;
    const mine = gpu ? 0 : mineNet > 0 ? c.total : 0;
    return {
      facility: c.facility, device_class: c.device_class, total: c.total, serve, mine, idle: c.total - serve - mine,
      mine_usd_h: mineNet, serve_usd_h: gpu ? c.price / 1e6 - (c.w / 1e6) * price : 0, idle_usd_h: 0,
      reason: gpu ? 'demand takes what it pays for; the rest stays warm' : mine ? 'hashprice covers the energy' : 'energy costs more than the hashes earn',
    };
  });
}

function prices(ms = marketMs) {
  const p = (symbol, location, value, unit, source, lagMs, extra = {}) => ({
    symbol, location, value, unit, source, observed_at_ns: ns(ms - lagMs), received_at_ns: ns(Date.now() - Math.min(lagMs / 50, 90e3)), ...extra,
  });
  return [
    p('electricity_rt', 'HB_WEST', +electricity(quarter(ms)).toFixed(2), 'USD/MWh', 'ercot-replay', ms - quarter(ms)),
    p('electricity_da', 'HB_WEST', +(electricity(quarter(ms)) * 0.8 + 6).toFixed(2), 'USD/MWh', 'ercot-replay', 12e5),
    p('btc_usd', '', +btcAt(ms).toFixed(2), 'USD', 'simulator', 1e3),
    p('difficulty', '', 86.87e12, '1', 'simulator', 7200e3),
    p('block_subsidy_btc', '', 3.125, 'BTC/block', 'simulator', 7200e3),
    p('block_fees_btc', '', 0.0871, 'BTC/block', 'simulator', 340e3),
    p('block_height', '', 857_412, '1', 'simulator', 340e3),
    p('gpu_rate', 'h100-sxm', 2.69, 'USD/GPU-hour', 'list', 50e3),
    p('gpu_rate', 'l40s', 1.04, 'USD/GPU-hour', 'list', 4e6, { stale: true, fallback: 'last known' }),
  ];
}

let decisionNo = 0;
function decide(ms, before) {
  const price = electricity(quarter(ms));
  const t = targets(price);
  const net = t.reduce((s, x) => s + x.mine * x.mine_usd_h + x.serve * x.serve_usd_h, 0);
  const was = before ? targets(electricity(quarter(ms - STEP))) : t;
  const changed = JSON.stringify(t.map((x) => x.mine)) !== JSON.stringify(was.map((x) => x.mine));
  const options = [];
  for (const x of t) {
    const gpu = x.serve > 0;
    const mine = x.total * x.mine_usd_h;
    const best = gpu ? 'serve' : mine > 0 ? 'mine' : 'curtail';
    const list = gpu
      ? [['serve', x.serve * x.serve_usd_h, 'paid demand fills these devices'], ['mine', mine, 'hashes of this class earn less than their energy'], ['curtail', 0, 'gives up paid work']]
      : [['mine', mine, mine > 0 ? 'hashprice is above the energy cost' : 'each hour of hashing loses money at this price'], ['curtail', 0, mine > 0 ? 'forgoes the mining margin' : 'costs nothing and keeps the price spike off the bill']];
    for (const [name, v, reason] of list) {
      options.push({ name, net_usd_h: v, switching_cost_usd: name === best && changed && !gpu ? 1.84 : 0, chosen: name === best, reason, facility: x.facility, device_class: x.device_class });
    }
  }
  const idle = t.filter((x) => x.mine + x.serve === 0).length;
  const nowMs = Date.now() - (marketMs - ms) / SPEED;
  return {
    id: `dec-${(100412 + decisionNo++).toString(36)}-${Math.floor(ms / 1000).toString(36)}`,
    decided_at_ns: ns(nowMs), market_time_ns: ns(ms), policy: 'threshold', trigger: changed ? 'price' : pick(['price', 'demand', 'timer']), changed,
    electricity_usd_mwh: +price.toFixed(2), btc_usd: btcAt(ms), difficulty: 86.87e12, hashprice_usd_ph_day: 43.1 + Math.sin(ms / 3.1e6) * 0.2, net_usd_h: net,
    gain_usd_h: changed ? 12 + rnd() * 70 : 0, switching_cost_usd: changed ? 3.68 : 0, targets: t, options, inputs: prices(ms),
    summary: idle
      ? `Stop mining at ${price.toFixed(0)} USD/MWh: energy costs more than the hashes earn. AI work keeps its GPUs.`
      : `Mine with every ASIC at ${price.toFixed(0)} USD/MWh, serve AI on ${t.reduce((s, x) => s + x.serve, 0)} GPUs.`,
    realised_switching_ms: changed ? 31 + rnd() * 25 : 0, signal_at_ns: ns(nowMs - 3),
  };
}

const decisions = [];
const switches = [];
const workloads = [];
const histories = new Map();
const keys = [
  { id: 'key-7f3a', name: 'batch pipeline', prefix: 'hcp_7f3a', created_at_ns: ns(Date.now() - 19 * 86400e3), customer_id: 'cus-acme' },
  { id: 'key-11c0', name: 'laptop', prefix: 'hcp_11c0', created_at_ns: ns(Date.now() - 71 * 86400e3), customer_id: 'cus-acme', revoked: true },
];
let emergency = '';
let policy = { policy: 'threshold', strike_usd_mwh: 78, hysteresis: 0.05 };

function addSwitch(decision, to, node, count) {
  const phases = [['validate', 0.4], ['pause', 4.5], ['save', 2.2], ['switch', 9], ['activate', 11], ['verify', 6.5], ['commit', 0.7]]
    .map(([phase, m]) => ({ phase, duration_ns: Math.round(m * (0.6 + rnd() * 0.9) * 1e6) }));
  const total = phases.reduce((s, p) => s + p.duration_ns, 0);
  const ok = rnd() > 0.03;
  const sw = {
    switch_id: `sw-${Math.floor(rnd() * 1e9).toString(36)}`, decision_id: decision.id, node_id: node, devices: count, to, ok,
    error: ok ? '' : 'verify: watts did not fall within 40 ms', rolled_back: !ok, phases, total_ns: total,
    signal_at_ns: decision.decided_at_ns - 3e6, done_at_ns: decision.decided_at_ns + total, evidence: to === 'serve' ? 'served_request' : 'watts', allocation_id: '',
  };
  switches.unshift(sw);
  return sw;
}

function addWorkload(w, atMs, path) {
  const id = `wl-${(4_200_000 + workloads.length * 7919).toString(36)}`;
  const h = [];
  let from = '';
  let t = atMs;
  for (const [to, reason, dt] of path) {
    t += dt;
    h.push({ at_ns: ns(t), from, to, reason });
    from = to;
  }
  const started = h.find((x) => x.to === 'running');
  const over = ['completed', 'failed', 'cancelled'].includes(from);
  const record = {
    id, customer_id: 'cus-acme', model: 'all-MiniLM-L6-v2', priority: 5, priority_class: 'P3', device_count: 1, duration_s: 3600, submitted_by: 'john@acme.com',
    created_at_ns: ns(atMs), started_at_ns: started?.at_ns ?? 0, finished_at_ns: over ? ns(t) : 0, state: from, version: h.length, reason: h[h.length - 1].reason,
    estimated_cost_micros: 2_690_000 * (w.device_count ?? 1), ...w,
    device_ids: from === 'running' ? Array.from({ length: w.device_count ?? 1 }, (_, i) => `gpu-a${String(i).padStart(2, '0')}`) : [],
  };
  workloads.unshift(record);
  histories.set(id, h);
  return record;
}

if (!EMPTY) {
  for (let ms = marketStart; ms < marketMs; ms += STEP) decisions.unshift(decide(ms, ms > marketStart));
  for (const d of decisions.filter((x) => x.changed).reverse()) {
    const to = d.targets.some((t) => t.mine) ? 'fill' : 'off';
    for (const n of ['rack-a01', 'rack-a02', 'rack-b01']) addSwitch(d, to, n, 40 + Math.floor(rnd() * 60));
  }
  for (let i = 0; i < 40; i++) addSwitch(decisions[Math.max(0, 39 - i)], rnd() > 0.5 ? 'serve' : 'fill', pick(['rack-g01', 'rack-g02']), 1 + Math.floor(rnd() * 4));
  const now = Date.now();
  const run = [['queued', 'submitted', 0], ['scheduled', 'placed on rack-g01', 900], ['running', 'devices verified by a served request', 60]];
  addWorkload({ name: 'Nightly embedding refresh', type: 'ai_inference_batch', device_count: 8, device_class: 'l40s' }, now - 26 * 3600e3, [...run, ['completed', 'duration reached', 3600e3 * 3]]);
  addWorkload({ name: 'Fraud model fine-tune', type: 'model_training', device_count: 16, device_class: 'h100-sxm', priority: 3, priority_class: 'P2', model: 'fraud-v7' }, now - 20 * 3600e3, [...run, ['failed', 'container exited with status 137: out of memory', 2100e3]]);
  addWorkload({ name: 'Support chat', type: 'ai_inference_realtime', device_count: 12, device_class: 'h100-sxm', priority: 1, priority_class: 'P1', max_latency_ms: 250, duration_s: 0 }, now - 9 * 3600e3, run);
  addWorkload({ name: 'Document search, customer index', type: 'ai_inference_realtime', device_count: 4, device_class: 'l40s', priority: 2, priority_class: 'P1', max_latency_ms: 400, duration_s: 0 }, now - 4 * 3600e3, run);
  addWorkload({ name: 'Quarterly report extraction', type: 'ai_inference_batch', device_count: 6, device_class: 'l40s' }, now - 2 * 3600e3, run);
  addWorkload({ name: 'Reranker evaluation', type: 'ai_inference_batch', device_count: 2 }, now - 95 * 60e3, [['queued', 'submitted', 0], ['cancelled', 'cancelled by john@acme.com', 240e3]]);
  addWorkload({ name: 'Vision model training, stage 2', type: 'model_training', device_count: 32, device_class: 'h100-sxm', priority: 6, priority_class: 'P4', duration_s: 86400 }, now - 22 * 60e3, [['queued', 'waits for 32 free h100-sxm: 18 are free', 0]]);
  addWorkload({ name: 'Speech transcripts', type: 'ai_inference_batch', customer_id: 'cus-borealis', device_count: 3, device_class: 'l40s' }, now - 12 * 60e3, run);
}

const DEVICES = [];
for (const c of CLASSES) {
  for (let i = 0; i < c.total; i++) {
    const gpu = c.kind === 'gpu';
    const node = gpu ? `rack-g${c.device_class === 'h100-sxm' ? '01' : '02'}` : c.facility === 'wtx-1' ? `rack-a0${1 + (i % 2)}` : 'rack-b01';
    DEVICES.push({ id: `${c.device_class}-${String(i).padStart(3, '0')}`, c, i, node });
  }
}
function device({ id, c, i, node }) {
  const t = targets(electricity(quarter(marketMs))).find((x) => x.device_class === c.device_class);
  const mode = emergency ? 'safe' : i < t.serve ? 'serve' : i < t.serve + t.mine ? 'fill' : 'off';
  const drifted = i === c.total - 3 && c.kind === 'asic';
  const does = drifted ? (mode === 'fill' ? 'off' : 'fill') : mode;
  const work = does === 'serve' ? workloads.find((w) => w.state === 'running' && w.device_class === c.device_class) : undefined;
  const load = does === 'off' || does === 'safe' ? 0.06 : 0.93 + ((i * 37) % 13) / 100;
  return {
    id, node_id: node, facility: c.facility, region: c.region, kind: c.kind, device_class: c.device_class, state: i === 5 && c.kind === 'asic' ? 'maintenance' : does === 'off' ? 'idle' : 'active',
    desired: mode, commanded: mode, confirmed: does, drifted, workload_id: work?.id ?? '', customer_id: work?.customer_id ?? '', power_w: Math.round(c.w * load),
    hash_ths: does === 'fill' ? c.ths * load : 0, temperature_c: does === 'off' ? 31 + (i % 4) : 61 + (i % 9), utilisation: does === 'off' ? 0 : load > 1 ? 1 : load,
    changed_at_ns: ns(Date.now() - 60e3 * (1 + (i % 50))), reason: drifted ? 'asked twice, reads the old mode' : '', memory_gib: c.kind === 'gpu' ? (c.device_class === 'l40s' ? 48 : 80) : 0, health: 1 - (i % 7) / 100, name: id,
  };
}
function fleet() {
  const all = EMPTY ? [] : DEVICES.map(device);
  const classes = (EMPTY ? [] : CLASSES).map((c) => {
    const d = all.filter((x) => x.device_class === c.device_class);
    const count = (f) => d.filter(f).length;
    const jitter = 1 + Math.sin(Date.now() / 2100 + c.total) * 0.004;
    return {
      facility: c.facility, region: c.region, kind: c.kind, device_class: c.device_class, total: c.total, healthy: count((x) => x.state !== 'maintenance'), allocated: count((x) => x.workload_id),
      serving: count((x) => x.confirmed === 'serve'), filling: count((x) => x.confirmed === 'fill'), off: count((x) => x.confirmed === 'off' || x.confirmed === 'safe'), drifted: count((x) => x.drifted),
      power_w: Math.round(d.reduce((s, x) => s + x.power_w, 0) * jitter), hash_ths: d.reduce((s, x) => s + x.hash_ths, 0) * jitter, price_micros_h: c.price,
    };
  });
  return {
    classes, nodes: EMPTY ? 0 : 5, nodes_connected: EMPTY ? 0 : 5, power_w: classes.reduce((s, c) => s + c.power_w, 0), power_budget_w: EMPTY ? 0 : 2_400_000,
    hash_ths: classes.reduce((s, c) => s + c.hash_ths, 0),
  };
}
function status() {
  return {
    version: '0.1.0', started_at_ns: ns(startedMs), now_ns: ns(Date.now()), mode: emergency ? 'emergency_stop' : 'normal', emergency_reason: emergency,
    services: ['gateway', 'orchestrator', 'optimizer', 'router', 'resources', 'billing', 'identity', 'realtime', 'telemetry'].map((name, i) => ({
      name, state: name === 'telemetry' && !EMPTY ? 'degraded' : 'ok', detail: name === 'telemetry' ? '2 nodes report late' : '', seen_at_ns: ns(Date.now()), batches: 9e4 + i * 7000, messages: Math.round((Date.now() - startedMs) * (i + 1) * 0.021), mailbox: i === 3 ? 2 : 0,
    })),
    workloads_running: workloads.filter((w) => w.state === 'running').length, workloads_queued: workloads.filter((w) => w.state === 'queued').length,
    last_decision_id: decisions[0]?.id ?? '', targets: decisions[0]?.targets ?? [], decisions_applied: decisions.filter((d) => d.changed).length, decisions_skipped: decisions.filter((d) => !d.changed).length,
  };
}
function revenue(hours) {
  if (EMPTY) return { hours: [] };
  const list = [];
  const top = Math.floor(marketMs / 3600e3) * 3600e3;
  for (let i = hours - 1; i >= 0; i--) {
    const ms = top - i * 3600e3;
    const price = electricity(ms);
    const mining = price < 62;
    const mwh = mining ? 2.18 : 0.19;
    list.push({
      hour_start_ns: ns(ms), ai_micros: Math.round((121 + 34 * Math.sin(ms / 1.4e7)) * 1e6), mining_micros: mining ? Math.round((205 + 4 * Math.sin(ms / 4e6)) * 1e6) : 0,
      energy_cost_micros: Math.round(mwh * price * 1e6), energy_j: Math.round(mwh * 3.6e9), hashes: mining ? 4.2e20 : 0, expected_btc: mining ? 0.00346 : 0,
    });
  }
  const sum = (k) => list.reduce((s, h) => s + h[k], 0);
  return {
    hours: list, ai_micros: sum('ai_micros'), mining_micros: sum('mining_micros'), energy_cost_micros: sum('energy_cost_micros'),
    net_micros: sum('ai_micros') + sum('mining_micros') - sum('energy_cost_micros'), energy_j: sum('energy_j'), expected_btc: sum('expected_btc'), shares_accepted: 48211, shares_rejected: 37,
  };
}

const USERS = {
  'admin@mara.com': { password: 'admin123', role: 'admin', name: 'Administrator', customer_id: '' },
  'john@acme.com': { password: 'customer123', role: 'customer', name: 'John, Acme', customer_id: 'cus-acme' },
};

class Refused extends Error {
  constructor(statusCode, code, detail, field = '') {
    super(detail);
    Object.assign(this, { statusCode, code, field });
  }
}
const page = (list, q, size) => {
  const from = Number(q.cursor ?? 0);
  const limit = Number(q.limit ?? size);
  return [list.slice(from, from + limit), from + limit < list.length ? String(from + limit) : ''];
};

const ROUTES = [
  ['POST', '/auth/login', ({ body }) => {
    const u = USERS[body.email];
    if (!u || u.password !== body.password) throw new Refused(401, 'unauthenticated', 'e-mail or password is wrong');
    return { access_token: Buffer.from(body.email).toString('base64url'), token_type: 'Bearer', expires_in: 86400, principal: { user_id: 'u1', email: body.email, role: u.role, customer_id: u.customer_id }, name: u.name };
  }],
  ['GET', '/status', status],
  ['POST', '/emergency/stop', ({ body }) => ((emergency = body.reason || 'operator'), status())],
  ['POST', '/emergency/clear', () => ((emergency = ''), status())],
  ['GET', '/prices', () => ({ prices: EMPTY ? [] : prices(), market_time_ns: EMPTY ? 0 : ns(marketMs), hashprice_usd_ph_day: EMPTY ? 0 : +(43.1 + Math.sin(marketMs / 3.1e6) * 0.2).toFixed(3), healthy: false })],
  ['GET', '/prices/history', ({ q }) => {
    const n = Math.min(Number(q.limit ?? 500), 5000);
    const f = q.symbol === 'btc_usd' ? btcAt : electricity;
    return { symbol: q.symbol, location: q.location, unit: 'USD/MWh', points: EMPTY ? [] : Array.from({ length: n }, (_, i) => quarter(marketMs) - (n - 1 - i) * STEP).map((ms) => ({ at_ns: ns(ms), value: +f(ms).toFixed(2) })) };
  }],
  ['GET', '/recommendation', () => decisions[0] ?? {}],
  ['GET', '/decisions', ({ q }) => {
    const [d, next] = page(q.changed_only === 'true' ? decisions.filter((x) => x.changed) : decisions, q, 50);
    return { decisions: d, next_cursor: next };
  }],
  ['GET', '/decisions/:id', ({ id }) => decisions.find((d) => d.id === id)],
  ['GET', '/policy', () => policy],
  ['PUT', '/policy', ({ body }) => {
    if (body.hysteresis > 1) throw new Refused(422, 'invalid', 'must be between 0 and 1', 'hysteresis');
    return (policy = { ...policy, ...body });
  }],
  ['GET', '/fleet', fleet],
  ['GET', '/availability', () => ({ available: true, classes: fleet().classes })],
  ['GET', '/resources', ({ q }) => {
    const all = (EMPTY ? [] : DEVICES.map(device)).filter((d) => ['kind', 'device_class', 'state', 'node_id'].every((k) => !q[k] || d[k] === q[k]));
    const [d, next] = page(all, q, 50);
    return { devices: d, next_cursor: next, total: all.length };
  }],
  ['GET', '/resources/:id', ({ id }) => DEVICES.filter((d) => d.id === id).map(device)[0]],
  ['GET', '/nodes', () => ({
    nodes: EMPTY ? [] : ['rack-g01', 'rack-g02', 'rack-a01', 'rack-a02', 'rack-b01'].map((id, i) => ({
      id, name: id, facility: i === 4 ? 'wtx-2' : 'wtx-1', region: 'us-south', connected: true, seen_at_ns: ns(Date.now() - 300 * i), lease_until_ns: ns(Date.now() + 9e3), devices: DEVICES.filter((d) => d.node === id).length,
      endpoint: i < 2 ? 'http://127.0.0.1:9101' : '', models: i < 2 ? ['all-MiniLM-L6-v2', 'fraud-v7'] : [], agent_version: '0.1.0', energy_j: 3.1e10 + i * 2.2e10,
    })),
  })],
  ['GET', '/switches', ({ q }) => ({ switches: switches.slice(0, Number(q.limit ?? 50)) })],
  ['GET', '/telemetry/series', ({ q }) => {
    const f = fleet();
    const base = q.metric === 'hash_ths' ? f.hash_ths : f.power_w;
    return { metric: q.metric, scope: 'site', step_s: 10, points: EMPTY ? [] : Array.from({ length: 120 }, (_, i) => ({ at_ns: ns(Date.now() - (119 - i) * 30e3), value: base * (1 + 0.01 * Math.sin(i / 5) + 0.004 * Math.sin(i * 1.7)) })) };
  }],
  ['GET', '/queue', ({ q, who }) => {
    const waiting = workloads.filter((w) => w.state === 'queued' && (who.role !== 'customer' || w.customer_id === who.customer_id));
    const [shown, next] = page(waiting.filter((w) => !q.workload_id || w.id === q.workload_id).map((w, i) => ({
      id: w.id, workload_id: w.id, customer_id: w.customer_id, priority_class: w.priority_class, position: i + 1, waiting_since_ns: w.created_at_ns,
      eta_ms: i ? 65e3 * i : -1, reason: w.reason, device_count: w.device_count, device_class: w.device_class, overdue: i === 0, share: 0.12, fair_share: 0.25,
    })), q, 50);
    return {
      classes: [['P1', 1e3], ['P2', 60e3], ['P3', 900e3], ['P4', 14400e3]].map(([priority_class, wait_target_ms]) => ({
        priority_class, wait_target_ms, waiting: waiting.filter((w) => w.priority_class === priority_class).length, oldest_wait_ms: waiting.some((w) => w.priority_class === priority_class) ? 22 * 60e3 : 0,
      })),
      entries: shown, next_cursor: next, total: waiting.length,
    };
  }],
  ['GET', '/workloads', ({ q, who }) => {
    const all = workloads.filter((w) => (who.role !== 'customer' || w.customer_id === who.customer_id) && (!q.state || w.state === q.state) && (!q.type || w.type === q.type));
    const [w, next] = page(all, q, 50);
    return { workloads: w, next_cursor: next, index: 1 };
  }],
  ['POST', '/workloads', ({ body, who }) => {
    if (body.device_count > 64) throw new Refused(422, 'invalid', `no class has ${body.device_count} devices; at most 64`, 'device_count');
    const w = addWorkload({ ...body, customer_id: who.customer_id || 'cus-acme' }, Date.now(), [['queued', 'submitted', 0]]);
    publish('workload.events', 'WorkloadChanged', { workload: w, from: '' });
    for (const [to, reason, dt] of [['scheduled', 'placed on rack-g02', 1500], ['running', 'devices verified by a served request', 2600]]) {
      setTimeout(() => move(w, to, reason), dt);
    }
    return w;
  }, 201],
  ['GET', '/workloads/:id', ({ id }) => workloads.find((w) => w.id === id)],
  ['GET', '/workloads/:id/history', ({ id }) => histories.has(id) && { transitions: histories.get(id) }],
  ['DELETE', '/workloads/:id', ({ id, who }) => move(workloads.find((w) => w.id === id), 'cancelled', `cancelled by ${who.email}`)],
  ['POST', '/workloads/:id/pause', ({ id, who }) => move(workloads.find((w) => w.id === id), 'paused', `paused by ${who.email}`)],
  ['POST', '/workloads/:id/resume', ({ id, who }) => move(workloads.find((w) => w.id === id), 'queued', `resumed by ${who.email}`)],
  ['GET', '/billing/usage', ({ q }) => {
    const lines = EMPTY || (q.month && q.month !== new Date().toISOString().slice(0, 7)) ? [] : workloads.filter((w) => w.started_at_ns && w.customer_id === 'cus-acme').flatMap((w, i) => [
      { kind: 'device_hours', device_class: w.device_class, workload_id: w.id, workload_name: w.name, quantity: w.device_count * (2.213 + i), unit: 'h', amount_micros: Math.round(w.device_count * (2.213 + i) * (w.device_class === 'l40s' ? 1.04e6 : 2.69e6)), energy_j: w.device_count * 4.1e6 * (i + 1) },
      ...(w.type === 'ai_inference_realtime' ? [{ kind: 'requests', device_class: w.device_class, workload_id: w.id, workload_name: w.name, quantity: 182_344 + i * 9221, unit: 'requests', amount_micros: 1_823_440 }] : []),
    ]);
    return { customer_id: 'cus-acme', month: q.month, currency: 'USD', lines, total_micros: lines.reduce((s, l) => s + l.amount_micros, 0) };
  }],
  ['GET', '/billing/revenue', ({ q }) => revenue(Math.min(Number(q.hours ?? 24), 720))],
  ['GET', '/api-keys', () => ({ keys: EMPTY ? [] : keys })],
  ['POST', '/api-keys', ({ body, who }) => {
    if (keys.some((k) => k.name === body.name)) throw new Refused(409, 'conflict', 'another key has this name', 'name');
    const tail = Math.floor(rnd() * 65536).toString(16).padStart(4, '0');
    const k = { id: `key-${tail}`, name: body.name, prefix: `hcp_${tail}`, created_at_ns: ns(Date.now()), customer_id: who.customer_id };
    keys.unshift(k);
    return { ...k, secret: `hcp_${tail}_Example0nly0Not0A0Real0Secret0` };
  }, 201],
  ['DELETE', '/api-keys/:id', ({ id }) => {
    const k = keys.find((x) => x.id === id);
    if (k) k.revoked = true;
    return k;
  }],
];

function move(w, to, reason) {
  if (!w || ['cancelled', 'completed', 'failed'].includes(w.state)) return w;
  const from = w.state;
  histories.get(w.id).push({ at_ns: ns(Date.now()), from, to, reason });
  Object.assign(w, { state: to, reason, version: w.version + 1 });
  if (to === 'running') w.started_at_ns = ns(Date.now());
  if (to === 'cancelled') Object.assign(w, { finished_at_ns: ns(Date.now()), device_ids: [] });
  publish('workload.events', 'WorkloadChanged', { workload: { ...w }, from });
  return w;
}

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.webmanifest': 'application/manifest+json', '.woff2': 'font/woff2', '.woff': 'font/woff' };
function serveFile(req, res) {
  const path = normalize(decodeURIComponent(new URL(req.url, 'http://x').pathname)).replace(/^(\.\.[/\\])+/, '');
  let file = join(DIST, path);
  if (!existsSync(file) || statSync(file).isDirectory()) file = join(DIST, 'index.html');
  if (!existsSync(file)) {
    res.writeHead(404).end('run `npm run build` first');
    return;
  }
  res.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
  createReadStream(file).pipe(res);
}

const userOf = (token) => {
  const email = Buffer.from(token ?? '', 'base64url').toString();
  return USERS[email] ? { email, ...USERS[email] } : null;
};

const server = createServer((req, res) => {
  const url = new URL(req.url, 'http://x');
  if (!url.pathname.startsWith('/api/v1/')) return serveFile(req, res);
  let text = '';
  req.on('data', (c) => (text += c));
  req.on('end', () => {
    const answer = (statusCode, value) => res.writeHead(statusCode, { 'content-type': statusCode < 400 ? 'application/json' : 'application/problem+json' }).end(JSON.stringify(value));
    try {
      const path = url.pathname.slice(7);
      for (const [method, pattern, handle, code = 200] of ROUTES) {
        const m = new RegExp(`^${pattern.replace(':id', '([^/]+)')}$`).exec(path);
        if (method !== req.method || !m) continue;
        const who = userOf(req.headers.authorization?.slice(7));
        if (!who && pattern !== '/auth/login') throw new Refused(401, 'unauthenticated', 'a bearer token is needed');
        const value = handle({ body: text ? JSON.parse(text) : {}, q: Object.fromEntries(url.searchParams), id: m[1] && decodeURIComponent(m[1]), who });
        if (!value) throw new Refused(404, 'not_found', 'there is no such thing');
        return answer(code, value);
      }
      throw new Refused(404, 'not_found', 'no such route');
    } catch (e) {
      const s = e.statusCode ?? 500;
      answer(s, { type: 'about:blank', title: s === 422 ? 'Not accepted' : s === 401 ? 'Unauthorized' : 'Refused', status: s, detail: e.message, code: e.code ?? 'internal', field: e.field ?? '', trace_id: '4bf92f3577b34da6a3ce929d0e0e4736' });
    }
  });
});

const sockets = new WebSocketServer({ noServer: true });
const log = [];
let nextId = 1;
function publish(topic, type, data) {
  const frame = { id: nextId++, topic, type, at_ns: ns(Date.now()), data };
  log.push(frame);
  if (log.length > 2000) log.shift();
  for (const s of sockets.clients) if (s.topics?.has(topic)) s.send(JSON.stringify(frame));
}
server.on('upgrade', (req, socket, head) => {
  const url = new URL(req.url, 'http://x');
  if (url.pathname !== '/api/v1/ws' || !userOf(url.searchParams.get('token'))) return socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
  sockets.handleUpgrade(req, socket, head, (ws) => {
    ws.topics = new Set((url.searchParams.get('topics') ?? '').split(',').filter(Boolean));
    const since = Number(url.searchParams.get('since') ?? 0);
    if (since) for (const f of log) if (f.id > since && ws.topics.has(f.topic)) ws.send(JSON.stringify(f));
    ws.on('message', (m) => {
      const c = JSON.parse(String(m));
      c.subscribe?.forEach((t) => ws.topics.add(t));
      c.unsubscribe?.forEach((t) => ws.topics.delete(t));
    });
  });
});
setInterval(() => sockets.clients.forEach((s) => s.send('{"topic":"heartbeat"}')), 15_000);

if (!EMPTY) {
  setInterval(() => {
    const before = quarter(marketMs);
    marketMs += SPEED * 1000;
    const tick = (symbol, location, value) => ({ symbol, location, value, observed_at_ns: ns(marketMs), source: symbol === 'btc_usd' ? 'simulator' : 'ercot-replay', sent_at_ns: ns(Date.now()) });
    const ticks = [tick('btc_usd', '', +btcAt(marketMs).toFixed(2))];
    if (quarter(marketMs) !== before) ticks.push(tick('electricity_rt', 'HB_WEST', +electricity(quarter(marketMs)).toFixed(2)));
    publish('market.price', 'MarketMoved', { ticks, market_time_ns: ns(marketMs) });
    if (ticks.length > 1) {
      const d = decide(quarter(marketMs), true);
      decisions.unshift(d);
      publish('optimizer.recommendation', 'DecisionMade', { decision: d });
      if (d.changed) {
        for (const n of ['rack-a01', 'rack-a02', 'rack-b01']) publish('resources.switches', 'SwitchDone', addSwitch(d, d.targets.some((t) => t.mine) ? 'fill' : 'off', n, 180));
      } else if (rnd() > 0.4) publish('resources.switches', 'SwitchDone', addSwitch(d, 'serve', pick(['rack-g01', 'rack-g02']), 1 + Math.floor(rnd() * 3)));
    }
    publish('resources.capacity', 'CapacityChanged', { classes: fleet().classes });
  }, 1000);
}

server.listen(PORT, '127.0.0.1', () => process.stdout.write(`development fixture on http://127.0.0.1:${server.address().port}\n`));
