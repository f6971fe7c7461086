import { Skeleton, ToggleButton, ToggleButtonGroup } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import { useAppSelector } from '../state/store';
import { RevenueChart } from '../ui/charts';
import { DataTable } from '../ui/DataTable';
import { energy, energyParts, num, percent, usdMicros } from '../ui/format';
import { Empty, Kpi, KpiStrip, Legend, Loaded, Page, Panel, When } from '../ui/parts';
import { PortfolioPanel } from './Portfolio';

const SPANS: [string, number][] = [['24 h', 24], ['3 d', 72], ['7 d', 168]];

export function Revenue() {
  const [hours, setHours] = useState(24);
  const admin = useAppSelector((s) => s.session.role) === 'admin';
  const query = api.useRevenueQuery({ hours }, { pollingInterval: 15_000 });
  return (
    <Page
      title="Revenue"
      about="What AI work and mining earned, and what the energy cost, by hour."
      actions={
        <ToggleButtonGroup exclusive size="small" value={hours} onChange={(_, v: number | null) => v && setHours(v)} aria-label="Span">
          {SPANS.map(([name, n]) => (
            <ToggleButton key={n} value={n}>
              {name}
            </ToggleButton>
          ))}
        </ToggleButtonGroup>
      }
    >
      <Loaded query={query} skeleton={<><Skeleton variant="rounded" height={112} sx={{ mb: 2 }} /><Skeleton variant="rounded" height={360} /></>}>
        {(r) => {
          const rows = [...r.hours].sort((a, b) => a.hour_start_ns - b.hour_start_ns);
          const e = energyParts(r.energy_j);
          const shares = r.shares_accepted + r.shares_rejected;
          return (
            <>
              <KpiStrip>
                <Kpi label="Net" value={usdMicros(r.net_micros)} note={`last ${num(hours)} h`} tone={r.net_micros < 0 ? 'bad' : undefined} />
                <Kpi label="AI work" value={usdMicros(r.ai_micros)} note="metered and billed" tone="serve" />
                <Kpi label="Mining" value={usdMicros(r.mining_micros)} note={`${num(r.expected_btc, 6)} BTC expected`} tone="mine" />
                {r.ancillary_micros !== 0 && <Kpi label="Grid services" value={usdMicros(r.ancillary_micros)} note="load held ready, less penalties" tone={r.ancillary_micros < 0 ? 'bad' : undefined} />}
                <Kpi label="Energy cost" value={usdMicros(r.energy_cost_micros)} note="at the real-time price" />
                <Kpi label="Energy" value={e.value} unit={e.unit} note="measured" />
                <Kpi label="Shares accepted" value={num(r.shares_accepted)} note={shares ? `${percent(r.shares_rejected / shares, 2)} rejected` : 'none yet'} />
              </KpiStrip>
              <Panel title="By hour" sx={{ mb: 2 }} aside={<Legend items={[{ name: 'AI', tone: 'serve' }, { name: 'Mining', tone: 'mine' }, { name: 'Energy cost', tone: 'bad' }, { name: 'Net', tone: 'text' }]} />}>
                {rows.length ? (
                  <RevenueChart bars={rows.map((h) => ({ t: h.hour_start_ns / 1e6, ai: h.ai_micros / 1e6, mining: h.mining_micros / 1e6, energy: h.energy_cost_micros / 1e6 }))} />
                ) : (
                  <Empty title="Nothing has been metered yet">The first hour appears as soon as a device mines or serves.</Empty>
                )}
              </Panel>
              {rows.length > 0 && (
                <Panel title="Hours" flush sx={{ mb: 2 }}>
                  <DataTable
                    label="Revenue by hour"
                    rows={[...rows].reverse()}
                    rowKey={(h) => String(h.hour_start_ns)}
                    empty={null}
                    maxHeight={420}
                    columns={[
                      { head: 'Hour from', cell: (h) => <When ns={h.hour_start_ns} /> },
                      { head: 'AI', right: true, cell: (h) => usdMicros(h.ai_micros) },
                      { head: 'Mining', right: true, cell: (h) => usdMicros(h.mining_micros) },
                      { head: 'Energy cost', right: true, cell: (h) => usdMicros(h.energy_cost_micros), from: 'sm' },
                      { head: 'Net', right: true, cell: (h) => usdMicros(h.ai_micros + h.mining_micros + h.ancillary_micros - h.energy_cost_micros) },
                      { head: 'Energy', right: true, cell: (h) => energy(h.energy_j), from: 'sm' },
                      { head: 'Expected', unit: 'BTC', right: true, cell: (h) => num(h.expected_btc, 6), from: 'md' },
                    ]}
                  />
                </Panel>
              )}
            </>
          );
        }}
      </Loaded>
      {admin && <PortfolioPanel />}
    </Page>
  );
}
