#include "cmd/cli/command.h"

#include "cmd/cli/forecast.h"
#include "cmd/cli/health.h"
#include "cmd/cli/ops.h"

#define END { .name = NULL }
#define INT_MAX_REAL 2147483647.0
#define YEAR_S 31536000.0
#define TYPES "ai_inference_realtime ai_inference_batch model_training bitcoin_mining"
#define DEVICE_CLASS \
	{ .name = "device-class", .alias = "class", .field = "device_class", .help = "device class, e.g. S21 or H100" }

const struct flag global_flags[] = {
	{ .name = "url", .help = "server (default $HCP_URL or http://127.0.0.1:8000)" },
	{ .name = "token-file",
	  .help = "file with a token or API key; else $HCP_TOKEN, $HCP_API_KEY, then `hcp login`" },
	{ .name = "output", .alias = "o", .kind = FLAG_CHOICE, .choices = "table json yaml",
	  .help = "how to print data" },
	{ .name = "timeout", .kind = FLAG_DURATION, .min = 1, .max = 3600,
	  .help = "longest wait for an answer (default 30s)" },
	{ .name = "ca-file", .help = "certificates to trust for https (default: the system's)" },
	{ .name = "no-color", .kind = FLAG_SWITCH, .help = "no colours (also $NO_COLOR)" },
	{ .name = "help", .alias = "h", .kind = FLAG_SWITCH, .help = "what the command does" },
	END,
};
const struct flag watch_flags[] = {
	{ .name = "watch", .kind = FLAG_DURATION, .min = 1, .max = 3600,
	  .help = "show again every so often (default 2s)" },
	END,
};
const struct flag paged_flags[] = {
	{ .name = "limit", .kind = FLAG_INT, .field = "limit", .min = 1, .max = 1000, .help = "rows of one page" },
	{ .name = "cursor", .field = "cursor", .help = "continue after the page that gave this cursor" },
	{ .name = "all", .kind = FLAG_SWITCH, .help = "follow the pages to the end" },
	END,
};
const struct flag file_flags[] = {
	{ .name = "file", .alias = "f",
	  .help = "JSON of the request, - for standard input; flags override its members" },
	END,
};
const struct flag idempotent_flags[] = {
	{ .name = "idempotency-key", .help = "a repeat with the same key does nothing twice (default: a new one)" },
	END,
};

