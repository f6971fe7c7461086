// The live connection: one WebSocket that reconnects by itself and resumes after the last event it saw.
// It knows nothing of the store; src/live/bind.ts connects the two.

export interface LiveEvent {
  id: number;
  topic: string;
  type: string;
  at_ns: number;
  data: unknown;
}

export type LinkState = 'connecting' | 'live' | 'waiting' | 'closed';

// The part of WebSocket that is used, so that tests can bring another implementation.
interface Socket {
  onopen: ((e: never) => void) | null;
  onmessage: ((e: never) => void) | null;
  onclose: ((e: never) => void) | null;
  onerror: ((e: never) => void) | null;
  readyState: number;
  send(text: string): void;
  close(code?: number): void;
}

export interface LiveOptions {
  url: string; // ws://host/api/v1/ws
  token: string;
  topics: readonly string[];
  onEvent: (event: LiveEvent) => void;
  onState: (state: LinkState) => void;
  // A gap that could not be replayed: what was read before may be out of date.
  onGap?: () => void;
  open?: (url: string) => unknown;
  random?: () => number;
  firstDelayMs?: number;
  maxDelayMs?: number;
  silenceMs?: number; // no frame for so long, heartbeats included: the connection is dead
}

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
const SILENCE_MS = 40_000; // two heartbeats and some

export class LiveLink {
  private socket: Socket | null = null;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private opened = 0;
  private stopped = false;
  private seen = 0; // newest id on this connection
  lastId = 0; // newest id on any connection: where to resume
  private readonly topics: Set<string>;
  private token: string;

  constructor(private readonly options: LiveOptions) {
    this.token = options.token;
    this.topics = new Set(options.topics);
  }

  start(): void {
    this.stopped = false;
    this.connect();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    this.drop();
    this.options.onState('closed');
  }

  /** The token of the next connection; this one goes on with the one it was opened with. */
  renew(token: string): void {
    this.token = token;
  }

  subscribe(topics: readonly string[]): void {
    const fresh = topics.filter((t) => !this.topics.has(t));
    fresh.forEach((t) => this.topics.add(t));
    if (fresh.length) this.tell({ subscribe: fresh });
  }

  unsubscribe(topics: readonly string[]): void {
    const gone = topics.filter((t) => this.topics.delete(t));
    if (gone.length) this.tell({ unsubscribe: gone });
  }

  /** Connects now instead of after the rest of the delay, e.g. when the browser is online again. */
  nudge(): void {
    if (this.stopped || this.socket) return;
    clearTimeout(this.retry);
    this.connect();
  }

  private tell(message: object): void {
    if (this.socket && this.socket.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  private address(): string {
    const query = new URLSearchParams({ topics: [...this.topics].join(','), token: this.token });
    if (this.lastId > 0) query.set('since', String(this.lastId));
    return `${this.options.url}?${query}`;
  }

  private connect(): void {
    this.options.onState('connecting');
    const open = this.options.open ?? ((url: string) => new WebSocket(url));
    let socket: Socket;
    try {
      socket = open(this.address()) as Socket;
    } catch {
      this.later();
      return;
    }
    this.socket = socket;
    this.seen = 0;
    socket.onopen = () => {
      this.failures = 0;
      this.opened += 1;
      this.options.onState('live');
      this.listen();
      // Without an id to resume after, nothing tells what was missed.
      if (this.opened > 1 && this.lastId === 0) this.options.onGap?.();
    };
    socket.onmessage = ((e: { data: unknown }) => {
      this.listen();
      this.take(e.data);
    }) as Socket['onmessage'];
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.drop();
      this.later();
    };
    socket.onerror = () => undefined; // a close follows
    this.listen();
  }

  private take(data: unknown): void {
    let event: Partial<LiveEvent> | null;
    try {
      event = JSON.parse(String(data));
    } catch {
      return; // not ours; the next frame stands on its own
    }
    if (!event || typeof event.topic !== 'string') return;
    if (event.topic === 'heartbeat') return;
    if (typeof event.id === 'number' && event.id > 0) {
      if (event.id <= this.seen) return; // delivered twice
      // A smaller id than the one resumed after: the server counts anew and has not what was missed.
      if (this.seen === 0 && event.id <= this.lastId) this.options.onGap?.();
      this.seen = event.id;
      this.lastId = event.id;
    }
    this.options.onEvent(event as LiveEvent);
  }

  private listen(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      this.drop();
      this.later();
    }, this.options.silenceMs ?? SILENCE_MS);
  }

  private drop(): void {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
    if (socket.readyState <= 1) socket.close();
  }

  private later(): void {
    if (this.stopped) return;
    this.options.onState('waiting');
    const first = this.options.firstDelayMs ?? FIRST_DELAY_MS;
    const ceiling = Math.min(first * 2 ** this.failures, this.options.maxDelayMs ?? MAX_DELAY_MS);
    this.failures = Math.min(this.failures + 1, 16);
    // Half fixed, half random: many portals must not come back in one instant.
    const delay = ceiling / 2 + (ceiling / 2) * (this.options.random ?? Math.random)();
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.connect(), delay);
  }
}
