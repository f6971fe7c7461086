import { Box, useTheme } from '@mui/material';
import { useId, useMemo } from 'react';
import {
  Area,
  Bar,
  CartesianGrid,
  ComposedChart,
  Line,
  ReferenceDot,
  ReferenceLine,
  ResponsiveContainer,
  Tooltip,
  XAxis,
  YAxis,
} from 'recharts';
import type { Bids, Plan, PricePoint } from '../api/types.gen';
import { clock, num, spanMs, usd, utc, when } from './format';
import type { Tones } from './theme';

const POINTS_MAX = 60;

// Steps at which people expect a clock to be marked, in hours.
const CLOCK_STEPS = [0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168];

/** Local full hours between two times (ms), some seven of them. */
export function clockTicks(from: number, to: number): number[] {
  const hours = (to - from) / 3600e3;
  const step = (CLOCK_STEPS.find((s) => hours / s <= 8) ?? 168) * 3600e3;
  const offset = new Date(from).getTimezoneOffset() * 60e3;
  const ticks: number[] = [];
  for (let t = Math.ceil((from - offset) / step) * step + offset; t <= to; t += step) ticks.push(t);
  return ticks;
}

/** Round values that enclose all of the given ones, some five of them; zero is among them unless all are far away. */
export function valueTicks(low: number, high: number): number[] {
  const from = low > 0 && low < high * 0.6 ? 0 : low;
  const raw = Math.max(high - from, Math.abs(high) * 0.01, 1e-9) / 5;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = size * ([1, 2, 5, 10].find((m) => m * size >= raw) ?? 10);
  const ticks: number[] = [];
  for (let v = Math.floor(from / step); v <= Math.ceil(high / step); v++) ticks.push(v * step);
  return ticks;
}

function clockLabel(ms: number): string {
  const d = new Date(ms);
  if (d.getHours() || d.getMinutes()) return clock(ms * 1e6);
  return d.toLocaleDateString('en-GB', { day: '2-digit', month: 'short' });
}

/** A spark line without axes: the shape of the last while, for the eye only. */
export function Spark({ values, tone }: { values: number[]; tone: keyof Tones }) {
  const { tones } = useTheme();
  const id = useId();
  if (values.length < 2) return null;
  const step = Math.max(1, Math.floor(values.length / POINTS_MAX));
  const thin = values.filter((_, i) => i % step === 0 || i === values.length - 1);
  const low = Math.min(...thin);
  const range = Math.max(...thin) - low;
  const x = (i: number) => ((i / (thin.length - 1)) * 100).toFixed(2);
  const y = (v: number) => (range > 0 ? 20 - ((v - low) / range) * 18 : 11).toFixed(2);
  const line = thin.map((v, i) => `${x(i)},${y(v)}`).join(' ');
  return (
    <svg viewBox="0 0 100 22" preserveAspectRatio="none" width="100%" height="22" aria-hidden="true" style={{ display: 'block' }}>
      <linearGradient id={id} x1="0" x2="0" y1="0" y2="1">
        <stop offset="0" stopColor={tones[tone]} stopOpacity="0.22" />
        <stop offset="1" stopColor={tones[tone]} stopOpacity="0" />
      </linearGradient>
      <polygon points={`0,22 ${line} 100,22`} fill={`url(#${id})`} />
      <polyline points={line} fill="none" stroke={tones[tone]} strokeWidth="1.4" vectorEffect="non-scaling-stroke" />
    </svg>
  );
}

/** How much of a budget is used. */
export function Meter({ share, tone, label }: { share: number; tone: keyof Tones; label: string }) {
  const { tones } = useTheme();
  const now = Math.round(Math.min(Math.max(share, 0), 1) * 100);
  return (
    <Box
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={now}
      sx={{ height: 6, mt: 1, borderRadius: '3px', background: tones.raised, overflow: 'hidden' }}
    >
      <Box sx={{ width: `${now}%`, height: '100%', background: tones[tone], transition: 'width .4s' }} />
    </Box>
  );
}

function Tip({ children }: { children: React.ReactNode }) {
  const { tones } = useTheme();
  return (
    <Box
      sx={{ background: tones.raised, border: `1px solid ${tones.line}`, borderRadius: 0.75, px: 1.25, py: 0.75, fontSize: '0.75rem', maxWidth: 300 }}
    >
      {children}
    </Box>
  );
}

