import { describe, expect, it } from 'vitest';
import { complete } from '../src/api/complete';
import { problemFrom } from '../src/api/problem';
import { renewSession } from '../src/api/renew';
import type * as T from '../src/api/types.gen';
import { applyCapacity, applyDecision, applyDevices, applySwitch, applyTicks, applyWorkload } from '../src/live/apply';
import { lastMonths } from '../src/pages/months';
import { checkForm, draftOf, emptyForm } from '../src/pages/workloadForm';
import { liveReducer, mergeSeries, pointsArrived, SERIES_POINTS_MAX, seriesKey } from '../src/state/live';
import { keepSession, loadSession, renewLater, sessionEnded, sessionReducer, signedIn, signedOut, signedOutState, type SessionState } from '../src/state/session';

describe('complete', () => {
  it('fills in zero fields at every depth and keeps what it does not know', () => {
    const d = complete<T.Decision & { extra: number }>('Decision', { id: 'd', targets: [{ mine: 3 }], inputs: null, extra: 1 });
    expect(d.targets[0]).toMatchObject({ mine: 3, serve: 0, reason: '', device_class: '' });
    expect(d.inputs).toEqual([]);
    expect(d.changed).toBe(false);
    expect(d.extra).toBe(1);
  });
  it('leaves an absent message absent', () => {
    expect(complete<T.DecisionMade>('DecisionMade', {}).decision).toBeUndefined();
    expect(complete<T.Session>('Session', { principal: { role: 'admin' } }).principal).toMatchObject({ role: 'admin', email: '' });
  });
});

describe('session', () => {
  const session = complete<T.Session>('Session', { access_token: 't', expires_in: 900, principal: { email: 'a@b.c', role: 'admin' }, name: 'A' });
  const box = () => {
    const kept = new Map<string, string>();
    return { kept, getItem: (k: string) => kept.get(k) ?? null, setItem: (k: string, v: string) => void kept.set(k, v), removeItem: (k: string) => void kept.delete(k) };
  };
  it('signs in, survives a reload, and ends', () => {
    const s = sessionReducer(undefined, signedIn({ session, nowMs: 1000 }));
    expect(s).toMatchObject({ token: 't', role: 'admin', expiresAtMs: 901_000, renewAtMs: 721_000, name: 'A' });
    const storage = box();
    keepSession(storage, s);
    expect(loadSession(storage)).toEqual(s); // run out or not: the first call renews it
    const ended = sessionReducer(s, sessionEnded());
    expect(ended.token).toBe('');
    expect(ended.notice).toMatch(/Sign in again/);
    keepSession(storage, sessionReducer(s, signedOut()));
    expect(storage.kept.size).toBe(0);
  });
  it('ignores what it cannot read', () => {
    expect(loadSession({ getItem: () => '{broken' })).toEqual(signedOutState);
  });
});

describe('renewal', () => {
  const first = complete<T.Session>('Session', { access_token: 't1', expires_in: 900, principal: { email: 'a@b.c', role: 'admin' } });
  const next = { ...first, access_token: 't2' };
  const start = () => {
    let state: SessionState = sessionReducer(undefined, signedIn({ session: first, nowMs: Date.now() }));
    const dispatch = (action: { type: string }) => (state = sessionReducer(state, action));
    return { session: () => state, dispatch };
  };
  it('is shared by all that wait for it, and starts anew afterwards', async () => {
    const { session, dispatch } = start();
    let asked = 0;
    let answer: (a: { data: unknown }) => void = () => undefined;
    const ask = () => ((asked += 1), new Promise<{ data: unknown }>((done) => (answer = done)));
    const waiting = [1, 2, 3].map(() => renewSession(session, dispatch, ask));
    answer({ data: next });
    expect(await Promise.all(waiting)).toEqual([null, null, null]);
    expect([asked, session().token]).toEqual([1, 't2']);
    const again = renewSession(session, dispatch, ask);
    answer({ data: first });
    await again;
    expect([asked, session().token]).toEqual([2, 't1']);
  });
  it('ends the session when the server refuses, not when it is away', async () => {
    for (const [status, token] of [[0, 't1'], [429, 't1'], [503, 't1'], [400, ''], [401, '']] as const) {
      const { session, dispatch } = start();
      const problem = await renewSession(session, dispatch, async () => ({ error: problemFrom(status, {}) }));
      expect([problem?.status, session().token]).toEqual([status, token]);
      if (token) expect(session().renewAtMs).toBeLessThanOrEqual(Date.now() + 5000);
    }
    expect(sessionReducer(start().session(), renewLater({ nowMs: 7 })).renewAtMs).toBe(5007);
  });
  it('does not bring back who signed out meanwhile', async () => {
    const { session, dispatch } = start();
    await renewSession(session, dispatch, async () => (dispatch(signedOut()), { data: next }));
    expect(session().token).toBe('');
  });
});

