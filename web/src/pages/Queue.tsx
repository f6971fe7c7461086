// What waits: how long, when it is likely to begin, why it waits and what would make it fit.
import { Box, Button, Stack } from '@mui/material';
import { useState } from 'react';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { devicesOf, num, percent, spanMs } from '../ui/format';
import { Age, Empty, Facts, Id, Kpi, KpiStrip, Loaded, Panel } from '../ui/parts';

export const etaOf = (e: T.QueueEntry): string => (e.eta_ms < 0 ? 'not known yet' : spanMs(e.eta_ms));

const goalOf = (c: T.QueueClass): string => (c.wait_target_ms > 0 ? `goal ${spanMs(c.wait_target_ms)}` : 'filler, no goal');

export function QueueStrip() {
  const { data } = api.useQueueQuery({ limit: 1 }, { pollingInterval: 5000 });
  if (!data?.classes.length) return null;
  return (
    <KpiStrip>
      {data.classes.map((c) => (
        <Kpi
          key={c.priority_class}
          label={`${c.priority_class} waiting`}
          value={num(c.waiting)}
          note={[c.waiting ? `oldest ${spanMs(c.oldest_wait_ms)}` : '', goalOf(c)].filter(Boolean).join(', ')}
          tone={c.waiting && c.wait_target_ms > 0 && c.oldest_wait_ms > c.wait_target_ms ? 'warn' : undefined}
        />
      ))}
    </KpiStrip>
  );
}

/** The queue by pages; a customer sees its own part of it. Nothing while nothing waits. */
export function QueuePanel({ staff, onOpen }: { staff: boolean; onOpen: (id: string) => void }) {
  const [cursors, setCursors] = useState<string[]>([]);
  const query = api.useQueueQuery({ limit: 10, cursor: cursors[cursors.length - 1] }, { pollingInterval: 5000 });
  if (query.data && !query.data.entries.length && !cursors.length) return null;
  const about = query.data?.yielding ? `Waiting (${num(query.data.yielding)} running ${query.data.yielding === 1 ? 'job gives its' : 'jobs give their'} devices up now)` : 'Waiting';
  return (
    <Panel title={about} flush sx={{ mb: 2 }}>
      <Loaded query={query}>
        {(q) => (
          <>
            <DataTable
              label="Waiting workloads"
              rows={q.entries}
              rowKey={(e) => e.workload_id}
              onOpen={(e) => onOpen(e.workload_id)}
              openLabel={(e) => `${e.workload_id}, position ${e.position}`}
              empty={<Empty title="Nothing more waits" />}
              columns={[
                { head: 'Place', right: true, cell: (e) => num(e.position) },
                { head: 'Priority', cell: (e) => e.priority_class },
                { head: 'Workload', cell: (e) => <Id>{e.workload_id}</Id>, from: 'lg' },
                ...(staff ? [{ head: 'Customer', cell: (e: T.QueueEntry) => e.customer_id, from: 'md' as const }] : []),
                { head: 'Devices', right: true, cell: devicesOf, from: 'sm' },
                { head: 'Waits', right: true, cell: (e) => <Box component="span" sx={{ fontWeight: e.overdue ? 600 : undefined }}><Age ns={e.waiting_since_ns} />{e.overdue && ' (late)'}</Box> },
                { head: 'Likely in', right: true, cell: etaOf, from: 'sm' },
                { head: 'Why, and what would make it fit', cell: (e) => e.reason, wrap: true },
              ]}
            />
            {(cursors.length > 0 || q.next_cursor) && (
              <Stack direction="row" sx={{ p: 1.5, gap: 1, justifyContent: 'flex-end' }}>
                <Button variant="outlined" disabled={!cursors.length} onClick={() => setCursors(cursors.slice(0, -1))}>
                  Before
                </Button>
                <Button variant="outlined" disabled={!q.next_cursor} onClick={() => setCursors([...cursors, q.next_cursor])}>
                  After
                </Button>
              </Stack>
            )}
          </>
        )}
      </Loaded>
    </Panel>
  );
}

/** Of one workload that waits, for its drawer. */
export function QueuePlace({ id }: { id: string }) {
  const { data } = api.useQueueQuery({ workload_id: id }, { pollingInterval: 5000 });
  const e = data?.entries[0];
  if (!e) return null;
  return (
    <Box sx={{ mb: 2 }} data-queue-place={e.position}>
      <Facts
        rows={[
          ['Place in the queue', `${num(e.position)} of ${num(data.total)}`],
          ['Likely to begin in', etaOf(e)],
          ['What would make it fit', e.reason],
          ['Share of the site', `${percent(e.share, 1)}, fair is ${percent(Math.min(e.fair_share, 1), 1)}`],
        ]}
      />
    </Box>
  );
}