export interface Mark {
  at_ns: number;
  value: number;
  id: string;
  text: string;
  tone: keyof Tones;
}

interface PriceChartProps {
  points: PricePoint[];
  unit: string;
  height?: number;
  marks?: Mark[];
  onMark?: (id: string) => void;
  strike?: number;
  label: string;
}

/** Prices hold for their interval: steps, not slopes. Decisions stand on the line as marks. */
export function PriceChart({ points, unit, height = 260, marks = [], onMark, strike, label }: PriceChartProps) {
  const { tones } = useTheme();
  const id = useId();
  const data = useMemo(() => points.map((p) => ({ t: p.at_ns / 1e6, v: p.value })), [points]);
  const first = data[0]?.t ?? 0;
  const end = data[data.length - 1]?.t ?? 0;
  const within = marks.filter((m) => m.at_ns / 1e6 >= first && m.at_ns / 1e6 <= end);
  const last = data[data.length - 1];
  const values = data.map((d) => d.v);
  const said = last
    ? `${label}: now ${num(last.v, 2)} ${unit}, lowest ${num(Math.min(...values), 2)}, highest ${num(Math.max(...values), 2)}, ${within.length} decisions marked.`
    : label;
  const rows = valueTicks(Math.min(...values), Math.max(...values, strike ?? -Infinity));
  return (
    <Box role="img" aria-label={said} sx={{ position: 'relative', flexGrow: 1, minHeight: height }}>
      <Box sx={{ position: 'absolute', inset: 0 }}>
      <ResponsiveContainer width="100%" height="100%">
        <ComposedChart data={data} margin={{ top: 10, right: 10, bottom: 0, left: 0 }}>
          <defs>
            <linearGradient id={id} x1="0" x2="0" y1="0" y2="1">
              <stop offset="0" stopColor={tones.accent} stopOpacity={0.2} />
              <stop offset="1" stopColor={tones.accent} stopOpacity={0} />
            </linearGradient>
          </defs>
          <CartesianGrid stroke={tones.line} vertical={false} />
          <XAxis
            dataKey="t"
            type="number"
            domain={['dataMin', 'dataMax']}
            ticks={clockTicks(first, end)}
            tickFormatter={clockLabel}
            tick={{ fill: tones.faint, fontSize: 11 }}
            stroke={tones.line}
            tickLine={false}
            minTickGap={12}
          />
          <YAxis
            tick={{ fill: tones.faint, fontSize: 11 }}
            tickFormatter={(v: number) => num(v)}
            axisLine={false}
            tickLine={false}
            width={44}
            ticks={rows}
            domain={[rows[0], rows[rows.length - 1]]}
          />
          <Tooltip
            cursor={{ stroke: tones.idle }}
            isAnimationActive={false}
            content={({ active, payload }) => {
              const d = payload?.[0]?.payload as { t: number; v: number } | undefined;
              if (!active || !d) return null;
              const near = within.filter((m) => Math.abs(m.at_ns / 1e6 - d.t) < (end - first) / 120);
              return (
                <Tip>
                  <b>
                    {num(d.v, 2)} {unit}
                  </b>
                  <div>{when(d.t * 1e6)}</div>
                  <Box sx={{ color: tones.quiet }}>{utc(d.t * 1e6)}</Box>
                  {near.slice(0, 2).map((m) => (
                    <Box key={m.id} sx={{ mt: 0.5, color: tones[m.tone] }}>
                      {m.text}
                    </Box>
                  ))}
                </Tip>
              );
            }}
          />
          {strike !== undefined && strike > 0 && (
            <ReferenceLine
              y={strike}
              stroke={tones.mine}
              strokeDasharray="5 4"
              ifOverflow="hidden"
              label={{ value: `strike ${num(strike)}`, position: 'insideTopRight', fill: tones.mine, fontSize: 11 }}
            />
          )}
          <Area
            type="stepAfter"
            dataKey="v"
            stroke={tones.accent}
            strokeWidth={1.6}
            fill={`url(#${id})`}
            isAnimationActive={false}
            dot={false}
            activeDot={{ r: 3, fill: tones.accent, stroke: tones.panel }}
          />
          {within.map((m) => (
            <ReferenceDot
              key={m.id}
              x={m.at_ns / 1e6}
              y={m.value}
              r={5}
              fill={tones[m.tone]}
              stroke={tones.panel}
              strokeWidth={2}
              ifOverflow="hidden"
              onClick={() => onMark?.(m.id)}
              style={{ cursor: onMark ? 'pointer' : undefined }}
            />
          ))}
          {last && <ReferenceDot x={last.t} y={last.v} r={3} fill={tones.accent} stroke="none" />}
        </ComposedChart>
      </ResponsiveContainer>
      </Box>
    </Box>
  );
}

