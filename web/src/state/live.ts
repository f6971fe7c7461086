import { createSlice, type PayloadAction } from '@reduxjs/toolkit';
import type { PricePoint } from '../api/types.gen';
import type { LinkState } from '../live/socket';

export const SERIES_POINTS_MAX = 720;

export interface LiveState {
  link: LinkState;
  lastEventAtMs: number;
  events: number;
  // Points that arrived since the page was opened, by "symbol@location".
  series: Record<string, PricePoint[]>;
}

const initialState: LiveState = { link: 'closed', lastEventAtMs: 0, events: 0, series: {} };

export const seriesKey = (symbol: string, location: string): string => `${symbol}@${location}`;

const slice = createSlice({
  name: 'live',
  initialState,
  reducers: {
    linkChanged: (state, { payload }: PayloadAction<LinkState>) => {
      state.link = payload;
    },
    eventSeen: (state, { payload }: PayloadAction<number>) => {
      state.lastEventAtMs = payload;
      state.events += 1;
    },
    pointsArrived: (
      state,
      { payload }: PayloadAction<{ symbol: string; location: string; at_ns: number; value: number }[]>,
    ) => {
      for (const p of payload) {
        const points = (state.series[seriesKey(p.symbol, p.location)] ??= []);
        const last = points[points.length - 1];
        if (last && p.at_ns < last.at_ns) continue; // late: the chart only grows to the right
        if (last && p.at_ns === last.at_ns) last.value = p.value;
        else points.push({ at_ns: p.at_ns, value: p.value });
      }
      for (const key of new Set(payload.map((p) => seriesKey(p.symbol, p.location)))) {
        const points = state.series[key];
        if (points.length > SERIES_POINTS_MAX) state.series[key] = points.slice(-SERIES_POINTS_MAX);
      }
    },
    liveReset: () => initialState,
  },
});

export const { linkChanged, eventSeen, pointsArrived, liveReset } = slice.actions;
export const liveReducer = slice.reducer;

/** What was read joined with what arrived since, oldest first, each instant once. */
export function mergeSeries(read: PricePoint[], arrived: PricePoint[] = []): PricePoint[] {
  if (!arrived.length) return read;
  const end = read.length ? read[read.length - 1].at_ns : -Infinity;
  return [...read, ...arrived.filter((p) => p.at_ns > end)];
}
