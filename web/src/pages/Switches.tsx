import { Box, Tooltip, useTheme } from '@mui/material';
import { api } from '../api/api';
import type * as T from '../api/types.gen';
import { DataTable } from '../ui/DataTable';
import { num, span, words } from '../ui/format';
import { Empty, Id, Kpi, KpiStrip, Loaded, Mode, Page, Panel, State, When } from '../ui/parts';
import type { Tones } from '../ui/theme';

// The order in which a switch passes them; neighbours differ in tone, and each is named in the table below.
const PHASES: [string, keyof Tones, number][] = [
  ['validate', 'idle', 1],
  ['pause', 'mine', 0.6],
  ['save', 'mine', 1],
  ['switch', 'accent', 0.6],
  ['activate', 'accent', 1],
  ['verify', 'serve', 1],
  ['commit', 'serve', 0.6],
];

function Phases({ phases, total }: { phases: T.PhaseTime[]; total: number }) {
  const { tones } = useTheme();
  const sum = Math.max(phases.reduce((s, p) => s + p.duration_ns, 0), 1);
  const said = phases.map((p) => `${p.phase} ${span(p.duration_ns)}`).join(', ');
  if (!phases.length) return <span>–</span>;
  return (
    <Tooltip title={<Box sx={{ whiteSpace: 'pre' }}>{phases.map((p) => `${p.phase.padEnd(9)} ${span(p.duration_ns)}`).join('\n')}</Box>}>
      <Box role="img" aria-label={`${said}; total ${span(total)}`} tabIndex={0} sx={{ display: 'flex', gap: '1px', height: 12, minWidth: 150, borderRadius: '2px', overflow: 'hidden' }}>
        {phases.map((p) => {
          const [, tone, opacity] = PHASES.find(([name]) => name === p.phase) ?? ['', 'idle' as const, 1];
          return <Box key={p.phase} sx={{ width: `${(100 * p.duration_ns) / sum}%`, minWidth: '2px', background: tones[tone], opacity }} />;
        })}
      </Box>
    </Tooltip>
  );
}

const at = (sorted: number[], q: number) => (sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : undefined);

const timesOf = (switches: T.SwitchDone[]) => switches.map((s) => s.total_ns).sort((a, b) => a - b);

function Summary({ switches }: { switches: T.SwitchDone[] }) {
  // The contract is about what a request waits for; a miner that boots hashes after a minute.
  const serve = timesOf(switches.filter((s) => s.to === 'serve'));
  const mine = timesOf(switches.filter((s) => s.to === 'fill'));
  const ok = switches.filter((s) => s.ok).length;
  const rolled = switches.filter((s) => s.rolled_back).length;
  const parts = (ns?: number): [string, string] => {
    const [value, ...unit] = span(ns).split(' ');
    return [value, unit.join(' ')];
  };
  const tiles: [string, [string, string], string][] = [
    ['To serve, median', parts(at(serve, 0.5)), 'command to served request'],
    ['To serve, p95', parts(at(serve, 0.95)), `of ${num(serve.length)}`],
    ['To serve, p99', parts(at(serve, 0.99)), 'contract: below 100 ms'],
    ['To mine, median', parts(at(mine, 0.5)), `of ${num(mine.length)}, miners boot`],
    ['Succeeded', [num(ok), `of ${num(switches.length)}`], rolled ? `${num(rolled)} rolled back` : 'none rolled back'],
  ];
  return (
    <KpiStrip>
      {tiles.map(([label, [value, unit], note]) => (
        <Kpi key={label} label={label} value={value} unit={unit} note={note} />
      ))}
    </KpiStrip>
  );
}

