import { combineReducers, configureStore } from '@reduxjs/toolkit';
import { useDispatch, useSelector } from 'react-redux';
import { api } from '../api/api';
import { renewSession } from '../api/renew';
import { bindLive } from '../live/bind';
import { liveReducer } from './live';
import { keepTheme, loadTheme, prefsReducer } from './prefs';
import { keepSession, loadSession, sessionReducer } from './session';

const reducer = combineReducers({
  session: sessionReducer,
  live: liveReducer,
  prefs: prefsReducer,
  [api.reducerPath]: api.reducer,
});

export type RootState = ReturnType<typeof reducer>;

export const store = configureStore({
  reducer,
  middleware: (get) => get({ serializableCheck: false, immutableCheck: false }).concat(api.middleware),
  preloadedState: {
    session: loadSession(sessionStorage),
    prefs: { theme: loadTheme() },
  },
});

export type AppDispatch = typeof store.dispatch;
export const useAppDispatch = useDispatch.withTypes<AppDispatch>();
export const useAppSelector = useSelector.withTypes<RootState>();

const SIGNED_IN = 'hcp.signed-in'; // a hint to other tabs and later visits: the cookie itself cannot be seen
const WAIT_MS = 3000;
const TIMER_MAX_MS = 3_600_000;

const renew = () => renewSession(() => store.getState().session, store.dispatch);

/** A tab that was opened while the reader is signed in elsewhere, or after the browser was closed, takes part. */
export async function resume(): Promise<void> {
  if (store.getState().session.token || localStorage.getItem(SIGNED_IN) !== '1') return;
  const problem = await Promise.race([renew(), new Promise<null>((done) => setTimeout(done, WAIT_MS, null))]);
  if (problem && problem.status >= 400 && problem.status < 500) localStorage.removeItem(SIGNED_IN);
}

let timer: ReturnType<typeof setTimeout> | undefined;
/** An open page holds its session, even when nothing is asked for. */
function renewInTime(): void {
  clearTimeout(timer);
  const { token, renewAtMs } = store.getState().session;
  if (!token) return;
  const leftMs = renewAtMs - Date.now();
  timer = setTimeout(() => (leftMs > TIMER_MAX_MS ? renewInTime() : void renew()), Math.min(Math.max(leftMs, 0), TIMER_MAX_MS));
}

let session = store.getState().session;
let theme = store.getState().prefs.theme;
store.subscribe(() => {
  const state = store.getState();
  if (state.session !== session) {
    // Another reader must not see what the last one had read.
    if (session.token && state.session.email !== session.email) setTimeout(() => store.dispatch(api.util.resetApiState()));
    session = state.session;
    keepSession(sessionStorage, session);
    if (session.token) localStorage.setItem(SIGNED_IN, '1');
    else localStorage.removeItem(SIGNED_IN);
    renewInTime();
  }
  if (state.prefs.theme !== theme) {
    theme = state.prefs.theme;
    keepTheme(theme);
  }
});
renewInTime();

bindLive(store);
