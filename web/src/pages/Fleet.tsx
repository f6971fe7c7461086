import { Box, Button, Drawer, IconButton, MenuItem, Stack, TextField, Typography, useTheme } from '@mui/material';
import { useState } from 'react';
import { api, type ResourceQuery } from '../api/api';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { energy, hash, num, percent, power, words } from '../ui/format';
import { CloseIcon } from '../ui/icons';
import { Age, Empty, Facts, Id, Legend, Loaded, Mode, Page, Panel, ShareBar, State, When } from '../ui/parts';
import { CapacityPanel } from './Capacity';

const KINDS: Record<string, string> = { gpu: 'GPU', asic: 'ASIC', cpu: 'CPU' };

function Classes({ fleet }: { fleet: T.Fleet }) {
  const { tones } = useTheme();
  return (
    <DataTable
      label="Device classes"
      rows={fleet.classes}
      rowKey={(c) => `${c.facility}/${c.device_class}`}
      empty={<Empty title="No devices yet">Start a node agent with the address of this site; its devices appear here by themselves.</Empty>}
      columns={[
        { head: 'Class', cell: (c) => <b style={{ fontWeight: 500 }}>{c.device_class}</b> },
        { head: 'Kind', cell: (c) => KINDS[c.kind] ?? c.kind, from: 'md' },
        { head: 'Facility', cell: (c) => (c.region ? `${c.facility}, ${c.region}` : c.facility), from: 'md' },
        {
          head: 'Modes',
          width: '22%',
          cell: (c) => (
            <ShareBar
              label={c.device_class}
              total={c.total}
              height={12}
              parts={[
                { name: 'serve', value: c.serving, tone: 'serve' },
                { name: 'mine', value: c.filling, tone: 'mine' },
                { name: 'idle', value: c.off, tone: 'idle' },
              ]}
            />
          ),
        },
        { head: 'Serve', right: true, cell: (c) => num(c.serving), from: 'sm' },
        { head: 'Mine', right: true, cell: (c) => num(c.filling), from: 'sm' },
        { head: 'Idle', right: true, cell: (c) => num(c.off), from: 'sm' },
        { head: 'Total', right: true, cell: (c) => num(c.total) },
        { head: 'Healthy', right: true, from: 'md', cell: (c) => <Box component="span" sx={{ color: c.healthy < c.total ? tones.warn : undefined }}>{num(c.healthy)}</Box> },
        { head: 'Drifted', right: true, from: 'md', cell: (c) => <Box component="span" sx={{ color: c.drifted ? tones.warn : undefined }}>{num(c.drifted)}</Box> },
        { head: 'Power', right: true, cell: (c) => power(c.power_w) },
        { head: 'Hash rate', right: true, cell: (c) => (c.hash_ths > 0 ? hash(c.hash_ths) : '–'), from: 'sm' },
      ]}
    />
  );
}

