// Generated from spec/proto/hcp.proto by scripts/gen-types.mjs; change the proto, then run `npm run gen`.

export type Role = '' | 'customer' | 'operator' | 'admin' | 'machine';
export type WorkloadType = '' | 'ai_inference_realtime' | 'ai_inference_batch' | 'model_training' | 'bitcoin_mining';
export type WorkloadState = '' | 'queued' | 'scheduled' | 'running' | 'paused' | 'completed' | 'failed' | 'cancelled';
export type DeviceKind = '' | 'gpu' | 'asic' | 'cpu';
export type DeviceState = '' | 'idle' | 'allocating' | 'active' | 'draining' | 'maintenance' | 'device_failed';
export type Mode = '' | 'serve' | 'fill' | 'off' | 'safe';
export type AllocationState = '' | 'reserved' | 'switching' | 'held' | 'releasing' | 'released' | 'refused';
export type TicketState = '' | 'ticket_open' | 'ticket_proving' | 'ticket_done';
export type ProgramState = '' | 'program_running' | 'program_stopped' | 'program_done' | 'program_failed';

export type Empty = Record<string, never>;

export interface Problem {
  code: string;
  field: string;
  detail: string;
}

export interface Principal {
  user_id: string;
  customer_id: string;
  email: string;
  role: Role;
  rate_per_min: number;
}

export interface Envelope {
  type: number;
  body: string;
  id: string;
  sender: string;
  seq: number;
  bus_offset: number;
  at_ns: number;
  deadline_ns: number;
  idempotency_key: string;
  principal?: Principal;
  trace_hi: number;
  trace_lo: number;
  span: number;
  key: string;
  target: string;
  clock: number;
}

export interface Batch {
  inputs: Envelope[];
}

export interface BatchEvents {
  events: Envelope[];
}

export interface Tick {
  symbol: string;
  location: string;
  value: number;
  observed_at_ns: number;
  interval_start_ns: number;
  interval_s: number;
  source: string;
  sent_at_ns: number;
}

export interface MarketSource {
  name: string;
  kind: string;
  symbol: string;
  location: string;
  priority: number;
  state: string;
  speaking: boolean;
  value: number;
  observed_at_ns: number;
  failures: number;
  problem: string;
}

export interface Ticks {
  ticks: Tick[];
  sources: MarketSource[];
}

export interface TicksResult {
  accepted: number;
  rejected: number;
  problems: Problem[];
}

export interface MarketMoved {
  ticks: Tick[];
  market_time_ns: number;
}

export type PricesGet = Record<string, never>;

export interface Price {
  symbol: string;
  location: string;
  value: number;
  unit: string;
  source: string;
  observed_at_ns: number;
  received_at_ns: number;
  stale: boolean;
  fallback: string;
}

export interface Prices {
  prices: Price[];
  market_time_ns: number;
  hashprice_usd_ph_day: number;
  healthy: boolean;
  sources: MarketSource[];
}

export interface PriceHistoryGet {
  symbol: string;
  location: string;
  limit: number;
}

export interface PricePoint {
  at_ns: number;
  value: number;
}

export interface PriceHistory {
  symbol: string;
  location: string;
  unit: string;
  points: PricePoint[];
}

export interface ProfitabilityCalculate {
  electricity_usd_mwh?: number;
  btc_usd?: number;
  difficulty?: number;
  gpu_rate_usd_h?: number;
  utilisation?: number;
  device_class: string;
  power_mode: string;
}

export interface ProfitabilityRow {
  device_class: string;
  workload_type: string;
  revenue_usd_h: number;
  energy_cost_usd_h: number;
  wear_usd_h: number;
  net_usd_h: number;
  score: number;
  recommendation: string;
}

export interface Profitability {
  rows: ProfitabilityRow[];
  recommendation: string;
  market_time_ns: number;
}

export interface ClassTarget {
  facility: string;
  device_class: string;
  total: number;
  serve: number;
  mine: number;
  idle: number;
  mine_usd_h: number;
  serve_usd_h: number;
  idle_usd_h: number;
  reason: string;
  was_serve: number;
  was_mine: number;
  was_idle: number;
  one_more_usd: number;
  power_mode: string;
  mine_w: number;
  was_power_mode: string;
}

export interface DecisionOption {
  name: string;
  net_usd_h: number;
  switching_cost_usd: number;
  chosen: boolean;
  reason: string;
  facility: string;
  device_class: string;
  realised_usd: number;
}

export interface DecisionForecast {
  facility: string;
  location: string;
  model: string;
  reason: string;
  issued_at_ns: number;
  step_seconds: number;
  mean: number[];
  q05: number[];
  q25: number[];
  q50: number[];
  q75: number[];
  q95: number[];
  judged_model: string;
  loss_usd_mwh: number;
  persistence_loss_usd_mwh: number;
  judged: number;
  expected_usd_mwh: number;
  expected_by: string;
  plan_id: string;
  plan_steps: number;
  plan_net_usd: number;
  shadow_usd_mwh: number;
  risk_usd_mwh: number;
}

export interface DrawdownGuard {
  up: boolean;
  drawdown: number;
  limit: number;
  equity_usd: number;
  peak_usd: number;
  capital_usd: number;
  deepest: number;
}

export interface Decision {
  id: string;
  decided_at_ns: number;
  market_time_ns: number;
  policy: string;
  trigger: string;
  changed: boolean;
  electricity_usd_mwh: number;
  btc_usd: number;
  difficulty: number;
  hashprice_usd_ph_day: number;
  net_usd_h: number;
  gain_usd_h: number;
  switching_cost_usd: number;
  targets: ClassTarget[];
  options: DecisionOption[];
  inputs: Price[];
  summary: string;
  realised_switching_ms: number;
  signal_at_ns: number;
  predicted_switching_ms: number;
  realised_switching_usd: number;
  in_force_s: number;
  expected_net_usd: number;
  realised_net_usd: number;
  plan_ids: string[];
  forecasts: DecisionForecast[];
  horizon_s: number;
  gain_usd: number;
  pays: boolean;
  guard?: DrawdownGuard;
  risk_aversion: number;
}

export interface DecisionMade {
  decision?: Decision;
}

export type RecommendationGet = Record<string, never>;

export interface DecisionsList {
  limit: number;
  cursor: string;
  changed_only: boolean;
}

export interface Decisions {
  decisions: Decision[];
  next_cursor: string;
}

export interface DecisionGet {
  id: string;
}

export interface BidsGet {
  facility: string;
  duration_s: number;
}

export interface BidStep {
  device_class: string;
  from: string;
  to: string;
  devices: number;
  kw: number;
  total_kw: number;
  usd_mwh: number;
  response_ms: number;
}

export interface BidPoint {
  usd_mwh: number;
  kw: number;
}

export interface BidLevel {
  response_ms: number;
  points: BidPoint[];
}

export interface Bids {
  facility: string;
  duration_s: number;
  market_time_ns: number;
  electricity_usd_mwh: number;
  drawn_kw: number;
  limit_kw: number;
  held_kw: number;
  shed: BidStep[];
  add: BidStep[];
  levels: BidLevel[];
}

export interface PlanGet {
  id: string;
}

export interface PlansList {
  facility: string;
  limit: number;
  cursor: string;
}

export interface PlanStep {
  at_ns: number;
  usd_mwh: number;
  price_from: string;
  load_kw: number;
  shadow_usd_mwh: number;
}

export interface PlanClass {
  device_class: string;
  count: number;
  serve: number[];
  mine: number[];
  one_more_usd: number;
  promise_usd_h: number[];
  power_mode: string[];
}

export interface Plan {
  id: string;
  facility: string;
  made_at_ns: number;
  market_time_ns: number;
  step_seconds: number;
  method: string;
  steps: PlanStep[];
  classes: PlanClass[];
  revenue_usd: number;
  energy_usd: number;
  switching_usd: number;
  net_usd: number;
  problem: string;
  var_usd: number;
  cvar_usd: number;
  risk_cases: number;
}

