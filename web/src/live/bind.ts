// Connects the live link to the store: opens it for the session, and applies each event to what pages have read.
import type { EnhancedStore } from '@reduxjs/toolkit';
import { api } from '../api/api';
import { complete } from '../api/complete';
import type * as T from '../api/types.gen';
import { eventSeen, linkChanged, liveReset, pointsArrived } from '../state/live';
import { isStaff, type SessionState } from '../state/session';
import { applyCapacity, applyDecision, applyDevices, applySwitch, applyTicks, applyWorkload } from './apply';
import { LiveLink, type LiveEvent } from './socket';

const STAFF_TOPICS = [
  'market.price',
  'optimizer.recommendation',
  'workload.events',
  'resources.devices',
  'resources.capacity',
  'resources.switches',
];
const CUSTOMER_TOPICS = ['market.price', 'workload.events'];

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- the store's type needs this module
type AnyStore = EnhancedStore<any>;

/** The arguments of every cached answer of one endpoint. */
function cachedArgs(store: AnyStore, endpoint: string): unknown[] {
  const queries = store.getState()[api.reducerPath].queries as Record<
    string,
    { endpointName?: string; originalArgs?: unknown; data?: unknown } | undefined
  >;
  return Object.values(queries)
    .filter((q) => q?.endpointName === endpoint && q.data !== undefined)
    .map((q) => q?.originalArgs);
}

function take(store: AnyStore, event: LiveEvent): void {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- thunks of the api slice
  const dispatch = store.dispatch as (action: any) => void;
  dispatch(eventSeen(Date.now()));
  switch (event.type) {
    case 'MarketMoved': {
      const moved = complete<T.MarketMoved>('MarketMoved', event.data);
      const nowMs = Date.now();
      dispatch(api.util.updateQueryData('prices', undefined, (draft) => applyTicks(draft, moved, nowMs)));
      dispatch(
        pointsArrived(
          moved.ticks.map((t) => ({
            symbol: t.symbol,
            location: t.location,
            at_ns: t.observed_at_ns || t.interval_start_ns,
            value: t.value,
          })),
        ),
      );
      break;
    }
    case 'DecisionMade': {
      const { decision } = complete<T.DecisionMade>('DecisionMade', event.data);
      if (!decision) break;
      dispatch(api.util.updateQueryData('recommendation', undefined, () => decision));
      dispatch(api.util.updateQueryData('decision', decision.id, () => decision));
      for (const arg of cachedArgs(store, 'decisions') as { cursor?: string; changed_only?: boolean }[]) {
        if (arg.cursor) continue; // an older page does not change
        dispatch(
          api.util.updateQueryData('decisions', arg, (draft) => applyDecision(draft, decision, !!arg.changed_only)),
        );
      }
      break;
    }
    case 'WorkloadChanged': {
      const { workload } = complete<T.WorkloadChanged>('WorkloadChanged', event.data);
      if (!workload) break;
      let known = false;
      for (const arg of cachedArgs(store, 'workloads') as Partial<T.WorkloadList>[]) {
        dispatch(
          api.util.updateQueryData('workloads', arg, (draft) => {
            known = applyWorkload(draft, workload) || known;
          }),
        );
      }
      dispatch(
        api.util.updateQueryData('workload', workload.id, (draft) => (workload.version >= draft.version ? workload : draft)),
      );
      if (!known || cachedArgs(store, 'workloadHistory').includes(workload.id)) {
        dispatch(api.util.invalidateTags(['Workloads']));
      }
      break;
    }
    case 'DevicesChanged': {
      const { devices } = complete<T.DevicesChanged>('DevicesChanged', event.data);
      for (const arg of cachedArgs(store, 'resources') as Partial<T.ResourcesList>[]) {
        dispatch(api.util.updateQueryData('resources', arg, (draft) => applyDevices(draft, devices)));
      }
      for (const device of devices) {
        dispatch(api.util.updateQueryData('device', device.id, () => device));
      }
      break;
    }
    case 'CapacityChanged': {
      const { classes } = complete<T.CapacityChanged>('CapacityChanged', event.data);
      dispatch(api.util.updateQueryData('fleet', undefined, (draft) => applyCapacity(draft, classes)));
      break;
    }
    case 'SwitchDone': {
      const done = complete<T.SwitchDone>('SwitchDone', event.data);
      for (const arg of cachedArgs(store, 'switches') as { limit?: number }[]) {
        dispatch(api.util.updateQueryData('switches', arg, (draft) => applySwitch(draft, done, arg.limit ?? 50)));
      }
      break;
    }
  }
}

export function bindLive(store: AnyStore): void {
  let link: LiveLink | null = null;
  let token = '';
  let reader = '';
  const follow = () => {
    const session = store.getState().session as SessionState;
    if (session.token === token) return;
    token = session.token;
    if (link && token && session.email === reader) {
      link.renew(token);
      return;
    }
    reader = session.email;
    link?.stop();
    link = null;
    if (!token) {
      store.dispatch(liveReset());
      return;
    }
    const scheme = window.location.protocol === 'https:' ? 'wss' : 'ws';
    link = new LiveLink({
      url: `${scheme}://${window.location.host}/api/v1/ws`,
      token,
      topics: isStaff(session.role) ? STAFF_TOPICS : CUSTOMER_TOPICS,
      onEvent: (event) => take(store, event),
      onState: (state) => store.dispatch(linkChanged(state)),
      onGap: () => store.dispatch(api.util.resetApiState()),
    });
    link.start();
  };
  store.subscribe(follow);
  follow();
  window.addEventListener('online', () => link?.nudge());
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') link?.nudge();
  });
}
