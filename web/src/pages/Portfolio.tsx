import { Skeleton, Typography } from '@mui/material';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { num, percent, usd } from '../ui/format';
import { Empty, Grid, Loaded, Panel } from '../ui/parts';

function Months({ portfolio }: { portfolio: T.Portfolio }) {
  return (
    <DataTable
      label="Profit of a month, by facility"
      rows={portfolio.facilities}
      rowKey={(f) => f.facility || 'all'}
      empty={<Empty title="No facility yet" />}
      columns={[
        { head: 'Facility', cell: (f) => f.facility || <b style={{ fontWeight: 500 }}>All together</b> },
        { head: 'Expected', right: true, cell: (f) => usd(f.mean_usd, 0) },
        { head: 'In 19 of 20 at least', right: true, cell: (f) => usd(-f.var_usd, 0), from: 'sm' },
        { head: 'Worst twentieth', right: true, cell: (f) => usd(-f.cvar_usd, 0) },
        { head: 'Deviation', right: true, cell: (f) => usd(f.deviation_usd, 0), from: 'md' },
      ]}
    />
  );
}

function Choices({ portfolio }: { portfolio: T.Portfolio }) {
  return (
    <DataTable
      label="How to sell what serves"
      rows={portfolio.choices}
      rowKey={(c) => `${c.facility}/${c.device_class}/${c.days}`}
      empty={<Empty title="Nothing serves" />}
      maxHeight={260}
      columns={[
        { head: 'Devices', cell: (c) => `${c.facility} ${c.device_class}` },
        { head: 'Sold', cell: (c) => (c.days ? `${num(c.days)} days, ${percent(c.discount)} off` : 'spot') },
        { head: 'Share', right: true, cell: (c) => percent(c.share) },
        { head: 'A device earns', right: true, cell: (c) => usd(c.mean_usd_device, 0), from: 'sm' },
      ]}
    />
  );
}

/** What the fleet as it stands would earn in a month like the past ones, how bad it gets, and for how long to sell. */
export function PortfolioPanel() {
  const query = api.usePortfolioQuery(undefined, { pollingInterval: 60_000 });
  return (
    <Panel title="A month like the past ones" sx={{ mb: 2 }}>
      <Loaded query={query} skeleton={<Skeleton variant="rounded" height={160} />}>
        {(p) =>
          p.facilities.length === 0 ? (
            <Empty title="Too few days are known">{p.reason}</Empty>
          ) : (
            <>
              <Typography variant="body2" color="text.secondary" sx={{ mb: 1 }}>
                {num(p.cases)} months drawn from {num(p.days_known)} past days, of the fleet as it is used now. Contracts over {num(p.term_days)} days; risk aversion {num(p.aversion, 2)}.
              </Typography>
              <Grid columns="minmax(0,1fr) minmax(0,1fr)">
                <Months portfolio={p} />
                <Choices portfolio={p} />
              </Grid>
            </>
          )
        }
      </Loaded>
    </Panel>
  );
}
