import { Box, Button, Dialog, DialogActions, DialogContent, DialogTitle, MenuItem, Stack, TextField } from '@mui/material';
import { useState, type FormEvent } from 'react';
import { api } from '../api/api';
import { asProblem, formErrors } from '../api/problem';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { num } from '../ui/format';
import { Age, Confirm, Empty, Failure, Id, Loaded, Page, Panel, State, When } from '../ui/parts';

const TICKET: Record<string, string> = { ticket_open: 'Open', ticket_proving: 'Proving itself', ticket_done: 'Done' };
const FIELDS = ['facility', 'kw', 'within_ms', 'duration_s', 'reason'];

function StartCurtailment({ facilities, onClose }: { facilities: string[]; onClose: () => void }) {
  const [start, state] = api.useCurtailMutation();
  const [form, setForm] = useState({ facility: facilities[0] ?? '', kw: '', minutes: '15', reason: '' });
  const errors = state.error ? formErrors(asProblem(state.error), FIELDS) : { field: {} as Record<string, string>, form: '' };
  const set = (name: keyof typeof form) => (e: { target: { value: string } }) => setForm({ ...form, [name]: e.target.value });
  const kw = Number(form.kw);
  const minutes = Number(form.minutes);
  const submit = async (e: FormEvent) => {
    e.preventDefault();
    const r = await start({ facility: form.facility, kw, within_ms: 1000, duration_s: Math.round(minutes * 60), reason: form.reason });
    if ('data' in r) onClose();
  };
  return (
    <Dialog open onClose={onClose} maxWidth="xs" fullWidth aria-labelledby="curtail-title">
      <form onSubmit={submit} noValidate>
        <DialogTitle id="curtail-title">Draw less power</DialogTitle>
        <DialogContent>
          <Stack sx={{ gap: 2, mt: 1 }}>
            <TextField select id="curtail-facility" label="Facility" value={form.facility} onChange={set('facility')} error={!!errors.field.facility} helperText={errors.field.facility}>
              {facilities.map((f) => (
                <MenuItem key={f} value={f}>
                  {f}
                </MenuItem>
              ))}
            </TextField>
            <TextField autoFocus id="curtail-kw" label="Less by (kW)" type="number" value={form.kw} onChange={set('kw')} error={!!errors.field.kw} helperText={errors.field.kw || 'The least efficient miners stop first; customers’ work stays'} />
            <TextField id="curtail-minutes" label="For (minutes)" type="number" value={form.minutes} onChange={set('minutes')} error={!!errors.field.duration_s} helperText={errors.field.duration_s || 'Then power comes back step by step'} />
            <TextField id="curtail-reason" label="Reason" value={form.reason} onChange={set('reason')} error={!!errors.field.reason} helperText={errors.field.reason} />
            {errors.form && <Failure error={state.error} compact />}
          </Stack>
        </DialogContent>
        <DialogActions>
          <Button variant="outlined" onClick={onClose}>
            Go back
          </Button>
          <Button type="submit" variant="contained" color="error" disabled={state.isLoading || !(kw > 0) || !(minutes > 0)}>
            Draw {kw > 0 ? `${num(kw)} kW ` : ''}less
          </Button>
        </DialogActions>
      </form>
    </Dialog>
  );
}

function Curtailments() {
  const query = api.useCurtailmentsQuery(undefined, { pollingInterval: 2000 });
  const fleet = api.useFleetQuery();
  const [restore, restoring] = api.useRestoreMutation();
  const [starting, setStarting] = useState(false);
  const [ending, setEnding] = useState<T.Curtailment | null>(null);
  const facilities = [...new Set((fleet.data?.classes ?? []).map((c) => c.facility))].sort();
  return (
    <Panel
      title="Power curtailment"
      flush
      sx={{ mb: 2 }}
      aside={
        <Button variant="outlined" color="error" disabled={!facilities.length} onClick={() => setStarting(true)}>
          Draw less power
        </Button>
      }
    >
      <Loaded query={query}>
        {({ curtailments }) => (
          <DataTable
            label="Orders to draw less power"
            rows={curtailments}
            rowKey={(c) => c.id}
            empty={<Empty title="No order yet">A facility can be told to draw so many kW less for a while, within a second.</Empty>}
            maxHeight={360}
            columns={[
              { head: 'Ordered', cell: (c) => <When ns={c.ordered_at_ns} /> },
              { head: 'Facility', cell: (c) => c.facility },
              { head: 'State', cell: (c) => <State state={c.state} /> },
              { head: 'Called as', cell: (c) => c.service || '–', from: 'md' },
              { head: 'Less by', unit: 'kW', right: true, cell: (c) => num(c.asked_kw) },
              { head: 'Before', unit: 'kW', right: true, cell: (c) => num(Math.round(c.measured_before_w / 1000)), from: 'sm' },
              { head: 'Now', unit: 'kW', right: true, cell: (c) => num(Math.round(c.measured_w / 1000)), from: 'sm' },
              { head: 'Devices', right: true, cell: (c) => num(c.devices), from: 'md' },
              { head: 'Until', cell: (c) => <When ns={c.until_ns} />, from: 'md' },
              { head: 'By', cell: (c) => c.by, from: 'lg' },
              { head: 'Reason', cell: (c) => c.reason || '–', from: 'lg', wrap: true },
              {
                head: 'Action',
                right: true,
                cell: (c) =>
                  c.state === 'over' || c.state === 'restoring' ? null : (
                    <Button variant="outlined" aria-label={`Restore ${c.facility}`} onClick={() => { restoring.reset(); setEnding(c); }}>
                      Restore
                    </Button>
                  ),
              },
            ]}
          />
        )}
      </Loaded>
      {starting && <StartCurtailment facilities={facilities} onClose={() => setStarting(false)} />}
      <Confirm
        open={!!ending}
        title={`Give ${ending?.facility ?? ''} its power back?`}
        action="Restore"
        busy={restoring.isLoading}
        error={restoring.error}
        onNo={() => setEnding(null)}
        onYes={async () => {
          if (!ending) return;
          const r = await restore(ending.id);
          if ('data' in r) setEnding(null);
        }}
      >
        It comes back in ten steps of five seconds, so that not all starts at once.
      </Confirm>
    </Panel>
  );
}