describe('live series', () => {
  const point = (at_ns: number, value: number) => ({ symbol: 'btc_usd', location: '', at_ns, value });
  it('grows to the right only, each instant once, and is bounded', () => {
    let s = liveReducer(undefined, pointsArrived([point(10, 1), point(20, 2), point(20, 3), point(5, 9)]));
    expect(s.series[seriesKey('btc_usd', '')]).toEqual([{ at_ns: 10, value: 1 }, { at_ns: 20, value: 3 }]);
    s = liveReducer(s, pointsArrived(Array.from({ length: 2 * SERIES_POINTS_MAX }, (_, i) => point(100 + i, i))));
    const points = s.series[seriesKey('btc_usd', '')];
    expect(points).toHaveLength(SERIES_POINTS_MAX);
    expect(points[points.length - 1].value).toBe(2 * SERIES_POINTS_MAX - 1);
  });
  it('joins what was read with what came since', () => {
    const read = [{ at_ns: 1, value: 1 }, { at_ns: 2, value: 2 }];
    expect(mergeSeries(read, [{ at_ns: 2, value: 9 }, { at_ns: 3, value: 3 }]).map((p) => p.value)).toEqual([1, 2, 3]);
    expect(mergeSeries(read, undefined)).toBe(read);
  });
});

describe('events applied to what was read', () => {
  it('ticks', () => {
    const prices = complete<T.Prices>('Prices', { prices: [{ symbol: 'electricity_rt', location: 'HB_WEST', value: 20, stale: true }] });
    applyTicks(prices, complete('MarketMoved', { market_time_ns: 7, ticks: [{ symbol: 'electricity_rt', location: 'HB_WEST', value: 31, observed_at_ns: 6 }, { symbol: 'electricity_rt', location: 'HB_NORTH', value: 1 }] }), 5);
    expect(prices.prices).toHaveLength(1);
    expect(prices.prices[0]).toMatchObject({ value: 31, stale: false, observed_at_ns: 6, received_at_ns: 5e6 });
    expect(prices.market_time_ns).toBe(7);
  });
  it('decisions: new in front, same replaced, held left out where asked', () => {
    const ledger = complete<T.Decisions>('Decisions', { decisions: [{ id: 'a', changed: true }] });
    applyDecision(ledger, complete('Decision', { id: 'b', changed: false }), true);
    expect(ledger.decisions.map((d) => d.id)).toEqual(['a']);
    applyDecision(ledger, complete('Decision', { id: 'b', changed: false }), false);
    applyDecision(ledger, complete('Decision', { id: 'a', changed: true, realised_switching_ms: 30 }), true);
    expect(ledger.decisions.map((d) => [d.id, d.realised_switching_ms])).toEqual([['b', 0], ['a', 30]]);
  });
  it('workloads: an older version does not overwrite a newer one', () => {
    const list = complete<T.Workloads>('Workloads', { workloads: [{ id: 'w', version: 5, state: 'running' }] });
    expect(applyWorkload(list, complete('Workload', { id: 'w', version: 4, state: 'queued' }))).toBe(true);
    expect(list.workloads[0].state).toBe('running');
    applyWorkload(list, complete('Workload', { id: 'w', version: 6, state: 'completed' }));
    expect(list.workloads[0].state).toBe('completed');
    expect(applyWorkload(list, complete('Workload', { id: 'x' }))).toBe(false);
  });
  it('devices, capacity and switches', () => {
    const r = complete<T.Resources>('Resources', { devices: [{ id: 'd1', power_w: 1 }] });
    applyDevices(r, [complete('Device', { id: 'd1', power_w: 9 }), complete('Device', { id: 'other' })]);
    expect(r.devices.map((d) => d.power_w)).toEqual([9]);
    const f = complete<T.Fleet>('Fleet', { classes: [{ facility: 'x', device_class: 'a', power_w: 5 }] });
    applyCapacity(f, [complete('ClassCapacity', { facility: 'x', device_class: 'a', power_w: 7, hash_ths: 2 }), complete('ClassCapacity', { facility: 'x', device_class: 'b', power_w: 3 })]);
    expect([f.classes.length, f.power_w, f.hash_ths]).toEqual([2, 10, 2]);
    const s = complete<T.Switches>('Switches', { switches: [{ switch_id: '1' }] });
    applySwitch(s, complete('SwitchDone', { switch_id: '1' }), 2);
    applySwitch(s, complete('SwitchDone', { switch_id: '2' }), 2);
    applySwitch(s, complete('SwitchDone', { switch_id: '3' }), 2);
    expect(s.switches.map((x) => x.switch_id)).toEqual(['3', '2']);
  });
});

