import {
  Alert,
  Box,
  Button,
  Dialog,
  DialogActions,
  DialogContent,
  DialogTitle,
  Drawer,
  IconButton,
  MenuItem,
  Stack,
  TextField,
  Typography,
  useMediaQuery,
  useTheme,
} from '@mui/material';
import { useEffect, useRef, useState, type FormEvent } from 'react';
import { useNavigate, useParams } from 'react-router-dom';
import { api } from '../api/api';
import { advice, asProblem, formErrors } from '../api/problem';
import type * as T from '../api/types.gen';
import { isStaff } from '../state/session';
import { useAppSelector } from '../state/store';
import { DataTable } from '../ui/DataTable';
import { devicesOf, num, span, spanMs, usdMicros, words } from '../ui/format';
import { CloseIcon, PlusIcon } from '../ui/icons';
import { Age, Confirm, Empty, Facts, Id, Loaded, Page, Panel, State, When } from '../ui/parts';
import { QueuePanel, QueuePlace, QueueStrip } from './Queue';
import { checkForm, draftOf, emptyForm, FORM_FIELDS, type WorkloadForm } from './workloadForm';

const TYPES: T.WorkloadType[] = ['ai_inference_realtime', 'ai_inference_batch', 'model_training', 'bitcoin_mining'];
const STATES: T.WorkloadState[] = ['queued', 'scheduled', 'running', 'paused', 'completed', 'failed', 'cancelled'];
const over = (s: string) => s === 'completed' || s === 'failed' || s === 'cancelled';

