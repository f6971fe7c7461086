// How numbers and times are written. Every number carries its unit; what is not known is an en dash, never 0 or NaN.

export const NONE = '–';

function known(n: number | undefined | null): n is number {
  return typeof n === 'number' && Number.isFinite(n);
}

const fixed = new Map<number, Intl.NumberFormat>();

export function num(n: number | undefined | null, digits = 0): string {
  if (!known(n)) return NONE;
  let f = fixed.get(digits);
  if (!f) {
    f = new Intl.NumberFormat('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
    fixed.set(digits, f);
  }
  const s = f.format(n);
  // −0.0 reads as a mistake.
  return (/^-[0.,]*$/.test(s) ? s.slice(1) : s).replace('-', '−');
}

export interface Scaled {
  value: string;
  unit: string;
}

function scaled(n: number | undefined | null, steps: readonly [number, string][], digits: number): Scaled {
  if (!known(n)) return { value: NONE, unit: steps[steps.length - 1][1] };
  const step = steps.find(([size]) => Math.abs(n) >= size) ?? steps[steps.length - 1];
  return { value: num(n / step[0], step[0] === 1 ? 0 : digits), unit: step[1] };
}

export const powerParts = (w?: number | null): Scaled =>
  scaled(w, [[1e9, 'GW'], [1e6, 'MW'], [1e3, 'kW'], [1, 'W']], 2);

/** Hash rate; the API counts in TH/s. */
export const hashParts = (ths?: number | null): Scaled => {
  if (!known(ths)) return { value: NONE, unit: 'TH/s' };
  const steps: [number, string][] = [[1e6, 'EH/s'], [1e3, 'PH/s'], [1, 'TH/s'], [1e-3, 'GH/s']];
  const [size, unit] = steps.find(([s]) => Math.abs(ths) >= s) ?? (ths === 0 ? steps[2] : steps[3]);
  return { value: num(ths / size, 2), unit };
};

export const energyParts = (j?: number | null): Scaled =>
  known(j) ? scaled(j / 3600, [[1e9, 'GWh'], [1e6, 'MWh'], [1e3, 'kWh'], [1, 'Wh']], 2) : { value: NONE, unit: 'kWh' };

export const join = (s: Scaled): string => (s.value === NONE ? NONE : `${s.value} ${s.unit}`);
export const power = (w?: number | null): string => join(powerParts(w));
export const hash = (ths?: number | null): string => join(hashParts(ths));
export const energy = (j?: number | null): string => join(energyParts(j));

/** USD with as many decimals as its size needs. */
export function usd(n: number | undefined | null, digits?: number): string {
  if (!known(n)) return NONE;
  const d = digits ?? (Math.abs(n) >= 1000 ? 0 : Math.abs(n) >= 0.1 || n === 0 ? 2 : 4);
  const s = num(Math.abs(n), d);
  return n < 0 && /[1-9]/.test(s) ? `−$${s}` : `$${s}`;
}

export const usdMicros = (micros: number | undefined | null, digits = 2): string =>
  known(micros) ? usd(micros / 1e6, digits) : NONE;

/** With its sign, for gains and differences. */
export function usdSigned(n: number | undefined | null, digits?: number): string {
  if (!known(n)) return NONE;
  const s = usd(n, digits);
  return n > 0 ? `+${s}` : s;
}

export const percent = (share: number | undefined | null, digits = 0): string =>
  known(share) ? `${num(share * 100, digits)} %` : NONE;

/** A span in the unit that suits it, from nanoseconds. */
export function span(ns: number | undefined | null): string {
  if (!known(ns)) return NONE;
  const a = Math.abs(ns);
  if (a < 1e3) return `${num(ns)} ns`;
  if (a < 1e6) return `${num(ns / 1e3, 1)} µs`;
  if (a < 1e9) return `${num(ns / 1e6, a < 1e7 ? 2 : 1)} ms`;
  if (a < 60e9) return `${num(ns / 1e9, 1)} s`;
  const s = Math.round(ns / 1e9);
  const sign = s < 0 ? '−' : '';
  const t = Math.abs(s);
  if (t < 3600) return `${sign}${Math.floor(t / 60)} min ${t % 60} s`;
  if (t < 86400) return `${sign}${Math.floor(t / 3600)} h ${Math.floor((t % 3600) / 60)} min`;
  return `${sign}${Math.floor(t / 86400)} d ${Math.floor((t % 86400) / 3600)} h`;
}

export const spanMs = (ms: number | undefined | null): string => (known(ms) ? span(ms * 1e6) : NONE);

/** "12 s", "4 min", "3 h": how long ago, coarse on purpose. */
export function age(ns: number, nowMs: number): string {
  if (!ns) return NONE;
  const s = Math.max(0, Math.round(nowMs / 1000 - ns / 1e9));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 86400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} d`;
}

const pad = (n: number) => String(n).padStart(2, '0');

export const toDate = (ns: number): Date => new Date(ns / 1e6);

/** Local time of day, with the date when it is another day than now. */
export function when(ns: number | undefined | null, now: Date = new Date()): string {
  if (!ns || !known(ns)) return NONE;
  const d = toDate(ns);
  const clock = `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  if (d.toDateString() === now.toDateString()) return clock;
  const day = d.toLocaleDateString('en-GB', {
    day: '2-digit',
    month: 'short',
    ...(d.getFullYear() === now.getFullYear() ? {} : { year: 'numeric' }),
  });
  return `${day} ${clock}`;
}