export interface RevenueBar {
  t: number; // ms
  mining: number;
  ai: number;
  energy: number; // cost, shown below zero
}

export function RevenueChart({ bars, height = 300 }: { bars: RevenueBar[]; height?: number }) {
  const { tones } = useTheme();
  const data = bars.map((b) => ({ ...b, cost: -b.energy, net: b.mining + b.ai - b.energy }));
  const total = data.reduce((s, d) => s + d.net, 0);
  const names: [keyof (typeof data)[0], string, keyof Tones][] = [
    ['ai', 'AI', 'serve'],
    ['mining', 'Mining', 'mine'],
    ['energy', 'Energy cost', 'bad'],
    ['net', 'Net', 'text'],
  ];
  return (
    <Box role="img" aria-label={`Revenue and energy cost of ${data.length} hours, net ${usd(total)}`} sx={{ height }}>
      <ResponsiveContainer width="100%" height="100%">
        <ComposedChart data={data} stackOffset="sign" margin={{ top: 10, right: 10, bottom: 0, left: 0 }} barCategoryGap="22%">
          <CartesianGrid stroke={tones.line} vertical={false} />
          <XAxis
            dataKey="t"
            tickFormatter={(t: number) => (bars.length > 48 ? when(t * 1e6).slice(0, 6) : clock(t * 1e6))}
            tick={{ fill: tones.faint, fontSize: 11 }}
            stroke={tones.line}
            tickLine={false}
            minTickGap={36}
          />
          <YAxis
            tick={{ fill: tones.faint, fontSize: 11 }}
            tickFormatter={(v: number) => usd(v, 0)}
            axisLine={false}
            tickLine={false}
            width={56}
          />
          <ReferenceLine y={0} stroke={tones.idle} />
          <Tooltip
            cursor={{ fill: tones.raised, opacity: 0.6 }}
            isAnimationActive={false}
            content={({ active, payload }) => {
              const d = payload?.[0]?.payload as (typeof data)[0] | undefined;
              if (!active || !d) return null;
              return (
                <Tip>
                  <b>{when(d.t * 1e6).slice(0, -3)}, one hour</b>
                  {names.map(([key, name, tone]) => (
                    <Box key={key} sx={{ display: 'flex', justifyContent: 'space-between', gap: 2 }}>
                      <Box component="span" sx={{ color: tones[tone] }}>
                        {name}
                      </Box>
                      <span>{usd(d[key])}</span>
                    </Box>
                  ))}
                </Tip>
              );
            }}
          />
          <Bar dataKey="ai" stackId="s" fill={tones.serve} isAnimationActive={false} />
          <Bar dataKey="mining" stackId="s" fill={tones.mine} isAnimationActive={false} />
          <Bar dataKey="cost" stackId="s" fill={tones.bad} fillOpacity={0.75} isAnimationActive={false} />
          <Line dataKey="net" stroke={tones.text} strokeWidth={1.5} dot={false} isAnimationActive={false} />
        </ComposedChart>
      </ResponsiveContainer>
    </Box>
  );
}

/** Decimals that tell marks of an axis up to `most` apart. */
const digitsOf = (most: number): number => (most < 0.1 ? 3 : most < 1 ? 2 : most < 10 ? 1 : 0);

const BID_TONES: (keyof Tones)[] = ['serve', 'mine', 'accent', 'warn', 'good', 'bad'];
const BID_PRICES = [-100, -10, 0, 10, 30, 100, 300, 1000, 3000, 10000];

