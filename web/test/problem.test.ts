import { afterEach, describe, expect, it } from 'vitest';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { send } from '../src/api/send';
import { advice, asProblem, formErrors, problemFrom } from '../src/api/problem';

describe('problems', () => {
  it('takes what problem+json says', () => {
    const p = problemFrom(422, { title: 'Not accepted', detail: 'at most 64', code: 'invalid', field: 'device_count', trace_id: 'ab' });
    expect(p).toEqual({ status: 422, code: 'invalid', title: 'Not accepted', detail: 'at most 64', field: 'device_count', traceId: 'ab' });
  });
  it('makes up for what an answer lacks', () => {
    expect(problemFrom(503, '<html>').title).toBe('A service is not ready');
    expect(problemFrom(0, undefined).code).toBe('unreachable');
    expect(problemFrom(418, { detail: 7 })).toMatchObject({ code: 'http_418', detail: '' });
    expect(asProblem(new Error('x')).status).toBe(0);
    expect(advice(problemFrom(429, {}))).toMatch(/Wait/);
  });
  it('puts the message at the field that was named', () => {
    const p = problemFrom(422, { detail: 'at most 64', field: 'workloads[3].device_count' });
    expect(formErrors(p, ['name', 'device_count'])).toEqual({ field: { device_count: 'at most 64' }, form: '' });
    expect(formErrors({ ...p, field: 'quota' }, ['name'])).toEqual({ field: {}, form: 'quota: at most 64' });
    expect(formErrors({ ...p, field: '' }, ['name'])).toEqual({ field: {}, form: 'at most 64' });
  });
});

describe('send, against a real server', () => {
  let server: Server | undefined;
  let seen: { url?: string; auth?: string; key?: string; body: string }[] = [];
  const serve = async (status: number, type: string, body: string) => {
    seen = [];
    server = createServer((req, res) => {
      let text = '';
      req.on('data', (c) => (text += c));
      req.on('end', () => {
        seen.push({ url: req.url, auth: req.headers.authorization, key: req.headers['idempotency-key'] as string, body: text });
        res.writeHead(status, { 'content-type': type }).end(body);
      });
    });
    await new Promise<void>((r) => server!.listen(0, '127.0.0.1', r));
    const port = (server.address() as AddressInfo).port;
    return ((path: string, init: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init)) as typeof fetch;
  };
  const shut = async () => {
    const s = server;
    server = undefined;
    if (!s) return;
    await new Promise<void>((r) => {
      s.close(() => r());
      s.closeAllConnections(); // connections kept alive would hold it open
    });
  };
  afterEach(shut);

  it('sends token, key, query and body, and completes the answer', async () => {
    const fetcher = await serve(201, 'application/json', '{"id":"wl-1","state":"queued"}');
    const r = await send(
      { path: '/workloads', method: 'POST', query: { a: 'x y', none: undefined, empty: '' }, body: { name: 'n' }, reply: 'Workload', idempotencyKey: 'k1' },
      'tok',
      undefined,
      fetcher,
    );
    expect(seen).toEqual([{ url: '/api/v1/workloads?a=x+y', auth: 'Bearer tok', key: 'k1', body: '{"name":"n"}' }]);
    expect(r).toMatchObject({ data: { id: 'wl-1', state: 'queued', device_count: 0, device_ids: [], name: '' } });
  });
  it('maps a refusal', async () => {
    const fetcher = await serve(422, 'application/problem+json', '{"status":422,"code":"invalid","field":"name","detail":"too long"}');
    const r = await send({ path: '/workloads', reply: 'Workload' }, '', undefined, fetcher);
    expect(r).toMatchObject({ error: { status: 422, code: 'invalid', field: 'name', detail: 'too long' } });
    expect(seen[0].auth).toBeUndefined();
  });
  it('maps an error page that is not JSON, and a good status that is not JSON', async () => {
    let fetcher = await serve(502, 'text/html', '<h1>Bad gateway</h1>');
    expect(await send({ path: '/status', reply: 'Status' }, '', undefined, fetcher)).toMatchObject({ error: { status: 502, code: 'http_502' } });
    await shut();
    fetcher = await serve(200, 'text/html', '<html>');
    expect(await send({ path: '/status', reply: 'Status' }, '', undefined, fetcher)).toMatchObject({ error: { status: 502 } });
  });
  it('maps no answer at all', async () => {
    const fetcher = await serve(200, 'application/json', '{}');
    await shut();
    expect(await send({ path: '/status', reply: 'Status' }, '', undefined, fetcher)).toMatchObject({ error: { status: 0, code: 'unreachable' } });
  });
});
