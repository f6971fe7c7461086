import { complete } from './complete';
import { problemFrom, type ApiProblem } from './problem';

export interface Call {
  path: string; // below /api/v1
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  query?: Record<string, string | number | boolean | undefined>;
  body?: unknown;
  reply: string; // message name of the answer
  idempotencyKey?: string;
  keepalive?: boolean; // goes on when the page is left
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
      keepalive: call.keepalive,
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
