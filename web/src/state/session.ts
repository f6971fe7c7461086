import { createSlice, type PayloadAction } from '@reduxjs/toolkit';
import type { Role, Session } from '../api/types.gen';

export interface SessionState {
  token: string; // '' when signed out
  email: string;
  name: string;
  role: Role;
  customerId: string;
  expiresAtMs: number;
  renewAtMs: number; // while the token is still good
  notice: string; // why the reader is asked to sign in
}

export const signedOutState: SessionState = {
  token: '',
  email: '',
  name: '',
  role: '',
  customerId: '',
  expiresAtMs: 0,
  renewAtMs: 0,
  notice: '',
};

const KEY = 'hcp.session';
const RETRY_MS = 5000;

/** The session of this browser tab; the token is not kept when the tab is closed. One that ran out is renewed at its use. */
export function loadSession(storage: Pick<Storage, 'getItem'>): SessionState {
  try {
    const kept = JSON.parse(storage.getItem(KEY) ?? 'null') as SessionState | null;
    if (kept?.token) return { ...signedOutState, ...kept, notice: '' };
  } catch {
    // Unreadable: as if signed out.
  }
  return signedOutState;
}

export function keepSession(storage: Pick<Storage, 'setItem' | 'removeItem'>, state: SessionState): void {
  if (state.token) storage.setItem(KEY, JSON.stringify(state));
  else storage.removeItem(KEY);
}

function from(session: Session, nowMs: number): SessionState {
  const lifeMs = (session.expires_in || 900) * 1000;
  return {
    token: session.access_token,
    email: session.principal?.email ?? '',
    name: session.name || (session.principal?.email ?? ''),
    role: session.principal?.role ?? '',
    customerId: session.principal?.customer_id ?? '',
    expiresAtMs: nowMs + lifeMs,
    renewAtMs: nowMs + 0.8 * lifeMs,
    notice: '',
  };
}

type Given = PayloadAction<{ session: Session; nowMs: number }>;

const slice = createSlice({
  name: 'session',
  initialState: signedOutState,
  reducers: {
    signedIn: (_, { payload }: Given) => from(payload.session, payload.nowMs),
    renewed: (_, { payload }: Given) => from(payload.session, payload.nowMs),
    // Whoever renews asks again soon, not with every call.
    renewLater: (state, { payload }: PayloadAction<{ nowMs: number }>) => {
      state.renewAtMs = payload.nowMs + RETRY_MS;
    },
    signedOut: () => signedOutState,
    sessionEnded: (state) => (state.token ? { ...signedOutState, notice: 'Your session has ended. Sign in again.' } : state),
  },
});

export const { signedIn, renewed, renewLater, signedOut, sessionEnded } = slice.actions;
export const sessionReducer = slice.reducer;
export const isStaff = (role: Role): boolean => role === 'admin' || role === 'operator';