const kw = (w: number) => num(Math.round(w / 1000));

function PowerTree() {
  const query = api.usePowerQuery(undefined, { pollingInterval: 5000 });
  return (
    <Panel title="Power tree" flush sx={{ mb: 2 }}>
      <Loaded query={query}>
        {({ levels }) => (
          <DataTable
            label="Facilities, feeders, PDUs and racks"
            rows={levels}
            rowKey={(l) => `${l.facility}/${l.path}`}
            empty={<Empty title="No facility yet">Facilities come with their nodes, feeders and PDUs from the site file.</Empty>}
            maxHeight={360}
            columns={[
              { head: 'Facility', cell: (l) => l.facility },
              { head: 'Level', cell: (l) => l.path || '–' },
              { head: 'State', cell: (l) => <State state={l.state} /> },
              { head: 'Budget', unit: 'kW', right: true, cell: (l) => (l.budget_w ? kw(l.budget_w) : '–') },
              { head: 'Reserved', unit: 'kW', right: true, cell: (l) => kw(l.reserved_w) },
              { head: 'Measured', unit: 'kW', right: true, cell: (l) => kw(l.measured_w), from: 'sm' },
              { head: 'Devices', right: true, cell: (l) => num(l.devices), from: 'md' },
              { head: 'Tripped', cell: (l) => (l.tripped_at_ns ? <When ns={l.tripped_at_ns} /> : '–'), from: 'md' },
              { head: 'Reason', cell: (l) => l.reason || '–', from: 'lg', wrap: true },
            ]}
          />
        )}
      </Loaded>
    </Panel>
  );
}

function Tickets() {
  const [all, setAll] = useState(false);
  const query = api.useTicketsQuery({ all }, { pollingInterval: 5000 });
  const [close, closing] = api.useCloseTicketMutation();
  const [open, setOpen] = useState<T.Ticket | null>(null);
  const [note, setNote] = useState('');
  return (
    <Panel
      title="Repair tickets"
      flush
      aside={
        <Button variant="outlined" aria-pressed={all} onClick={() => setAll(!all)}>
          {all ? 'Open ones only' : 'Closed ones, too'}
        </Button>
      }
    >
      <Loaded query={query}>
        {({ tickets }) => (
          <DataTable
            label="Repair tickets"
            rows={tickets}
            rowKey={(t) => t.id}
            empty={<Empty title="No device is sick">A device whose heat, fan, power, hash rate, memory or sensors leave the normal gets a ticket and leaves the pool.</Empty>}
            maxHeight={560}
            columns={[
              { head: 'Opened', cell: (t) => <Age ns={t.opened_at_ns} /> },
              { head: 'Device', cell: (t) => <Id>{t.device_id}</Id> },
              { head: 'Class', cell: (t) => t.device_class, from: 'md' },
              { head: 'State', cell: (t) => <State state={t.state} label={TICKET[t.state] ?? t.state} /> },
              { head: 'Signal', cell: (t) => t.signal, from: 'sm' },
              { head: 'What is not normal', cell: (t) => t.reason, wrap: true, from: 'sm' },
              { head: 'Proved', right: true, cell: (t) => (t.closed_at_ns > 0 ? `${num(t.proved_min)} of ${num(t.proof_min)} min` : '–'), from: 'md' },
              { head: 'This week', right: true, cell: (t) => num(t.times), from: 'lg' },
              { head: 'Note', cell: (t) => t.note || '–', wrap: true, from: 'lg' },
              {
                head: 'Action',
                right: true,
                cell: (t) =>
                  t.closed_at_ns > 0 ? null : (
                    <Button variant="outlined" aria-label={`Close the ticket of ${t.device_id}`} onClick={() => { closing.reset(); setNote(''); setOpen(t); }}>
                      Repaired
                    </Button>
                  ),
              },
            ]}
          />
        )}
      </Loaded>
      <Confirm
        open={!!open}
        title="Was it repaired?"
        action="Close the ticket"
        busy={closing.isLoading}
        error={closing.error}
        onNo={() => setOpen(null)}
        onYes={async () => {
          if (!open) return;
          const r = await close({ id: open.id, note });
          if ('data' in r) setOpen(null);
        }}
      >
        {open?.device_id} works for nobody until it has proved itself, then it comes back.
        <Box sx={{ mt: 2 }}>
          <TextField fullWidth id="ticket-note" label="What was done" value={note} onChange={(e) => setNote(e.target.value)} slotProps={{ htmlInput: { maxLength: 159 } }} />
        </Box>
      </Confirm>
    </Panel>
  );
}

export function Operations() {
  return (
    <Page title="Operations" about="Power that the site gives back for a while, and devices that need a hand.">
      <Curtailments />
      <PowerTree />
      <Tickets />
    </Page>
  );
}
