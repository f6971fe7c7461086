import { Alert, Box, Button, Tooltip } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { useAppSelector } from '../state/store';
import { DataTable } from '../ui/DataTable';
import { num } from '../ui/format';
import { Age, Confirm, Empty, Id, Loaded, Page, Panel, ShareBar, State, When } from '../ui/parts';

interface Order {
  model: string;
  version: string; // '': back to the one before
  previous: string;
}

const WHAT: Record<string, string> = { activated: 'Activated', completed: 'All nodes serve it', failed: 'Turned back', rolled_back: 'Rolled back' };

function Versions({ model, admin, onOrder }: { model: T.Model; admin: boolean; onOrder: (o: Order) => void }) {
  return (
    <DataTable
      label={`Versions of ${model.name}`}
      rows={model.versions}
      rowKey={(v) => v.version}
      empty={null}
      columns={[
        { head: 'Version', cell: (v) => v.version },
        { head: 'State', cell: (v) => (v.version === model.version ? <State state={model.state === 'rolled_back' ? 'active' : model.state} /> : v.version === model.previous ? 'Previous' : '–') },
        { head: 'On nodes', right: true, cell: (v) => `${num(v.nodes)} of ${num(model.node_states.length)}`, from: 'sm' },
        { head: 'Since', cell: (v) => <When ns={v.created_at_ns} />, from: 'md' },
        { head: 'By', cell: (v) => v.created_by, from: 'lg' },
        { head: 'Digest', cell: (v) => <Tooltip title={v.digest}><span><Id>{v.digest.slice(0, 19)}</Id></span></Tooltip>, from: 'md' },
        {
          head: 'Action',
          right: true,
          cell: (v) =>
            admin && v.version !== model.version ? (
              <Button variant="outlined" aria-label={`Activate ${v.version} of ${model.name}`} onClick={() => onOrder({ model: model.name, version: v.version, previous: model.version })}>
                Activate
              </Button>
            ) : null,
        },
      ]}
    />
  );
}

function ModelPanel({ name, admin, onOrder }: { name: string; admin: boolean; onOrder: (o: Order) => void }) {
  const query = api.useModelQuery(name, { pollingInterval: 3000 });
  return (
    <Loaded query={query}>
      {(m) => {
        const back = m.state === 'rolling_out' ? 'Stop and go back' : m.previous && m.state !== 'rolling_back' ? `Roll back to ${m.previous}` : '';
        return (
          <>
            <Panel
              title={m.name}
              aside={
                admin && back ? (
                  <Button variant="outlined" color="error" onClick={() => onOrder({ model: m.name, version: '', previous: m.version })}>
                    {back}
                  </Button>
                ) : undefined
              }
              sx={{ mb: 2 }}
            >
              {m.error && (
                <Alert severity="warning" sx={{ mb: 1.5 }}>
                  The last activation was turned back: {m.error}
                </Alert>
              )}
              <Box sx={{ display: 'flex', gap: 2, alignItems: 'center', flexWrap: 'wrap', mb: 1.5, fontSize: '0.875rem' }}>
                <State state={m.state} />
                <span>
                  {num(m.nodes_done)} of {num(m.nodes)} nodes serve {m.version}
                </span>
                <Box sx={{ flexGrow: 1, minWidth: 120 }}>
                  <ShareBar total={Math.max(m.nodes, 1)} parts={[{ name: m.version, value: m.nodes_done, tone: 'serve' }]} label={`${m.nodes_done} of ${m.nodes} nodes serve ${m.version}`} />
                </Box>
              </Box>
              <Versions model={m} admin={admin} onOrder={onOrder} />
            </Panel>
            <Panel title={`Nodes that serve ${m.name}`} flush sx={{ mb: 2 }}>
              <DataTable
                label={`Nodes that serve ${m.name}`}
                rows={m.node_states}
                rowKey={(n) => n.node_id}
                empty={null}
                maxHeight={360}
                columns={[
                  { head: 'Node', cell: (n) => <Id>{n.node_id}</Id> },
                  { head: 'Serves', cell: (n) => n.version },
                  { head: 'State', cell: (n) => <State state={n.state} /> },
                  { head: 'Heard of', cell: (n) => <Age ns={n.seen_at_ns} />, from: 'sm' },
                  { head: 'Holds', cell: (n) => n.held.join(', '), from: 'md' },
                  { head: 'Trouble', cell: (n) => n.error || '–', wrap: true, from: 'md' },
                ]}
              />
            </Panel>
            <Panel title={`Changes of ${m.name}`} flush sx={{ mb: 2 }}>
              <DataTable
                label={`Changes of ${m.name}`}
                rows={m.changes}
                rowKey={(c) => `${c.at_ns} ${c.what}`}
                empty={<Empty title="No change yet">Each activation and rollback is kept here.</Empty>}
                columns={[
                  { head: 'Time', cell: (c) => <When ns={c.at_ns} /> },
                  { head: 'What', cell: (c) => WHAT[c.what] ?? c.what },
                  { head: 'From', cell: (c) => c.from, from: 'sm' },
                  { head: 'To', cell: (c) => c.to, from: 'sm' },
                  { head: 'By', cell: (c) => c.by, from: 'md' },
                  { head: 'Reason', cell: (c) => c.reason || '–', wrap: true, from: 'sm' },
                ]}
              />
            </Panel>
          </>
        );
      }}
    </Loaded>
  );
}

export function Models() {
  const query = api.useModelsQuery(undefined, { pollingInterval: 10000 });
  const admin = useAppSelector((s) => s.session.role) === 'admin';
  const [activate, activating] = api.useActivateModelMutation();
  const [rollback, rolling] = api.useRollbackModelMutation();
  const [order, setOrder] = useState<Order | null>(null);
  return (
    <Page title="Models" about="Versions of what the nodes serve. A change goes to one node first, loses no request, and is turned back by the first that fails.">
      <Loaded query={query}>
        {({ models }) =>
          models.length ? (
            models.map((m) => <ModelPanel key={m.name} name={m.name} admin={admin} onOrder={(o) => { activating.reset(); rolling.reset(); setOrder(o); }} />)
          ) : (
            <Panel title="Models">
              <Empty title="No node serves a model">A model appears here as soon as a node with a model folder connects.</Empty>
            </Panel>
          )
        }
      </Loaded>
      <Confirm
        open={!!order}
        danger={!order?.version}
        title={order?.version ? `Activate ${order.version} of ${order.model}?` : `Roll ${order?.model ?? ''} back?`}
        action={order?.version ? 'Activate' : 'Roll back'}
        busy={activating.isLoading || rolling.isLoading}
        error={activating.error ?? rolling.error}
        onNo={() => setOrder(null)}
        onYes={async () => {
          if (!order) return;
          const r = order.version ? await activate({ name: order.model, version: order.version }) : await rollback({ name: order.model, reason: '' });
          if ('data' in r) setOrder(null);
        }}
      >
        {order?.version ? `Every node changes from ${order.previous} to ${order.version}, one first. Requests go on being answered.` : `Every node that serves ${order?.previous ?? ''} goes back to the version before it.`}
      </Confirm>
    </Page>
  );
}