/** Where a price stands: tenfold a span, below 1 evenly; negative ones likewise. */
const place = (usd_mwh: number): number => Math.sign(usd_mwh) * Math.log10(1 + Math.abs(usd_mwh));

/** kW that can be shed at each price, a step line a response time. */
export function BidChart({ bids, height = 300 }: { bids: Bids; height?: number }) {
  const { tones } = useTheme();
  const levels = bids.levels.slice(0, BID_TONES.length);
  const { data, low, high, most } = useMemo(() => {
    const prices = [...new Set(bids.levels.flatMap((l) => l.points.map((p) => p.usd_mwh)))].sort((a, b) => a - b);
    const from = Math.min(0, prices[0] ?? 0, bids.electricity_usd_mwh) * 1.2;
    const to = Math.max(100, prices[prices.length - 1] ?? 0, bids.electricity_usd_mwh) * 1.2;
    const at = (l: (typeof bids.levels)[0], price: number) =>
      l.points.reduce((kw, p) => (p.usd_mwh <= price ? p.kw : kw), 0);
    return {
      data: [from, ...prices.filter((p) => p > from), to].map((x) => ({ x: place(x), usd_mwh: x, kw: bids.levels.map((l) => at(l, x)) })),
      low: from,
      high: to,
      most: Math.max(0, ...bids.levels.map((l) => at(l, to))),
    };
  }, [bids]);
  const rows = valueTicks(0, Math.max(most, 1e-3));
  const within = (l: Bids['levels'][0]) => `within ${spanMs(l.response_ms)}`;
  const said = `Bid curve of ${bids.facility}: ${levels
    .map((l) => `${num(l.points[l.points.length - 1]?.kw ?? 0, 1)} kW ${within(l)}`)
    .join(', ')}.`;
  return (
    <Box role="img" aria-label={said} sx={{ display: 'flex', flexDirection: 'column', minHeight: height }}>
      <Box sx={{ display: 'flex', gap: 2, flexWrap: 'wrap', fontSize: '0.75rem', mb: 0.5 }}>
        {levels.map((l, i) => (
          <Box key={l.response_ms} component="span" sx={{ color: tones[BID_TONES[i]] }}>
            {within(l)}
          </Box>
        ))}
      </Box>
      <ResponsiveContainer width="100%" height={height}>
        <ComposedChart data={data} margin={{ top: 10, right: 10, bottom: 0, left: 0 }}>
          <CartesianGrid stroke={tones.line} vertical={false} />
          <XAxis
            dataKey="x"
            type="number"
            domain={[place(low), place(high)]}
            ticks={BID_PRICES.filter((p) => p >= low && p <= high).map(place)}
            tickFormatter={(v: number) => num(Math.sign(v) * (10 ** Math.abs(v) - 1))}
            tick={{ fill: tones.faint, fontSize: 11 }}
            stroke={tones.line}
            tickLine={false}
            unit=" $"
          />
          <YAxis
            tick={{ fill: tones.faint, fontSize: 11 }}
            tickFormatter={(v: number) => num(v, digitsOf(most))}
            axisLine={false}
            tickLine={false}
            width={56}
            ticks={rows}
            domain={[0, rows[rows.length - 1]]}
          />
          <Tooltip
            cursor={{ stroke: tones.idle }}
            isAnimationActive={false}
            content={({ active, payload }) => {
              const d = payload?.[0]?.payload as (typeof data)[0] | undefined;
              if (!active || !d) return null;
              return (
                <Tip>
                  <b>from {num(d.usd_mwh, 1)} USD/MWh on</b>
                  {levels.map((l, i) => (
                    <Box key={l.response_ms} sx={{ color: tones[BID_TONES[i]] }}>
                      {num(d.kw[i], 1)} kW {within(l)}
                    </Box>
                  ))}
                </Tip>
              );
            }}
          />
          <ReferenceLine
            x={place(bids.electricity_usd_mwh)}
            stroke={tones.accent}
            strokeDasharray="5 4"
            label={{ value: 'now', position: 'insideTopRight', fill: tones.accent, fontSize: 11 }}
          />
          {levels.map((l, i) => (
            <Line
              key={l.response_ms}
              type="stepAfter"
              dataKey={(d: (typeof data)[0]) => d.kw[i]}
              stroke={tones[BID_TONES[i]]}
              strokeWidth={1.6}
              dot={false}
              isAnimationActive={false}
            />
          ))}
        </ComposedChart>
      </ResponsiveContainer>
    </Box>
  );
}

