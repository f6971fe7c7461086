import type { Decision } from '../api/types.gen';
import type { Mark } from '../ui/charts';

/** Where this decision sends devices: those that must switch, or else most of them. */
export function decisionTone(d: Decision): 'serve' | 'mine' | 'idle' {
  // A class that must switch for it is what the decision is about; the others go on as before.
  const turned = d.options.filter((o) => o.chosen && o.switching_cost_usd > 0);
  const sums = d.targets.reduce(
    (s, t) => ({ serve: s.serve + t.serve, mine: s.mine + t.mine, idle: s.idle + t.idle }),
    { serve: 0, mine: 0, idle: 0 },
  );
  const name = turned.find((o) => o.name !== 'hold')?.name;
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