function newKey(): string {
  // randomUUID exists on https and localhost only.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

function Submit({ onClose, onDone }: { onClose: () => void; onDone: (w: T.Workload) => void }) {
  const theme = useTheme();
  const phone = useMediaQuery(theme.breakpoints.down('sm'));
  const [form, setForm] = useState<WorkloadForm>(emptyForm);
  const [local, setLocal] = useState<Partial<Record<string, string>>>({});
  const [submit, state] = api.useSubmitWorkloadMutation();
  const capacity = api.useAvailabilityQuery();
  // One key per form: pressing twice, or again after a timeout, submits once.
  const key = useRef(newKey());
  const problem = state.error ? asProblem(state.error) : null;
  const remote = problem ? formErrors(problem, FORM_FIELDS) : { field: {} as Record<string, string>, form: '' };
  const classes = [...new Set(capacity.data?.classes.map((c) => c.device_class) ?? [])];
  const regions = [...new Set(capacity.data?.classes.map((c) => c.region).filter(Boolean) ?? [])];
  const chosen = capacity.data?.classes.find((c) => c.device_class === form.device_class);

  const send = async (event: FormEvent) => {
    event.preventDefault();
    const errors = checkForm(form);
    setLocal(errors);
    const first = FORM_FIELDS.find((f) => errors[f]);
    if (first) {
      document.getElementById(`w-${first}`)?.focus();
      return;
    }
    const r = await submit({ draft: draftOf(form), key: key.current });
    if ('data' in r && r.data) onDone(r.data);
    // A refused form that is changed is another request.
    else if (r.error && asProblem(r.error).status >= 400 && asProblem(r.error).status < 500) key.current = newKey();
  };

  const field = (name: keyof WorkloadForm, label: string, help = '', more: object = {}) => {
    const error = local[name] ?? remote.field[name];
    return (
      <TextField
        id={`w-${name}`}
        label={label}
        value={form[name]}
        onChange={(e) => {
          setForm({ ...form, [name]: e.target.value });
          setLocal({ ...local, [name]: undefined });
        }}
        error={!!error}
        helperText={error || help || ' '}
        {...more}
      />
    );
  };
  const number = { slotProps: { htmlInput: { inputMode: 'numeric' } } };
  const choice = (name: keyof WorkloadForm, label: string, help: string, any: string, options: string[]) =>
    field(name, label, help, {
      select: true,
      slotProps: { inputLabel: { shrink: true, htmlFor: `w-${name}` }, select: { displayEmpty: true, SelectDisplayProps: { id: `w-${name}` } } },
      children: [
        <MenuItem key="" value="">
          {any}
        </MenuItem>,
        ...options.map((o) => (
          <MenuItem key={o} value={o}>
            {o}
          </MenuItem>
        )),
      ],
    });

  return (
    <Dialog open onClose={onClose} maxWidth="sm" fullWidth fullScreen={phone} aria-labelledby="submit-title">
      <Box component="form" onSubmit={send} noValidate sx={{ display: 'contents' }}>
        <DialogTitle id="submit-title">Submit a workload</DialogTitle>
        <DialogContent>
          {remote.form && (
            <Alert severity="error" sx={{ mb: 2 }}>
              {remote.form} {problem && problem.status !== 400 && problem.status !== 422 ? advice(problem) : ''}
            </Alert>
          )}
          <Box sx={{ display: 'grid', gridTemplateColumns: { xs: '1fr', sm: '1fr 1fr' }, columnGap: 2, rowGap: 1.5, pt: 1 }}>
            <Box sx={{ gridColumn: '1 / -1' }}>{field('name', 'Name', '', { autoFocus: true, required: true })}</Box>
            {field('type', 'Kind of work', '', {
              select: true,
              slotProps: { select: { SelectDisplayProps: { id: 'w-type' } } },
              children: TYPES.map((t) => (
                <MenuItem key={t} value={t}>
                  {words(t)}
                </MenuItem>
              )),
            })}
            {form.type !== 'bitcoin_mining' ? field('model', 'Model') : <Box sx={{ display: { xs: 'none', sm: 'block' } }} />}
            {choice('device_class', 'Device class', chosen?.price_micros_h ? `${usdMicros(chosen.price_micros_h)} per device-hour` : '', 'Any that fits', classes)}
            {field('device_count', 'Devices', '', number)}
            {form.type !== 'bitcoin_mining' && field('gpu_fraction', 'Part of one GPU', 'Empty: whole devices. Else 0.001 to 1', { slotProps: { htmlInput: { inputMode: 'decimal' } } })}
            {form.type !== 'bitcoin_mining' && field('mig_profile', 'Instance of one GPU', 'Empty: none. Else as its maker names it: 1g.10gb')}
            {field('duration_s', 'Duration, hours', '0 runs until cancelled', { slotProps: { htmlInput: { inputMode: 'decimal' } } })}
            {field('priority', 'Priority', '1 is first, 10 last', number)}
            {field('memory_gib', 'Memory per device, GiB', 'Empty: any', number)}
            {form.type === 'ai_inference_realtime' ? field('max_latency_ms', 'Latency limit, ms', 'Empty: none', number) : <Box sx={{ display: { xs: 'none', sm: 'block' } }} />}
            {choice('region', 'Region', 'Where the data must stay', 'Anywhere', regions)}
            <Box sx={{ gridColumn: '1 / -1' }}>
              {field('callback_url', 'Callback address', 'Empty: none. Else told of every change, signed', {
                fullWidth: true,
                slotProps: { htmlInput: { inputMode: 'url' } },
              })}
            </Box>
          </Box>
        </DialogContent>
        <DialogActions>
          <Button variant="outlined" onClick={onClose}>
            Go back
          </Button>
          <Button type="submit" variant="contained" disabled={state.isLoading}>
            {state.isLoading ? 'Submitting…' : 'Submit workload'}
          </Button>
        </DialogActions>
      </Box>
    </Dialog>
  );
}

function HistoryLine({ t, last }: { t: T.WorkloadTransition; last: boolean }) {
  const { tones } = useTheme();
  return (
    <Box component="li" sx={{ display: 'flex', gap: 1.5, pb: last ? 0 : 1.75, position: 'relative', fontSize: '0.8125rem' }}>
      {!last && <Box aria-hidden="true" sx={{ position: 'absolute', left: 3.5, top: 16, bottom: -3, width: '1px', background: tones.line }} />}
      <Box sx={{ flexGrow: 1, minWidth: 0 }}>
        <State state={t.to} />
        {t.reason && <Box sx={{ color: tones.quiet, pl: '15px', fontSize: '0.75rem' }}>{t.reason}</Box>}
      </Box>
      <Box sx={{ color: tones.quiet, whiteSpace: 'nowrap' }}>
        <When ns={t.at_ns} />
      </Box>
    </Box>
  );
}

function Details({ id, onClose }: { id: string; onClose: () => void }) {
  const query = api.useWorkloadQuery(id, { pollingInterval: 5000 });
  const history = api.useWorkloadHistoryQuery(id);
  const [cancel, state] = api.useCancelWorkloadMutation();
  const [hold, holding] = api.useHoldWorkloadMutation();
  const [asking, setAsking] = useState(false);
  const w = query.data;
  return (
    <Box sx={{ p: { xs: 2, sm: 3 } }} data-workload={id}>
      <Stack direction="row" sx={{ alignItems: 'flex-start', gap: 2, mb: 2 }}>
        <Box sx={{ flexGrow: 1, minWidth: 0 }}>
          <Typography variant="h1" component="h2" id="workload-title" sx={{ overflowWrap: 'anywhere' }}>
            {w?.name || id}
          </Typography>
          <Typography variant="caption" color="text.secondary">
            <Id>{id}</Id>
          </Typography>
        </Box>
        <IconButton aria-label="Close the workload" onClick={onClose} size="small">
          <CloseIcon />
        </IconButton>
      </Stack>
      <Loaded query={query}>
        {(x) => (
          <>
            <Stack direction="row" sx={{ alignItems: 'center', gap: 2, mb: 1.5 }}>
              <Box sx={{ flexGrow: 1, fontWeight: 500 }} data-state={x.state}>
                <State state={x.state} />
              </Box>
              {!over(x.state) && (
                <Button
                  variant="outlined"
                  disabled={holding.isLoading}
                  onClick={() => hold({ id, order: x.state === 'paused' ? 'resume' : 'pause' })}
                >
                  {x.state === 'paused' ? 'Resume workload' : 'Pause workload'}
                </Button>
              )}
              {!over(x.state) && (
                <Button variant="outlined" color="error" onClick={() => { state.reset(); setAsking(true); }}>
                  Cancel workload
                </Button>
              )}
            </Stack>
            {holding.error && (
              <Alert severity="error" sx={{ mb: 1.5 }}>
                {asProblem(holding.error).detail || asProblem(holding.error).title}
              </Alert>
            )}
            {x.reason && (
              <Typography variant="body2" color="text.secondary" sx={{ mb: 1.5 }}>
                {x.reason}
              </Typography>
            )}
            {x.state === 'queued' && <QueuePlace id={id} />}
            <Facts
              rows={[
                ['Kind', words(x.type)],
                ...(x.model ? ([['Model', x.model]] as [string, string][]) : []),
                ...(x.program ? ([['Program', x.program]] as [string, string][]) : []),
                ...(x.checkpoint ? ([['Saved', `step ${num(x.checkpoint.step)}${x.checkpoint.of ? ` of ${num(x.checkpoint.of)}` : ''}, ${x.checkpoint.name}`]] as [string, string][]) : []),
                ['Priority', `${num(x.priority)}${x.priority_class ? ` (${x.priority_class})` : ''}`],
                ['Devices', `${devicesOf(x)}${x.device_class ? '' : ', any class that fits'}`],
                ['Duration', x.duration_s ? span(x.duration_s * 1e9) : x.program ? 'until it is done' : 'until cancelled'],
                ...(x.remaining_ns ? ([['Left at the last stop', span(x.remaining_ns)]] as [string, string][]) : []),
                ...(x.preemptions ? ([['Yielded to others', `${num(x.preemptions)} ${x.preemptions === 1 ? 'time' : 'times'}, its work was ${x.checkpointable ? 'saved' : 'lost'}`]] as [string, string][]) : []),
                ...(x.project ? ([['Project', x.project]] as [string, string][]) : []),
                ...(x.max_latency_ms ? ([['Latency limit', spanMs(x.max_latency_ms)]] as [string, string][]) : []),
                ['Region', x.region || 'anywhere'],
                ['Estimated cost', usdMicros(x.estimated_cost_micros)],
                ['Submitted', <When key="c" ns={x.created_at_ns} />],
                ['Started', <When key="s" ns={x.started_at_ns} />],
                ['Finished', <When key="f" ns={x.finished_at_ns} />],
                ['Customer', x.customer_id || '–'],
              ]}
            />
            {x.device_ids.length > 0 && (
              <>
                <Typography variant="h2" component="h3" sx={{ mt: 3, mb: 1 }}>
                  Devices held
                </Typography>
                <Typography variant="body2">
                  <Id>{x.device_ids.slice(0, 12).join(', ')}</Id>
                  {x.device_ids.length > 12 && ` and ${num(x.device_ids.length - 12)} more`}
                </Typography>
              </>
            )}
            <Typography variant="h2" component="h3" sx={{ mt: 3, mb: 1.25 }}>
              History
            </Typography>
            <Loaded query={history}>
              {({ transitions }) => (
                <Box component="ol" sx={{ listStyle: 'none', m: 0, p: 0 }}>
                  {transitions.map((t, i) => (
                    <HistoryLine key={i} t={t} last={i === transitions.length - 1} />
                  ))}
                </Box>
              )}
            </Loaded>
            <Confirm
              open={asking}
              danger
              title={`Cancel “${x.name || id}”?`}
              action="Cancel the workload"
              busy={state.isLoading}
              error={state.error}
              onNo={() => setAsking(false)}
              onYes={async () => {
                const r = await cancel(id);
                if ('data' in r) setAsking(false);
              }}
            >
              Its devices are given back. Hours used until now are billed. It cannot be resumed.
            </Confirm>
          </>
        )}
      </Loaded>
    </Box>
  );
}

export function WorkloadsPage() {
  const { id } = useParams();
  const navigate = useNavigate();
  const staff = isStaff(useAppSelector((s) => s.session.role));
  const [state, setState] = useState('');
  const [type, setType] = useState('');
  const [cursors, setCursors] = useState<string[]>([]);
  const [submitting, setSubmitting] = useState(false);
  const [done, setDone] = useState<T.Workload | null>(null);
  const query = api.useWorkloadsQuery(
    { limit: 50, state: state || undefined, type: type || undefined, cursor: cursors[cursors.length - 1] },
    { pollingInterval: 5000 },
  );
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(null), 8000);
    return () => clearTimeout(timer);
  }, [done]);
  const open = (w: string) => navigate(`/workloads/${encodeURIComponent(w)}`);
  const filtered = !!(state || type);
  const add = (
    <Button variant="contained" startIcon={<PlusIcon />} onClick={() => setSubmitting(true)}>
      Submit a workload
    </Button>
  );
  return (
    <Page title="Workloads" about={staff ? 'Work of all customers, newest first.' : 'Your work, newest first.'} actions={add}>
      {staff && <QueueStrip />}
      <QueuePanel staff={staff} onOpen={open} />
      {done && (
        <Alert severity="success" sx={{ mb: 2 }} onClose={() => setDone(null)}>
          “{done.name}” was submitted as <Id>{done.id}</Id>.
        </Alert>
      )}
      <Panel title={staff ? 'All workloads' : 'Your workloads'} flush>
        <Stack direction="row" role="search" aria-label="Filter workloads" sx={{ px: 2, pt: 0.5, pb: 1.5, gap: 1.5 }}>
          <TextField select label="State" value={state} onChange={(e) => { setState(e.target.value); setCursors([]); }} sx={{ maxWidth: 170 }}>
            <MenuItem value="">All</MenuItem>
            {STATES.map((s) => (
              <MenuItem key={s} value={s}>
                {words(s)}
              </MenuItem>
            ))}
          </TextField>
          <TextField select label="Kind" value={type} onChange={(e) => { setType(e.target.value); setCursors([]); }} sx={{ maxWidth: 230 }}>
            <MenuItem value="">All</MenuItem>
            {TYPES.map((t) => (
              <MenuItem key={t} value={t}>
                {words(t)}
              </MenuItem>
            ))}
          </TextField>
        </Stack>
        <Loaded query={query}>
          {(l) => (
            <>
              <DataTable
                label="Workloads"
                rows={l.workloads}
                rowKey={(w) => w.id}
                onOpen={(w) => open(w.id)}
                openLabel={(w) => `${w.name || w.id}, ${w.state}`}
                selected={id}
                empty={
                  filtered ? (
                    <Empty title="No workload matches" action={<Button variant="outlined" onClick={() => { setState(''); setType(''); }}>Show all</Button>} />
                  ) : (
                    <Empty title="No workload yet" action={add}>
                      Submit one; it shows here at once, with where it waits and why.
                    </Empty>
                  )
                }
                columns={[
                  { head: 'Name', cell: (w) => <Box sx={{ maxWidth: { xs: 150, sm: 280 }, overflow: 'hidden', textOverflow: 'ellipsis', fontWeight: 500 }}>{w.name || w.id}</Box> },
                  { head: 'State', cell: (w) => <State state={w.state} /> },
                  { head: 'Kind', cell: (w) => words(w.type), from: 'md' },
                  ...(staff ? [{ head: 'Customer', cell: (w: T.Workload) => w.customer_id, from: 'md' as const }] : []),
                  { head: 'Priority', cell: (w) => w.priority_class || num(w.priority), from: 'sm' },
                  { head: 'Devices', right: true, cell: devicesOf, from: 'sm' },
                  { head: 'Estimate', right: true, cell: (w) => usdMicros(w.estimated_cost_micros), from: 'md' },
                  { head: 'Submitted', right: true, cell: (w) => <When ns={w.created_at_ns} />, from: 'lg' },
                  { head: 'Age', right: true, cell: (w) => <Age ns={w.created_at_ns} /> },
                ]}
              />
              {(cursors.length > 0 || l.next_cursor) && (
                <Stack direction="row" sx={{ p: 1.5, gap: 1, justifyContent: 'flex-end' }}>
                  <Button variant="outlined" disabled={!cursors.length} onClick={() => setCursors(cursors.slice(0, -1))}>
                    Newer
                  </Button>
                  <Button variant="outlined" disabled={!l.next_cursor} onClick={() => setCursors([...cursors, l.next_cursor])}>
                    Older
                  </Button>
                </Stack>
              )}
            </>
          )}
        </Loaded>
      </Panel>
      {submitting && (
        <Submit
          onClose={() => setSubmitting(false)}
          onDone={(w) => {
            setSubmitting(false);
            setCursors([]);
            setDone(w);
          }}
        />
      )}
      <Drawer
        anchor="right"
        open={!!id}
        onClose={() => navigate('/workloads')}
        slotProps={{ paper: { sx: { width: { xs: '100%', sm: 460 } }, role: 'dialog', 'aria-labelledby': 'workload-title' } }}
      >
        {id && <Details key={id} id={id} onClose={() => navigate('/workloads')} />}
      </Drawer>
    </Page>
  );
}
