import { Skeleton } from '@mui/material';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { PlanChart } from '../ui/charts';
import { DataTable } from '../ui/DataTable';
import { num, usd, usdSigned } from '../ui/format';
import { Empty, Facts, Grid, Loaded, Panel } from '../ui/parts';

const range = (n: number[]): string => {
  const low = Math.min(...n);
  const high = Math.max(...n);
  return low === high ? num(low) : `${num(low)} to ${num(high)}`;
};

function Classes({ plan }: { plan: T.Plan }) {
  return (
    <DataTable
      label="Devices of the plan"
      rows={plan.classes}
      rowKey={(c) => c.device_class}
      empty={<Empty title="No devices" />}
      maxHeight={220}
      columns={[
        { head: 'Class', cell: (c) => `${num(c.count)} ${c.device_class}` },
        { head: 'Serve', right: true, cell: (c) => range(c.serve) },
        { head: 'Mine', right: true, cell: (c) => range(c.mine) },
        { head: 'One more is worth', right: true, cell: (c) => usdSigned(c.one_more_usd) },
      ]}
    />
  );
}

/** The newest plan of a facility for the coming day: load, expected price, what one more device or MWh is worth. */
export function PlanPanel({ facility }: { facility: string }) {
  const query = api.usePlanQuery(facility, { skip: !facility, pollingInterval: 10000 });
  return (
    <Panel title={`The coming day${facility ? ` of ${facility}` : ''}`} sx={{ mb: 2 }}>
      {!facility ? (
        <Empty title="No fleet to plan for yet">The plan appears with the first decision.</Empty>
      ) : (
        <Loaded query={query} skeleton={<Skeleton variant="rounded" height={260} />}>
          {(plan) =>
            !plan ? (
              <Empty title="No plan yet">One is made every ten seconds once prices and fleet are known.</Empty>
            ) : plan.problem ? (
              <Empty title="There is no plan">{plan.problem}</Empty>
            ) : (
              <Grid columns="minmax(0,1.4fr) minmax(340px,1fr)">
                <PlanChart plan={plan} />
                <div>
                  <Facts
                    columns={2}
                    rows={[
                      ['Expected net', usd(plan.net_usd)],
                      ['Energy', usd(plan.energy_usd)],
                      ['Starts', usd(plan.switching_usd)],
                      ['Bad days’ net (CVaR 95 %)', plan.risk_cases > 0 ? usd(-plan.cvar_usd) : '–'],
                      ['Dearest MWh', `${num(Math.max(0, ...plan.steps.map((s) => s.shadow_usd_mwh)), 2)} USD above its price`],
                    ]}
                  />
                  <Classes plan={plan} />
                </div>
              </Grid>
            )
          }
        </Loaded>
      )}
    </Panel>
  );
}