function DeviceDrawer({ id, onClose }: { id: string; onClose: () => void }) {
  const query = api.useDeviceQuery(id, { pollingInterval: 3000 });
  const { tones } = useTheme();
  return (
    <Box sx={{ p: { xs: 2, sm: 3 } }}>
      <Stack direction="row" sx={{ alignItems: 'flex-start', gap: 2, mb: 2 }}>
        <Box sx={{ flexGrow: 1 }}>
          <Typography variant="h1" component="h2" id="device-title">
            {query.data?.name || id}
          </Typography>
          <Typography variant="caption" color="text.secondary">
            <Id>{id}</Id>
          </Typography>
        </Box>
        <IconButton aria-label="Close the device" onClick={onClose} size="small">
          <CloseIcon />
        </IconButton>
      </Stack>
      <Loaded query={query}>
        {(d) => (
          <>
            <Box sx={{ display: 'grid', gridTemplateColumns: '1fr 1fr 1fr', gap: '1px', background: tones.line, border: `1px solid ${tones.line}`, borderRadius: 0.75, overflow: 'hidden', mb: 1.5 }}>
              {(
                [
                  ['Desired', d.desired],
                  ['Commanded', d.commanded],
                  ['Confirmed', d.confirmed],
                ] as const
              ).map(([name, mode]) => (
                <Box key={name} sx={{ background: tones.panel, p: 1.5 }}>
                  <Typography variant="caption" color="text.secondary" component="div">
                    {name}
                  </Typography>
                  <Mode mode={mode} />
                </Box>
              ))}
            </Box>
            <Typography variant="body2" color="text.secondary" sx={{ mb: 2 }}>
              {d.drifted ? (
                <>
                  <State state="drifted" label="Drifted" />: the device does not do what it was told to. {d.reason}
                </>
              ) : d.desired === d.confirmed ? (
                'The device does what the plan wants.'
              ) : (
                'The device is on its way to what the plan wants.'
              )}
            </Typography>
            <Facts
              rows={[
                ['State', <State key="s" state={d.state} />],
                ['Class', d.device_class],
                ['Kind', KINDS[d.kind] ?? d.kind],
                ['Node', <Id key="n">{d.node_id}</Id>],
                ['Facility', d.region ? `${d.facility}, ${d.region}` : d.facility],
                ['Power, measured', power(d.power_w)],
                ...(d.power_mode ? [['Power mode', d.power_target_w ? `${d.power_mode}, ${power(d.power_target_w)}` : d.power_mode] as [string, string]] : []),
                ['Hash rate, measured', d.hash_ths > 0 ? hash(d.hash_ths) : '–'],
                ['Temperature', d.temperature_c ? `${num(d.temperature_c)} °C` : '–'],
                ['Utilisation', percent(d.utilisation)],
                ['Memory', d.memory_gib ? `${num(d.memory_gib)} GiB` : '–'],
                ['Health', percent(d.health)],
                ['Workload', d.workload_id ? <Id key="w">{d.workload_id}</Id> : '–'],
                ['Customer', d.customer_id || '–'],
                ...d.shares.map((s, i) => [`Part ${i + 1}`, `${s.mig_profile || num(s.milli / 1000, 3)}${s.customer_id ? `, ${s.customer_id}` : ''}`] as [string, string]),
                ['Last change', <When key="c" ns={d.changed_at_ns} />],
                ['Reason', d.reason || '–'],
              ]}
            />
          </>
        )}
      </Loaded>
    </Box>
  );
}

const STATES = ['idle', 'allocating', 'active', 'draining', 'maintenance', 'failed'];

function Devices({ classes, nodes }: { classes: string[]; nodes: T.Node[] }) {
  const [filter, setFilter] = useState<ResourceQuery>({});
  const [cursors, setCursors] = useState<string[]>([]);
  const [open, setOpen] = useState('');
  const query = api.useResourcesQuery(
    { ...filter, limit: 50, cursor: cursors[cursors.length - 1] },
    { pollingInterval: 5000 },
  );
  const set = (name: keyof ResourceQuery, value: string) => {
    setFilter({ ...filter, [name]: value || undefined });
    setCursors([]);
  };
  const pick = (name: keyof ResourceQuery, label: string, options: [string, string][]) => (
    <TextField select label={label} value={filter[name] ?? ''} onChange={(e) => set(name, e.target.value)} sx={{ width: { xs: 'calc(50% - 6px)', sm: 158 } }}>
      <MenuItem value="">All</MenuItem>
      {options.map(([value, text]) => (
        <MenuItem key={value} value={value}>
          {text}
        </MenuItem>
      ))}
    </TextField>
  );
  const from = cursors.length * 50;
  return (
    <Panel title="Devices" flush>
      <Stack direction="row" useFlexGap role="search" aria-label="Filter devices" sx={{ px: 2, pt: 0.5, pb: 1.5, gap: 1.5, flexWrap: 'wrap' }}>
        {pick('kind', 'Kind', Object.entries(KINDS))}
        {pick('device_class', 'Class', classes.map((c) => [c, c]))}
        {pick('state', 'State', STATES.map((s) => [s, words(s)]))}
        {pick('node_id', 'Node', nodes.map((n) => [n.id, n.name || n.id]))}
      </Stack>
      <Loaded query={query}>
        {(r) => (
          <>
            <DataTable
              label="Devices"
              rows={r.devices}
              rowKey={(d) => d.id}
              onOpen={(d) => setOpen(d.id)}
              openLabel={(d) => `Device ${d.name || d.id}, ${d.device_class}, confirmed ${d.confirmed}`}
              selected={open}
              maxHeight={560}
              empty={
                <Empty title="No device matches" action={Object.values(filter).some(Boolean) ? <Button variant="outlined" onClick={() => { setFilter({}); setCursors([]); }}>Show all devices</Button> : undefined}>
                  Change the filter, or start a node agent.
                </Empty>
              }
              columns={[
                { head: 'Device', cell: (d) => <Id>{d.name || d.id}</Id> },
                { head: 'Class', cell: (d) => d.device_class, from: 'sm' },
                { head: 'Node', cell: (d) => d.node_id, from: 'lg' },
                { head: 'State', cell: (d) => <State state={d.state} />, from: 'md' },
                { head: 'Does', cell: (d) => <Mode mode={d.confirmed} /> },
                { head: 'Shall', cell: (d) => (d.drifted ? <State state="drifted" label="drifted" /> : <Mode mode={d.desired} />), from: 'sm' },
                { head: 'Power', right: true, cell: (d) => power(d.power_w) },
                { head: 'Hash rate', right: true, cell: (d) => (d.hash_ths > 0 ? hash(d.hash_ths) : '–'), from: 'sm' },
                { head: 'Temp.', unit: '°C', right: true, cell: (d) => (d.temperature_c ? num(d.temperature_c) : '–'), from: 'md' },
                { head: 'Workload', cell: (d) => (d.workload_id ? <Id>{d.workload_id}</Id> : d.shares.length ? `${num(d.shares.length)} share it` : '–'), from: 'lg' },
              ]}
            />
            <Stack direction="row" sx={{ px: 2, py: 1.25, gap: 1, alignItems: 'center' }}>
              <Typography variant="caption" color="text.secondary" sx={{ flexGrow: 1 }} role="status">
                {r.devices.length ? `${num(from + 1)} to ${num(from + r.devices.length)}${r.total ? ` of ${num(r.total)}` : ''}` : ''}
              </Typography>
              <Button variant="outlined" disabled={!cursors.length} onClick={() => setCursors(cursors.slice(0, -1))}>
                Previous
              </Button>
              <Button variant="outlined" disabled={!r.next_cursor} onClick={() => setCursors([...cursors, r.next_cursor])}>
                Next
              </Button>
            </Stack>
          </>
        )}
      </Loaded>
      <Drawer anchor="right" open={!!open} onClose={() => setOpen('')} slotProps={{ paper: { sx: { width: { xs: '100%', sm: 440 } }, role: 'dialog', 'aria-labelledby': 'device-title' } }}>
        {open && <DeviceDrawer id={open} onClose={() => setOpen('')} />}
      </Drawer>
    </Panel>
  );
}

