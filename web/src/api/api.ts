import { createApi, type BaseQueryFn } from '@reduxjs/toolkit/query/react';
import { sessionEnded, type SessionState } from '../state/session';
import type { ApiProblem } from './problem';
import { endSession, renewSession } from './renew';
import { send, type Call } from './send';
import type * as T from './types.gen';

/** A call of the signed-in reader: its token is renewed before it runs out, and once more when the server says 401. */
const baseQuery: BaseQueryFn<Call, unknown, ApiProblem> = async (call, { signal, getState, dispatch }) => {
  const session = () => (getState() as { session: SessionState }).session;
  if (call.path === '/auth/logout') return endSession(call);
  const signedIn = session().token !== '' && call.path !== '/auth/login';
  if (signedIn && Date.now() >= session().renewAtMs) await renewSession(session, dispatch);
  const { token } = session();
  const result = await send(call, token, signal);
  if (!signedIn || !('error' in result) || result.error.status !== 401) return result;
  // Another call may have renewed it while this one was on its way.
  const problem = session().token === token ? await renewSession(session, dispatch) : null;
  if (problem) return { error: problem };
  if (session().token === token || !session().token) return result;
  const again = await send(call, session().token, signal);
  if ('error' in again && again.error.status === 401) dispatch(sessionEnded());
  return again;
};

export type ResourceQuery = Partial<Pick<T.ResourcesList, 'kind' | 'device_class' | 'state' | 'node_id' | 'cursor' | 'limit'>>;
export type WorkloadQuery = Partial<T.WorkloadList>;
export type WorkloadDraft = Partial<T.WorkloadSubmit>;

export const api = createApi({
  reducerPath: 'api',
  baseQuery,
  tagTypes: ['Workloads', 'Keys', 'Status', 'Policy', 'Models', 'Curtailments', 'Tickets'],
  keepUnusedDataFor: 30,
  endpoints: (b) => ({
    login: b.mutation<T.Session, Pick<T.Login, 'email' | 'password'>>({
      query: (body) => ({ path: '/auth/login', method: 'POST', body: { ...body, cookie: true }, reply: 'Session' }),
    }),
    logout: b.mutation<T.Empty, void>({
      query: () => ({ path: '/auth/logout', method: 'POST', body: {}, reply: 'Empty', keepalive: true }),
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
    bids: b.query<T.Bids, { facility: string; duration_s: number }>({
      query: (query) => ({ path: '/bids', query, reply: 'Bids' }),
    }),
    /** The newest plan of a facility; null before the first. */
    plan: b.query<T.Plan | null, string>({
      async queryFn(facility, _api, _extra, ask) {
        const list = await ask({ path: '/plans', query: { facility, limit: 1 }, reply: 'Plans' });
        if (list.error) return { error: list.error };
        const head = (list.data as T.Plans).plans[0];
        if (!head) return { data: null };
        const plan = await ask({ path: `/plans/${encodeURIComponent(head.id)}`, reply: 'Plan' });
        return plan.error ? { error: plan.error } : { data: plan.data as T.Plan };
      },
    }),
    capacity: b.query<T.CapacityForecast, void>({ query: () => ({ path: '/capacity/forecast', reply: 'CapacityForecast' }) }),
    portfolio: b.query<T.Portfolio, void>({ query: () => ({ path: '/portfolio', reply: 'Portfolio' }) }),
    policy: b.query<T.Policy, void>({ query: () => ({ path: '/policy', reply: 'Policy' }), providesTags: ['Policy'] }),
    setPolicy: b.mutation<T.Policy, Omit<T.PolicySet, 'if_version'>>({
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
    models: b.query<T.Models, void>({ query: () => ({ path: '/models', reply: 'Models' }), providesTags: ['Models'] }),
    model: b.query<T.Model, string>({
      query: (name) => ({ path: `/models/${encodeURIComponent(name)}`, reply: 'Model' }),
      providesTags: ['Models'],
    }),
    activateModel: b.mutation<T.Model, T.ModelActivate>({
      query: ({ name, version }) => ({ path: `/models/${encodeURIComponent(name)}/activate`, method: 'POST', body: { version }, reply: 'Model' }),
      invalidatesTags: ['Models'],
    }),
    rollbackModel: b.mutation<T.Model, T.ModelRollback>({
      query: ({ name, reason }) => ({ path: `/models/${encodeURIComponent(name)}/rollback`, method: 'POST', body: { reason }, reply: 'Model' }),
      invalidatesTags: ['Models'],
    }),
    power: b.query<T.Power, void>({ query: () => ({ path: '/power', reply: 'Power' }) }),
    curtailments: b.query<T.Curtailments, void>({ query: () => ({ path: '/curtailments', reply: 'Curtailments' }), providesTags: ['Curtailments'] }),
    curtail: b.mutation<T.Curtailment, T.Curtail>({
      query: (body) => ({ path: '/curtailments', method: 'POST', body, reply: 'Curtailment' }),
      invalidatesTags: ['Curtailments'],
    }),
    restore: b.mutation<T.Curtailment, string>({
      query: (id) => ({ path: `/curtailments/${encodeURIComponent(id)}/restore`, method: 'POST', body: {}, reply: 'Curtailment' }),
      invalidatesTags: ['Curtailments'],
    }),
    tickets: b.query<T.Tickets, { all: boolean }>({
      query: (query) => ({ path: '/tickets', query, reply: 'Tickets' }),
      providesTags: ['Tickets'],
    }),
    closeTicket: b.mutation<T.Ticket, T.TicketClose>({
      query: ({ id, note }) => ({ path: `/tickets/${encodeURIComponent(id)}/close`, method: 'POST', body: { note }, reply: 'Ticket' }),
      invalidatesTags: ['Tickets'],
    }),
    series: b.query<T.Series, { metric: string; scope?: string; key?: string; minutes?: number }>({
      query: (query) => ({ path: '/telemetry/series', query, reply: 'Series' }),
    }),
    queue: b.query<T.Queue, { limit?: number; cursor?: string; workload_id?: string }>({
      query: (query) => ({ path: '/queue', query, reply: 'Queue' }),
    }),
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
