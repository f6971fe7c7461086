// How an event changes what was read before. Pure: each function changes the draft that it is given.
import type * as T from '../api/types.gen';

export function applyTicks(prices: T.Prices, moved: T.MarketMoved, nowMs: number): void {
  if (moved.market_time_ns) prices.market_time_ns = moved.market_time_ns;
  for (const tick of moved.ticks) {
    const price = prices.prices.find((p) => p.symbol === tick.symbol && p.location === tick.location);
    if (!price) continue; // its unit and source come with the next read
    price.value = tick.value;
    price.observed_at_ns = tick.observed_at_ns;
    price.received_at_ns = nowMs * 1e6;
    price.stale = false;
    if (tick.source) price.source = tick.source;
  }
}

const LEDGER_MAX = 200;

export function applyDecision(ledger: T.Decisions, decision: T.Decision, changedOnly: boolean): void {
  const at = ledger.decisions.findIndex((d) => d.id === decision.id);
  if (at >= 0) {
    ledger.decisions[at] = decision;
    return;
  }
  if (changedOnly && !decision.changed) return;
  ledger.decisions.unshift(decision);
  if (ledger.decisions.length > LEDGER_MAX) ledger.decisions.length = LEDGER_MAX;
}

/** True when the list had it. A workload of an older version than the one held is left alone. */
export function applyWorkload(list: T.Workloads, workload: T.Workload): boolean {
  const at = list.workloads.findIndex((w) => w.id === workload.id);
  if (at < 0) return false;
  if (workload.version >= list.workloads[at].version) list.workloads[at] = workload;
  return true;
}

export function applyDevices(list: T.Resources, devices: T.Device[]): void {
  for (const device of devices) {
    const at = list.devices.findIndex((d) => d.id === device.id);
    if (at >= 0) list.devices[at] = device;
  }
}

export function applyCapacity(fleet: T.Fleet, classes: T.ClassCapacity[]): void {
  for (const c of classes) {
    const at = fleet.classes.findIndex((f) => f.facility === c.facility && f.device_class === c.device_class);
    if (at >= 0) fleet.classes[at] = c;
    else fleet.classes.push(c);
  }
  fleet.power_w = fleet.classes.reduce((sum, c) => sum + c.power_w, 0);
  fleet.hash_ths = fleet.classes.reduce((sum, c) => sum + c.hash_ths, 0);
}

export function applySwitch(list: T.Switches, done: T.SwitchDone, limit: number): void {
  if (list.switches.some((s) => s.switch_id === done.switch_id)) return;
  list.switches.unshift(done);
  if (list.switches.length > limit) list.switches.length = limit;
}