export interface Plans {
  plans: Plan[];
  next_cursor: string;
}

export interface PolicySet {
  strike_usd_mwh?: number;
  hysteresis?: number;
  policy: string;
  if_version: number[];
}

export type PolicyGet = Record<string, never>;

export interface Policy {
  policy: string;
  strike_usd_mwh: number;
  hysteresis: number;
  version: number;
  choices: string[];
  models: MarketModel[];
}

export interface MarketModel {
  kind: string;
  name: string;
  trained: boolean;
  source: string;
  to_ns: number;
  taken_at_ns: number;
}

export interface LessonGet {
  skip: string[];
}

export interface LessonSeries {
  kind: number;
  location: string;
  step_ns: number;
  first_ns: number;
  slots: string;
}

export interface Lesson {
  kind: string;
  name: string;
  train: boolean;
  now_ns: number;
  series: LessonSeries[];
}

export interface ModelPut {
  kind: string;
  name: string;
  trained: boolean;
  source: string;
  body: string;
}

export interface CapacityForecastGet {
  device_class: string;
}

export interface CapacityPoint {
  at_ns: number;
  wanted_p10: number;
  wanted_p50: number;
  wanted_p90: number;
  free_p10: number;
  free_p50: number;
  free_p90: number;
  shortfall_p50: number;
  shortfall_p90: number;
  still_held: number;
}

export interface CapacityClass {
  device_class: string;
  total: number;
  held: number;
  waiting: number;
  model: string;
  hours_known: number;
  pinball: number;
  pinball_persistence: number;
  points: CapacityPoint[];
  past: CapacityHour[];
}

export interface CapacityHour {
  at_ns: number;
  wanted: number;
  free: number;
}

export interface PortfolioGet {
  aversion: number;
}

export interface PortfolioFacility {
  facility: string;
  mean_usd: number;
  deviation_usd: number;
  worst_usd: number;
  var_usd: number;
  cvar_usd: number;
}

export interface PortfolioChoice {
  facility: string;
  device_class: string;
  days: number;
  discount: number;
  devices: number;
  share: number;
  mean_usd_device: number;
}

export interface Portfolio {
  market_time_ns: number;
  days_known: number;
  month_days: number;
  cases: number;
  facilities: PortfolioFacility[];
  reason: string;
  aversion: number;
  term_days: number;
  choices: PortfolioChoice[];
  mean_usd: number;
  var_usd: number;
  cvar_usd: number;
  worth_usd: number;
}

export interface CapacityForecast {
  classes: CapacityClass[];
}

export interface Checkpoint {
  name: string;
  digest: string;
  step: number;
  of: number;
  bytes: number;
  at_ns: number;
}

export interface WorkloadSubmit {
  gpu_fraction?: number;
  type: WorkloadType;
  name: string;
  model: string;
  priority: number;
  device_class: string;
  device_count: number;
  memory_gib: number;
  max_latency_ms: number;
  duration_s: number;
  deadline_ns: number;
  region: string;
  callback_url: string;
  customer_id: string;
  checkpointable: boolean;
  project: string;
  mig_profile: string;
  program: string;
}

export interface WorkloadSubmitBatch {
  workloads: WorkloadSubmit[];
}

export interface Workload {
  id: string;
  customer_id: string;
  type: WorkloadType;
  state: WorkloadState;
  name: string;
  model: string;
  priority: number;
  priority_class: string;
  device_class: string;
  device_count: number;
  memory_gib: number;
  max_latency_ms: number;
  duration_s: number;
  deadline_ns: number;
  region: string;
  callback_url: string;
  created_at_ns: number;
  started_at_ns: number;
  finished_at_ns: number;
  allocation_id: string;
  device_ids: string[];
  reason: string;
  version: number;
  estimated_cost_micros: number;
  submitted_by: string;
  remaining_ns: number;
  checkpointable: boolean;
  project: string;
  preemptions: number;
  preempted_by: string;
  queued_at_ns: number;
  gpu_fraction: number;
  mig_profile: string;
  share_milli: number;
  program: string;
  checkpoint?: Checkpoint;
  classified?: Classification;
}

export interface Workloads {
  workloads: Workload[];
  next_cursor: string;
  index: number;
}

export interface WorkloadGet {
  id: string;
  index: number;
  wait_ms: number;
}

export interface WorkloadList {
  limit: number;
  cursor: string;
  state: string;
  type: string;
  customer_id: string;
}

export interface WorkloadCancel {
  id: string;
  if_version: number[];
}

export interface WorkloadPause {
  id: string;
}

export interface WorkloadResume {
  id: string;
}

export interface WorkloadMigrate {
  id: string;
}

export interface WorkloadHistoryGet {
  id: string;
}

export interface WorkloadTransition {
  at_ns: number;
  from: WorkloadState;
  to: WorkloadState;
  reason: string;
}

export interface WorkloadHistory {
  transitions: WorkloadTransition[];
}

export interface WorkloadChanged {
  workload?: Workload;
  from: WorkloadState;
}

export interface CallbackEvent {
  id: string;
  event: string;
  at_ns: number;
  from: WorkloadState;
  workload?: Workload;
}

export interface CallbackTake {
  max: number;
  wait_ms: number;
  fresh: boolean;
  allow_private: boolean;
}

export interface CallbackOrder {
  id: string;
  workload_id: string;
  n: number;
  attempt: number;
  url: string;
  signature: string;
  body: string;
}

export interface CallbackOrders {
  orders: CallbackOrder[];
}

export interface CallbackResult {
  workload_id: string;
  n: number;
  attempt: number;
  status: number;
  error: string;
  refused: boolean;
}

export interface CallbacksGet {
  id: string;
}

export interface Callback {
  id: string;
  event: string;
  at_ns: number;
  state: string;
  tries: number;
  due_at_ns: number;
  done_at_ns: number;
  status: number;
  error: string;
}

export interface Callbacks {
  callbacks: Callback[];
}

export type CallbackSecretGet = Record<string, never>;

export type CallbackSecretRotate = Record<string, never>;

export interface CallbackSecret {
  secret: string;
  generation: number;
  previous_until_ns: number;
}

export type StatusGet = Record<string, never>;

export interface ServiceHealth {
  name: string;
  state: string;
  detail: string;
  seen_at_ns: number;
  batches: number;
  messages: number;
  mailbox: number;
}

export interface Status {
  version: string;
  started_at_ns: number;
  now_ns: number;
  mode: string;
  services: ServiceHealth[];
  workloads_running: number;
  workloads_queued: number;
  last_decision_id: string;
  targets: ClassTarget[];
  emergency_reason: string;
  decisions_applied: number;
  decisions_skipped: number;
  workloads_paused: number;
  guard: string;
}

export interface ProjectWeight {
  project: string;
  weight: number;
}

export interface CustomerQuotaSet {
  customer_id: string;
  weight: number;
  max_devices: number;
  max_active: number;
  max_device_hours: number;
  projects: ProjectWeight[];
}

export interface CustomerQuotaGet {
  customer_id: string;
}

export interface CustomerQuota {
  quota?: CustomerQuotaSet;
  active: number;
  device_hours: number;
}

export interface CustomerQuotaChanged {
  quota?: CustomerQuotaSet;
}

export interface EmergencyStop {
  reason: string;
}

export interface EmergencyClear {
  reason: string;
}

export interface JobEnqueue {
  workload?: Workload;
}

export interface JobCancel {
  workload_id: string;
  reason: string;
  elsewhere: boolean;
}

export interface Directive {
  id: string;
  decision_id: string;
  targets: ClassTarget[];
  emergency_stop: boolean;
  decided_at_ns: number;
  signal_at_ns: number;
}

export interface ModelVersion {
  version: string;
  digest: string;
  origin: string;
  created_at_ns: number;
  created_by: string;
  nodes: number;
}

