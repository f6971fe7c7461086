import { createSlice, type PayloadAction } from '@reduxjs/toolkit';
import type { Role, Session } from '../api/types.gen';

export interface SessionState {
  token: string; // '' when signed out
  email: string;
  name: string;
  role: Role;
  customerId: string;
  expiresAtMs: number;
  notice: string; // why the reader is asked to sign in
}

export const signedOutState: SessionState = {
  token: '',
  email: '',
  name: '',
  role: '',
  customerId: '',
  expiresAtMs: 0,
  notice: '',
};

const KEY = 'hcp.session';

/** The session of this browser tab; the token is not kept when the tab is closed. */
export function loadSession(storage: Pick<Storage, 'getItem'>, nowMs: number): SessionState {
  try {
    const kept = JSON.parse(storage.getItem(KEY) ?? 'null') as SessionState | null;
    if (kept?.token && kept.expiresAtMs > nowMs) return { ...signedOutState, ...kept, notice: '' };
  } catch {
    // Unreadable: as if signed out.
  }
  return signedOutState;
}

export function keepSession(storage: Pick<Storage, 'setItem' | 'removeItem'>, state: SessionState): void {
  if (state.token) storage.setItem(KEY, JSON.stringify(state));
  else storage.removeItem(KEY);
}

const slice = createSlice({
  name: 'session',
  initialState: signedOutState,
  reducers: {
    signedIn: (_, { payload }: PayloadAction<{ session: Session; nowMs: number }>) => ({
      token: payload.session.access_token,
      email: payload.session.principal?.email ?? '',
      name: payload.session.name || (payload.session.principal?.email ?? ''),
      role: payload.session.principal?.role ?? '',
      customerId: payload.session.principal?.customer_id ?? '',
      expiresAtMs: payload.nowMs + (payload.session.expires_in || 900) * 1000,
      notice: '',
    }),
    signedOut: () => signedOutState,
    sessionEnded: (state) => (state.token ? { ...signedOutState, notice: 'Your session has ended. Sign in again.' } : state),
  },
});

export const { signedIn, signedOut, sessionEnded } = slice.actions;
export const sessionReducer = slice.reducer;
export const isStaff = (role: Role): boolean => role === 'admin' || role === 'operator';
