import { MenuItem, TextField } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import { lastMonths, monthName } from './months';
import { DataTable } from '../ui/DataTable';
import { energy, energyParts, num, usdMicros, words } from '../ui/format';
import { Empty, Kpi, KpiStrip, Loaded, Page, Panel } from '../ui/parts';

export function Usage() {
  const months = lastMonths(new Date());
  const [month, setMonth] = useState(months[0]);
  const query = api.useUsageQuery({ month }, { pollingInterval: 15_000 });
  return (
    <Page
      title="Usage"
      about="What your work used and what it costs. Months are in UTC."
      actions={
        <TextField select label="Month" value={month} onChange={(e) => setMonth(e.target.value)} sx={{ width: 190 }}>
          {months.map((m) => (
            <MenuItem key={m} value={m}>
              {monthName(m)}
            </MenuItem>
          ))}
        </TextField>
      }
    >
      <Loaded query={query}>
        {(u) => {
          const e = energyParts(u.lines.reduce((s, l) => s + l.energy_j, 0));
          const hours = u.lines.filter((l) => l.kind === 'device_hours').reduce((s, l) => s + l.quantity, 0);
          const requests = u.lines.filter((l) => l.kind === 'requests').reduce((s, l) => s + l.quantity, 0);
          return (
            <>
              <KpiStrip>
                <Kpi label="Amount" value={usdMicros(u.total_micros)} unit={u.currency || 'USD'} note={monthName(month)} />
                <Kpi label="Device hours" value={num(hours, 2)} unit="h" note="while your work held devices" />
                <Kpi label="Requests served" value={num(requests)} note="through the inference endpoint" />
                <Kpi label="Energy" value={e.value} unit={e.unit} note="measured at the devices" />
              </KpiStrip>
              <Panel title="Lines" flush>
                <DataTable
                  label="Usage lines"
                  rows={u.lines.map((l, i) => ({ ...l, i }))}
                  rowKey={(l) => String(l.i)}
                  empty={<Empty title={`Nothing was used in ${monthName(month)}`}>Submit a workload to start; its hours appear here while it runs.</Empty>}
                  columns={[
                    { head: 'Workload', grow: true, cell: (l) => l.workload_name || l.workload_id || '–' },
                    { head: 'Kind', cell: (l) => words(l.kind), from: 'sm' },
                    { head: 'Class', cell: (l) => (l.mig_profile || l.gpu_fraction ? `${l.mig_profile || l.gpu_fraction} of one ${l.device_class}` : l.device_class || '–'), from: 'sm' },
                    { head: 'Quantity', right: true, cell: (l) => `${num(l.quantity, Number.isInteger(l.quantity) ? 0 : 3)} ${l.unit}` },
                    { head: 'Energy', right: true, cell: (l) => (l.energy_j ? energy(l.energy_j) : '–'), from: 'sm' },
                    { head: 'Amount', right: true, cell: (l) => usdMicros(l.amount_micros) },
                  ]}
                />
              </Panel>
            </>
          );
        }}
      </Loaded>
    </Page>
  );
}