/** What a site plans to draw in the next day, and the price that it expects. */
export function PlanChart({ plan, height = 260 }: { plan: Plan; height?: number }) {
  const { tones } = useTheme();
  const data = useMemo(() => {
    const steps = plan.steps.map((s) => ({ ...s, t: s.at_ns / 1e6 }));
    const last = steps[steps.length - 1];
    return last ? [...steps, { ...last, t: last.t + plan.step_seconds * 1e3 }] : steps;
  }, [plan]);
  const loads = valueTicks(0, Math.max(1e-3, ...data.map((d) => d.load_kw)));
  const prices = valueTicks(Math.min(0, ...data.map((d) => d.usd_mwh)), Math.max(1, ...data.map((d) => d.usd_mwh)));
  const from = data[0]?.t ?? 0;
  const to = data[data.length - 1]?.t ?? 1;
  const least = data.reduce((a, d) => Math.min(a, d.load_kw), Infinity);
  const most = data.reduce((a, d) => Math.max(a, d.load_kw), 0);
  const said = `Plan of ${plan.facility}: ${num(least, digitsOf(most))} to ${num(most, digitsOf(most))} kW in ${plan.steps.length} steps.`;
  const axis = { tick: { fill: tones.faint, fontSize: 11 }, axisLine: false, tickLine: false } as const;
  return (
    <Box role="img" aria-label={said}>
      <Box sx={{ display: 'flex', gap: 2, fontSize: '0.75rem', mb: 0.5 }}>
        <Box component="span" sx={{ color: tones.mine }}>
          load, kW
        </Box>
        <Box component="span" sx={{ color: tones.accent }}>
          expected price, USD/MWh
        </Box>
      </Box>
      <ResponsiveContainer width="100%" height={height}>
        <ComposedChart data={data} margin={{ top: 10, right: 0, bottom: 0, left: 0 }}>
          <CartesianGrid stroke={tones.line} vertical={false} />
          <XAxis dataKey="t" type="number" domain={[from, to]} ticks={clockTicks(from, to)} tickFormatter={(t: number) => clock(t * 1e6)} tick={{ fill: tones.faint, fontSize: 11 }} stroke={tones.line} tickLine={false} />
          <YAxis yAxisId="kw" {...axis} width={56} ticks={loads} domain={[0, loads[loads.length - 1]]} tickFormatter={(v: number) => num(v, digitsOf(most))} />
          <YAxis yAxisId="usd" orientation="right" {...axis} width={48} ticks={prices} domain={[prices[0], prices[prices.length - 1]]} tickFormatter={(v: number) => num(v)} />
          <Tooltip
            cursor={{ stroke: tones.idle }}
            isAnimationActive={false}
            content={({ active, payload }) => {
              const d = payload?.[0]?.payload as (typeof data)[0] | undefined;
              if (!active || !d) return null;
              return (
                <Tip>
                  <b>{when(d.at_ns)}</b>
                  <Box sx={{ color: tones.mine }}>{num(d.load_kw, digitsOf(most))} kW</Box>
                  <Box sx={{ color: tones.accent }}>
                    {num(d.usd_mwh, 2)} USD/MWh ({d.price_from.replace('_', ' ')})
                  </Box>
                  {d.shadow_usd_mwh > 0 && <div>one more MWh: {num(d.shadow_usd_mwh, 2)} USD</div>}
                </Tip>
              );
            }}
          />
          <Area yAxisId="kw" type="stepAfter" dataKey="load_kw" stroke={tones.mine} strokeWidth={1.6} fill={tones.mine} fillOpacity={0.18} isAnimationActive={false} />
          <Line yAxisId="usd" type="stepAfter" dataKey="usd_mwh" stroke={tones.accent} strokeWidth={1.6} dot={false} isAnimationActive={false} />
        </ComposedChart>
      </ResponsiveContainer>
    </Box>
  );
}
