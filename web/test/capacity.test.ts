import { describe, expect, it } from 'vitest';
import type { CapacityClass } from '../src/api/types.gen';
import { freePoints } from '../src/ui/capacityChart';

const HOUR_NS = 3600e9;

/** hours: [hour, free]; next: [hour, p10, p50, p90]. */
function completed({ hours, next }: { hours: number[][]; next: number[][] }): CapacityClass {
  const point = ([h, p10, p50, p90]: number[]) => ({ at_ns: h * HOUR_NS, free_p10: p10, free_p50: p50, free_p90: p90 });
  return {
    past: hours.map(([h, free]) => ({ at_ns: h * HOUR_NS, wanted: 0, free })),
    points: next.map(point),
  } as unknown as CapacityClass;
}

describe('free capacity', () => {
  it('joins what was with what is expected', () => {
    const c = completed({ hours: [[0, 5], [1, 3]], next: [[2, 1, 2, 4], [3, 0, 2, 5]] });
    expect(freePoints(c)).toEqual([
      { t: 0, was: 5 },
      { t: 3600e3, was: 3 },
      { t: 2 * 3600e3, was: 3, p50: 2, band: [1, 4] },
      { t: 3 * 3600e3, p50: 2, band: [0, 5] },
      { t: 4 * 3600e3, p50: 2, band: [0, 5] },
    ]);
  });
  it('begins with the forecast where no hour is known', () => {
    expect(freePoints(completed({ hours: [], next: [[0, 8, 8, 8]] }))).toEqual([
      { t: 0, p50: 8, band: [8, 8] },
      { t: 3600e3, p50: 8, band: [8, 8] },
    ]);
    expect(freePoints(completed({ hours: [], next: [] }))).toEqual([]);
  });
});