export function Fleet() {
  const fleet = api.useFleetQuery(undefined, { pollingInterval: 2000 });
  const nodes = api.useNodesQuery(undefined, { pollingInterval: 5000 });
  const f = fleet.data;
  return (
    <Page
      title="Fleet"
      about={
        f
          ? `${num(f.classes.reduce((s, c) => s + c.total, 0))} devices on ${num(f.nodes)} nodes (${num(f.nodes_connected)} connected), ${power(f.power_w)}, ${hash(f.hash_ths)}.`
          : undefined
      }
    >
      <Box sx={{ mb: 2 }}>
        <Panel title="Classes" flush aside={<Legend items={[{ name: 'Serve', tone: 'serve' }, { name: 'Mine', tone: 'mine' }, { name: 'Idle', tone: 'idle' }]} />}>
          <Loaded query={fleet}>{(x) => <Classes fleet={x} />}</Loaded>
        </Panel>
      </Box>
      <CapacityPanel />
      <Box sx={{ mb: 2 }}>
        <Devices classes={[...new Set(f?.classes.map((c) => c.device_class) ?? [])]} nodes={nodes.data?.nodes ?? []} />
      </Box>
      <Panel title="Nodes" flush>
        <Loaded query={nodes}>
          {(n) => (
            <DataTable
              label="Nodes"
              rows={n.nodes}
              rowKey={(x) => x.id}
              empty={<Empty title="No node has reported">Start a node agent with the address of this site.</Empty>}
              columns={[
                { head: 'Node', cell: (x) => <b style={{ fontWeight: 500 }}>{x.name || x.id}</b> },
                { head: 'Link', cell: (x) => <State state={x.connected ? 'connected' : 'lost'} label={x.connected ? 'Connected' : 'Lost'} /> },
                { head: 'Seen', unit: 'ago', right: true, cell: (x) => <Age ns={x.seen_at_ns} /> },
                { head: 'Lease until', cell: (x) => <When ns={x.lease_until_ns} />, from: 'sm' },
                { head: 'Devices', right: true, cell: (x) => num(x.devices) },
                { head: 'Facility', cell: (x) => x.facility, from: 'md' },
                { head: 'Models', cell: (x) => x.models.join(', ') || '–', from: 'lg', wrap: true },
                { head: 'Energy', right: true, cell: (x) => energy(x.energy_j), from: 'sm' },
                { head: 'Agent', cell: (x) => x.agent_version || '–', from: 'lg' },
              ]}
            />
          )}
        </Loaded>
      </Panel>
    </Page>
  );
}