export interface ModelNode {
  node_id: string;
  version: string;
  digest: string;
  state: string;
  error: string;
  seen_at_ns: number;
  held: string[];
}

export interface ModelChange {
  at_ns: number;
  from: string;
  to: string;
  what: string;
  by: string;
  reason: string;
}

export interface Model {
  name: string;
  version: string;
  previous: string;
  state: string;
  error: string;
  changed_at_ns: number;
  nodes: number;
  nodes_done: number;
  versions: ModelVersion[];
  node_states: ModelNode[];
  changes: ModelChange[];
}

export type ModelsList = Record<string, never>;

export interface Models {
  models: Model[];
}

export interface ModelGet {
  name: string;
}

export interface ModelVersionRegister {
  name: string;
  version: string;
  digest: string;
}

export interface ModelActivate {
  name: string;
  version: string;
}

export interface ModelRollback {
  name: string;
  reason: string;
}

export interface ModelCommand {
  node_id: string;
  model: string;
  version: string;
  digest: string;
  order: number;
  deadline_ns: number;
}

export interface ModelChanged {
  model?: Model;
}

export interface DeviceShare {
  milli: number;
  mig_profile: string;
  mig_start: number;
  allocation_id: string;
  workload_id: string;
  customer_id: string;
  model: string;
}

export interface Place {
  allocation_id: string;
  workload?: Workload;
  device_ids: string[];
  score: number;
  explain: string;
  share?: DeviceShare;
}

export interface Release {
  allocation_id: string;
  workload_id: string;
  reason: string;
  preempted_by: string;
}

export interface JobState {
  workload_id: string;
  state: string;
  reason: string;
  allocation_id: string;
  device_ids: string[];
}

export interface Demand {
  device_class: string;
  realtime: number;
  batch: number;
  waiting: number;
  ends: number[];
  ends_at_ns: number;
}

export interface DemandChanged {
  demands: Demand[];
}

export interface QueueGet {
  limit: number;
  cursor: string;
  priority_class: string;
  customer_id: string;
  workload_id: string;
}

export interface QueueEntry {
  workload_id: string;
  customer_id: string;
  priority_class: string;
  position: number;
  waiting_since_ns: number;
  eta_ms: number;
  reason: string;
  project: string;
  wait_target_ms: number;
  overdue: boolean;
  share: number;
  fair_share: number;
  preemptions: number;
  device_count: number;
  device_class: string;
  gpu_fraction: number;
  mig_profile: string;
}

export interface QueueClass {
  priority_class: string;
  waiting: number;
  wait_target_ms: number;
  oldest_wait_ms: number;
}

export interface Queue {
  classes: QueueClass[];
  entries: QueueEntry[];
  next_cursor: string;
  total: number;
  preemptions: number;
  yielding: number;
}

export interface Classify {
  type_hint: string;
  size_mb: number;
  max_latency_ms: number;
  needs_gpu: boolean;
  duration_s: number;
  customer_tier: string;
  device_count: number;
  gpu_fraction: number;
  cpu_cores: number;
  host_memory_gib: number;
}

export interface Classification {
  type: WorkloadType;
  priority_class: string;
  confidence: number;
  rule: string;
  by: string;
  path: string;
}

export interface ScaleTake {
  wait_ms: number;
  fresh: boolean;
}

export interface ScaleOrder {
  token: string;
  call: string;
  attempt: number;
  type: string;
  node: string;
  device_class: string;
  devices: number;
  facility: string;
  region: string;
}

export interface ScaleOrders {
  orders: ScaleOrder[];
}

export interface ScaleResult {
  token: string;
  call: string;
  attempt: number;
  error: string;
  state: string;
  price_micros_h: number;
}

export type AutoscaleGet = Record<string, never>;

export interface AutoscaleType {
  name: string;
  device_class: string;
  devices: number;
  nodes_max: number;
  nodes_coming: number;
  nodes_up: number;
  nodes_going: number;
  jobs_waiting: number;
  enough_since_ns: number;
  facility: string;
}

export interface Rental {
  token: string;
  node: string;
  type: string;
  state: string;
  reason: string;
  price_micros_h: number;
  cost_micros: number;
  asked_at_ns: number;
  started_at_ns: number;
  up_at_ns: number;
  stopping_at_ns: number;
  ended_at_ns: number;
}

export interface Autoscale {
  enabled: boolean;
  held: string;
  circuit: string;
  rate_micros_h: number;
  budget_micros_h: number;
  provider_seen_at_ns: number;
  types: AutoscaleType[];
  nodes: Rental[];
  ended: Rental[];
}

export interface Device {
  id: string;
  node_id: string;
  facility: string;
  region: string;
  kind: DeviceKind;
  device_class: string;
  state: DeviceState;
  desired: Mode;
  commanded: Mode;
  confirmed: Mode;
  drifted: boolean;
  allocation_id: string;
  workload_id: string;
  customer_id: string;
  power_w: number;
  hash_ths: number;
  temperature_c: number;
  utilisation: number;
  changed_at_ns: number;
  reason: string;
  memory_gib: number;
  health: number;
  name: string;
  shares: DeviceShare[];
  power_mode: string;
  power_target_w: number;
}

export interface NodePrograms {
  node_id: string;
  programs: string[];
}

export interface DevicesChanged {
  devices: Device[];
  node_id: string;
  programs: NodePrograms[];
}

export interface ResourcesList {
  limit: number;
  cursor: string;
  kind: string;
  device_class: string;
  state: string;
  facility: string;
  node_id: string;
}

export interface Resources {
  devices: Device[];
  next_cursor: string;
  total: number;
}

export interface ResourceGet {
  id: string;
}

export interface AvailabilityGet {
  device_class: string;
  region: string;
  count: number;
}

export interface Availability {
  available: boolean;
  classes: ClassCapacity[];
}

export type FleetGet = Record<string, never>;

export interface ClassCapacity {
  facility: string;
  region: string;
  kind: DeviceKind;
  device_class: string;
  total: number;
  healthy: number;
  allocated: number;
  serving: number;
  filling: number;
  off: number;
  drifted: number;
  power_w: number;
  hash_ths: number;
  price_micros_h: number;
  endpoints: number;
}

export interface Fleet {
  classes: ClassCapacity[];
  nodes: number;
  nodes_connected: number;
  power_w: number;
  power_budget_w: number;
  hash_ths: number;
}

export interface CapacityChanged {
  classes: ClassCapacity[];
}

export type NodesList = Record<string, never>;

export interface Node {
  id: string;
  name: string;
  facility: string;
  region: string;
  connected: boolean;
  seen_at_ns: number;
  lease_until_ns: number;
  devices: number;
  endpoint: string;
  models: string[];
  agent_version: string;
  energy_j: number;
}

export interface Nodes {
  nodes: Node[];
}

export interface EndpointChanged {
  node_id: string;
  endpoint: string;
  models: string[];
  up: boolean;
  device_id: string;
  mode: Mode;
  region: string;
}

export interface AllocationChanged {
  allocation_id: string;
  workload_id: string;
  customer_id: string;
  state: AllocationState;
  device_ids: string[];
  device_class: string;
  node_id: string;
  at_ns: number;
  price_micros_h: number;
  reason: string;
  type: WorkloadType;
  switch_id: string;
  preempted_by: string;
  unfit_device_id: string;
  tried: boolean;
  share?: DeviceShare;
}

export interface Metered {
  deltas: MeterDelta[];
  node_id: string;
  facility: string;
}

export interface MeterDelta {
  device_class: string;
  activity: string;
  allocation_id: string;
  customer_id: string;
  energy_j: number;
  device_ns: number;
  hashes: number;
  requests: number;
  tokens: number;
  shares_accepted: number;
  shares_rejected: number;
  from_ns: number;
  to_ns: number;
}

export interface PhaseTime {
  phase: string;
  duration_ns: number;
}

