import {
  Box,
  Button,
  Dialog,
  DialogActions,
  DialogContent,
  DialogTitle,
  Drawer,
  FormControlLabel,
  IconButton,
  MenuItem,
  Skeleton,
  Stack,
  Switch,
  TextField,
  ToggleButton,
  ToggleButtonGroup,
  Typography,
  useTheme,
} from '@mui/material';
import { useState } from 'react';
import { useNavigate, useParams } from 'react-router-dom';
import { api } from '../api/api';
import { asProblem, formErrors } from '../api/problem';
import type * as T from '../api/types.gen';
import { useAppSelector } from '../state/store';
import { BidPanel } from './Bids';
import { PlanPanel } from './Plan';
import { decisionMarks, decisionTone } from './decisionMarks';
import { electricityOf, TARGET_LEGEND, Targets, useLiveHistory } from './Overview';
import { PriceChart } from '../ui/charts';
import { DataTable } from '../ui/DataTable';
import { num, percent, priceValue, span, spanMs, symbolName, usd, usdSigned, words } from '../ui/format';
import { CloseIcon } from '../ui/icons';
import { Age, Empty, Facts, Grid, Id, Legend, Loaded, Page, Panel, ShareBar, State, When } from '../ui/parts';

const OPTION_NAMES: Record<string, string> = { mine: 'Mine', serve: 'Serve AI', curtail: 'Curtail', hold: 'Hold' };
const OPTION_STATES: Record<string, string> = { mine: 'mine', serve: 'serve', curtail: 'off', hold: 'idle' };

