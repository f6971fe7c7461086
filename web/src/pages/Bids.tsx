import { MenuItem, Skeleton, Stack, TextField, ToggleButton, ToggleButtonGroup } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { BidChart } from '../ui/charts';
import { DataTable } from '../ui/DataTable';
import { num, spanMs, words } from '../ui/format';
import { Empty, Facts, Grid, Loaded, Panel } from '../ui/parts';

const DURATIONS: [string, number][] = [['15 min', 900], ['1 h', 3600], ['4 h', 14400]];

interface Row extends T.BidStep {
  kind: 'shed' | 'add';
}

function Steps({ bids }: { bids: T.Bids }) {
  const rows: Row[] = [...bids.shed.map((s) => ({ ...s, kind: 'shed' as const })), ...bids.add.map((s) => ({ ...s, kind: 'add' as const }))];
  return (
    <DataTable
      label="Steps of the bid"
      rows={rows}
      rowKey={(r) => `${r.kind}/${r.device_class}/${r.from}/${r.to}/${r.devices}`}
      empty={<Empty title="Nothing can be shed or taken on" />}
      maxHeight={300}
      columns={[
        { head: 'Step', cell: (r) => `${num(r.devices)} ${r.device_class}: ${words(r.from)} to ${words(r.to)}` },
        { head: 'Power', unit: 'kW', right: true, cell: (r) => `${r.kind === 'shed' ? '−' : '+'}${num(r.kw, r.kw < 10 ? 2 : 0)}` },
        { head: 'Worth it', unit: 'USD/MWh', right: true, cell: (r) => `${r.kind === 'shed' ? 'above' : 'below'} ${num(r.usd_mwh, 0)}` },
        { head: 'Within', right: true, cell: (r) => spanMs(r.response_ms), from: 'sm' },
      ]}
    />
  );
}

/** What a site would draw less, or more, at each price: chosen facility, chosen duration. */
export function BidPanel({ facilities }: { facilities: string[] }) {
  const [chosen, setChosen] = useState('');
  const [duration, setDuration] = useState(3600);
  const facility = facilities.includes(chosen) ? chosen : (facilities[0] ?? '');
  const query = api.useBidsQuery({ facility, duration_s: duration }, { skip: !facility, pollingInterval: 10000 });
  return (
    <Panel
      title="What the site can shed"
      sx={{ mb: 2 }}
      aside={
        <Stack direction="row" useFlexGap sx={{ gap: 1, flexWrap: 'wrap' }}>
          {facilities.length > 1 && (
            <TextField select size="small" value={facility} onChange={(e) => setChosen(e.target.value)} slotProps={{ htmlInput: { 'aria-label': 'Facility' } }}>
              {facilities.map((f) => (
                <MenuItem key={f} value={f}>
                  {f}
                </MenuItem>
              ))}
            </TextField>
          )}
          <ToggleButtonGroup exclusive size="small" value={duration} onChange={(_, v: number | null) => v && setDuration(v)} aria-label="For how long">
            {DURATIONS.map(([name, s]) => (
              <ToggleButton key={s} value={s}>
                {name}
              </ToggleButton>
            ))}
          </ToggleButtonGroup>
        </Stack>
      }
    >
      {!facility ? (
        <Empty title="No fleet to bid with yet">The bid appears with the first decision.</Empty>
      ) : (
        <Loaded query={query} skeleton={<Skeleton variant="rounded" height={300} />}>
          {(bids) => (
            <Grid columns="minmax(0,1.4fr) minmax(340px,1fr)">
              <BidChart bids={bids} />
              <div>
                <Facts
                  columns={2}
                  rows={[
                    ['Drawn now', `${num(bids.drawn_kw)} kW`],
                    ['Limit', bids.limit_kw > 0 ? `${num(bids.limit_kw)} kW` : 'none known'],
                    ['Price now', `${num(bids.electricity_usd_mwh, 2)} USD/MWh`],
                    ['Held by minimum times', `${num(bids.held_kw)} kW`],
                  ]}
                />
                <Steps bids={bids} />
              </div>
            </Grid>
          )}
        </Loaded>
      )}
    </Panel>
  );
}