export interface SwitchDone {
  switch_id: string;
  decision_id: string;
  node_id: string;
  devices: number;
  to: Mode;
  ok: boolean;
  error: string;
  rolled_back: boolean;
  phases: PhaseTime[];
  total_ns: number;
  signal_at_ns: number;
  done_at_ns: number;
  evidence: string;
  allocation_id: string;
  served_at_ns: number;
}

export interface SwitchesList {
  limit: number;
}

export interface Switches {
  switches: SwitchDone[];
}

export interface Ticket {
  id: string;
  device_id: string;
  device_class: string;
  facility: string;
  state: TicketState;
  signal: string;
  reason: string;
  note: string;
  times: number;
  opened_at_ns: number;
  since_ns: number;
  closed_at_ns: number;
  done_at_ns: number;
  proved_min: number;
  proof_min: number;
}

export interface TicketsList {
  limit: number;
  device_id: string;
  all: boolean;
}

export interface Tickets {
  tickets: Ticket[];
}

export interface TicketClose {
  id: string;
  note: string;
}

export interface TicketChanged {
  ticket?: Ticket;
}

export interface Curtail {
  facility: string;
  kw: number;
  within_ms: number;
  duration_s: number;
  reason: string;
}

export interface CurtailRestore {
  id: string;
}

export interface CurtailmentsList {
  facility: string;
}

export interface Curtailment {
  id: string;
  facility: string;
  state: string;
  asked_kw: number;
  limit_w: number;
  measured_before_w: number;
  measured_w: number;
  reserved_w: number;
  devices: number;
  commands: number;
  within_ms: number;
  ordered_at_ns: number;
  confirmed_at_ns: number;
  until_ns: number;
  over_at_ns: number;
  reason: string;
  by: string;
  service: string;
  dropped_mwh: number;
  due_mwh: number;
  missed_mwh: number;
}

export interface Curtailments {
  curtailments: Curtailment[];
}

export interface AncillaryCall {
  facility: string;
  service: string;
  mw: number;
  duration_s: number;
  reason: string;
}

export interface AncillaryCallOver {
  call?: AncillaryRecord;
}

export interface AncillaryRecord {
  id: string;
  facility: string;
  service: string;
  mw: number;
  called_at_ns: number;
  over_at_ns: number;
  confirmed_at_ns: number;
  response_ms: number;
  dropped_mwh: number;
  due_mwh: number;
  missed_mwh: number;
  reason: string;
  by: string;
  usd_mwh: number;
  saved_micros: number;
  penalty_micros: number;
}

export interface AncillaryCallsList {
  facility: string;
  limit: number;
}

export interface AncillaryCalls {
  calls: AncillaryRecord[];
}

export interface AncillaryHeld {
  facility: string;
  from_ns: number;
  to_ns: number;
  holds: AncillaryHold[];
}

export interface AncillaryHold {
  service: string;
  offered_mw_h: number;
  held_mw_h: number;
  fixed: boolean;
  price_usd_mw_h: number;
}

export interface AncillaryHoursList {
  facility: string;
  limit: number;
}

export interface AncillaryHour {
  facility: string;
  service: string;
  from_ns: number;
  to_ns: number;
  offered_mw: number;
  held_mw: number;
  usd_mw_h: number;
  priced: boolean;
  paid_micros: number;
}

export interface AncillaryHours {
  hours: AncillaryHour[];
}

export interface PowerGet {
  facility: string;
}

export interface PowerLevel {
  facility: string;
  path: string;
  state: string;
  budget_w: number;
  cap_w: number;
  reserved_w: number;
  measured_w: number;
  inrush_w: number;
  devices: number;
  tripped_at_ns: number;
  reason: string;
  by: string;
}

export interface Power {
  levels: PowerLevel[];
}

export interface PowerTrip {
  facility: string;
  path: string;
  reason: string;
}

export interface PowerRestore {
  facility: string;
  path: string;
}

export interface AgentDevice {
  id: string;
  kind: DeviceKind;
  device_class: string;
  memory_gib: number;
  mode: Mode;
  name: string;
}

export interface NodeHello {
  node_id: string;
  name: string;
  facility: string;
  region: string;
  endpoint: string;
  models: string[];
  devices: AgentDevice[];
  agent_version: string;
  boot_id: string;
  reports: number;
  feed: string;
  at_ns: number;
  programs: string[];
  stream: number;
}

export interface Meter {
  device_class: string;
  activity: string;
  allocation_id: string;
  energy_j: number;
  device_ns: number;
  hashes: number;
  requests: number;
  tokens: number;
  shares_accepted: number;
  shares_rejected: number;
}

export interface DeviceReading {
  device_id: string;
  mode: Mode;
  power_w: number;
  hash_ths: number;
  temperature_c: number;
  utilisation: number;
  error: string;
  requests: number;
  fan_percent: number;
  memory_used_mib: number;
  errors: number;
  shares: DeviceShare[];
  program: string;
}

export interface NodeReport {
  node_id: string;
  boot_id: string;
  at_ns: number;
  readings: DeviceReading[];
  meters: Meter[];
  seq: number;
  inlet_k: number;
}

export interface SwitchItem {
  device_id: string;
  to: Mode;
  allocation_id: string;
  workload_id: string;
  model: string;
  power_target_w: number;
  shares: DeviceShare[];
  program?: ProgramOrder;
}

export interface ProgramOrder {
  name: string;
  restore?: Checkpoint;
  deadline_ns: number;
}

export interface SwitchCommand {
  switch_id: string;
  node_id: string;
  items: SwitchItem[];
  deadline_ns: number;
  signal_at_ns: number;
  number: number;
}

export interface SwitchReport {
  switch_id: string;
  node_id: string;
  ok: boolean;
  error: string;
  rolled_back: boolean;
  phases: PhaseTime[];
  readings: DeviceReading[];
  failed_device_ids: string[];
  evidence: string;
  served_at_ns: number;
  at_ns: number;
}

export interface LocalSwitch {
  node_id: string;
  device_id: string;
  to: Mode;
  at_ns: number;
  duration_ns: number;
  cause: string;
}

export interface Lease {
  node_id: string;
  until_ns: number;
  ttl_ms: number;
  may_serve: boolean;
  may_fill: boolean;
  power_budget_w: number;
  number: number;
}

export interface Welcome {
  node_id: string;
  now_ns: number;
  report_ms: number;
  over_boot_id: string;
}

export interface Samples {
  node_id: string;
  at_ns: number;
  readings: DeviceReading[];
}

export interface ModelReport {
  node_id: string;
  model: string;
  version: string;
  digest: string;
  held: string[];
  order: number;
  state: string;
  error: string;
  at_ns: number;
}

export interface ProgramReport {
  node_id: string;
  device_id: string;
  allocation_id: string;
  workload_id: string;
  state: ProgramState;
  step: number;
  of: number;
  checkpoint?: Checkpoint;
  error: string;
}

export interface ProgramChanged {
  workload_id: string;
  allocation_id: string;
  node_id: string;
  state: ProgramState;
  checkpoint?: Checkpoint;
  error: string;
  at_ns: number;
}

export interface AgentUp {
  hello?: NodeHello;
  report?: NodeReport;
  switch_report?: SwitchReport;
  local_switch?: LocalSwitch;
  samples?: Samples;
  model_report?: ModelReport;
  program_report?: ProgramReport;
}

export interface AgentDown {
  welcome?: Welcome;
  lease?: Lease;
  switch_command?: SwitchCommand;
  model_command?: ModelCommand;
}

export interface NodeGone {
  node_id: string;
  reason: string;
  stream: number;
}

export interface MeshSubscribe {
  from_offset: number;
  topic_mask: number;
}

export interface SeriesGet {
  metric: string;
  scope: string;
  key: string;
  minutes: number;
}

export interface Series {
  metric: string;
  scope: string;
  key: string;
  step_s: number;
  points: PricePoint[];
}