static const struct flag login_flags[] = {
	{ .name = "email", .help = "asked for when missing" },
	{ .name = "password-stdin", .kind = FLAG_SWITCH, .help = "read the password from standard input" },
	END,
};
static const struct flag submit_flags[] = {
	{ .name = "type", .kind = FLAG_CHOICE, .field = "type", .choices = TYPES, .help = "kind of work" },
	{ .name = "name", .field = "name", .help = "at most 120 characters" },
	{ .name = "model", .field = "model", .help = "e.g. all-MiniLM-L6-v2" },
	{ .name = "priority", .kind = FLAG_INT, .field = "priority", .min = 1, .max = 10, .help = "1 (first) to 10" },
	DEVICE_CLASS,
	{ .name = "device-count",
		.alias = "count",
		.kind = FLAG_INT,
		.field = "device_count",
		.min = 1,
		.max = 4096,
		.help = "devices, all or none" },
	{ .name = "memory-gib",
		.kind = FLAG_INT,
		.field = "memory_gib",
		.min = 0,
		.max = INT_MAX_REAL,
		.help = "memory a device must have" },
	{ .name = "max-latency-ms",
		.kind = FLAG_INT,
		.field = "max_latency_ms",
		.min = 0,
		.max = INT_MAX_REAL,
		.help = "for real-time inference" },
	{ .name = "duration",
		.alias = "duration-s",
		.kind = FLAG_DURATION,
		.field = "duration_s",
		.min = 0,
		.max = YEAR_S,
		.help = "e.g. 2h; 0: until cancelled" },
	{ .name = "deadline", .kind = FLAG_TIME, .field = "deadline_ns", .help = "to be done by: ISO 8601, or +6h" },
	{ .name = "region", .field = "region", .help = "where the data must stay" },
	{ .name = "callback-url", .field = "callback_url", .help = "http(s) address that is told of every change" },
	{ .name = "customer-id", .field = "customer_id", .help = "submit for a customer (administrators)" },
	{ .name = "project", .field = "project", .help = "of the customer; its projects share what it gets" },
	{ .name = "checkpointable",
		.kind = FLAG_SWITCH,
		.field = "checkpointable",
		.help = "saves itself when told to stop, and goes on from there" },
	{ .name = "wait", .kind = FLAG_SWITCH, .help = "follow it until it runs" },
	END,
};
static const struct flag queue_flags[] = {
	{ .name = "priority-class",
		.alias = "class",
		.kind = FLAG_CHOICE,
		.field = "priority_class",
		.choices = "P1 P2 P3 P4",
		.help = "only this class" },
	{ .name = "customer-id", .field = "customer_id", .help = "only this customer" },
	{ .name = "workload-id", .alias = "workload", .field = "workload_id", .help = "only this workload" },
	END,
};
static const struct flag quota_set_flags[] = {
	{ .name = "weight",
		.kind = FLAG_REAL,
		.field = "weight",
		.min = 0,
		.max = 1e6,
		.help = "its share against others' (default 1)" },
	{ .name = "max-devices",
		.kind = FLAG_INT,
		.field = "max_devices",
		.min = 0,
		.max = INT_MAX_REAL,
		.help = "held at a time; 0: no limit" },
	{ .name = "max-active",
		.kind = FLAG_INT,
		.field = "max_active",
		.min = 0,
		.max = INT_MAX_REAL,
		.help = "workloads that are not over; 0: the platform's limit" },
	{ .name = "max-device-hours",
		.kind = FLAG_REAL,
		.field = "max_device_hours",
		.min = 0,
		.max = 1e12,
		.help = "of a calendar month (UTC); 0: no limit" },
	END,
};
static const struct flag workload_list_flags[] = {
	{ .name = "state", .kind = FLAG_CHOICE, .field = "state", .help = "only this state",
	  .choices = "queued scheduled running paused completed failed cancelled" },
	{ .name = "type", .kind = FLAG_CHOICE, .field = "type", .choices = TYPES, .help = "only this type" },
	{ .name = "customer-id", .field = "customer_id", .help = "only this customer" },
	END,
};
static const struct flag classify_flags[] = {
	{ .name = "type-hint", .field = "type_hint", .help = "what the sender takes it for" },
	{ .name = "size-mb", .kind = FLAG_REAL, .field = "size_mb", .min = 0, .max = 1e12,
	  .help = "size of the input" },
	{ .name = "max-latency-ms", .kind = FLAG_INT, .field = "max_latency_ms", .min = 0, .max = INT_MAX_REAL,
	  .help = "answer needed within" },
	{ .name = "needs-gpu", .kind = FLAG_SWITCH, .field = "needs_gpu", .help = "runs on GPUs only" },
	{ .name = "duration", .kind = FLAG_DURATION, .field = "duration_s", .min = 0, .max = YEAR_S,
	  .help = "expected run time" },
	{ .name = "customer-tier", .field = "customer_tier", .help = "tier of the customer" },
	END,
};
static const struct flag resource_list_flags[] = {
	{ .name = "kind", .kind = FLAG_CHOICE, .field = "kind", .choices = "gpu asic cpu", .help = "only this kind" },
	DEVICE_CLASS,
	{ .name = "state", .kind = FLAG_CHOICE, .field = "state", .help = "only this state",
	  .choices = "idle allocating active draining maintenance device_failed failed" },
	{ .name = "facility", .field = "facility", .help = "only this facility" },
	{ .name = "node-id", .alias = "node", .field = "node_id", .help = "only this node" },
	END,
};
static const struct flag availability_flags[] = {
	DEVICE_CLASS,
	{ .name = "region", .field = "region", .help = "only this region" },
	{ .name = "count", .kind = FLAG_INT, .field = "count", .min = 1, .max = 4096, .help = "how many are needed" },
	END,
};
static const struct flag history_flags[] = {
	{ .name = "location", .field = "location", .help = "settlement point, or device class of gpu_rate" },
	{ .name = "limit", .kind = FLAG_INT, .field = "limit", .min = 1, .max = 5000,
	  .help = "newest points (default 500)" },
	END,
};
static const struct flag profitability_flags[] = {
	{ .name = "device-class", .alias = "class", .field = "device_class", .required = true,
	  .help = "e.g. S21 or H100" },
	{ .name = "electricity-usd-mwh", .kind = FLAG_REAL, .field = "electricity_usd_mwh", .min = -1e6, .max = 1e6,
	  .help = "instead of the live price" },
	{ .name = "btc-usd", .kind = FLAG_REAL, .field = "btc_usd", .min = 0, .max = 1e12,
	  .help = "instead of the live price" },
	{ .name = "difficulty", .kind = FLAG_REAL, .field = "difficulty", .min = 0, .max = 1e30,
	  .help = "instead of the live one" },
	{ .name = "gpu-rate-usd-h", .kind = FLAG_REAL, .field = "gpu_rate_usd_h", .min = 0, .max = 1e6,
	  .help = "instead of the live rate" },
	{ .name = "utilisation", .kind = FLAG_REAL, .field = "utilisation", .min = 0, .max = 1, .help = "0 to 1" },
	END,
};
static const struct flag bids_flags[] = {
	{ .name = "facility", .field = "facility", .help = "the site (default: the only one)" },
	{ .name = "duration", .kind = FLAG_DURATION, .field = "duration_s", .min = 60, .max = 604800,
	  .help = "for how long, e.g. 15m (default 1h)" },
	END,
};
static const struct flag plan_list_flags[] = {
	{ .name = "facility", .field = "facility", .help = "of this site only" },
	END,
};
static const struct flag decision_list_flags[] = {
	{ .name = "changed-only", .kind = FLAG_SWITCH, .field = "changed_only", .help = "leave out decisions to hold" },
	END,
};
static const struct flag policy_set_flags[] = {
	{ .name = "strike-usd-mwh", .kind = FLAG_REAL, .field = "strike_usd_mwh", .min = -1e6, .max = 1e6,
	  .help = "price above which power is sold" },
	{ .name = "hysteresis", .kind = FLAG_REAL, .field = "hysteresis", .min = 0, .max = 1e6,
	  .help = "how much better a change must be" },
	END,
};
static const struct flag curtail_flags[] = {
	{ .name = "facility", .field = "facility", .help = "which one (default: the only one)" },
	{ .name = "kw",
		.kind = FLAG_REAL,
		.field = "kw",
		.min = 0.001,
		.max = 1e7,
		.required = true,
		.help = "so much less" },
	{ .name = "within-ms",
		.kind = FLAG_INT,
		.field = "within_ms",
		.min = 0,
		.max = 600000,
		.help = "how soon; later is told as late (default 1000)" },
	{ .name = "for",
		.kind = FLAG_DURATION,
		.field = "duration_s",
		.min = 1,
		.max = 604800,
		.help = "then power comes back step by step (default 15m)" },
	{ .name = "reason", .field = "reason", .help = "kept with the order" },
	END,
};
static const struct flag curtail_list_flags[] = {
	{ .name = "facility", .field = "facility", .help = "of this one only" },
	END,
};
static const struct flag model_register_flags[] = {
	{ .name = "digest", .field = "digest", .required = true, .help = "of its files, as `models digest DIR` prints it" },
	END,
};
static const struct flag model_rollback_flags[] = {
	{ .name = "reason", .field = "reason", .help = "kept with the change" },
	END,
};
static const struct flag switches_flags[] = {
	{ .name = "limit", .kind = FLAG_INT, .field = "limit", .min = 1, .max = 1000, .help = "the latest so many" },
	END,
};
static const struct flag tickets_flags[] = {
	{ .name = "device", .field = "device_id", .help = "of this device only" },
	{ .name = "all", .kind = FLAG_SWITCH, .field = "all", .help = "those that are done, too" },
	{ .name = "limit", .kind = FLAG_INT, .field = "limit", .min = 1, .max = 1000, .help = "the latest so many" },
	END,
};
static const struct flag ticket_close_flags[] = {
	{ .name = "note", .field = "note", .help = "what was done" },
	END,
};
static const struct flag series_flags[] = {
	{ .name = "scope", .kind = FLAG_CHOICE, .field = "scope", .choices = "site class node device",
	  .help = "default site" },
	{ .name = "key", .field = "key", .help = "class name, node id or device id" },
	{ .name = "minutes", .kind = FLAG_INT, .field = "minutes", .min = 1, .max = 60, .help = "default 60" },
	END,
};
static const struct flag usage_flags[] = {
	{ .name = "month", .field = "month", .help = "e.g. 2026-11 (default: the current one)" },
	{ .name = "customer-id", .field = "customer_id", .help = "of another customer (operators)" },
	END,
};
static const struct flag revenue_flags[] = {
	{ .name = "hours", .kind = FLAG_INT, .field = "hours", .min = 1, .max = 720, .help = "default 24" },
	END,
};
static const struct flag stop_flags[] = {
	{ .name = "reason", .field = "reason", .required = true, .help = "goes into the audit" },
	{ .name = "yes", .kind = FLAG_SWITCH, .help = "do not ask" },
	END,
};
static const struct flag clear_flags[] = {
	{ .name = "reason", .field = "reason", .help = "goes into the audit" },
	END,
};
static const struct flag embed_flags[] = {
	{ .name = "model", .field = "model", .help = "default all-MiniLM-L6-v2" },
	END,
};
static const struct flag replay_flags[] = {
	{ .name = "state", .help = "state directory (default var)" },
	{ .name = "service", .help = "one service (default: all that keep a journal)" },
	{ .name = "from", .help = "begin at this time, e.g. 2026-11-20T18:00:00Z (default: as early as possible)" },
	{ .name = "to", .help = "end at this time (default: the newest)" },
	END,
};
static const struct flag import_flags[] = {
	{ .name = "kind", .kind = FLAG_CHOICE, .required = true, .help = "what the files are",
	  .choices = "ercot-rt ercot-dam ercot-as ercot-load-forecast btc-ohlcv btc-network" },
	{ .name = "out", .required = true, .help = "folder for the tables, as --data takes it" },
	{ .name = "points", .help = "settlement points, comma-separated (default: hubs and load zones)" },
	END,
};
static const struct flag forecast_report_flags[] = {
	{ .name = "data", .required = true, .help = "folder of recorded market data" },
	{ .name = "kind", .kind = FLAG_CHOICE, .choices = "electricity_rt btc_usd",
	  .help = "what is forecast (default electricity_rt)" },
	{ .name = "location", .help = "settlement point (default HB_WEST)" },
	{ .name = "from", .kind = FLAG_TIME, .required = true, .help = "first forecast, e.g. 2024-01-01" },
	{ .name = "to", .kind = FLAG_TIME, .required = true, .help = "what becomes known later is not judged" },
	{ .name = "every", .kind = FLAG_DURATION, .min = 900, .max = 604800,
	  .help = "time between forecasts (default 1h, of other kinds 4h)" },
	{ .name = "retrain", .kind = FLAG_DURATION, .min = 3600, .max = YEAR_S,
	  .help = "time between trainings (default 28d)" },
	{ .name = "quiet", .kind = FLAG_SWITCH, .help = "no progress" },
	END,
};
static const struct flag up_flags[] = {
	{ .name = "state", .help = "where state and logs live (default var)" },
	{ .name = "port", .kind = FLAG_INT, .min = 1, .max = 65535,
	  .help = "gateway: portal, API, WebSocket (default 8000)" },
	{ .name = "mesh-port", .kind = FLAG_INT, .min = 1, .max = 65535, .help = "agents and feeds (default 8443)" },
	{ .name = "no-sim", .kind = FLAG_SWITCH, .help = "no simulated pool, market and fleet" },
	{ .name = "pool", .help = "mining pool host:port of the agent (default: the simulated one)" },
	{ .name = "data", .help = "recorded market data (default ../shared/data beside the source, else simulated)" },
	{ .name = "from", .help = "first day of the recorded data (default 2024-08-01)" },
	{ .name = "speed", .kind = FLAG_REAL, .min = 0.001, .max = 1e6,
	  .help = "market time against real time (default 60)" },
	{ .name = "devices", .kind = FLAG_CHOICE, .choices = "small full",
	  .help = "size of the simulated fleet (default full)" },
	{ .name = "web", .help = "files of the portal (default web/dist beside the source)" },
	{ .name = "model", .help = "model files of the agent (default <state>/model)" },
	{ .name = "grace", .kind = FLAG_DURATION, .min = 1, .max = 600,
	  .help = "time to stop before being killed (default 10s)" },
	END,
};
static const struct flag backtest_flags[] = {
	{ .name = "policy", .help = "names with commas between, or all (default all)" },
	{ .name = "site", .required = true, .help = "name of a site (texas-north, texas-south, north-dakota) or its file" },
	{ .name = "data", .required = true, .help = "folder of the recorded market data" },
	{ .name = "from", .required = true, .help = "first day, e.g. 2024-01-01 (or a time, UTC)" },
	{ .name = "to", .required = true, .help = "last day, which is included (or a time, which is not)" },
	{ .name = "output", .alias = "o", .kind = FLAG_CHOICE, .choices = "table json html", .help = "form of the report" },
	{ .name = "out", .help = "file for the report (default: standard output)" },
	{ .name = "hardware", .kind = FLAG_CHOICE, .choices = "site period",
	  .help = "period: miners that could be had at the first day (default site)" },
	{ .name = "no-restart-costs", .kind = FLAG_SWITCH, .help = "as if miners started at once and without wear" },
	{ .name = "points", .help = "more settlement points that policies may learn from, with commas between" },
	{ .name = "horizon", .kind = FLAG_DURATION, .min = 900, .max = 604800,
	  .help = "for how long simple policies take prices to hold (default 1h)" },
	{ .name = "strike", .kind = FLAG_REAL, .min = 0.01, .max = 1e5, .help = "USD/MWh of policy strike (default 60)" },
	{ .name = "hysteresis", .kind = FLAG_REAL, .min = 0, .max = 10, .help = "of policy threshold (default 0.1)" },
	{ .name = "model", .help = "trained model of policy stochastic, or none (default: the one that comes along)" },
	END,
};
static const struct flag health_report_flags[] = {
	{ .name = "judge", .kind = FLAG_CHOICE, .choices = "rule charts forest autoencoder",
	  .help = "the rule, or one part of it alone (default rule)" },
	{ .name = "asics", .kind = FLAG_INT, .min = 0, .max = 20000, .help = "simulated miners (default 600)" },
	{ .name = "gpus", .kind = FLAG_INT, .min = 0, .max = 20000, .help = "simulated GPUs (default 400)" },
	{ .name = "learn-days", .kind = FLAG_INT, .min = 0, .max = 365, .help = "days before faults begin (default 3)" },
	{ .name = "days", .kind = FLAG_INT, .min = 1, .max = 3660, .help = "days with faults (default 14)" },
	{ .name = "from", .kind = FLAG_TIME, .help = "first day, for the season (default 2025-05-01)" },
	{ .name = "seed", .kind = FLAG_INT, .min = 0, .max = INT32_MAX, .help = "of devices and faults (default 1)" },
	{ .name = "quiet", .kind = FLAG_SWITCH, .help = "no progress" },
	END,
};

