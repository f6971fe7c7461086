import { Box, Button, Skeleton, Stack, Tooltip, Typography, useTheme } from '@mui/material';
import { useMemo } from 'react';
import { Link, useNavigate } from 'react-router-dom';
import { api } from '../api/api';
import { complete } from '../api/complete';
import { asProblem } from '../api/problem';
import type * as T from '../api/types.gen';
import { mergeSeries, seriesKey } from '../state/live';
import { useAppSelector } from '../state/store';
import { decisionMarks, decisionTone } from './decisionMarks';
import { Meter, PriceChart, Spark } from '../ui/charts';
import { age, hashParts, num, percent, power, powerParts, span, usd, usdSigned, words } from '../ui/format';
import { ArrowIcon } from '../ui/icons';
import { Age, Empty, Grid, Kpi, KpiStrip, Legend, Loaded, Page, Panel, ShareBar, State, useNow, When } from '../ui/parts';

const NO_POINTS: T.PricePoint[] = [];

function quantile(sorted: number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** Points of one symbol: what was read, and what has arrived since. */
export function useLiveHistory(symbol: string, location: string | undefined, limit: number) {
  const skip = location === undefined;
  const query = api.useHistoryQuery({ symbol, location: location ?? '', limit }, { skip, refetchOnMountOrArgChange: true });
  const arrived = useAppSelector((s) => s.live.series[seriesKey(symbol, location ?? '')]) ?? NO_POINTS;
  const points = useMemo(() => mergeSeries(query.data?.points ?? [], arrived), [query.data, arrived]);
  return { query, points };
}

export const electricityOf = (prices?: T.Prices): T.Price | undefined =>
  prices?.prices.find((p) => p.symbol === 'electricity_rt' && !p.stale) ?? prices?.prices.find((p) => p.symbol === 'electricity_rt');

function PriceNote({ price }: { price?: T.Price }) {
  const now = useNow(1000);
  if (!price) return <>no source yet</>;
  const text = [price.location, price.source, price.fallback && `fallback: ${price.fallback}`].filter(Boolean).join(' · ');
  return (
    <Tooltip title={`${text}; received ${age(price.received_at_ns, now)} ago`}>
      <span>
        {price.stale ? 'stale · ' : ''}
        {text}
      </span>
    </Tooltip>
  );
}

function Kpis() {
  const prices = api.usePricesQuery(undefined, { pollingInterval: 5000 });
  const fleet = api.useFleetQuery(undefined, { pollingInterval: 2000 });
  const decision = api.useRecommendationQuery(undefined, { pollingInterval: 5000 });
  const switches = api.useSwitchesQuery({ limit: 50 }, { pollingInterval: 5000 });
  const ledger = api.useDecisionsQuery({ limit: 50 });
  const past = useMemo(() => [...(ledger.data?.decisions ?? [])].slice(0, 96).reverse(), [ledger.data]);
  const watts = api.useSeriesQuery({ metric: 'power_w', scope: 'site', minutes: 60 }, { pollingInterval: 10_000 });
  const hashes = api.useSeriesQuery({ metric: 'hash_ths', scope: 'site', minutes: 60 }, { pollingInterval: 10_000 });

  const electricity = electricityOf(prices.data);
  const btc = prices.data?.prices.find((p) => p.symbol === 'btc_usd');
  const { points } = useLiveHistory('electricity_rt', electricity?.location, 96);
  const { points: btcPoints } = useLiveHistory('btc_usd', btc?.location, 96);
  const f = fleet.data;
  const p = powerParts(f?.power_w);
  const h = hashParts(f?.hash_ths);
  const gpus = f?.classes.filter((c) => c.kind === 'gpu') ?? [];
  const serving = gpus.reduce((s, c) => s + c.serving, 0);
  const allGpus = gpus.reduce((s, c) => s + c.total, 0);
  const share = f && f.power_budget_w > 0 ? f.power_w / f.power_budget_w : 0;
  const done = switches.data?.switches ?? [];
  // A miner's boot takes a minute and is no measure of what a request waits for.
  const times = done.filter((s) => s.to === 'serve').map((s) => s.total_ns).sort((a, b) => a - b);
  const last = done[0];
  const [lastValue, lastUnit] = last ? span(last.total_ns).split(/ (.*)/) : ['–', ''];
  const d = decision.data?.id ? decision.data : undefined;

  return (
    <KpiStrip>
      <Kpi id="electricity" label="Electricity, real time" value={num(electricity?.value, 2)} unit="USD/MWh" loading={prices.isLoading} note={<PriceNote price={electricity} />} tone={electricity?.stale ? 'warn' : undefined}>
        <Spark values={points.map((x) => x.value)} tone="accent" />
      </Kpi>
      <Kpi id="btc" label="Bitcoin" value={num(btc?.value)} unit="USD" loading={prices.isLoading} note={<PriceNote price={btc} />} tone={btc?.stale ? 'warn' : undefined}>
        <Spark values={btcPoints.map((x) => x.value)} tone="mine" />
      </Kpi>
      <Kpi id="hashprice" label="Hashprice" value={num(prices.data?.hashprice_usd_ph_day || undefined, 2)} unit="USD/PH·day" loading={prices.isLoading} note="before energy">
        <Spark values={past.map((x) => x.hashprice_usd_ph_day)} tone="mine" />
      </Kpi>
      <Kpi id="power" label="Site power" value={p.value} unit={p.unit} loading={fleet.isLoading} note={f ? (f.power_budget_w > 0 ? `${percent(share)} of ${power(f.power_budget_w)} budget` : 'no budget set') : ''} tone={share > 1 ? 'bad' : undefined}>
        {f && f.power_budget_w > 0 ? (
          <Meter share={share} tone={share > 1 ? 'bad' : share > 0.95 ? 'warn' : 'accent'} label="Share of the power budget in use" />
        ) : (
          <Spark values={(watts.data?.points ?? []).map((x) => x.value)} tone="accent" />
        )}
      </Kpi>
      <Kpi id="hash" label="Hash rate" value={h.value} unit={h.unit} loading={fleet.isLoading} note="measured, whole site">
        <Spark values={(hashes.data?.points ?? []).map((x) => x.value)} tone="mine" />
      </Kpi>
      <Kpi id="gpus" label="GPUs serving" value={num(serving)} unit={`of ${num(allGpus)}`} loading={fleet.isLoading} note={allGpus ? `${percent(serving / allGpus)} of the GPUs` : 'no GPU in the fleet'}>
        {allGpus > 0 && <Meter share={serving / allGpus} tone="serve" label="Share of the GPUs that serve" />}
      </Kpi>
      <Kpi id="net" label="Net, decision in force" value={usd(d?.net_usd_h)} unit="/h" loading={decision.isLoading} note={d ? `${usdSigned(d.gain_usd_h)}/h against holding` : 'no decision yet'} tone={d && d.net_usd_h < 0 ? 'bad' : undefined}>
        <Spark values={past.map((x) => x.net_usd_h)} tone="good" />
      </Kpi>
      <Kpi id="switch" label="Last switch" value={lastValue} unit={lastUnit} loading={switches.isLoading} tone={last && !last.ok ? 'bad' : undefined} note={times.length ? `to serve, p99 of ${times.length}: ${span(quantile(times, 0.99))}` : 'none to serve yet'}>
        <Spark values={done.map((s) => s.total_ns).reverse()} tone="serve" />
      </Kpi>
    </KpiStrip>
  );
}

export function Targets({ targets }: { targets: T.ClassTarget[] }) {
  const { tones } = useTheme();
  if (!targets.length) {
    return <Empty title="No targets yet">The optimizer sets them with its first decision, once prices and a fleet are known.</Empty>;
  }
  const top = { color: tones.quiet, fontSize: '0.75rem' };
  return (
    <Stack sx={{ gap: 1.75 }}>
      {targets.map((t) => (
        <Box key={`${t.facility}/${t.device_class}`}>
          <Stack direction="row" sx={{ justifyContent: 'space-between', gap: 2, mb: 0.5, alignItems: 'baseline' }}>
            <Typography component="span" variant="body2" sx={{ fontWeight: 500 }}>
              {t.device_class}{' '}
              <Box component="span" sx={top}>
                {t.facility}
                {t.power_mode && t.mine > 0 ? `, miners driven ${t.power_mode}${t.power_mode === t.was_power_mode ? '' : `, before ${t.was_power_mode}`}` : ''}
              </Box>
            </Typography>
            <Box component="span" sx={{ fontSize: '0.8125rem', whiteSpace: 'nowrap' }}>
              <Box component="span" sx={{ color: tones.serve }}>{num(t.serve)}</Box>
              {' / '}
              <Box component="span" sx={{ color: tones.mine }}>{num(t.mine)}</Box>
              {' / '}
              <Box component="span" sx={{ color: tones.quiet }}>{num(t.idle)}</Box>
            </Box>
          </Stack>
          <ShareBar
            label={`${t.device_class} targets`}
            total={t.total}
            parts={[
              { name: 'serve', value: t.serve, tone: 'serve' },
              { name: 'mine', value: t.mine, tone: 'mine' },
              { name: 'idle', value: t.idle, tone: 'idle' },
            ]}
          />
          {t.reason && <Box sx={{ ...top, mt: 0.5 }}>{t.reason}</Box>}
        </Box>
      ))}
    </Stack>
  );
}

export const TARGET_LEGEND = [
  { name: 'Serve', tone: 'serve' as const },
  { name: 'Mine', tone: 'mine' as const },
  { name: 'Idle', tone: 'idle' as const },
];

const NO_DECISION = complete<T.Decision>('Decision', {});

function InForce() {
  const query = api.useRecommendationQuery(undefined, { pollingInterval: 5000 });
  const { tones } = useTheme();
  // Before the first decision there is none to be found, which is no error here.
  const none = query.error !== undefined && asProblem(query.error).status === 404;
  return (
    <Panel
      title="Decision in force"
      aside={
        query.data?.id && (
          <Button component={Link} to={`/decisions/${encodeURIComponent(query.data.id)}`} endIcon={<ArrowIcon />} sx={{ color: tones.accent }}>
            Why
          </Button>
        )
      }
    >
      <Loaded query={none ? { data: NO_DECISION, isLoading: false } : query}>
        {(d) =>
          d.id ? (
            <>
              <Stack direction="row" useFlexGap sx={{ gap: 2, flexWrap: 'wrap', mb: 1, fontSize: '0.8125rem' }}>
                <State state={decisionTone(d) === 'serve' ? 'serve' : decisionTone(d) === 'mine' ? 'mine' : 'off'} label={d.changed ? 'Changed' : 'Held'} />
                <Box component="span" sx={{ color: tones.quiet }}>
                  by {words(d.trigger).toLowerCase()}, <Age ns={d.decided_at_ns} /> ago
                </Box>
              </Stack>
              <Typography variant="body1" sx={{ mb: 1.5 }}>
                {d.summary || 'No summary was recorded.'}
              </Typography>
              <Stack direction="row" sx={{ justifyContent: 'space-between', mb: 1 }}>
                <Typography variant="h3" component="h3">
                  Targets
                </Typography>
                <Legend items={TARGET_LEGEND} />
              </Stack>
              <Targets targets={d.targets} />
            </>
          ) : (
            <Empty title="No decision yet">The optimizer decides as soon as a price and a fleet are known. Check that a market feed is running.</Empty>
          )
        }
      </Loaded>
    </Panel>
  );
}

function PricePanel() {
  const navigate = useNavigate();
  const prices = api.usePricesQuery(undefined, { pollingInterval: 5000 });
  const electricity = electricityOf(prices.data);
  const { query, points } = useLiveHistory('electricity_rt', electricity?.location, 192);
  const ledger = api.useDecisionsQuery({ limit: 50, changed_only: true });
  const policy = api.usePolicyQuery();
  const strike = policy.data && /strike|threshold/.test(policy.data.policy) ? policy.data.strike_usd_mwh : undefined;
  return (
    <Panel title={`Electricity price${electricity?.location ? ` at ${electricity.location}` : ''}`} aside={<Legend items={[{ name: 'USD/MWh', tone: 'accent' }, { name: 'to serve', tone: 'serve' }, { name: 'to mine', tone: 'mine' }, { name: 'to idle', tone: 'idle' }]} />}>
      {prices.data && !electricity ? (
        <Empty title="No electricity price yet">Start a market feed, or post ticks to /api/v1/market/ticks.</Empty>
      ) : (
        <Loaded query={query} skeleton={<Skeleton variant="rounded" height={280} />}>
          {() =>
            points.length ? (
              <PriceChart label="Electricity price" unit="USD/MWh" height={300} points={points} strike={strike} marks={decisionMarks(ledger.data?.decisions ?? [])} onMark={(id) => navigate(`/decisions/${encodeURIComponent(id)}`)} />
            ) : (
              <Empty title="No price has been recorded yet">Points appear here as the feed delivers them.</Empty>
            )
          }
        </Loaded>
      )}
    </Panel>
  );
}

function Services() {
  const query = api.useStatusQuery(undefined, { pollingInterval: 2000 });
  const { tones } = useTheme();
  return (
    <Panel
      title="Services"
      aside={
        query.data && (
          <Typography variant="caption" color="text.secondary">
            version {query.data.version || '–'}, up {span((query.data.now_ns || Date.now() * 1e6) - query.data.started_at_ns)}
          </Typography>
        )
      }
    >
      <Loaded query={query}>
        {(s) => (
          <Box
            component="ul"
            sx={{ listStyle: 'none', m: 0, p: 0, display: 'grid', columnGap: 4, gridTemplateColumns: { xs: '1fr', sm: '1fr 1fr', xl: '1fr 1fr 1fr' } }}
          >
            {s.services.map((x) => (
              <Box component="li" key={x.name} sx={{ display: 'flex', gap: 1.5, py: 0.75, borderBottom: `1px solid ${tones.line}`, fontSize: '0.8125rem', alignItems: 'baseline' }}>
                <State state={x.state} label={x.name} />
                <Box component="span" sx={{ color: x.state === 'ok' ? tones.quiet : tones.text, ml: 'auto', textAlign: 'right', fontSize: '0.75rem' }}>
                  {x.state === 'ok' ? `${num(x.messages)} msg${x.mailbox ? `, ${num(x.mailbox)} waiting` : ''}` : `${x.state}${x.detail ? `: ${x.detail}` : ''}`}
                </Box>
              </Box>
            ))}
            {!s.services.length && <Empty title="No service has reported yet" />}
          </Box>
        )}
      </Loaded>
    </Panel>
  );
}

function Work() {
  const status = api.useStatusQuery(undefined, { pollingInterval: 2000 });
  const switches = api.useSwitchesQuery({ limit: 50 }, { pollingInterval: 5000 });
  const { tones } = useTheme();
  const s = status.data;
  const rows = switches.data?.switches.slice(0, 5) ?? [];
  return (
    <Panel title="Work and switches">
      <Stack direction="row" sx={{ gap: 4, mb: 1.5 }}>
        {(
          [
            ['Running', s?.workloads_running],
            ['Queued', s?.workloads_queued],
            ['Decisions applied', s?.decisions_applied],
          ] as const
        ).map(([name, n]) => (
          <Box key={name}>
            <Typography variant="caption" color="text.secondary" component="div">
              {name}
            </Typography>
            <Box sx={{ fontSize: '1.125rem', fontWeight: 500 }}>{num(n)}</Box>
          </Box>
        ))}
      </Stack>
      {rows.map((x) => (
        <Stack key={x.switch_id} direction="row" sx={{ gap: 1.5, py: 0.625, borderTop: `1px solid ${tones.line}`, fontSize: '0.8125rem' }}>
          <Box sx={{ color: tones.quiet, width: 68, flex: 'none' }}>
            <When ns={x.done_at_ns} />
          </Box>
          <Box sx={{ minWidth: 0, overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap', flexGrow: 1 }}>
            {num(x.devices)} on {x.node_id}
          </Box>
          <State state={x.ok ? x.to : x.rolled_back ? 'rolled_back' : 'failed'} label={x.ok ? ({ serve: 'to serve', fill: 'to mine', off: 'to idle', safe: 'to safe' }[x.to as string] ?? x.to) : x.rolled_back ? 'rolled back' : 'failed'} />
          <Box sx={{ width: 68, textAlign: 'right', flex: 'none' }}>{span(x.total_ns)}</Box>
        </Stack>
      ))}
      {switches.data && !rows.length && <Empty title="No device has switched yet" />}
    </Panel>
  );
}

export function Overview() {
  return (
    <Page title="Overview">
      <Kpis />
      <Grid columns="minmax(0,1.9fr) minmax(320px,1fr)">
        <PricePanel />
        <InForce />
      </Grid>
      <Grid columns="minmax(0,1.9fr) minmax(320px,1fr)">
        <Services />
        <Work />
      </Grid>
    </Page>
  );
}