export interface UsageGet {
  customer_id: string;
  month: string;
}

export interface UsageLine {
  kind: string;
  device_class: string;
  workload_id: string;
  quantity: number;
  unit: string;
  amount_micros: number;
  energy_j: number;
  device_ns: number;
  workload_name: string;
  gpu_fraction: number;
  mig_profile: string;
}

export interface Usage {
  customer_id: string;
  month: string;
  lines: UsageLine[];
  total_micros: number;
  currency: string;
}

export interface RevenueGet {
  hours: number;
}

export interface RevenueHour {
  hour_start_ns: number;
  ai_micros: number;
  mining_micros: number;
  energy_cost_micros: number;
  energy_j: number;
  hashes: number;
  expected_btc: number;
  ancillary_micros: number;
}

export interface Revenue {
  hours: RevenueHour[];
  ai_micros: number;
  mining_micros: number;
  energy_cost_micros: number;
  net_micros: number;
  energy_j: number;
  expected_btc: number;
  shares_accepted: number;
  shares_rejected: number;
  ancillary_micros: number;
}

export interface Login {
  email: string;
  password: string;
  cookie: boolean;
}

export interface Session {
  access_token: string;
  token_type: string;
  expires_in: number;
  principal?: Principal;
  name: string;
  refresh_token: string;
  refresh_expires_in: number;
}

export interface SessionOpen {
  sha256: string;
}

export interface SessionRefresh {
  refresh_token: string;
  sha256: string;
  next_sha256: string;
}

export interface SessionEnd {
  refresh_token: string;
  sha256: string;
}

export type WhoAmI = Record<string, never>;

export interface ApiKeyCreate {
  name: string;
  secret_sha256: string;
  prefix: string;
}

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  created_at_ns: number;
  customer_id: string;
  secret: string;
  revoked: boolean;
}

export type ApiKeyList = Record<string, never>;

export interface ApiKeys {
  keys: ApiKey[];
}

export interface ApiKeyRevoke {
  id: string;
}

export interface ApiKeyResolve {
  sha256: string;
}

export type CustomersList = Record<string, never>;

export interface Customer {
  id: string;
  name: string;
  tier: string;
  weight: number;
  rate_per_min: number;
}

export interface Customers {
  customers: Customer[];
}

export type SigningKeyGet = Record<string, never>;

export interface SigningKey {
  public_pem: string;
  kid: string;
}

export interface ReplayGet {
  service: string;
  from_batch: number;
  limit: number;
}

export interface ReplayReport {
  service: string;
  batches: number;
  messages: number;
  events: number;
  identical: boolean;
  first_difference: number;
  detail: string;
  from_batch: number;
  to_batch: number;
  base_batch: number;
  unusable_bases: string[];
}

