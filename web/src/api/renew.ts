// Keeps a session going. The refresh token is a cookie that no script sees; each is good once, and one sent twice ends the
// session. So renewals take turns: in this tab by sharing one, between tabs by a lock of the browser.
import { renewed, renewLater, sessionEnded, type SessionState } from '../state/session';
import type { ApiProblem } from './problem';
import { send, type Call } from './send';
import type { Session } from './types.gen';

const LOCK = 'hcp.session';
const REFRESH: Call = { path: '/auth/refresh', method: 'POST', body: {}, reply: 'Session', keepalive: true };

type Answer = Awaited<ReturnType<typeof send>>;
type Dispatch = (action: { type: string }) => unknown;
export type Alone = (ask: () => Promise<Answer>) => Promise<Answer>;

const alone: Alone = (ask) =>
  typeof navigator !== 'undefined' && navigator.locks ? navigator.locks.request(LOCK, ask) : ask();

let running: Promise<ApiProblem | null> | null = null;

async function renewOnce(session: () => SessionState, dispatch: Dispatch, ask: () => Promise<Answer>): Promise<ApiProblem | null> {
  const { token } = session();
  const answer = await ask();
  if (session().token !== token) return null; // signed out, or in again, meanwhile
  if ('data' in answer) {
    dispatch(renewed({ session: answer.data as Session, nowMs: Date.now() }));
    return null;
  }
  const { status } = answer.error;
  // No answer, a busy or a failing server say nothing about the session.
  if (status >= 400 && status < 500 && status !== 429) dispatch(sessionEnded());
  else dispatch(renewLater({ nowMs: Date.now() }));
  return answer.error;
}

/** Renews the session, or waits for the renewal that is under way. null, or why it did not work. */
export function renewSession(
  session: () => SessionState,
  dispatch: Dispatch,
  ask: () => Promise<Answer> = () => alone(() => send(REFRESH, '')),
): Promise<ApiProblem | null> {
  running ??= renewOnce(session, dispatch, ask).finally(() => (running = null));
  return running;
}

/** After a renewal that is under way, so that it ends what that has begun. */
export function endSession(call: Call): Promise<Answer> {
  return alone(() => send(call, ''));
}