export const utc = (ns: number | undefined | null): string =>
  ns && known(ns) ? `${toDate(ns).toISOString().replace('T', ' ').slice(0, 19)} UTC` : NONE;

export const clock = (ns: number): string => {
  const d = toDate(ns);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}`;
};

/** "ai_inference_realtime" → "AI inference realtime" */
export function words(name: string): string {
  if (!name) return NONE;
  const known: Record<string, string> = {
    ai_inference_realtime: 'AI inference, real time',
    ai_inference_batch: 'AI inference, batch',
    model_training: 'Model training',
    bitcoin_mining: 'Bitcoin mining',
    always_mine: 'Always mine',
    always_serve: 'Always serve',
    device_failed: 'Failed',
  };
  if (known[name]) return known[name];
  const s = name.replace(/_/g, ' ');
  return s[0].toUpperCase() + s.slice(1);
}

const SYMBOLS: Record<string, [string, string]> = {
  electricity_rt: ['Electricity, real time', 'USD/MWh'],
  electricity_da: ['Electricity, day ahead', 'USD/MWh'],
  btc_usd: ['Bitcoin', 'USD'],
  difficulty: ['Network difficulty', ''],
  block_subsidy_btc: ['Block subsidy', 'BTC'],
  block_fees_btc: ['Block fees', 'BTC/block'],
  block_height: ['Block height', ''],
  gpu_rate: ['GPU rate', 'USD/GPU-h'],
  ancillary: ['Grid capacity', 'USD/MW-h'],
};

export const symbolName = (symbol: string): string => SYMBOLS[symbol]?.[0] ?? words(symbol);
export const symbolUnit = (symbol: string): string => SYMBOLS[symbol]?.[1] ?? '';

export function priceValue(symbol: string, value: number, unit = symbolUnit(symbol)): string {
  switch (symbol) {
    case 'btc_usd':
      return usd(value, 0);
    case 'difficulty':
      return `${num(value / 1e12, 2)} T`;
    case 'block_height':
      return num(value);
    case 'block_subsidy_btc':
    case 'block_fees_btc':
      return `${num(value, 4)} ${unit}`;
    default:
      return `${num(value, 2)} ${unit}`.trim();
  }
}

// "4 × H100", "0.25 of one H100", "1g.10gb of one H100": what a workload asks for.
export function devicesOf(w: { device_count: number; device_class: string; gpu_fraction: number; mig_profile: string }): string {
  const part = w.mig_profile || (w.gpu_fraction ? String(w.gpu_fraction) : '');
  if (part) return `${part} of one ${w.device_class || 'GPU'}`;
  return `${num(w.device_count)}${w.device_class ? ` × ${w.device_class}` : ''}`;
}
