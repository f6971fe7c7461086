// The small parts that every page is made of.
import {
  Box,
  Button,
  Dialog,
  DialogActions,
  DialogContent,
  DialogTitle,
  Skeleton,
  Stack,
  Tooltip,
  Typography,
  useTheme,
} from '@mui/material';
import { Children, useEffect, useId, useState, type ReactNode } from 'react';
import { advice, asProblem, type ApiProblem } from '../api/problem';
import { RetryIcon } from './icons';
import { age, num, utc, when, words, NONE } from './format';
import { MONO, type Tones } from './theme';

/** Re-renders at a steady pace, for ages. */
export function useNow(everyMs = 1000): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · HCP`;
  }, [title]);
}

export function Page({ title, about, actions, children }: { title: string; about?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  useTitle(title);
  return (
    <Box sx={{ maxWidth: 1680, mx: 'auto' }}>
      <Stack direction="row" useFlexGap sx={{ flexWrap: 'wrap', alignItems: 'flex-end', gap: 1.5, mb: 2 }}>
        <Box sx={{ flex: '1 1 260px', minWidth: 0 }}>
          <Typography variant="h1">{title}</Typography>
          {about && (
            <Typography variant="body2" color="text.secondary" sx={{ mt: 0.25, maxWidth: '80ch' }}>
              {about}
            </Typography>
          )}
        </Box>
        {actions}
      </Stack>
      {children}
    </Box>
  );
}

export function Panel({
  title,
  aside,
  children,
  flush,
  sx,
}: {
  title: string;
  aside?: ReactNode;
  children: ReactNode;
  flush?: boolean; // no padding: tables
  sx?: object;
}) {
  const id = useId();
  const { tones } = useTheme();
  return (
    <Box
      component="section"
      aria-labelledby={id}
      sx={{
        background: tones.panel,
        border: `1px solid ${tones.line}`,
        borderRadius: 1,
        minWidth: 0,
        display: 'flex',
        flexDirection: 'column',
        ...sx,
      }}
    >
      <Stack
        direction="row"
        useFlexGap
        sx={{ px: 2, pt: 1.25, pb: 1, gap: 1.5, alignItems: 'center', flexWrap: 'wrap', minHeight: 44 }}
      >
        <Typography variant="h2" id={id} sx={{ flexGrow: 1 }}>
          {title}
        </Typography>
        {aside}
      </Stack>
      <Box sx={flush ? { minWidth: 0 } : { px: 2, pb: 2, flexGrow: 1, minWidth: 0, display: 'flex', flexDirection: 'column' }}>{children}</Box>
    </Box>
  );
}

/** Panels side by side where there is room. */
export function Grid({ columns, children }: { columns: string; children: ReactNode }) {
  return (
    <Box sx={{ display: 'grid', gap: 2, mb: 2, gridTemplateColumns: { xs: 'minmax(0,1fr)', lg: columns } }}>{children}</Box>
  );
}

export interface KpiProps {
  label: string;
  value: string;
  unit?: string;
  note?: ReactNode;
  tone?: keyof Tones;
  children?: ReactNode; // spark line or meter
  loading?: boolean;
  id?: string; // for tests: data-kpi
}

export function Kpi({ label, value, unit, note, tone, children, loading, id }: KpiProps) {
  const { tones } = useTheme();
  return (
    <Box
      data-kpi={id}
      sx={{
        p: '12px 16px 11px',
        minWidth: 0,
        background: tones.panel,
        display: 'flex',
        flexDirection: 'column',
        position: 'relative',
      }}
    >
      <Typography component="div" variant="caption" sx={{ color: tones.quiet, whiteSpace: 'nowrap', overflow: 'hidden', textOverflow: 'ellipsis' }}>
        {label}
      </Typography>
      {loading ? (
        <Skeleton width="70%" height={34} />
      ) : (
        <Box sx={{ mt: 0.25, whiteSpace: 'nowrap', lineHeight: 1.25 }}>
          <Box
            component="span"
            data-value=""
            sx={{ fontSize: '1.5rem', fontWeight: 500, letterSpacing: '-0.02em', color: tone ? tones[tone] : tones.text }}
          >
            {value}
          </Box>
          {unit && value !== NONE && (
            <Box component="span" sx={{ ml: 0.75, fontSize: '0.8125rem', color: tones.quiet }}>
              {unit}
            </Box>
          )}
        </Box>
      )}
      {children !== undefined && <Box sx={{ mt: 0.75, height: 22 }}>{children}</Box>}
      <Typography
        component="div"
        variant="caption"
        sx={{ mt: 'auto', pt: 0.5, color: tones.quiet, minHeight: '1.4em', overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}
      >
        {note}
      </Typography>
    </Box>
  );
}

/** Tiles that share hairlines instead of standing apart. */
export function KpiStrip({ children }: { children: ReactNode }) {
  const { tones } = useTheme();
  const count = Children.toArray(children).length; // without those that are not shown
  // Whole rows where they can be had, so that no cell of the grid stays empty.
  const some = count % 4 === 0 ? 4 : count % 3 === 0 ? 3 : count;
  return (
    <Box
      sx={{
        display: 'grid',
        gap: '1px',
        background: tones.line,
        border: `1px solid ${tones.line}`,
        borderRadius: 1,
        overflow: 'hidden',
        mb: 2,
        gridTemplateColumns: {
          xs: 'repeat(2, minmax(0,1fr))',
          sm: `repeat(${some}, minmax(0,1fr))`,
          lg: `repeat(${count > 6 ? some : count}, minmax(0,1fr))`,
          xl: `repeat(${count}, minmax(0,1fr))`,
        },
        '& > :last-child:nth-of-type(odd)': { gridColumn: { xs: 'span 2', sm: 'auto' } },
      }}
    >
      {children}
    </Box>
  );
}

/** A time in local terms; the tooltip says it in UTC. */
export function When({ ns }: { ns: number }) {
  if (!ns) return <span>{NONE}</span>;
  return (
    <Tooltip title={utc(ns)}>
      <time dateTime={new Date(ns / 1e6).toISOString()}>{when(ns)}</time>
    </Tooltip>
  );
}

export function Age({ ns }: { ns: number }) {
  const now = useNow(1000);
  if (!ns) return <span>{NONE}</span>;
  return (
    <Tooltip title={`${when(ns)} local · ${utc(ns)}`}>
      <time dateTime={new Date(ns / 1e6).toISOString()}>{age(ns, now)}</time>
    </Tooltip>
  );
}

export function Id({ children }: { children: string }) {
  return (
    <Box component="span" sx={{ fontFamily: MONO, fontSize: '0.92em' }}>
      {children || NONE}
    </Box>
  );
}

const STATE_TONES: Record<string, keyof Tones> = {
  ok: 'good', up: 'good', running: 'good', completed: 'quiet', active: 'good', connected: 'good', normal: 'good',
  serve: 'serve', serving: 'serve', fill: 'mine', mine: 'mine', mining: 'mine', off: 'idle', idle: 'idle', safe: 'warn',
  queued: 'accent', scheduled: 'accent', allocating: 'accent', draining: 'warn', paused: 'warn', degraded: 'warn',
  maintenance: 'warn', failed: 'bad', device_failed: 'bad', down: 'bad', emergency_stop: 'bad', cancelled: 'idle',
  revoked: 'idle', lost: 'bad', rolled_back: 'warn', drifted: 'warn', stale: 'warn', best: 'good',
  rolling_out: 'accent', shedding: 'accent', held: 'good', short: 'warn', late: 'warn', restoring: 'accent', over: 'idle', on: 'good', tripped: 'bad', dead: 'bad', ticket_open: 'bad', ticket_proving: 'accent', ticket_done: 'good',
  rolling_back: 'warn', changing: 'accent', away: 'bad', profitable: 'quiet', loss: 'bad',
};

/** A state as a mark and a word: never by colour alone. */
export function State({ state, label }: { state: string; label?: string }) {
  const { tones } = useTheme();
  const color = tones[STATE_TONES[state] ?? 'idle'];
  return (
    <Box component="span" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.875, whiteSpace: 'nowrap' }}>
      <Box component="span" aria-hidden="true" sx={{ width: 8, height: 8, borderRadius: '2px', background: color, flex: 'none' }} />
      {label ?? words(state)}
    </Box>
  );
}

export const MODE_NAMES: Record<string, string> = { serve: 'Serve', fill: 'Mine', off: 'Idle', safe: 'Safe' };
export const Mode = ({ mode }: { mode: string }) =>
  mode ? <State state={mode} label={MODE_NAMES[mode] ?? words(mode)} /> : <span>{NONE}</span>;

export interface Share {
  name: string;
  value: number;
  tone: keyof Tones;
}

/** One stacked bar with its numbers as text for those who do not see it. */
export function ShareBar({ parts, total, height = 10, label }: { parts: Share[]; total: number; height?: number; label: string }) {
  const { tones } = useTheme();
  const sum = Math.max(total, parts.reduce((s, p) => s + p.value, 0), 1);
  const said = parts.map((p) => `${p.name} ${num(p.value)}`).join(', ');
  return (
    <Box
      role="img"
      aria-label={`${label}: ${said} of ${num(total)}`}
      sx={{ display: 'flex', gap: '2px', height, borderRadius: '3px', overflow: 'hidden', background: tones.raised, minWidth: 60 }}
    >
      {parts
        .filter((p) => p.value > 0)
        .map((p) => (
          <Box key={p.name} sx={{ width: `${(100 * p.value) / sum}%`, minWidth: 2, background: tones[p.tone], transition: 'width .4s' }} />
        ))}
    </Box>
  );
}

export function Legend({ items }: { items: { name: string; tone: keyof Tones }[] }) {
  const { tones } = useTheme();
  return (
    <Stack direction="row" useFlexGap sx={{ gap: 1.75, flexWrap: 'wrap' }}>
      {items.map((i) => (
        <Box key={i.name} component="span" sx={{ display: 'inline-flex', alignItems: 'center', gap: 0.75, fontSize: '0.75rem', color: tones.quiet }}>
          <Box component="span" aria-hidden="true" sx={{ width: 9, height: 9, borderRadius: '2px', background: tones[i.tone] }} />
          {i.name}
        </Box>
      ))}
    </Stack>
  );
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <Box sx={{ px: 2, py: 4, textAlign: 'center' }}>
      <Typography variant="h3" component="p">
        {title}
      </Typography>
      {children && (
        <Typography variant="body2" color="text.secondary" sx={{ mt: 0.5, maxWidth: '52ch', mx: 'auto' }}>
          {children}
        </Typography>
      )}
      {action && <Box sx={{ mt: 1.75 }}>{action}</Box>}
    </Box>
  );
}

export function Failure({ error, retry, compact }: { error: unknown; retry?: () => void; compact?: boolean }) {
  const { tones } = useTheme();
  const p: ApiProblem = asProblem(error);
  return (
    <Box role="alert" sx={{ px: 2, py: compact ? 1.5 : 3, borderLeft: `3px solid ${tones.bad}`, mx: 2, my: 2, background: tones.raised, borderRadius: 0.5 }}>
      <Typography variant="h3" component="p">
        {p.title}
      </Typography>
      <Typography variant="body2" color="text.secondary" sx={{ mt: 0.25, maxWidth: '70ch' }}>
        {p.detail ? `${p.detail} ` : ''}
        {advice(p)}
      </Typography>
      {p.traceId && (
        <Typography variant="caption" color="text.secondary" component="p" sx={{ mt: 0.5 }}>
          Trace id <Id>{p.traceId}</Id>
        </Typography>
      )}
      {retry && (
        <Button variant="outlined" onClick={retry} startIcon={<RetryIcon />} sx={{ mt: 1.25 }}>
          Try again
        </Button>
      )}
    </Box>
  );
}

export function Lines({ count = 5 }: { count?: number }) {
  return (
    <Box sx={{ px: 2, pb: 2 }} aria-hidden="true">
      {Array.from({ length: count }, (_, i) => (
        <Skeleton key={i} height={30} width={`${92 - ((i * 17) % 30)}%`} />
      ))}
    </Box>
  );
}

interface QueryLike<D> {
  data?: D;
  error?: unknown;
  isLoading: boolean;
  refetch?: () => unknown;
}

/** What a page shows of something read: its skeleton, its error with a way on, or itself. What was read stays on
 * the page when a later read fails. */
export function Loaded<D>({ query, skeleton, children }: { query: QueryLike<D>; skeleton?: ReactNode; children: (data: D) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Failure error={query.error} retry={query.refetch} />;
  return (
    <Box role="status" aria-label="Loading">
      {skeleton ?? <Lines />}
    </Box>
  );
}

export function Confirm({
  open,
  title,
  children,
  action,
  danger,
  busy,
  error,
  onYes,
  onNo,
}: {
  open: boolean;
  title: string;
  children: ReactNode;
  action: string;
  danger?: boolean;
  busy?: boolean;
  error?: unknown;
  onYes: () => void;
  onNo: () => void;
}) {
  const id = useId();
  return (
    <Dialog open={open} onClose={onNo} aria-labelledby={id} maxWidth="xs" fullWidth>
      <DialogTitle id={id}>{title}</DialogTitle>
      <DialogContent>
        <Box sx={{ fontSize: '0.875rem', color: 'text.secondary' }}>{children}</Box>
        {error ? <Failure error={error} compact /> : null}
      </DialogContent>
      <DialogActions>
        <Button onClick={onNo} variant="outlined">
          Go back
        </Button>
        <Button onClick={onYes} variant="contained" color={danger ? 'error' : 'primary'} disabled={busy}>
          {action}
        </Button>
      </DialogActions>
    </Dialog>
  );
}

/** Name and value, one below the other. */
export function Facts({ rows, columns = 1 }: { rows: [string, ReactNode][]; columns?: number }) {
  const { tones } = useTheme();
  return (
    <Box
      component="dl"
      sx={{ m: 0, display: 'grid', columnGap: 4, gridTemplateColumns: { xs: '1fr', sm: `repeat(${columns}, minmax(0,1fr))` } }}
    >
      {rows.map(([name, value]) => (
        <Box
          key={name}
          sx={{ display: 'flex', gap: 2, justifyContent: 'space-between', py: 0.75, borderBottom: `1px solid ${tones.line}`, fontSize: '0.8125rem' }}
        >
          <Box component="dt" sx={{ color: tones.quiet, flex: 'none' }}>
            {name}
          </Box>
          <Box component="dd" sx={{ m: 0, textAlign: 'right', minWidth: 0, overflowWrap: 'anywhere' }}>
            {value}
          </Box>
        </Box>
      ))}
    </Box>
  );
}