function Options({ options }: { options: T.DecisionOption[] }) {
  const { tones } = useTheme();
  if (!options.length) return <Empty title="No options were recorded" />;
  const most = Math.max(...options.map((o) => Math.abs(o.net_usd_h)), 1e-9);
  return (
    <Box component="ul" aria-label="Options weighed" sx={{ listStyle: 'none', m: 0, p: 0 }}>
      {options.map((o) => (
        <Box
          component="li"
          key={`${o.facility}/${o.device_class}/${o.name}`}
          sx={{
            px: 1.5,
            py: 1,
            mb: 0.75,
            borderRadius: 0.75,
            border: `1px solid ${o.chosen ? tones.accent : tones.line}`,
            background: o.chosen ? tones.raised : 'none',
          }}
        >
          <Stack direction="row" sx={{ gap: 1.5, alignItems: 'baseline', fontSize: '0.8125rem' }}>
            <State state={OPTION_STATES[o.name] ?? o.name} label={OPTION_NAMES[o.name] ?? words(o.name)} />
            <Box component="span" sx={{ color: tones.quiet, minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>
              {o.device_class}
            </Box>
            <Box component="span" sx={{ ml: 'auto', fontWeight: 500, whiteSpace: 'nowrap' }}>
              {usd(o.net_usd_h)}/h
            </Box>
            <Box component="span" sx={{ width: 60, textAlign: 'right', color: o.chosen ? tones.accent : tones.quiet, fontWeight: o.chosen ? 600 : 400 }}>
              {o.chosen ? 'Chosen' : 'Rejected'}
            </Box>
          </Stack>
          <Box aria-hidden="true" sx={{ height: 3, my: 0.75, background: tones.line, borderRadius: 1 }}>
            <Box sx={{ height: 3, borderRadius: 1, width: `${(100 * Math.abs(o.net_usd_h)) / most}%`, background: o.net_usd_h < 0 ? tones.bad : o.chosen ? tones.accent : tones.idle }} />
          </Box>
          <Box sx={{ fontSize: '0.75rem', color: tones.quiet }}>
            {o.reason || 'no reason recorded'}
            {o.switching_cost_usd > 0 && ` · switching costs ${usd(o.switching_cost_usd)}`}
            {o.realised_usd !== 0 && ` · came to ${usd(o.realised_usd)}`}
          </Box>
        </Box>
      ))}
    </Box>
  );
}

const near = (f: T.DecisionForecast) => [0, 1, 3, 7, 15, 23].filter((i) => i < f.mean.length);

/** What each facility was decided by beside the present prices: the forecast, who made it, and what the plan is worth. */
function Forecasts({ forecasts }: { forecasts: T.DecisionForecast[] }) {
  const { tones } = useTheme();
  return (
    <>
      {forecasts.map((f) => (
        <Box key={f.facility} data-forecast={f.model} sx={{ mb: 2 }}>
          <Facts
            columns={2}
            rows={[
              ['Facility', f.location ? `${f.facility}, ${f.location}` : f.facility],
              ['Prices by', words(f.model)],
              ['Expected now', `${num(f.expected_usd_mwh, 2)} USD/MWh (${words(f.expected_by)})`],
              ['Power’s shadow price', f.plan_steps > 0 ? `${num(f.shadow_usd_mwh, 2)} USD/MWh` : '–'],
              ['Plan’s net', f.plan_steps > 0 ? `${usd(f.plan_net_usd)} in ${spanMs(f.plan_steps * f.step_seconds * 1000)}` : '–'],
              ...(f.risk_usd_mwh > 0 ? ([['Dearer for risk', `${num(f.risk_usd_mwh, 2)} USD/MWh`]] as [string, string][]) : []),
              ['Pinball loss', f.judged > 0 ? `${num(f.loss_usd_mwh, 2)}; persistence ${num(f.persistence_loss_usd_mwh, 2)}` : '–'],
            ]}
          />
          <Typography variant="body2" sx={{ color: tones.quiet, my: 1 }}>
            {f.reason}
          </Typography>
          {f.q50.length > 1 && (
            <Box sx={{ mx: -1.5 }}>
              <DataTable
                label={`Forecast for ${f.facility}`}
                rowKey={(i) => String(i)}
                rows={near(f)}
                empty={null}
                columns={[
                  { head: 'From', cell: (i) => (i ? `in ${spanMs(i * f.step_seconds * 1000)}` : 'now') },
                  { head: 'Mean', right: true, cell: (i) => num(f.mean[i] ?? 0, 1) },
                  { head: '5 %', right: true, cell: (i) => num(f.q05[i] ?? 0, 1) },
                  { head: '50 %', right: true, cell: (i) => num(f.q50[i] ?? 0, 1) },
                  { head: '95 %', right: true, cell: (i) => num(f.q95[i] ?? 0, 1) },
                ]}
              />
            </Box>
          )}
        </Box>
      ))}
    </>
  );
}

function Explanation({ id, onClose }: { id: string; onClose: () => void }) {
  const query = api.useDecisionQuery(id);
  const head = { mt: 3, mb: 1 };
  return (
    <Box sx={{ p: { xs: 2, sm: 3 } }} data-explanation={id}>
      <Stack direction="row" sx={{ alignItems: 'flex-start', gap: 2, mb: 1 }}>
        <Box sx={{ flexGrow: 1 }}>
          <Typography variant="h1" component="h2" id="explanation-title">
            Why this decision
          </Typography>
          <Typography variant="caption" color="text.secondary">
            <Id>{id}</Id>
          </Typography>
        </Box>
        <IconButton aria-label="Close the explanation" onClick={onClose} size="small">
          <CloseIcon />
        </IconButton>
      </Stack>
      <Loaded query={query}>
        {(d) => (
          <>
            <Typography variant="body1" sx={{ mb: 2 }}>
              {d.summary}
            </Typography>
            <Facts
              columns={2}
              rows={[
                ['Decided', <When key="a" ns={d.decided_at_ns} />],
                ['Market time', <When key="b" ns={d.market_time_ns} />],
                ['Policy', words(d.policy)],
                ['Triggered by', words(d.trigger)],
                ['Expected net', `${usd(d.net_usd_h)}/h`],
                ['Gain against holding', `${usdSigned(d.gain_usd_h)}/h`],
                ['Hashprice', `${usd(d.hashprice_usd_ph_day)}/PH·day`],
                ['Outcome', d.changed ? (d.pays ? 'Changed the targets' : 'Changed the targets; does not pay for the switches') : 'Held'],
                ['Gain it looks ahead to', d.horizon_s > 0 ? `${usdSigned(d.gain_usd)} in ${spanMs(d.horizon_s * 1000)}` : '–'],
                ...(d.guard
                  ? ([['Drawdown guard', `${d.guard.up ? 'up, safest plan' : 'down'}: ${percent(d.guard.drawdown)} of ${percent(d.guard.limit)}`]] as [string, string][])
                  : []),
              ]}
            />
            {d.forecasts.length > 0 && (
              <>
                <Typography variant="h2" component="h3" sx={head}>
                  Expected prices
                </Typography>
                <Forecasts forecasts={d.forecasts} />
              </>
            )}
            <Typography variant="h2" component="h3" sx={head}>
              Options
            </Typography>
            <Options options={d.options} />
            <Stack direction="row" sx={{ ...head, justifyContent: 'space-between', alignItems: 'center' }}>
              <Typography variant="h2" component="h3">
                Targets
              </Typography>
              <Legend items={TARGET_LEGEND} />
            </Stack>
            <Targets targets={d.targets} />
            <Typography variant="h2" component="h3" sx={head}>
              Switching
            </Typography>
            <Facts
              rows={[
                ['Cost, predicted', usd(d.switching_cost_usd)],
                ['Time, predicted', d.predicted_switching_ms > 0 ? spanMs(d.predicted_switching_ms) : '–'],
                ['Cost, realised', d.realised_switching_ms > 0 ? usd(d.realised_switching_usd) : '–'],
                ['Time, realised', d.realised_switching_ms > 0 ? spanMs(d.realised_switching_ms) : d.changed ? 'switches not finished yet' : 'nothing switched'],
                ['From signal to decision', d.signal_at_ns > 0 ? span(d.decided_at_ns - d.signal_at_ns) : '–'],
              ]}
            />
            <Typography variant="h2" component="h3" sx={head}>
              What it came to
            </Typography>
            {d.in_force_s > 0 ? (
              <Facts
                rows={[
                  ['In force for', spanMs(d.in_force_s * 1000)],
                  ['Net, expected', usd(d.expected_net_usd)],
                  ['Net, realised', usd(d.realised_net_usd)],
                ]}
              />
            ) : (
              <Typography variant="body2">It is still in force.</Typography>
            )}
            <Typography variant="h2" component="h3" sx={head}>
              Inputs
            </Typography>
            <Box sx={{ mx: -1.5 }}>
              <DataTable
                label="Inputs of the decision"
                rowKey={(p) => `${p.symbol}@${p.location}`}
                rows={d.inputs}
                empty={<Empty title="No inputs were recorded" />}
                columns={[
                  { head: 'Input', cell: (p) => (p.location ? `${symbolName(p.symbol)}, ${p.location}` : symbolName(p.symbol)), wrap: true },
                  { head: 'Value', right: true, cell: (p) => priceValue(p.symbol, p.value, p.unit || undefined) },
                  {
                    head: 'Source',
                    cell: (p) => (
                      <>
                        {p.source}
                        {p.stale && <State state="stale" label="stale" />}
                        {p.fallback && ` (${p.fallback})`}
                      </>
                    ),
                    wrap: true,
                  },
                  { head: 'Age', right: true, cell: (p) => (d.market_time_ns && p.observed_at_ns ? span(Math.max(0, d.market_time_ns - p.observed_at_ns)) : '–') },
                ]}
              />
            </Box>
          </>
        )}
      </Loaded>
    </Box>
  );
}

function PolicyDialog({ policy, onClose }: { policy: T.Policy; onClose: () => void }) {
  const [save, state] = api.useSetPolicyMutation();
  const [name, setName] = useState(policy.policy);
  const [strike, setStrike] = useState(String(policy.strike_usd_mwh));
  const [hysteresis, setHysteresis] = useState(String(policy.hysteresis));
  const errors = state.error
    ? formErrors(asProblem(state.error), ['policy', 'strike_usd_mwh', 'hysteresis'])
    : { field: {} as Record<string, string>, form: '' };
  const number = (s: string) => (s.trim() === '' || !Number.isFinite(Number(s)) ? undefined : Number(s));
  return (
    <Dialog open onClose={onClose} maxWidth="xs" fullWidth aria-labelledby="policy-title">
      <DialogTitle id="policy-title">Policy</DialogTitle>
      <DialogContent>
        <Stack sx={{ gap: 2, pt: 1 }}>
          <TextField select label="Policy" value={name} onChange={(e) => setName(e.target.value)} error={!!errors.field.policy} helperText={errors.field.policy ?? 'Decides what each class of devices does'}>
            {[...new Set([...policy.choices, policy.policy])].filter(Boolean).map((p) => (
              <MenuItem key={p} value={p}>
                {words(p)}
              </MenuItem>
            ))}
          </TextField>
          <TextField label="Strike, USD/MWh" value={strike} onChange={(e) => setStrike(e.target.value)} error={!!errors.field.strike_usd_mwh} helperText={errors.field.strike_usd_mwh ?? 'Above this price, mining stops under the strike policy'} slotProps={{ htmlInput: { inputMode: 'decimal' } }} />
          <TextField label="Hysteresis" value={hysteresis} onChange={(e) => setHysteresis(e.target.value)} error={!!errors.field.hysteresis} helperText={errors.field.hysteresis ?? 'Share by which another plan must be better, 0 to 1'} slotProps={{ htmlInput: { inputMode: 'decimal' } }} />
          {errors.form && (
            <Typography role="alert" color="error" variant="body2">
              {errors.form}
            </Typography>
          )}
        </Stack>
      </DialogContent>
      <DialogActions>
        <Button variant="outlined" onClick={onClose}>
          Go back
        </Button>
        <Button
          variant="contained"
          disabled={state.isLoading}
          onClick={async () => {
            const r = await save({ policy: name, strike_usd_mwh: number(strike), hysteresis: number(hysteresis) });
            if ('data' in r) onClose();
          }}
        >
          Use this policy
        </Button>
      </DialogActions>
    </Dialog>
  );
}

function PolicyLine() {
  const { data } = api.usePolicyQuery();
  const admin = useAppSelector((s) => s.session.role) === 'admin';
  const [open, setOpen] = useState(false);
  const { tones } = useTheme();
  if (!data?.policy) return null;
  return (
    <Stack direction="row" useFlexGap sx={{ gap: 1.5, alignItems: 'center', flexWrap: 'wrap', fontSize: '0.8125rem' }}>
      <span>
        <Box component="span" sx={{ color: tones.quiet }}>Policy </Box>
        {words(data.policy)}
        {data.strike_usd_mwh > 0 && <Box component="span" sx={{ color: tones.quiet }}>, strike {num(data.strike_usd_mwh)} USD/MWh</Box>}
        {data.hysteresis > 0 && <Box component="span" sx={{ color: tones.quiet }}>, hysteresis {percent(data.hysteresis)}</Box>}
      </span>
      {admin && (
        <Button variant="outlined" onClick={() => setOpen(true)}>
          Change policy
        </Button>
      )}
      {open && <PolicyDialog policy={data} onClose={() => setOpen(false)} />}
    </Stack>
  );
}

function TargetBar({ decision }: { decision: T.Decision }) {
  const sum = (f: (t: T.ClassTarget) => number) => decision.targets.reduce((s, t) => s + f(t), 0);
  return (
    <ShareBar
      label="Targets"
      total={sum((t) => t.total)}
      parts={[
        { name: 'serve', value: sum((t) => t.serve), tone: 'serve' },
        { name: 'mine', value: sum((t) => t.mine), tone: 'mine' },
        { name: 'idle', value: sum((t) => t.idle), tone: 'idle' },
      ]}
    />
  );
}

function MarketTable({ prices }: { prices: T.Prices }) {
  const { tones } = useTheme();
  return (
    <DataTable
      label="Market values"
      rows={prices.prices}
      rowKey={(p) => `${p.symbol}@${p.location}`}
      empty={<Empty title="No market values yet">Start a feed, or post ticks to /api/v1/market/ticks.</Empty>}
      maxHeight={396}
      columns={[
        {
          head: 'Value of',
          cell: (p) => (
            <>
              {symbolName(p.symbol)}
              <Box sx={{ fontSize: '0.75rem', color: tones.quiet, whiteSpace: 'normal' }}>{[p.location, p.source, p.fallback].filter(Boolean).join(' · ')}</Box>
            </>
          ),
        },
        { head: 'Now', right: true, cell: (p) => priceValue(p.symbol, p.value, p.unit || undefined) },
        { head: 'Received', right: true, cell: (p) => (p.stale ? <State state="stale" label="stale" /> : <Age ns={p.received_at_ns} />) },
      ]}
    />
  );
}

const SPANS: [string, number][] = [['24 h', 96], ['2 d', 192], ['7 d', 672]];

export function Decisions() {
  const { id } = useParams();
  const navigate = useNavigate();
  const [limit, setLimit] = useState(192);
  const [all, setAll] = useState(false);
  const [cursor, setCursor] = useState<string[]>([]);
  const prices = api.usePricesQuery(undefined, { pollingInterval: 5000 });
  const electricity = electricityOf(prices.data);
  const { query, points } = useLiveHistory('electricity_rt', electricity?.location, limit);
  const policy = api.usePolicyQuery();
  const ledger = api.useDecisionsQuery({
    limit: 50,
    changed_only: !all || undefined,
    cursor: cursor[cursor.length - 1],
  });
  const marked = api.useDecisionsQuery({ limit: 100, changed_only: true });
  const latest = marked.data?.decisions[0] ?? ledger.data?.decisions[0];
  const facilities = [...new Set((latest?.targets ?? []).map((t) => t.facility))];
  const open = (decision: string) => navigate(`/decisions/${encodeURIComponent(decision)}`);
  const strike = policy.data && /strike|threshold/.test(policy.data.policy) ? policy.data.strike_usd_mwh : undefined;

  return (
    <Page title="Prices & decisions" about="Each decision with the prices it was made on." actions={<PolicyLine />}>
      <Grid columns="minmax(0,1.9fr) minmax(380px,1fr)">
        <Panel
          title={`Electricity price${electricity?.location ? ` at ${electricity.location}` : ''}`}
          aside={
            <>
              <Legend items={[{ name: 'to serve', tone: 'serve' }, { name: 'to mine', tone: 'mine' }, { name: 'to idle', tone: 'idle' }]} />
              <ToggleButtonGroup exclusive size="small" value={limit} onChange={(_, v: number | null) => v && setLimit(v)} aria-label="Span of the chart">
                {SPANS.map(([name, n]) => (
                  <ToggleButton key={n} value={n}>
                    {name}
                  </ToggleButton>
                ))}
              </ToggleButtonGroup>
            </>
          }
        >
          {prices.data && !electricity ? (
            <Empty title="No electricity price yet">Start a market feed, or post ticks to /api/v1/market/ticks.</Empty>
          ) : (
            <Loaded query={query} skeleton={<Skeleton variant="rounded" height={340} />}>
              {() =>
                points.length ? (
                  <PriceChart label="Electricity price" unit="USD/MWh" height={350} points={points} strike={strike} marks={decisionMarks(marked.data?.decisions ?? [])} onMark={open} />
                ) : (
                  <Empty title="No price has been recorded yet">Points appear here as the feed delivers them.</Empty>
                )
              }
            </Loaded>
          )}
        </Panel>
        <Panel title="Market" flush aside={prices.data && prices.data.prices.length > 0 && !prices.data.healthy ? <State state="degraded" label="some values stale" /> : undefined}>
          <Loaded query={prices}>{(p) => <MarketTable prices={p} />}</Loaded>
        </Panel>
      </Grid>
      {(facilities.length ? facilities : ['']).map((f) => (
        <PlanPanel key={f} facility={f} />
      ))}
      <BidPanel facilities={facilities} />
      <Panel
        title="Decision ledger"
        flush
        aside={
          <FormControlLabel
            control={<Switch size="small" checked={all} onChange={(e) => { setAll(e.target.checked); setCursor([]); }} />}
            label={<Typography variant="caption">Show held decisions too</Typography>}
          />
        }
      >
        <Loaded query={ledger}>
          {(l) => (
            <>
              <DataTable
                label="Decision ledger"
                rows={l.decisions}
                rowKey={(d) => d.id}
                onOpen={(d) => open(d.id)}
                openLabel={(d) => `Explain: ${d.summary || d.id}`}
                selected={id}
                empty={<Empty title={all ? 'No decision yet' : 'No decision has changed the targets yet'}>Decisions appear here as prices, demand or capacity move.</Empty>}
                columns={[
                  { head: 'Market time', cell: (d) => <When ns={d.market_time_ns || d.decided_at_ns} /> },
                  { head: 'Decision', cell: (d) => <State state={decisionTone(d) === 'idle' ? 'off' : decisionTone(d)} label={d.changed ? `To ${decisionTone(d)}` : 'Held'} /> },
                  { head: 'Summary', cell: (d) => d.summary, grow: true, from: 'lg' },
                  { head: 'Targets', width: 120, cell: (d) => <TargetBar decision={d} />, from: 'sm' },
                  { head: 'Trigger', cell: (d) => words(d.trigger), from: 'md' },
                  { head: 'Electricity', unit: 'USD/MWh', right: true, cell: (d) => num(d.electricity_usd_mwh, 2), from: 'sm' },
                  { head: 'Net', unit: 'USD/h', right: true, cell: (d) => usd(d.net_usd_h) },
                  { head: 'Gain', unit: 'USD/h', right: true, cell: (d) => usdSigned(d.gain_usd_h), from: 'sm' },
                  { head: 'Switching cost', right: true, cell: (d) => usd(d.switching_cost_usd), from: 'md' },
                  { head: 'Switch time', right: true, cell: (d) => (d.realised_switching_ms > 0 ? spanMs(d.realised_switching_ms) : '–'), from: 'md' },
                ]}
              />
              {(cursor.length > 0 || l.next_cursor) && (
                <Stack direction="row" sx={{ p: 1.5, gap: 1, justifyContent: 'flex-end' }}>
                  <Button variant="outlined" disabled={!cursor.length} onClick={() => setCursor(cursor.slice(0, -1))}>
                    Newer
                  </Button>
                  <Button variant="outlined" disabled={!l.next_cursor} onClick={() => setCursor([...cursor, l.next_cursor])}>
                    Older
                  </Button>
                </Stack>
              )}
            </>
          )}
        </Loaded>
      </Panel>
      <Drawer
        anchor="right"
        open={!!id}
        onClose={() => navigate('/decisions')}
        slotProps={{ paper: { sx: { width: { xs: '100%', sm: 600 } }, role: 'dialog', 'aria-labelledby': 'explanation-title' } }}
      >
        {id && <Explanation key={id} id={id} onClose={() => navigate('/decisions')} />}
      </Drawer>
    </Page>
  );
}
