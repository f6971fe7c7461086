/** An error as the API tells it (RFC 9457), or as the browser does when there was no answer. */
export interface ApiProblem {
  status: number; // 0: no answer at all
  code: string; // stable: "not_found", "invalid", "unreachable", …
  title: string;
  detail: string;
  field: string; // the offending field, '' if none applies
  traceId: string;
}

const TITLES: Record<number, string> = {
  0: 'The platform does not answer',
  400: 'The request was not understood',
  401: 'Sign in again',
  403: 'Not allowed',
  404: 'Not found',
  409: 'Changed meanwhile',
  412: 'Changed meanwhile',
  422: 'Not accepted',
  429: 'Too many requests',
  500: 'The platform failed',
  502: 'A service is not reachable',
  503: 'A service is not ready',
  504: 'A service took too long',
};

const ADVICE: Record<number, string> = {
  0: 'Check the network connection; the page retries by itself.',
  401: 'The session has ended. Sign in again to continue.',
  403: 'This account may not do that. Ask an administrator for the role that may.',
  404: 'It may have been removed. Go back to the list and choose again.',
  409: 'Reload to see the present state, then try again.',
  412: 'Reload to see the present state, then try again.',
  429: 'Wait a moment, then try again.',
  500: 'Try again. If it persists, report the trace id to the operator.',
  502: 'The service is restarting or down. Try again in a few seconds.',
  503: 'The service is restarting or down. Try again in a few seconds.',
  504: 'The service is busy. Try again in a few seconds.',
};

function text(v: unknown): string {
  return typeof v === 'string' ? v : '';
}

export function problemFrom(status: number, body: unknown): ApiProblem {
  const b = (body && typeof body === 'object' ? body : {}) as Record<string, unknown>;
  return {
    status,
    code: text(b.code) || (status === 0 ? 'unreachable' : `http_${status}`),
    title: text(b.title) || TITLES[status] || 'Something went wrong',
    detail: text(b.detail),
    field: text(b.field),
    traceId: text(b.trace_id),
  };
}

export function isProblem(e: unknown): e is ApiProblem {
  return !!e && typeof e === 'object' && 'code' in e && 'status' in e && 'detail' in e;
}

export function asProblem(e: unknown): ApiProblem {
  return isProblem(e) ? e : problemFrom(0, undefined);
}

/** What the reader can do about it. */
export function advice(p: ApiProblem): string {
  return ADVICE[p.status] ?? 'Try again.';
}

/** The messages of a refused form: by field where one was named and the form has it, else for the form as a whole. */
export function formErrors(p: ApiProblem, fields: readonly string[]): { field: Record<string, string>; form: string } {
  const message = p.detail || p.title;
  // A batch or nested message names the path, e.g. "workloads[3].device_count".
  const last = p.field.split('.').pop() ?? '';
  if (last && fields.includes(last)) return { field: { [last]: message }, form: '' };
  return { field: {}, form: p.field ? `${p.field}: ${message}` : message };
}
