// Against a real WebSocket server on loopback.
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { LiveLink, type LiveEvent, type LinkState, type LiveOptions } from '../src/live/socket';

let server: WebSocketServer;
let link: LiveLink | undefined;
let asked: URLSearchParams[];
let sent: string[];
let onConnect: (socket: WebSocket, query: URLSearchParams) => void;

const frame = (id: number, topic = 'market.price') => JSON.stringify({ id, topic, type: 'MarketMoved', at_ns: 1, data: {} });

async function listen(port = 0): Promise<number> {
  server = new WebSocketServer({ host: '127.0.0.1', port });
  server.on('connection', (socket, request) => {
    const query = new URL(request.url ?? '/', 'http://x').searchParams;
    asked.push(query);
    socket.on('message', (m) => sent.push(String(m)));
    onConnect(socket, query);
  });
  await new Promise((r) => server.once('listening', r));
  return (server.address() as AddressInfo).port;
}

async function shut(): Promise<void> {
  for (const c of server.clients) c.terminate();
  await new Promise((r) => server.close(r));
}

function open(port: number, more: Partial<LiveOptions> = {}) {
  const events: LiveEvent[] = [];
  const states: LinkState[] = [];
  link = new LiveLink({
    url: `ws://127.0.0.1:${port}/api/v1/ws`,
    token: 'to ken',
    topics: ['market.price', 'workload.events'],
    onEvent: (e) => events.push(e),
    onState: (s) => states.push(s),
    open: (url) => new WebSocket(url),
    firstDelayMs: 10,
    maxDelayMs: 40,
    ...more,
  });
  link.start();
  return { events, states, link };
}

beforeEach(() => {
  asked = [];
  sent = [];
  onConnect = () => undefined;
});
afterEach(async () => {
  link?.stop();
  link = undefined;
  await shut().catch(() => undefined);
});

describe('live link', () => {
  it('asks for its topics with its token and hands on events, not heartbeats or noise', async () => {
    onConnect = (s) => {
      s.send(frame(1));
      s.send('{"topic":"heartbeat"}');
      s.send('not json');
      s.send('null');
      s.send(frame(1)); // delivered twice
      s.send(frame(2, 'workload.events'));
    };
    const { events, states } = open(await listen());
    await vi.waitFor(() => expect(events.map((e) => e.id)).toEqual([1, 2]));
    expect(asked[0].get('topics')).toBe('market.price,workload.events');
    expect(asked[0].get('token')).toBe('to ken');
    expect(asked[0].has('since')).toBe(false);
    expect(states.slice(0, 2)).toEqual(['connecting', 'live']);
  });

  it('reconnects after a lost connection and resumes after the last event', async () => {
    onConnect = (s, query) => {
      const since = Number(query.get('since') ?? 0);
      if (since === 0) {
        s.send(frame(41));
        s.send(frame(42), () => s.terminate());
      } else s.send(frame(since + 1));
    };
    const { events, states } = open(await listen());
    await vi.waitFor(() => expect(events.map((e) => e.id)).toEqual([41, 42, 43]));
    expect(asked[1].get('since')).toBe('42');
    expect(states).toContain('waiting');
    expect(states[states.length - 1]).toBe('live');
  });

  it('connects again with a token that was renewed meanwhile, and stays connected until then', async () => {
    onConnect = (s, query) => s.send(frame(query.has('since') ? 2 : 1));
    const { events } = open(await listen());
    await vi.waitFor(() => expect(events).toHaveLength(1));
    link?.renew('fresh');
    expect(asked).toHaveLength(1);
    for (const c of server.clients) c.terminate();
    await vi.waitFor(() => expect(events).toHaveLength(2));
    expect([asked[1].get('token'), asked[1].get('since')]).toEqual(['fresh', '1']);
  });

  it('keeps trying while the server is away, and comes back when it is', async () => {
    const port = await listen();
    onConnect = (s) => s.send(frame(7));
    const { events, states } = open(port);
    await vi.waitFor(() => expect(events).toHaveLength(1));
    await shut();
    await vi.waitFor(() => expect(states.filter((s) => s === 'connecting').length).toBeGreaterThan(3));
    onConnect = (s) => s.send(frame(8));
    await listen(port);
    await vi.waitFor(() => expect(events.map((e) => e.id)).toEqual([7, 8]), { timeout: 5000 });
    expect(asked[asked.length - 1].get('since')).toBe('7');
  });

  it('waits longer after each failure, up to a limit, with a random half', () => {
    vi.useFakeTimers();
    const delays: number[] = [];
    const timeout = vi.spyOn(globalThis, 'setTimeout');
    const l = new LiveLink({
      url: 'ws://x', token: '', topics: [], onEvent: () => undefined, onState: () => undefined, firstDelayMs: 100, maxDelayMs: 1000, random: () => 1,
      open: () => {
        throw new Error('refused');
      },
    });
    l.start();
    for (let i = 0; i < 6; i++) {
      delays.push(timeout.mock.calls[timeout.mock.calls.length - 1][1] as number);
      vi.advanceTimersToNextTimer();
    }
    l.stop();
    timeout.mockRestore();
    vi.useRealTimers();
    expect(delays).toEqual([100, 200, 400, 800, 1000, 1000]);
  });

  it('takes silence for a dead connection', async () => {
    const { states } = open(await listen(), { silenceMs: 60 });
    await vi.waitFor(() => expect(asked.length).toBeGreaterThan(1));
    expect(states).toContain('waiting');
  });

  it('reports a gap when the server counts anew', async () => {
    let first = true;
    onConnect = (s) => {
      if (first) s.send(frame(900), () => s.terminate());
      else s.send(frame(3));
      first = false;
    };
    const onGap = vi.fn();
    const { events } = open(await listen(), { onGap });
    await vi.waitFor(() => expect(events.map((e) => e.id)).toEqual([900, 3]));
    expect(onGap).toHaveBeenCalledTimes(1);
    expect(link?.lastId).toBe(3);
  });

  it('subscribes, unsubscribes and remembers both over a reconnect', async () => {
    const { states, link: l } = open(await listen());
    await vi.waitFor(() => expect(states).toContain('live'));
    l.subscribe(['resources.devices', 'market.price']);
    l.unsubscribe(['workload.events']);
    await vi.waitFor(() => expect(sent.map((s) => JSON.parse(s))).toEqual([{ subscribe: ['resources.devices'] }, { unsubscribe: ['workload.events'] }]));
    for (const c of server.clients) c.terminate();
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    expect(asked[1].get('topics')).toBe('market.price,resources.devices');
  });

  it('does not come back once stopped', async () => {
    const { states, link: l } = open(await listen());
    await vi.waitFor(() => expect(states).toContain('live'));
    l.stop();
    await new Promise((r) => setTimeout(r, 80));
    expect(asked).toHaveLength(1);
    expect(states[states.length - 1]).toBe('closed');
  });
});
