import { combineReducers, configureStore } from '@reduxjs/toolkit';
import { useDispatch, useSelector } from 'react-redux';
import { api } from '../api/api';
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
    session: loadSession(sessionStorage, Date.now()),
    prefs: { theme: loadTheme() },
  },
});

export type AppDispatch = typeof store.dispatch;
export const useAppDispatch = useDispatch.withTypes<AppDispatch>();
export const useAppSelector = useSelector.withTypes<RootState>();

let session = store.getState().session;
let theme = store.getState().prefs.theme;
store.subscribe(() => {
  const state = store.getState();
  if (state.session !== session) {
    // Another reader must not see what the last one had read.
    if (session.token && state.session.token !== session.token) setTimeout(() => store.dispatch(api.util.resetApiState()));
    session = state.session;
    keepSession(sessionStorage, session);
  }
  if (state.prefs.theme !== theme) {
    theme = state.prefs.theme;
    keepTheme(theme);
  }
});

bindLive(store);
