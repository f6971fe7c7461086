import { Box, useTheme } from '@mui/material';
import { useMemo } from 'react';
import { Area, CartesianGrid, ComposedChart, Line, ReferenceLine, ResponsiveContainer, XAxis, YAxis } from 'recharts';
import type { CapacityClass } from '../api/types.gen';
import { clockTicks, valueTicks } from './charts';
import { clock, num } from './format';

export interface FreePoint {
  t: number; // ms
  was?: number;
  p50?: number;
  band?: [number, number]; // p10 to p90
}

/** What was free in the hours before, then what is expected to be: a value holds for its hour. */
export function freePoints(c: CapacityClass): FreePoint[] {
  const past: FreePoint[] = c.past.map((h) => ({ t: h.at_ns / 1e6, was: h.free }));
  const next: FreePoint[] = c.points.map((p) => ({ t: p.at_ns / 1e6, p50: p.free_p50, band: [p.free_p10, p.free_p90] }));
  const last = next[next.length - 1];
  if (last) next.push({ ...last, t: last.t + 3600e3 });
  // The last known hour ends where the forecast begins.
  if (past.length && next[0]) next[0] = { ...next[0], was: past[past.length - 1].was };
  return [...past, ...next];
}

export function CapacityChart({ of, height = 240 }: { of: CapacityClass; height?: number }) {
  const { tones } = useTheme();
  const data = useMemo(() => freePoints(of), [of]);
  const from = data[0]?.t ?? 0;
  const to = data[data.length - 1]?.t ?? 1;
  const rows = valueTicks(0, Math.max(1, of.total));
  const worst = Math.min(...of.points.map((p) => p.free_p10));
  const now = of.points[0];
  const said = `Free capacity of ${of.device_class}: ${num(now?.free_p50)} of ${num(of.total)} expected in this hour, with a chance of 90 % at least ${num(worst)} in each of the next ${of.points.length} hours.`;
  return (
    <Box role="img" aria-label={said}>
      <Box sx={{ display: 'flex', gap: 2, flexWrap: 'wrap', fontSize: '0.75rem', mb: 0.5 }}>
        {of.past.length > 0 && (
          <Box component="span" sx={{ color: tones.text }}>
            was free
          </Box>
        )}
        <Box component="span" sx={{ color: tones.serve }}>
          expected to be free, between 10 % and 90 %
        </Box>
        <Box component="span" sx={{ color: tones.quiet }}>
          - - there are {num(of.total)}
        </Box>
      </Box>
      <ResponsiveContainer width="100%" height={height}>
        <ComposedChart data={data} margin={{ top: 10, right: 10, bottom: 0, left: 0 }}>
          <CartesianGrid stroke={tones.line} vertical={false} />
          <XAxis dataKey="t" type="number" domain={[from, to]} ticks={clockTicks(from, to)} tickFormatter={(t: number) => clock(t * 1e6)} tick={{ fill: tones.faint, fontSize: 11 }} stroke={tones.line} tickLine={false} minTickGap={12} />
          <YAxis tick={{ fill: tones.faint, fontSize: 11 }} axisLine={false} tickLine={false} width={44} ticks={rows} domain={[0, rows[rows.length - 1]]} tickFormatter={(v: number) => num(v)} />
          <ReferenceLine y={of.total} stroke={tones.idle} strokeDasharray="5 4" />
          <Area type="stepAfter" dataKey="band" stroke="none" fill={tones.serve} fillOpacity={0.2} isAnimationActive={false} />
          <Line type="stepAfter" dataKey="p50" stroke={tones.serve} strokeWidth={1.6} dot={false} isAnimationActive={false} />
          <Line type="stepAfter" dataKey="was" stroke={tones.text} strokeWidth={1.6} dot={false} isAnimationActive={false} />
        </ComposedChart>
      </ResponsiveContainer>
    </Box>
  );
}