static const struct flag forecast_train_flags[] = {
	{ .name = "data", .required = true, .help = "folder of recorded market data" },
	{ .name = "location", .help = "settlement point (default HB_WEST)" },
	{ .name = "to", .kind = FLAG_TIME, .required = true, .help = "what becomes known later is not learned from" },
	{ .name = "out", .required = true, .help = "file for the model, as backtest --model takes it" },
	END,
};
static const struct flag help_flags[] = {
	{ .name = "routes", .kind = FLAG_SWITCH, .help = "which command calls which route" },
	END,
};

#define WORKLOAD_COLUMNS \
	"id state type name priority_class=PRIO device_class=CLASS device_count:n=DEVICES created_at_ns:age=AGE reason"
#define DEVICE_COLUMNS \
	"id kind device_class=CLASS state desired commanded confirmed drifted power_w=POWER hash_ths=HASH " \
	"temperature_c=TEMP node_id=NODE workload_id=WORKLOAD"
#define CAPACITY_COLUMNS \
	"device_class=CLASS kind facility region total:n healthy:n allocated:n serving:n filling:n off:n drifted:n " \
	"power_w=POWER hash_ths=HASH price_micros_h=PRICE/H"
#define DECISION_COLUMNS \
	"id decided_at_ns:age=AGE trigger changed policy electricity_usd_mwh=POWER net_usd_h=NET gain_usd_h=GAIN " \
	"switching_cost_usd=SWITCHING summary"
