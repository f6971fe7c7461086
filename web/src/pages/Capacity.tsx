import { MenuItem, Skeleton, TextField } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import { CapacityChart } from '../ui/capacityChart';
import { num } from '../ui/format';
import { Empty, Facts, Grid, Loaded, Panel } from '../ui/parts';

const MODELS: Record<string, string> = {
  now: 'as it is now: too few hours are known',
  persistence: 'as it was an hour ago',
  similar_day: 'as at this hour of like days',
  regression: 'a regression of past hours',
};

/** What will be free of a class in the next 24 hours, beside what was. */
export function CapacityPanel() {
  const query = api.useCapacityQuery(undefined, { pollingInterval: 30_000 });
  const [chosen, setChosen] = useState('');
  const classes = query.data?.classes ?? [];
  const c = classes.find((x) => x.device_class === chosen) ?? classes[0];
  return (
    <Panel
      title="Free capacity"
      sx={{ mb: 2 }}
      aside={
        classes.length > 1 && (
          <TextField select size="small" value={c?.device_class ?? ''} onChange={(e) => setChosen(e.target.value)} slotProps={{ htmlInput: { 'aria-label': 'Class' } }}>
            {classes.map((x) => (
              <MenuItem key={x.device_class} value={x.device_class}>
                {x.device_class}
              </MenuItem>
            ))}
          </TextField>
        )
      }
    >
      <Loaded query={query} skeleton={<Skeleton variant="rounded" height={240} />}>
        {() =>
          !c ? (
            <Empty title="No GPUs yet">The forecast appears with the first device that can serve.</Empty>
          ) : (
            <Grid columns="minmax(0,1.8fr) minmax(260px,1fr)">
              <CapacityChart of={c} />
              <div>
                <Facts
                  rows={[
                    ['Held now', `${num(c.held)} of ${num(c.total)}`],
                    ['Waited for', num(c.waiting)],
                    ['Short at worst (10 %)', num(Math.max(0, ...c.points.map((p) => p.shortfall_p90)), 1)],
                    ['Forecast', MODELS[c.model] ?? c.model],
                    ['Hours known', num(c.hours_known)],
                  ]}
                />
              </div>
            </Grid>
          )
        }
      </Loaded>
    </Panel>
  );
}