function PhaseMeans({ switches }: { switches: T.SwitchDone[] }) {
  const { tones } = useTheme();
  const rows = PHASES.map(([name, tone, opacity]) => {
    const times = switches.flatMap((s) => s.phases.filter((p) => p.phase === name).map((p) => p.duration_ns)).sort((a, b) => a - b);
    return { name, tone, opacity, times };
  }).filter((r) => r.times.length);
  const most = Math.max(...rows.map((r) => at(r.times, 0.99) ?? 0), 1);
  return (
    <Panel title="Time of each phase" sx={{ mb: 2 }}>
      {rows.map((r) => {
        const median = at(r.times, 0.5) ?? 0;
        const p99 = at(r.times, 0.99) ?? 0;
        return (
          <Box key={r.name} sx={{ display: 'grid', gridTemplateColumns: { xs: '72px 1fr 74px', sm: '84px 1fr 110px 110px' }, gap: 1.5, alignItems: 'center', py: 0.5, fontSize: '0.8125rem' }}>
            <span>{words(r.name)}</span>
            <Box aria-hidden="true" sx={{ position: 'relative', height: 10, background: tones.raised, borderRadius: '2px' }}>
              <Box sx={{ position: 'absolute', inset: 0, width: `${(100 * p99) / most}%`, background: tones[r.tone], opacity: 0.3, borderRadius: '2px' }} />
              <Box sx={{ position: 'absolute', inset: 0, width: `${(100 * median) / most}%`, background: tones[r.tone], borderRadius: '2px' }} />
            </Box>
            <Box sx={{ textAlign: 'right' }}>
              {span(median)} <Box component="span" sx={{ color: tones.quiet, display: { xs: 'none', sm: 'inline' } }}>median</Box>
            </Box>
            <Box sx={{ textAlign: 'right', display: { xs: 'none', sm: 'block' } }}>
              {span(p99)} <Box component="span" sx={{ color: tones.quiet }}>p99</Box>
            </Box>
          </Box>
        );
      })}
    </Panel>
  );
}

export function Switches() {
  const query = api.useSwitchesQuery({ limit: 100 }, { pollingInterval: 5000 });
  return (
    <Page title="Switches" about="What devices did to change work, phase by phase.">
      <Loaded query={query}>
        {({ switches }) =>
          switches.length ? (
            <>
              <Summary switches={switches} />
              <PhaseMeans switches={switches} />
              <Panel title="Latest switches" flush>
                <DataTable
                  label="Latest switches"
                  rows={switches}
                  rowKey={(s) => s.switch_id}
                  empty={null}
                  maxHeight={640}
                  columns={[
                    { head: 'Done', cell: (s) => <When ns={s.done_at_ns} /> },
                    { head: 'Node', cell: (s) => s.node_id, from: 'sm' },
                    { head: 'Devices', right: true, cell: (s) => num(s.devices), from: 'sm' },
                    { head: 'To', cell: (s) => <Mode mode={s.to} /> },
                    { head: 'Total', right: true, cell: (s) => span(s.total_ns) },
                    { head: 'Signal to done', right: true, cell: (s) => (s.signal_at_ns > 0 ? span(s.done_at_ns - s.signal_at_ns) : '–'), from: 'md' },
                    // What the contract counts: from the price that moved to the first inference served.
                    { head: 'To served', right: true, cell: (s) => (s.signal_at_ns > 0 && s.served_at_ns > 0 ? span(s.served_at_ns - s.signal_at_ns) : '–'), from: 'md' },
                    { head: 'Phases', width: '26%', cell: (s) => <Phases phases={s.phases} total={s.total_ns} />, from: 'sm' },
                    { head: 'Verified by', cell: (s) => words(s.evidence), from: 'lg' },
                    { head: 'Result', cell: (s) => (s.ok ? <State state="ok" label="Done" /> : <Tooltip title={s.error}><span><State state={s.rolled_back ? 'rolled_back' : 'failed'} label={s.rolled_back ? 'Rolled back' : 'Failed'} /></span></Tooltip>) },
                    { head: 'Decision', cell: (s) => <Id>{s.decision_id}</Id>, from: 'lg' },
                  ]}
                />
              </Panel>
            </>
          ) : (
            <Panel title="Latest switches">
              <Empty title="No device has switched yet">Switches appear here when a decision changes the targets or a workload takes devices.</Empty>
            </Panel>
          )
        }
      </Loaded>
    </Page>
  );
}