// '0' number, 's' text or enum, 'b' boolean, otherwise a message; '[' repeated, '?' may be absent.
export const SHAPES: Record<string, Record<string, string>> = {
  Empty: {},
  Problem: { code: 's', field: 's', detail: 's' },
  Principal: { user_id: 's', customer_id: 's', email: 's', role: 's', rate_per_min: '0' },
  Envelope: { type: '0', body: 's', id: 's', sender: 's', seq: '0', bus_offset: '0', at_ns: '0', deadline_ns: '0', idempotency_key: 's', principal: '?Principal', trace_hi: '0', trace_lo: '0', span: '0', key: 's', target: 's', clock: '0' },
  Batch: { inputs: '[Envelope' },
  BatchEvents: { events: '[Envelope' },
  Tick: { symbol: 's', location: 's', value: '0', observed_at_ns: '0', interval_start_ns: '0', interval_s: '0', source: 's', sent_at_ns: '0' },
  MarketSource: { name: 's', kind: 's', symbol: 's', location: 's', priority: '0', state: 's', speaking: 'b', value: '0', observed_at_ns: '0', failures: '0', problem: 's' },
  Ticks: { ticks: '[Tick', sources: '[MarketSource' },
  TicksResult: { accepted: '0', rejected: '0', problems: '[Problem' },
  MarketMoved: { ticks: '[Tick', market_time_ns: '0' },
  PricesGet: {},
  Price: { symbol: 's', location: 's', value: '0', unit: 's', source: 's', observed_at_ns: '0', received_at_ns: '0', stale: 'b', fallback: 's' },
  Prices: { prices: '[Price', market_time_ns: '0', hashprice_usd_ph_day: '0', healthy: 'b', sources: '[MarketSource' },
  PriceHistoryGet: { symbol: 's', location: 's', limit: '0' },
  PricePoint: { at_ns: '0', value: '0' },
  PriceHistory: { symbol: 's', location: 's', unit: 's', points: '[PricePoint' },
  ProfitabilityCalculate: { electricity_usd_mwh: '?0', btc_usd: '?0', difficulty: '?0', gpu_rate_usd_h: '?0', utilisation: '?0', device_class: 's', power_mode: 's' },
  ProfitabilityRow: { device_class: 's', workload_type: 's', revenue_usd_h: '0', energy_cost_usd_h: '0', wear_usd_h: '0', net_usd_h: '0', score: '0', recommendation: 's' },
  Profitability: { rows: '[ProfitabilityRow', recommendation: 's', market_time_ns: '0' },
  ClassTarget: { facility: 's', device_class: 's', total: '0', serve: '0', mine: '0', idle: '0', mine_usd_h: '0', serve_usd_h: '0', idle_usd_h: '0', reason: 's', was_serve: '0', was_mine: '0', was_idle: '0', one_more_usd: '0', power_mode: 's', mine_w: '0', was_power_mode: 's' },
  DecisionOption: { name: 's', net_usd_h: '0', switching_cost_usd: '0', chosen: 'b', reason: 's', facility: 's', device_class: 's', realised_usd: '0' },
  DecisionForecast: { facility: 's', location: 's', model: 's', reason: 's', issued_at_ns: '0', step_seconds: '0', mean: '[0', q05: '[0', q25: '[0', q50: '[0', q75: '[0', q95: '[0', judged_model: 's', loss_usd_mwh: '0', persistence_loss_usd_mwh: '0', judged: '0', expected_usd_mwh: '0', expected_by: 's', plan_id: 's', plan_steps: '0', plan_net_usd: '0', shadow_usd_mwh: '0', risk_usd_mwh: '0' },
  DrawdownGuard: { up: 'b', drawdown: '0', limit: '0', equity_usd: '0', peak_usd: '0', capital_usd: '0', deepest: '0' },
  Decision: { id: 's', decided_at_ns: '0', market_time_ns: '0', policy: 's', trigger: 's', changed: 'b', electricity_usd_mwh: '0', btc_usd: '0', difficulty: '0', hashprice_usd_ph_day: '0', net_usd_h: '0', gain_usd_h: '0', switching_cost_usd: '0', targets: '[ClassTarget', options: '[DecisionOption', inputs: '[Price', summary: 's', realised_switching_ms: '0', signal_at_ns: '0', predicted_switching_ms: '0', realised_switching_usd: '0', in_force_s: '0', expected_net_usd: '0', realised_net_usd: '0', plan_ids: '[s', forecasts: '[DecisionForecast', horizon_s: '0', gain_usd: '0', pays: 'b', guard: '?DrawdownGuard', risk_aversion: '0' },
  DecisionMade: { decision: '?Decision' },
  RecommendationGet: {},
  DecisionsList: { limit: '0', cursor: 's', changed_only: 'b' },
  Decisions: { decisions: '[Decision', next_cursor: 's' },
  DecisionGet: { id: 's' },
  BidsGet: { facility: 's', duration_s: '0' },
  BidStep: { device_class: 's', from: 's', to: 's', devices: '0', kw: '0', total_kw: '0', usd_mwh: '0', response_ms: '0' },
  BidPoint: { usd_mwh: '0', kw: '0' },
  BidLevel: { response_ms: '0', points: '[BidPoint' },
  Bids: { facility: 's', duration_s: '0', market_time_ns: '0', electricity_usd_mwh: '0', drawn_kw: '0', limit_kw: '0', held_kw: '0', shed: '[BidStep', add: '[BidStep', levels: '[BidLevel' },
  PlanGet: { id: 's' },
  PlansList: { facility: 's', limit: '0', cursor: 's' },
  PlanStep: { at_ns: '0', usd_mwh: '0', price_from: 's', load_kw: '0', shadow_usd_mwh: '0' },
  PlanClass: { device_class: 's', count: '0', serve: '[0', mine: '[0', one_more_usd: '0', promise_usd_h: '[0', power_mode: '[s' },
  Plan: { id: 's', facility: 's', made_at_ns: '0', market_time_ns: '0', step_seconds: '0', method: 's', steps: '[PlanStep', classes: '[PlanClass', revenue_usd: '0', energy_usd: '0', switching_usd: '0', net_usd: '0', problem: 's', var_usd: '0', cvar_usd: '0', risk_cases: '0' },
  Plans: { plans: '[Plan', next_cursor: 's' },
  PolicySet: { strike_usd_mwh: '?0', hysteresis: '?0', policy: 's', if_version: '[0' },
  PolicyGet: {},
  Policy: { policy: 's', strike_usd_mwh: '0', hysteresis: '0', version: '0', choices: '[s', models: '[MarketModel' },
  MarketModel: { kind: 's', name: 's', trained: 'b', source: 's', to_ns: '0', taken_at_ns: '0' },
  LessonGet: { skip: '[s' },
  LessonSeries: { kind: '0', location: 's', step_ns: '0', first_ns: '0', slots: 's' },
  Lesson: { kind: 's', name: 's', train: 'b', now_ns: '0', series: '[LessonSeries' },
  ModelPut: { kind: 's', name: 's', trained: 'b', source: 's', body: 's' },
  CapacityForecastGet: { device_class: 's' },
  CapacityPoint: { at_ns: '0', wanted_p10: '0', wanted_p50: '0', wanted_p90: '0', free_p10: '0', free_p50: '0', free_p90: '0', shortfall_p50: '0', shortfall_p90: '0', still_held: '0' },
  CapacityClass: { device_class: 's', total: '0', held: '0', waiting: '0', model: 's', hours_known: '0', pinball: '0', pinball_persistence: '0', points: '[CapacityPoint', past: '[CapacityHour' },
  CapacityHour: { at_ns: '0', wanted: '0', free: '0' },
  PortfolioGet: { aversion: '0' },
  PortfolioFacility: { facility: 's', mean_usd: '0', deviation_usd: '0', worst_usd: '0', var_usd: '0', cvar_usd: '0' },
  PortfolioChoice: { facility: 's', device_class: 's', days: '0', discount: '0', devices: '0', share: '0', mean_usd_device: '0' },
  Portfolio: { market_time_ns: '0', days_known: '0', month_days: '0', cases: '0', facilities: '[PortfolioFacility', reason: 's', aversion: '0', term_days: '0', choices: '[PortfolioChoice', mean_usd: '0', var_usd: '0', cvar_usd: '0', worth_usd: '0' },
  CapacityForecast: { classes: '[CapacityClass' },
  Checkpoint: { name: 's', digest: 's', step: '0', of: '0', bytes: '0', at_ns: '0' },
  WorkloadSubmit: { gpu_fraction: '?0', type: 's', name: 's', model: 's', priority: '0', device_class: 's', device_count: '0', memory_gib: '0', max_latency_ms: '0', duration_s: '0', deadline_ns: '0', region: 's', callback_url: 's', customer_id: 's', checkpointable: 'b', project: 's', mig_profile: 's', program: 's' },
  WorkloadSubmitBatch: { workloads: '[WorkloadSubmit' },
  Workload: { id: 's', customer_id: 's', type: 's', state: 's', name: 's', model: 's', priority: '0', priority_class: 's', device_class: 's', device_count: '0', memory_gib: '0', max_latency_ms: '0', duration_s: '0', deadline_ns: '0', region: 's', callback_url: 's', created_at_ns: '0', started_at_ns: '0', finished_at_ns: '0', allocation_id: 's', device_ids: '[s', reason: 's', version: '0', estimated_cost_micros: '0', submitted_by: 's', remaining_ns: '0', checkpointable: 'b', project: 's', preemptions: '0', preempted_by: 's', queued_at_ns: '0', gpu_fraction: '0', mig_profile: 's', share_milli: '0', program: 's', checkpoint: '?Checkpoint', classified: '?Classification' },
  Workloads: { workloads: '[Workload', next_cursor: 's', index: '0' },
  WorkloadGet: { id: 's', index: '0', wait_ms: '0' },
  WorkloadList: { limit: '0', cursor: 's', state: 's', type: 's', customer_id: 's' },
  WorkloadCancel: { id: 's', if_version: '[0' },
  WorkloadPause: { id: 's' },
  WorkloadResume: { id: 's' },
  WorkloadMigrate: { id: 's' },
  WorkloadHistoryGet: { id: 's' },
  WorkloadTransition: { at_ns: '0', from: 's', to: 's', reason: 's' },
  WorkloadHistory: { transitions: '[WorkloadTransition' },
  WorkloadChanged: { workload: '?Workload', from: 's' },
  CallbackEvent: { id: 's', event: 's', at_ns: '0', from: 's', workload: '?Workload' },
  CallbackTake: { max: '0', wait_ms: '0', fresh: 'b', allow_private: 'b' },
  CallbackOrder: { id: 's', workload_id: 's', n: '0', attempt: '0', url: 's', signature: 's', body: 's' },
  CallbackOrders: { orders: '[CallbackOrder' },
  CallbackResult: { workload_id: 's', n: '0', attempt: '0', status: '0', error: 's', refused: 'b' },
  CallbacksGet: { id: 's' },
  Callback: { id: 's', event: 's', at_ns: '0', state: 's', tries: '0', due_at_ns: '0', done_at_ns: '0', status: '0', error: 's' },
  Callbacks: { callbacks: '[Callback' },
  CallbackSecretGet: {},
  CallbackSecretRotate: {},
  CallbackSecret: { secret: 's', generation: '0', previous_until_ns: '0' },
  StatusGet: {},
  ServiceHealth: { name: 's', state: 's', detail: 's', seen_at_ns: '0', batches: '0', messages: '0', mailbox: '0' },
  Status: { version: 's', started_at_ns: '0', now_ns: '0', mode: 's', services: '[ServiceHealth', workloads_running: '0', workloads_queued: '0', last_decision_id: 's', targets: '[ClassTarget', emergency_reason: 's', decisions_applied: '0', decisions_skipped: '0', workloads_paused: '0', guard: 's' },
  ProjectWeight: { project: 's', weight: '0' },
  CustomerQuotaSet: { customer_id: 's', weight: '0', max_devices: '0', max_active: '0', max_device_hours: '0', projects: '[ProjectWeight' },
  CustomerQuotaGet: { customer_id: 's' },
  CustomerQuota: { quota: '?CustomerQuotaSet', active: '0', device_hours: '0' },
  CustomerQuotaChanged: { quota: '?CustomerQuotaSet' },
  EmergencyStop: { reason: 's' },
  EmergencyClear: { reason: 's' },
  JobEnqueue: { workload: '?Workload' },
  JobCancel: { workload_id: 's', reason: 's', elsewhere: 'b' },
  Directive: { id: 's', decision_id: 's', targets: '[ClassTarget', emergency_stop: 'b', decided_at_ns: '0', signal_at_ns: '0' },
  ModelVersion: { version: 's', digest: 's', origin: 's', created_at_ns: '0', created_by: 's', nodes: '0' },
  ModelNode: { node_id: 's', version: 's', digest: 's', state: 's', error: 's', seen_at_ns: '0', held: '[s' },
  ModelChange: { at_ns: '0', from: 's', to: 's', what: 's', by: 's', reason: 's' },
  Model: { name: 's', version: 's', previous: 's', state: 's', error: 's', changed_at_ns: '0', nodes: '0', nodes_done: '0', versions: '[ModelVersion', node_states: '[ModelNode', changes: '[ModelChange' },
  ModelsList: {},
  Models: { models: '[Model' },
  ModelGet: { name: 's' },
  ModelVersionRegister: { name: 's', version: 's', digest: 's' },
  ModelActivate: { name: 's', version: 's' },
  ModelRollback: { name: 's', reason: 's' },
  ModelCommand: { node_id: 's', model: 's', version: 's', digest: 's', order: '0', deadline_ns: '0' },
  ModelChanged: { model: '?Model' },
  DeviceShare: { milli: '0', mig_profile: 's', mig_start: '0', allocation_id: 's', workload_id: 's', customer_id: 's', model: 's' },
  Place: { allocation_id: 's', workload: '?Workload', device_ids: '[s', score: '0', explain: 's', share: '?DeviceShare' },
  Release: { allocation_id: 's', workload_id: 's', reason: 's', preempted_by: 's' },
  JobState: { workload_id: 's', state: 's', reason: 's', allocation_id: 's', device_ids: '[s' },
  Demand: { device_class: 's', realtime: '0', batch: '0', waiting: '0', ends: '[0', ends_at_ns: '0' },
  DemandChanged: { demands: '[Demand' },
  QueueGet: { limit: '0', cursor: 's', priority_class: 's', customer_id: 's', workload_id: 's' },
  QueueEntry: { workload_id: 's', customer_id: 's', priority_class: 's', position: '0', waiting_since_ns: '0', eta_ms: '0', reason: 's', project: 's', wait_target_ms: '0', overdue: 'b', share: '0', fair_share: '0', preemptions: '0', device_count: '0', device_class: 's', gpu_fraction: '0', mig_profile: 's' },
  QueueClass: { priority_class: 's', waiting: '0', wait_target_ms: '0', oldest_wait_ms: '0' },
  Queue: { classes: '[QueueClass', entries: '[QueueEntry', next_cursor: 's', total: '0', preemptions: '0', yielding: '0' },
  Classify: { type_hint: 's', size_mb: '0', max_latency_ms: '0', needs_gpu: 'b', duration_s: '0', customer_tier: 's', device_count: '0', gpu_fraction: '0', cpu_cores: '0', host_memory_gib: '0' },
  Classification: { type: 's', priority_class: 's', confidence: '0', rule: 's', by: 's', path: 's' },
  ScaleTake: { wait_ms: '0', fresh: 'b' },
  ScaleOrder: { token: 's', call: 's', attempt: '0', type: 's', node: 's', device_class: 's', devices: '0', facility: 's', region: 's' },
  ScaleOrders: { orders: '[ScaleOrder' },
  ScaleResult: { token: 's', call: 's', attempt: '0', error: 's', state: 's', price_micros_h: '0' },
  AutoscaleGet: {},
  AutoscaleType: { name: 's', device_class: 's', devices: '0', nodes_max: '0', nodes_coming: '0', nodes_up: '0', nodes_going: '0', jobs_waiting: '0', enough_since_ns: '0', facility: 's' },
  Rental: { token: 's', node: 's', type: 's', state: 's', reason: 's', price_micros_h: '0', cost_micros: '0', asked_at_ns: '0', started_at_ns: '0', up_at_ns: '0', stopping_at_ns: '0', ended_at_ns: '0' },
  Autoscale: { enabled: 'b', held: 's', circuit: 's', rate_micros_h: '0', budget_micros_h: '0', provider_seen_at_ns: '0', types: '[AutoscaleType', nodes: '[Rental', ended: '[Rental' },
  Device: { id: 's', node_id: 's', facility: 's', region: 's', kind: 's', device_class: 's', state: 's', desired: 's', commanded: 's', confirmed: 's', drifted: 'b', allocation_id: 's', workload_id: 's', customer_id: 's', power_w: '0', hash_ths: '0', temperature_c: '0', utilisation: '0', changed_at_ns: '0', reason: 's', memory_gib: '0', health: '0', name: 's', shares: '[DeviceShare', power_mode: 's', power_target_w: '0' },
  NodePrograms: { node_id: 's', programs: '[s' },
  DevicesChanged: { devices: '[Device', node_id: 's', programs: '[NodePrograms' },
  ResourcesList: { limit: '0', cursor: 's', kind: 's', device_class: 's', state: 's', facility: 's', node_id: 's' },
  Resources: { devices: '[Device', next_cursor: 's', total: '0' },
  ResourceGet: { id: 's' },
  AvailabilityGet: { device_class: 's', region: 's', count: '0' },
  Availability: { available: 'b', classes: '[ClassCapacity' },
  FleetGet: {},
  ClassCapacity: { facility: 's', region: 's', kind: 's', device_class: 's', total: '0', healthy: '0', allocated: '0', serving: '0', filling: '0', off: '0', drifted: '0', power_w: '0', hash_ths: '0', price_micros_h: '0', endpoints: '0' },
  Fleet: { classes: '[ClassCapacity', nodes: '0', nodes_connected: '0', power_w: '0', power_budget_w: '0', hash_ths: '0' },
  CapacityChanged: { classes: '[ClassCapacity' },
  NodesList: {},
  Node: { id: 's', name: 's', facility: 's', region: 's', connected: 'b', seen_at_ns: '0', lease_until_ns: '0', devices: '0', endpoint: 's', models: '[s', agent_version: 's', energy_j: '0' },
  Nodes: { nodes: '[Node' },
  EndpointChanged: { node_id: 's', endpoint: 's', models: '[s', up: 'b', device_id: 's', mode: 's', region: 's' },
  AllocationChanged: { allocation_id: 's', workload_id: 's', customer_id: 's', state: 's', device_ids: '[s', device_class: 's', node_id: 's', at_ns: '0', price_micros_h: '0', reason: 's', type: 's', switch_id: 's', preempted_by: 's', unfit_device_id: 's', tried: 'b', share: '?DeviceShare' },
  Metered: { deltas: '[MeterDelta', node_id: 's', facility: 's' },
  MeterDelta: { device_class: 's', activity: 's', allocation_id: 's', customer_id: 's', energy_j: '0', device_ns: '0', hashes: '0', requests: '0', tokens: '0', shares_accepted: '0', shares_rejected: '0', from_ns: '0', to_ns: '0' },
  PhaseTime: { phase: 's', duration_ns: '0' },
  SwitchDone: { switch_id: 's', decision_id: 's', node_id: 's', devices: '0', to: 's', ok: 'b', error: 's', rolled_back: 'b', phases: '[PhaseTime', total_ns: '0', signal_at_ns: '0', done_at_ns: '0', evidence: 's', allocation_id: 's', served_at_ns: '0' },
  SwitchesList: { limit: '0' },
  Switches: { switches: '[SwitchDone' },
  Ticket: { id: 's', device_id: 's', device_class: 's', facility: 's', state: 's', signal: 's', reason: 's', note: 's', times: '0', opened_at_ns: '0', since_ns: '0', closed_at_ns: '0', done_at_ns: '0', proved_min: '0', proof_min: '0' },
  TicketsList: { limit: '0', device_id: 's', all: 'b' },
  Tickets: { tickets: '[Ticket' },
  TicketClose: { id: 's', note: 's' },
  TicketChanged: { ticket: '?Ticket' },
  Curtail: { facility: 's', kw: '0', within_ms: '0', duration_s: '0', reason: 's' },
  CurtailRestore: { id: 's' },
  CurtailmentsList: { facility: 's' },
  Curtailment: { id: 's', facility: 's', state: 's', asked_kw: '0', limit_w: '0', measured_before_w: '0', measured_w: '0', reserved_w: '0', devices: '0', commands: '0', within_ms: '0', ordered_at_ns: '0', confirmed_at_ns: '0', until_ns: '0', over_at_ns: '0', reason: 's', by: 's', service: 's', dropped_mwh: '0', due_mwh: '0', missed_mwh: '0' },
  Curtailments: { curtailments: '[Curtailment' },
  AncillaryCall: { facility: 's', service: 's', mw: '0', duration_s: '0', reason: 's' },
  AncillaryCallOver: { call: '?AncillaryRecord' },
  AncillaryRecord: { id: 's', facility: 's', service: 's', mw: '0', called_at_ns: '0', over_at_ns: '0', confirmed_at_ns: '0', response_ms: '0', dropped_mwh: '0', due_mwh: '0', missed_mwh: '0', reason: 's', by: 's', usd_mwh: '0', saved_micros: '0', penalty_micros: '0' },
  AncillaryCallsList: { facility: 's', limit: '0' },
  AncillaryCalls: { calls: '[AncillaryRecord' },
  AncillaryHeld: { facility: 's', from_ns: '0', to_ns: '0', holds: '[AncillaryHold' },
  AncillaryHold: { service: 's', offered_mw_h: '0', held_mw_h: '0', fixed: 'b', price_usd_mw_h: '0' },
  AncillaryHoursList: { facility: 's', limit: '0' },
  AncillaryHour: { facility: 's', service: 's', from_ns: '0', to_ns: '0', offered_mw: '0', held_mw: '0', usd_mw_h: '0', priced: 'b', paid_micros: '0' },
  AncillaryHours: { hours: '[AncillaryHour' },
  PowerGet: { facility: 's' },
  PowerLevel: { facility: 's', path: 's', state: 's', budget_w: '0', cap_w: '0', reserved_w: '0', measured_w: '0', inrush_w: '0', devices: '0', tripped_at_ns: '0', reason: 's', by: 's' },
  Power: { levels: '[PowerLevel' },
  PowerTrip: { facility: 's', path: 's', reason: 's' },
  PowerRestore: { facility: 's', path: 's' },
  AgentDevice: { id: 's', kind: 's', device_class: 's', memory_gib: '0', mode: 's', name: 's' },
  NodeHello: { node_id: 's', name: 's', facility: 's', region: 's', endpoint: 's', models: '[s', devices: '[AgentDevice', agent_version: 's', boot_id: 's', reports: '0', feed: 's', at_ns: '0', programs: '[s', stream: '0' },
  Meter: { device_class: 's', activity: 's', allocation_id: 's', energy_j: '0', device_ns: '0', hashes: '0', requests: '0', tokens: '0', shares_accepted: '0', shares_rejected: '0' },
  DeviceReading: { device_id: 's', mode: 's', power_w: '0', hash_ths: '0', temperature_c: '0', utilisation: '0', error: 's', requests: '0', fan_percent: '0', memory_used_mib: '0', errors: '0', shares: '[DeviceShare', program: 's' },
  NodeReport: { node_id: 's', boot_id: 's', at_ns: '0', readings: '[DeviceReading', meters: '[Meter', seq: '0', inlet_k: '0' },
  SwitchItem: { device_id: 's', to: 's', allocation_id: 's', workload_id: 's', model: 's', power_target_w: '0', shares: '[DeviceShare', program: '?ProgramOrder' },
  ProgramOrder: { name: 's', restore: '?Checkpoint', deadline_ns: '0' },
  SwitchCommand: { switch_id: 's', node_id: 's', items: '[SwitchItem', deadline_ns: '0', signal_at_ns: '0', number: '0' },
  SwitchReport: { switch_id: 's', node_id: 's', ok: 'b', error: 's', rolled_back: 'b', phases: '[PhaseTime', readings: '[DeviceReading', failed_device_ids: '[s', evidence: 's', served_at_ns: '0', at_ns: '0' },
  LocalSwitch: { node_id: 's', device_id: 's', to: 's', at_ns: '0', duration_ns: '0', cause: 's' },
  Lease: { node_id: 's', until_ns: '0', ttl_ms: '0', may_serve: 'b', may_fill: 'b', power_budget_w: '0', number: '0' },
  Welcome: { node_id: 's', now_ns: '0', report_ms: '0', over_boot_id: 's' },
  Samples: { node_id: 's', at_ns: '0', readings: '[DeviceReading' },
  ModelReport: { node_id: 's', model: 's', version: 's', digest: 's', held: '[s', order: '0', state: 's', error: 's', at_ns: '0' },
  ProgramReport: { node_id: 's', device_id: 's', allocation_id: 's', workload_id: 's', state: 's', step: '0', of: '0', checkpoint: '?Checkpoint', error: 's' },
  ProgramChanged: { workload_id: 's', allocation_id: 's', node_id: 's', state: 's', checkpoint: '?Checkpoint', error: 's', at_ns: '0' },
  AgentUp: { hello: '?NodeHello', report: '?NodeReport', switch_report: '?SwitchReport', local_switch: '?LocalSwitch', samples: '?Samples', model_report: '?ModelReport', program_report: '?ProgramReport' },
  AgentDown: { welcome: '?Welcome', lease: '?Lease', switch_command: '?SwitchCommand', model_command: '?ModelCommand' },
  NodeGone: { node_id: 's', reason: 's', stream: '0' },
  MeshSubscribe: { from_offset: '0', topic_mask: '0' },
  SeriesGet: { metric: 's', scope: 's', key: 's', minutes: '0' },
  Series: { metric: 's', scope: 's', key: 's', step_s: '0', points: '[PricePoint' },
  UsageGet: { customer_id: 's', month: 's' },
  UsageLine: { kind: 's', device_class: 's', workload_id: 's', quantity: '0', unit: 's', amount_micros: '0', energy_j: '0', device_ns: '0', workload_name: 's', gpu_fraction: '0', mig_profile: 's' },
  Usage: { customer_id: 's', month: 's', lines: '[UsageLine', total_micros: '0', currency: 's' },
  RevenueGet: { hours: '0' },
  RevenueHour: { hour_start_ns: '0', ai_micros: '0', mining_micros: '0', energy_cost_micros: '0', energy_j: '0', hashes: '0', expected_btc: '0', ancillary_micros: '0' },
  Revenue: { hours: '[RevenueHour', ai_micros: '0', mining_micros: '0', energy_cost_micros: '0', net_micros: '0', energy_j: '0', expected_btc: '0', shares_accepted: '0', shares_rejected: '0', ancillary_micros: '0' },
  Login: { email: 's', password: 's', cookie: 'b' },
  Session: { access_token: 's', token_type: 's', expires_in: '0', principal: '?Principal', name: 's', refresh_token: 's', refresh_expires_in: '0' },
  SessionOpen: { sha256: 's' },
  SessionRefresh: { refresh_token: 's', sha256: 's', next_sha256: 's' },
  SessionEnd: { refresh_token: 's', sha256: 's' },
  WhoAmI: {},
  ApiKeyCreate: { name: 's', secret_sha256: 's', prefix: 's' },
  ApiKey: { id: 's', name: 's', prefix: 's', created_at_ns: '0', customer_id: 's', secret: 's', revoked: 'b' },
  ApiKeyList: {},
  ApiKeys: { keys: '[ApiKey' },
  ApiKeyRevoke: { id: 's' },
  ApiKeyResolve: { sha256: 's' },
  CustomersList: {},
  Customer: { id: 's', name: 's', tier: 's', weight: '0', rate_per_min: '0' },
  Customers: { customers: '[Customer' },
  SigningKeyGet: {},
  SigningKey: { public_pem: 's', kid: 's' },
  ReplayGet: { service: 's', from_batch: '0', limit: '0' },
  ReplayReport: { service: 's', batches: '0', messages: '0', events: '0', identical: 'b', first_difference: '0', detail: 's', from_batch: '0', to_batch: '0', base_batch: '0', unusable_bases: '[s' },
};