#define TARGET_COLUMNS \
	"device_class=CLASS facility total:n serve:n mine:n idle:n serve_usd_h:usd=SERVE$/H mine_usd_h:usd=MINE$/H " \
	"idle_usd_h:usd=IDLE$/H reason"
#define KEY_COLUMNS "id name prefix created_at_ns:age=AGE revoked customer_id=CUSTOMER"
#define OPTION_COLUMNS \
	"device_class=CLASS name=OPTION chosen net_usd_h=NET switching_cost_usd=SWITCHING reason"
#define BID_COLUMNS \
	"device_class=CLASS from to devices:n kw=KW total_kw=TOTAL usd_mwh=PRICE response_ms=WITHIN"
#define PLAN_COLUMNS \
	"id facility made_at_ns:age=AGE method net_usd:usd=NET$ revenue_usd:usd=REVENUE$ energy_usd:usd=ENERGY$ " \
	"switching_usd:usd=SWITCHING$ problem"
#define PLAN_STEP_COLUMNS \
	"at_ns:time=AT usd_mwh=PRICE price_from=FROM load_kw=LOAD-KW shadow_usd_mwh=SHADOW"
#define PRICE_COLUMNS \
	"symbol location value unit source observed_at_ns:age=AGE stale fallback"

#define GET "GET"
#define POST "POST"
#define MODEL_COLUMNS "name version state nodes_done=DONE nodes:n=NODES previous changed_at_ns:age=CHANGED error"
#define MODEL_VIEWS \
	{ "versions", "version nodes origin created_at_ns:time=CREATED created_by=BY digest" }, \
	{ "node_states", "node_id=NODE version state seen_at_ns:age=SEEN error" }, \
	{ "changes", "at_ns:time=TIME what from to by reason" }
