import { createApi, type BaseQueryFn } from '@reduxjs/toolkit/query/react';
import type { SessionState } from '../state/session';
import { sessionEnded } from '../state/session';
import { complete } from './complete';
import { problemFrom, type ApiProblem } from './problem';
import type * as T from './types.gen';

export interface Call {
  path: string; // below /api/v1
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  reply: string; // message name of the answer
  idempotencyKey?: string;
}

const TIMEOUT_MS = 15_000;

/** One request. Whatever goes wrong comes back as a problem, never as an exception. */
export async function send(
  call: Call,
  token: string,
  signal?: AbortSignal,
  fetcher: typeof fetch = fetch,
): Promise<{ data: unknown } | { error: ApiProblem }> {
  const query = new URLSearchParams();
  for (const [k, v] of Object.entries(call.query ?? {})) {
    if (v !== undefined && v !== '') query.set(k, String(v));
  }
  const suffix = query.size ?? [...query].length;
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (call.body !== undefined) headers['Content-Type'] = 'application/json';
  if (call.idempotencyKey) headers['Idempotency-Key'] = call.idempotencyKey;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), TIMEOUT_MS);
  const abort = () => limit.abort();
  signal?.addEventListener('abort', abort);
  try {
    const response = await fetcher(`/api/v1${call.path}${suffix ? `?${query}` : ''}`, {
      method: call.method ?? 'GET',
      headers,
      body: call.body === undefined ? undefined : JSON.stringify(call.body),
      signal: limit.signal,
    });
    const text = await response.text();
    let body: unknown;
    try {
      body = text ? JSON.parse(text) : {};
    } catch {
      if (response.ok) return { error: { ...problemFrom(502, {}), detail: 'The answer was not JSON.' } };
    }
    if (!response.ok) return { error: problemFrom(response.status, body) };
    return { data: complete(call.reply, body) };
  } catch {
    return { error: problemFrom(0, undefined) };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

const baseQuery: BaseQueryFn<Call, unknown, ApiProblem> = async (call, { signal, getState, dispatch }) => {
  const { token } = (getState() as { session: SessionState }).session;
  const result = await send(call, token, signal);
  if ('error' in result && result.error.status === 401 && call.path !== '/auth/login') dispatch(sessionEnded());
  return result;
};

export type ResourceQuery = Partial<Pick<T.ResourcesList, 'kind' | 'device_class' | 'state' | 'node_id' | 'cursor' | 'limit'>>;
export type WorkloadQuery = Partial<T.WorkloadList>;
export type WorkloadDraft = Partial<T.WorkloadSubmit>;

export const api = createApi({
  reducerPath: 'api',
  baseQuery,
  tagTypes: ['Workloads', 'Keys', 'Status', 'Policy'],
  keepUnusedDataFor: 30,
  endpoints: (b) => ({
    login: b.mutation<T.Session, T.Login>({
      query: (body) => ({ path: '/auth/login', method: 'POST', body, reply: 'Session' }),
    }),
    status: b.query<T.Status, void>({ query: () => ({ path: '/status', reply: 'Status' }), providesTags: ['Status'] }),
    stop: b.mutation<T.Status, T.EmergencyStop>({
      query: (body) => ({ path: '/emergency/stop', method: 'POST', body, reply: 'Status' }),
      invalidatesTags: ['Status'],
    }),
    clear: b.mutation<T.Status, T.EmergencyClear>({
      query: (body) => ({ path: '/emergency/clear', method: 'POST', body, reply: 'Status' }),
      invalidatesTags: ['Status'],
    }),
    prices: b.query<T.Prices, void>({ query: () => ({ path: '/prices', reply: 'Prices' }) }),
    history: b.query<T.PriceHistory, { symbol: string; location?: string; limit?: number }>({
      query: (query) => ({ path: '/prices/history', query, reply: 'PriceHistory' }),
    }),
    profitability: b.query<T.Profitability, { device_class: string }>({
      query: (body) => ({ path: '/profitability/calculate', method: 'POST', body, reply: 'Profitability' }),
    }),
    recommendation: b.query<T.Decision, void>({ query: () => ({ path: '/recommendation', reply: 'Decision' }) }),
    decisions: b.query<T.Decisions, { limit?: number; cursor?: string; changed_only?: boolean }>({
      query: (query) => ({ path: '/decisions', query, reply: 'Decisions' }),
    }),
    decision: b.query<T.Decision, string>({
      query: (id) => ({ path: `/decisions/${encodeURIComponent(id)}`, reply: 'Decision' }),
    }),
    policy: b.query<T.Policy, void>({ query: () => ({ path: '/policy', reply: 'Policy' }), providesTags: ['Policy'] }),
    setPolicy: b.mutation<T.Policy, T.PolicySet>({
      query: (body) => ({ path: '/policy', method: 'PUT', body, reply: 'Policy' }),
      invalidatesTags: ['Policy'],
    }),
    fleet: b.query<T.Fleet, void>({ query: () => ({ path: '/fleet', reply: 'Fleet' }) }),
    resources: b.query<T.Resources, ResourceQuery>({
      query: (query) => ({ path: '/resources', query, reply: 'Resources' }),
    }),
    device: b.query<T.Device, string>({
      query: (id) => ({ path: `/resources/${encodeURIComponent(id)}`, reply: 'Device' }),
    }),
    nodes: b.query<T.Nodes, void>({ query: () => ({ path: '/nodes', reply: 'Nodes' }) }),
    availability: b.query<T.Availability, void>({ query: () => ({ path: '/availability', reply: 'Availability' }) }),
    switches: b.query<T.Switches, { limit?: number }>({
      query: (query) => ({ path: '/switches', query, reply: 'Switches' }),
    }),
    series: b.query<T.Series, { metric: string; scope?: string; key?: string; minutes?: number }>({
      query: (query) => ({ path: '/telemetry/series', query, reply: 'Series' }),
    }),
    queue: b.query<T.Queue, void>({ query: () => ({ path: '/queue', reply: 'Queue' }) }),
    workloads: b.query<T.Workloads, WorkloadQuery>({
      query: (query) => ({ path: '/workloads', query, reply: 'Workloads' }),
      providesTags: ['Workloads'],
    }),
    workload: b.query<T.Workload, string>({
      query: (id) => ({ path: `/workloads/${encodeURIComponent(id)}`, reply: 'Workload' }),
      providesTags: ['Workloads'],
    }),
    workloadHistory: b.query<T.WorkloadHistory, string>({
      query: (id) => ({ path: `/workloads/${encodeURIComponent(id)}/history`, reply: 'WorkloadHistory' }),
      providesTags: ['Workloads'],
    }),
    submitWorkload: b.mutation<T.Workload, { draft: WorkloadDraft; key: string }>({
      query: ({ draft, key }) => ({
        path: '/workloads',
        method: 'POST',
        body: draft,
        reply: 'Workload',
        idempotencyKey: key,
      }),
      invalidatesTags: ['Workloads'],
    }),
    cancelWorkload: b.mutation<T.Workload, string>({
      query: (id) => ({ path: `/workloads/${encodeURIComponent(id)}`, method: 'DELETE', reply: 'Workload' }),
      invalidatesTags: ['Workloads'],
    }),
    holdWorkload: b.mutation<T.Workload, { id: string; order: 'pause' | 'resume' }>({
      query: ({ id, order }) => ({
        path: `/workloads/${encodeURIComponent(id)}/${order}`,
        method: 'POST',
        reply: 'Workload',
      }),
      invalidatesTags: ['Workloads'],
    }),
    usage: b.query<T.Usage, { month?: string; customer_id?: string }>({
      query: (query) => ({ path: '/billing/usage', query, reply: 'Usage' }),
    }),
    revenue: b.query<T.Revenue, { hours: number }>({
      query: (query) => ({ path: '/billing/revenue', query, reply: 'Revenue' }),
    }),
    keys: b.query<T.ApiKeys, void>({ query: () => ({ path: '/api-keys', reply: 'ApiKeys' }), providesTags: ['Keys'] }),
    createKey: b.mutation<T.ApiKey, { name: string }>({
      query: (body) => ({ path: '/api-keys', method: 'POST', body, reply: 'ApiKey' }),
      invalidatesTags: ['Keys'],
    }),
    revokeKey: b.mutation<T.ApiKey, string>({
      query: (id) => ({ path: `/api-keys/${encodeURIComponent(id)}`, method: 'DELETE', reply: 'ApiKey' }),
      invalidatesTags: ['Keys'],
    }),
  }),
});