describe('workload form', () => {
  const good = { ...emptyForm, name: 'n' };
  it('says what is missing or out of range at each field', () => {
    expect(checkForm(good)).toEqual({});
    const e = checkForm({ ...good, name: ' ', device_count: '0', priority: '11', duration_s: 'x', callback_url: 'ftp://x', memory_gib: '-1' });
    expect(Object.keys(e).sort()).toEqual(['callback_url', 'device_count', 'duration_s', 'memory_gib', 'name', 'priority']);
    expect(checkForm({ ...good, name: 'é'.repeat(121) }).name).toMatch(/120/);
  });
  it('sends only what applies, hours as seconds', () => {
    expect(draftOf({ ...good, duration_s: '1.5', max_latency_ms: '250', type: 'ai_inference_batch' })).toEqual({
      type: 'ai_inference_batch', name: 'n', model: 'all-MiniLM-L6-v2', priority: 5, device_count: 1, duration_s: 5400,
    });
    expect(draftOf({ ...good, duration_s: '0' }).duration_s).toBe(0);
    expect(draftOf({ ...good, duration_s: '0.0001' }).duration_s).toBe(1); // not 0, which means "until cancelled"
  });
  it('asks for a part of one GPU, where the kind of work may have one', () => {
    expect(checkForm({ ...good, gpu_fraction: '0.25' })).toEqual({});
    expect(Object.keys(checkForm({ ...good, gpu_fraction: '0.2505' }))).toEqual(['gpu_fraction']);
    expect(Object.keys(checkForm({ ...good, gpu_fraction: '0' }))).toEqual(['gpu_fraction']);
    expect(Object.keys(checkForm({ ...good, gpu_fraction: '1', mig_profile: '1g.10gb' }))).toEqual(['mig_profile']);
    expect(draftOf({ ...good, gpu_fraction: '0.25' })).toMatchObject({ gpu_fraction: 0.25 });
    expect(draftOf({ ...good, mig_profile: ' 1g.10gb ' })).toMatchObject({ mig_profile: '1g.10gb' });
    expect(draftOf({ ...good, type: 'bitcoin_mining', gpu_fraction: '0.25', mig_profile: '1g.10gb' })).not.toHaveProperty('gpu_fraction');
  });
  it('counts months back over the turn of the year', () => {
    expect(lastMonths(new Date('2026-02-15T00:00:00Z'), 3)).toEqual(['2026-02', '2026-01', '2025-12']);
  });
});
