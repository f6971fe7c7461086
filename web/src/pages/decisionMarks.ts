import type { Decision } from '../api/types.gen';
import type { Mark } from '../ui/charts';

/** Where most of the devices go by this decision. */
export function decisionTone(d: Decision): 'serve' | 'mine' | 'idle' {
  const chosen = d.options.filter((o) => o.chosen);
  const sums = d.targets.reduce(
    (s, t) => ({ serve: s.serve + t.serve, mine: s.mine + t.mine, idle: s.idle + t.idle }),
    { serve: 0, mine: 0, idle: 0 },
  );
  // The option that was chosen says more than the sums, in which one large class hides the others.
  const name = chosen.find((o) => o.name !== 'hold')?.name;
  if (name === 'serve' || name === 'mine') return name;
  if (name === 'curtail') return 'idle';
  if (sums.mine >= sums.serve && sums.mine >= sums.idle) return 'mine';
  return sums.serve >= sums.idle ? 'serve' : 'idle';
}

export function decisionMarks(decisions: Decision[]): Mark[] {
  return decisions.map((d) => ({
    id: d.id,
    at_ns: d.market_time_ns,
    value: d.electricity_usd_mwh,
    text: d.summary || d.id,
    tone: decisionTone(d),
  }));
}