#define PUT "PUT"
#define DELETE "DELETE"

const struct command commands[] = {
	{ .path = "login",
		.method = POST,
		.route = "/api/v1/auth/login",
		.flags = login_flags,
		.run = ops_login,
		.traits = CMD_PUBLIC,
		.help = "log in and keep the token" },
	{ .path = "logout",
		.traits = CMD_LOCAL,
		.method = POST,
		.route = "/api/v1/auth/logout",
		.run = ops_logout,
		.help = "end the session at this server and forget it" },
	{ .path = "whoami",
		.method = GET,
		.route = "/api/v1/auth/me",
		.shape = SHAPE_OBJECT,
		.run = ops_whoami,
		.help = "who the credentials belong to" },
	{ .path = "status",
		.method = GET,
		.route = "/api/v1/status",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.views = { { "services", "name state detail seen_at_ns:age=SEEN batches:n messages:n mailbox:n" },
			{ "targets", TARGET_COLUMNS } },
		.help = "the platform at a glance" },
	{ .path = "workloads submit",
		.method = POST,
		.route = "/api/v1/workloads",
		.shape = SHAPE_OBJECT,
		.traits = CMD_FILE | CMD_IDEMPOTENT,
		.flags = submit_flags,
		.run = ops_submit,
		.help = "submit a workload" },
	{ .path = "workloads submit-batch",
		.method = POST,
		.route = "/api/v1/workloads/batch",
		.shape = SHAPE_LIST,
		.traits = CMD_FILE | CMD_IDEMPOTENT,
		.views = { { "workloads", WORKLOAD_COLUMNS } },
		.help = "submit up to 1000 workloads, all or none",
		.more = "--file holds {\"workloads\": [...]} or the array itself." },
	{ .path = "workloads list",
		.method = GET,
		.route = "/api/v1/workloads",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH | CMD_PAGED,
		.flags = workload_list_flags,
		.views = { { "workloads", WORKLOAD_COLUMNS } },
		.help = "workloads, newest first" },
	{ .path = "workloads get",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/workloads/{id}",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.help = "one workload" },
	{ .path = "workloads watch",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/workloads/{id}",
		.shape = SHAPE_OBJECT,
		.run = ops_workload_watch,
		.help = "follow a workload until it ends",
		.more = "One line (json: one object a line) for every change, the moment it happens." },
	{ .path = "workloads history",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/workloads/{id}/history",
		.shape = SHAPE_LIST,
		.views = { { "transitions", "at_ns:time=TIME from to reason" } },
		.help = "every state change of a workload" },
	{ .path = "workloads cancel",
		.operands = "id",
		.method = DELETE,
		.route = "/api/v1/workloads/{id}",
		.shape = SHAPE_OBJECT,
		.help = "cancel a workload" },
	{ .path = "workloads pause",
		.operands = "id",
		.method = POST,
		.route = "/api/v1/workloads/{id}/pause",
		.shape = SHAPE_OBJECT,
		.help = "hold a workload back and give up its devices",
		.more = "Nothing is billed while it is paused; what is left of its duration is kept." },
	{ .path = "workloads resume",
		.operands = "id",
		.method = POST,
		.route = "/api/v1/workloads/{id}/resume",
		.shape = SHAPE_OBJECT,
		.help = "let a paused workload go on, through the queue" },
	{ .path = "workloads callbacks",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/workloads/{id}/callbacks",
		.shape = SHAPE_LIST,
		.views = { { "callbacks", "at_ns:time=TIME event state tries status due_at_ns:time=NEXT error" } },
		.help = "what was sent to its callback address, and what became of it" },
	{ .path = "callbacks secret",
		.method = GET,
		.route = "/api/v1/callbacks/secret",
		.shape = SHAPE_OBJECT,
		.help = "the secret that signs your organisation's callbacks",
		.more = "Header hcp-signature: t=<unix seconds>,v1=<hex>; v1 is HMAC-SHA256(secret, \"<t>.\" + body)." },
	{ .path = "callbacks rotate",
		.method = POST,
		.route = "/api/v1/callbacks/secret",
		.shape = SHAPE_OBJECT,
		.help = "a new secret for callbacks",
		.more = "For a day callbacks carry a signature by the one before, too." },
	{ .path = "workloads classify",
		.method = POST,
		.route = "/api/v1/workloads/classify",
		.shape = SHAPE_OBJECT,
		.flags = classify_flags,
		.help = "which class a described workload would get" },
	{ .path = "resources list",
		.method = GET,
		.route = "/api/v1/resources",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH | CMD_PAGED,
		.flags = resource_list_flags,
		.views = { { "devices", DEVICE_COLUMNS } },
		.help = "devices: desired, commanded, confirmed, drifted" },
	{ .path = "resources get",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/resources/{id}",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.help = "one device" },
	{ .path = "availability",
		.method = GET,
		.route = "/api/v1/availability",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.flags = availability_flags,
		.views = { { "classes", CAPACITY_COLUMNS } },
		.help = "free capacity by class and region" },
	{ .path = "fleet",
		.method = GET,
		.route = "/api/v1/fleet",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.views = { { "classes", CAPACITY_COLUMNS } },
		.help = "the fleet by class: modes, watts, hash rate" },
	{ .path = "nodes",
		.method = GET,
		.route = "/api/v1/nodes",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH,
		.views = { { "nodes",
			"id name facility region connected devices:n seen_at_ns:age=SEEN lease_until_ns:time=LEASE "
			"energy_j=ENERGY endpoint models agent_version=VERSION" } },
		.help = "nodes, their leases and endpoints" },
	{ .path = "curtail start",
		.method = POST,
		.route = "/api/v1/curtailments",
		.shape = SHAPE_OBJECT,
		.flags = curtail_flags,
		.help = "draw less power for a while, the least efficient devices first",
		.more = "Customers' work stays. \"held\" is proved by readings: no device may draw more than is left." },
	{ .path = "curtail list",
		.method = GET,
		.route = "/api/v1/curtailments",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH,
		.flags = curtail_list_flags,
		.views = { { "curtailments",
			"id facility state asked_kw:real=KW devices:n measured_before_w=BEFORE measured_w=NOW "
			"limit_w=LIMIT ordered_at_ns:time=ORDERED confirmed_at_ns:time=HELD until_ns:time=UNTIL by reason" } },
		.help = "orders to draw less, and what became of them" },
	{ .path = "curtail restore",
		.operands = "id",
		.method = POST,
		.route = "/api/v1/curtailments/{id}/restore",
		.shape = SHAPE_OBJECT,
		.help = "end an order to draw less now" },
	{ .path = "models list",
		.method = GET,
		.route = "/api/v1/models",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH,
		.views = { { "models", MODEL_COLUMNS } },
		.help = "models that nodes serve, in which version" },
	{ .path = "models get",
		.operands = "name",
		.method = GET,
		.route = "/api/v1/models/{name}",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.views = { MODEL_VIEWS },
		.help = "a model: versions, nodes, changes" },
	{ .path = "models digest",
		.operands = "dir",
		.traits = CMD_LOCAL,
		.run = ops_model_digest,
		.help = "what a model folder is, by its files" },
	{ .path = "models register",
		.operands = "name version",
		.method = POST,
		.route = "/api/v1/models/{name}/versions",
		.shape = SHAPE_OBJECT,
		.flags = model_register_flags,
		.views = { MODEL_VIEWS },
		.help = "make a version known by the digest of its files",
		.more = "Nodes look for VERSION in the folder versions/VERSION of the model's own." },
	{ .path = "models activate",
		.operands = "name version",
		.method = POST,
		.route = "/api/v1/models/{name}/activate",
		.shape = SHAPE_OBJECT,
		.views = { MODEL_VIEWS },
		.help = "make the nodes serve a version, without losing a request",
		.more = "One node goes first; the first that fails turns all back. `models get NAME --watch` shows it." },
	{ .path = "models rollback",
		.operands = "name",
		.method = POST,
		.route = "/api/v1/models/{name}/rollback",
		.shape = SHAPE_OBJECT,
		.flags = model_rollback_flags,
		.views = { MODEL_VIEWS },
		.help = "go back to the version that was served before" },
	{ .path = "prices",
		.method = GET,
		.route = "/api/v1/prices",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.views = { { "prices", PRICE_COLUMNS },
			{ "sources", "name=SOURCE symbol location priority state speaking value observed_at_ns:age=AGE "
						 "failures problem" } },
		.help = "live market values with source and age, and how their sources do" },
	{ .path = "prices history",
		.operands = "symbol",
		.method = GET,
		.route = "/api/v1/prices/history",
		.shape = SHAPE_POINTS,
		.traits = CMD_WATCH,
		.flags = history_flags,
		.help = "the newest points of one symbol" },
	{ .path = "prices push",
		.method = POST,
		.route = "/api/v1/market/ticks",
		.shape = SHAPE_OBJECT,
		.traits = CMD_FILE,
		.help = "market values from a feed (machines)",
		.more = "--file holds {\"ticks\": [{\"symbol\": ..., \"value\": ...}]}." },
	{ .path = "profitability",
		.method = POST,
		.route = "/api/v1/profitability/calculate",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.flags = profitability_flags,
		.views = { { "rows", "workload_type=WORK revenue_usd_h=REVENUE energy_cost_usd_h=ENERGY wear_usd_h=WEAR "
							 "net_usd_h=NET score recommendation" } },
		.help = "net USD an hour of a device class for each kind of work" },
	{ .path = "recommendation",
		.method = GET,
		.route = "/api/v1/recommendation",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.views = { { "targets", TARGET_COLUMNS }, { "options", OPTION_COLUMNS }, { "inputs", PRICE_COLUMNS } },
		.help = "the decision in force" },
	{ .path = "decisions list",
		.method = GET,
		.route = "/api/v1/decisions",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH | CMD_PAGED,
		.flags = decision_list_flags,
		.views = { { "decisions", DECISION_COLUMNS } },
		.help = "the decision ledger, newest first" },
	{ .path = "decisions get",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/decisions/{id}",
		.shape = SHAPE_OBJECT,
		.views = { { "targets", TARGET_COLUMNS }, { "options", OPTION_COLUMNS }, { "inputs", PRICE_COLUMNS } },
		.help = "one decision with inputs, options and outcome" },
	{ .path = "explain",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/decisions/{id}",
		.shape = SHAPE_WHY,
		.run = ops_explain,
		.help = "why a decision was taken, in words (id or \"latest\"); why a workload (wl-...) waits or yielded" },
	{ .path = "bids",
		.method = GET,
		.route = "/api/v1/bids",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.flags = bids_flags,
		.views = { { "shed", BID_COLUMNS }, { "add", BID_COLUMNS } },
		.help = "kW that a site can shed or take on at each price and within each response time" },
	{ .path = "plans list",
		.method = GET,
		.route = "/api/v1/plans",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH | CMD_PAGED,
		.flags = plan_list_flags,
		.views = { { "plans", PLAN_COLUMNS } },
		.help = "plans of the coming day, newest first" },
	{ .path = "plans get",
		.operands = "id",
		.method = GET,
		.route = "/api/v1/plans/{id}",
		.shape = SHAPE_OBJECT,
		.views = { { "steps", PLAN_STEP_COLUMNS },
			{ "classes", "device_class=CLASS count:n one_more_usd=ONE-MORE-USD" } },
		.help = "one plan (id or \"latest\"): prices, load and shadow prices of its steps" },
	{ .path = "policy get",
		.method = GET,
		.route = "/api/v1/policy",
		.shape = SHAPE_OBJECT,
		.help = "the policy that decides" },
	{ .path = "policy set",
		.operands = "policy",
		.method = PUT,
		.route = "/api/v1/policy",
		.shape = SHAPE_OBJECT,
		.flags = policy_set_flags,
		.help = "choose the policy (`policy get` lists the choices)" },
	{ .path = "queue",
		.method = GET,
		.route = "/api/v1/queue",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH | CMD_PAGED,
		.flags = queue_flags,
		.views = { { "entries", "position:n=POS workload_id=WORKLOAD priority_class=PRIO device_count:n=DEVICES "
								"waiting_since_ns:age=WAITS eta_ms=ETA overdue preemptions:n=YIELDED "
								"customer_id=CUSTOMER reason" },
			{ "classes", "priority_class=PRIO waiting:n wait_target_ms=TARGET oldest_wait_ms=OLDEST" } },
		.help = "what waits, where it stands, why, and what would make it fit" },
	{ .path = "quota get",
		.operands = "customer_id",
		.method = GET,
		.route = "/api/v1/customers/{customer_id}/quota",
		.shape = SHAPE_OBJECT,
		.help = "weight and limits of a customer, and what it has used of them" },
	{ .path = "quota set",
		.operands = "customer_id",
		.method = PUT,
		.route = "/api/v1/customers/{customer_id}/quota",
		.shape = SHAPE_OBJECT,
		.traits = CMD_FILE,
		.flags = quota_set_flags,
		.help = "set weight and limits of a customer; all of them, what is left out has none",
		.more = "--file may hold projects: [{\"project\": \"night\", \"weight\": 2}]." },
	{ .path = "switches",
		.method = GET,
		.route = "/api/v1/switches",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH,
		.flags = switches_flags,
		.views = { { "switches", "switch_id=SWITCH node_id=NODE devices:n to ok total_ns=TOOK rolled_back evidence "
								 "done_at_ns:age=AGE decision_id=DECISION error" } },
		.help = "the latest switches and what proved them" },
	{ .path = "tickets",
		.method = GET,
		.route = "/api/v1/tickets",
		.shape = SHAPE_LIST,
		.traits = CMD_WATCH,
		.flags = tickets_flags,
		.views = { { "tickets", "id device_id=DEVICE state signal times:n opened_at_ns:age=AGE proved_min:n=PROVED "
								"proof_min:n=OF reason" } },
		.help = "devices that were found sick: what, since when, and whether they are back" },
	{ .path = "tickets close",
		.operands = "id",
		.method = POST,
		.route = "/api/v1/tickets/{id}/close",
		.shape = SHAPE_OBJECT,
		.flags = ticket_close_flags,
		.help = "say that a device was repaired",
		.more = "It is back in the pool once it has proved at work that it is well: a quarter of an hour, twice as "
				"long with each ticket of the last seven days." },
	{ .path = "series",
		.operands = "metric",
		.method = GET,
		.route = "/api/v1/telemetry/series",
		.shape = SHAPE_POINTS,
		.traits = CMD_WATCH,
		.flags = series_flags,
		.help = "a metric over the last hour: power_w, hash_ths, temperature_c, utilisation" },
	{ .path = "usage",
		.method = GET,
		.route = "/api/v1/billing/usage",
		.shape = SHAPE_OBJECT,
		.flags = usage_flags,
		.views = { { "lines", "kind workload_name=WORKLOAD workload_id=ID device_class=CLASS quantity unit "
							  "amount_micros=AMOUNT energy_j=ENERGY device_ns=DEVICE-TIME" } },
		.help = "metered usage and its price in a month" },
	{ .path = "revenue",
		.method = GET,
		.route = "/api/v1/billing/revenue",
		.shape = SHAPE_OBJECT,
		.traits = CMD_WATCH,
		.flags = revenue_flags,
		.views = { { "hours",
			"hour_start_ns:time=HOUR ai_micros=AI mining_micros=MINING energy_cost_micros=ENERGY-COST "
			"energy_j=ENERGY expected_btc=BTC" } },
		.help = "revenue and energy cost by hour" },
	{ .path = "customers",
		.method = GET,
		.route = "/api/v1/customers",
		.shape = SHAPE_LIST,
		.views = { { "customers", "id name tier weight:n rate_per_min:n=RATE/MIN" } },
		.help = "all customers" },
	{ .path = "keys list",
		.method = GET,
		.route = "/api/v1/api-keys",
		.shape = SHAPE_LIST,
		.views = { { "keys", KEY_COLUMNS } },
		.help = "own API keys" },
	{ .path = "keys create",
		.operands = "name",
		.method = POST,
		.route = "/api/v1/api-keys",
		.shape = SHAPE_OBJECT,
		.traits = CMD_IDEMPOTENT,
		.run = ops_key_create,
		.help = "create an API key; its secret is shown once" },
	{ .path = "keys revoke",
		.operands = "id",
		.method = DELETE,
		.route = "/api/v1/api-keys/{id}",
		.shape = SHAPE_OBJECT,
		.help = "revoke an API key" },
	{ .path = "emergency-stop",
		.method = POST,
		.route = "/api/v1/emergency/stop",
		.shape = SHAPE_OBJECT,
		.flags = stop_flags,
		.run = ops_emergency_stop,
		.help = "stop all work and take the site to safe watts",
		.views = { { "services", "name state detail" } } },
	{ .path = "emergency-clear",
		.method = POST,
		.route = "/api/v1/emergency/clear",
		.shape = SHAPE_OBJECT,
		.flags = clear_flags,
		.help = "leave the emergency stop",
		.views = { { "services", "name state detail" } } },
	{ .path = "embed",
		.operands = "text...",
		.method = POST,
		.route = "/v1/embeddings",
		.shape = SHAPE_OBJECT,
		.flags = embed_flags,
		.run = ops_embed,
		.help = "embed texts (- reads standard input, one text a line)" },
	{ .path = "replay",
		.operands = "[service]",
		.traits = CMD_LOCAL,
		.flags = replay_flags,
		.run = ops_replay,
		.help = "feed what services recorded to their handlers again and compare",
		.more = "Starts from the newest base copy before --from. Exit status 0: the same bit for bit; 1: something\n"
				"differs (service, batch and message are named); 2: it cannot be run again, and why." },
	{ .path = "data import",
		.operands = "file...",
		.traits = CMD_LOCAL,
		.shape = SHAPE_LIST,
		.flags = import_flags,
		.run = ops_data_import,
		.views = { { "files", "file rows first last missing empty_fields" } },
		.help = "turn files as ERCOT and exchanges publish them into tables",
		.more = "FILE is CSV, or a zip of CSV files. Times become UTC interval starts; tables of the same\n"
				"name are replaced. What is absent stays absent; gaps and repeated values are told." },
	{ .path = "backtest",
		.traits = CMD_LOCAL,
		.flags = backtest_flags,
		.run = ops_backtest,
		.help = "what policies would have earned on recorded prices",
		.more = "fraction = (profit - always_mine) / (clairvoyant - always_mine), of the mining side" },
	{ .path = "forecast report",
		.shape = SHAPE_OBJECT,
		.traits = CMD_LOCAL,
		.flags = forecast_report_flags,
		.run = forecast_command_report,
		.views = { { "scores", "ahead_s model n pinball:real pinball_ratio:real=P/PERSIST mae:real rmae:real "
							   "mean_error:real=BIAS below_05:ratio below_50:ratio below_95:ratio" } },
		.help = "how good each forecast would have been on recorded data, beside persistence" },
	{ .path = "forecast train",
		.shape = SHAPE_OBJECT,
		.traits = CMD_LOCAL,
		.flags = forecast_train_flags,
		.run = forecast_command_train,
		.help = "train the model of prices that policy stochastic stands on" },
	{ .path = "health report",
		.shape = SHAPE_OBJECT,
		.traits = CMD_LOCAL,
		.flags = health_report_flags,
		.run = health_command_report,
		.views = { { "scores", "device_class=CLASS fault injected recall:ratio precision:ratio named:ratio "
							   "false_alarms=FALSE delay_p50_min:real=P50_MIN delay_p90_min:real=P90_MIN "
							   "by_forest:ratio by_autoencoder:ratio=BY_AE" } },
		.help = "how well injected faults are found on simulated devices, and how often it is wrong" },
	{ .path = "up",
		.traits = CMD_LOCAL,
		.flags = up_flags,
		.run = ops_up,
		.help = "run the whole platform on this machine until Ctrl-C" },
	{ .path = "completion",
		.operands = "shell",
		.traits = CMD_LOCAL,
		.run = ops_completion,
		.help = "completion script for bash, zsh or fish",
		.more = "bash: source <(hcp completion bash)\nzsh:  source <(hcp completion zsh)\nfish: hcp completion fish | "
				"source" },
	{ .path = "__complete",
		.operands = "[word...]",
		.traits = CMD_LOCAL | CMD_HIDDEN,
		.run = ops_complete,
		.help = "candidates for the last word" },
	{ .path = "version", .traits = CMD_LOCAL, .run = ops_version, .help = "version of this program" },
	{ .path = "help",
		.operands = "[command...]",
		.traits = CMD_LOCAL,
		.flags = help_flags,
		.run = ops_help,
		.help = "what a command does" },
};
const size_t commands_n = sizeof(commands) / sizeof(commands[0]);

const struct command *command_find(struct str path)
{
	for (size_t i = 0; i < commands_n; i++) {
		if (str_eqz(path, commands[i].path))
			return &commands[i];
	}
	return NULL;
}

bool command_is_group(struct str path)
{
	for (size_t i = 0; i < commands_n; i++) {
		struct str whole = str_of(commands[i].path);
		if (str_starts(whole, path) && whole.n > path.n && whole.p[path.n] == ' ')
			return true;
	}
	return false;
}

const struct flag *command_flag_list(const struct command *cmd, int i)
{
	static const struct flag none[] = { END };
	unsigned traits = cmd ? cmd->traits : 0;
	switch (i) {
	case 0:
		return cmd && cmd->flags ? cmd->flags : none;
	case 1:
		return traits & CMD_FILE ? file_flags : none;
	case 2:
		return traits & CMD_IDEMPOTENT ? idempotent_flags : none;
	case 3:
		return traits & CMD_PAGED ? paged_flags : none;
	case 4:
		return traits & CMD_WATCH ? watch_flags : none;
	case 5:
		return global_flags;
	default:
		return NULL;
	}
}

const struct flag *command_flag(const struct command *cmd, struct str name)
{
	const struct flag *f;
	for (int i = 0; (f = command_flag_list(cmd, i)) != NULL; i++) {
		for (; f->name; f++) {
			if (str_eqz(name, f->name) || (f->alias && str_eqz(name, f->alias)))
				return f;
		}
	}
	return NULL;
}
