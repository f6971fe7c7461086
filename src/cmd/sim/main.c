#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/timefmt.h"
#include "loop/loop.h"
#include "loop/tls.h"
#include "os/clock.h"
#include "os/file.h"
#include "sim/cloud.h"
#include "sim/demand_run.h"
#include "sim/fleet_run.h"
#include "sim/market_feed.h"
#include "sim/mesh_link.h"
#include "sim/opts.h"
#include "sim/pool_server.h"
#include "sim/program.h"
#include "sim/replay_files.h"

enum { EXIT_USAGE = 2, HOST_MAX = 256 };

/* Rows of all that connect to the mesh. */
#define TLS_OPTIONS(files) \
	{ "tls-ca", OPT_TEXT, &(files).ca, 0, 0, "FILE", "who signed hcpd's certificate (all three or none: plain)" }, \
		{ "tls-cert", OPT_TEXT, &(files).cert, 0, 0, "FILE", "certificate to show, see hcp certs" }, \
		{ "tls-key", OPT_TEXT, &(files).key, 0, 0, "FILE", "its key" }

struct subcommand {
	const char *name, *about;
	int (*run)(int argc, char **argv);
};

/* 0: go on; 1: help was shown; -1: wrong usage was told. */
static int read_options(const char *name, const struct opt *table, int argc, char **argv)
{
	struct err err = { 0 };
	int rc = opts_parse(table, argc, argv, &err);
	if (rc == 1) {
		struct buf text;
		buf_init(&text, 0);
		opts_help(table, &text);
		printf("hcp-sim %s\n%s", name, buf_str(&text).p);
		buf_release(&text);
		return 1;
	}
	if (rc < 0)
		fprintf(stderr, "hcp-sim %s: %s: %s\n", name, err.field, err.text);
	return rc < 0 ? -1 : 0;
}

static int fail(const char *component, const struct err *err)
{
	log_error(component, "%s%s%s", err->field, err->field[0] ? ": " : "", err->text);
	return 1;
}

/* ---- pool ---- */

static int run_pool(int argc, char **argv)
{
	int64_t port = 3333, http = -1, job_s = 30, block_s = 600, height = 870000, nbits = 0x1703a30c;
	uint64_t seed = 1, accepted, rejected;
	double difficulty = 0.05;
	const char *share_log = NULL, *level = "info", *host = "127.0.0.1";
	const struct opt table[] = {
		{ "port", OPT_I64, &port, 0, 65535, "N", "Stratum port on loopback; 0: any free one (3333)" },
		{ "host", OPT_TEXT, &host, 0, 0, "ADDRESS", "address to listen on (127.0.0.1)" },
		{ "http", OPT_I64, &http, 0, 65535, "N", "port of GET /stats; 0: any free one (none)" },
		{ "difficulty", OPT_DOUBLE, &difficulty, 1e-9, 1e15, "D", "of a share: D * 2^32 hashes on average (0.05)" },
		{ "job-s", OPT_I64, &job_s, 1, 3600, "S", "a new job so often (30)" },
		{ "block-s", OPT_I64, &block_s, 0, 86400, "S", "somebody else's block so often, on average; 0: never (600)" },
		{ "height", OPT_I64, &height, 1, 100000000, "N", "of the first block (870000)" },
		{ "nbits", OPT_I64, &nbits, 1, 0x20ffffff, "N", "compact target of the chain (0x1703a30c)" },
		{ "seed", OPT_U64, &seed, 0, 0, "N", "of the chain's contents (1)" },
		{ "share-log", OPT_TEXT, &share_log, 0, 0, "FILE", "append a JSON line per accepted share" },
		{ "log-level", OPT_TEXT, &level, 0, 0, "LEVEL", "debug, info, warn, error (info)" },
		{ NULL },
	};
	struct program p;
	struct pool_server *server = NULL;
	struct err err = { 0 };
	int rc = read_options("pool", table, argc, argv);
	if (rc)
		return rc < 0 ? EXIT_USAGE : 0;
	if (program_init(&p, level, &err) < 0)
		return fail("pool", &err);
	struct pool_server_conf conf = { .host = host, .port = (uint16_t)port, .http = http >= 0,
		.http_port = (uint16_t)(http > 0 ? http : 0), .difficulty = difficulty, .job_s = (uint32_t)job_s,
		.block_s = (uint32_t)block_s, .nbits = (uint32_t)nbits, .height = (uint64_t)height, .seed = seed,
		.share_log = share_log };
	rc = pool_server_new(p.loop, &conf, &server, &err);
	if (rc == 0) {
		log_info("pool", "stratum on port %u, difficulty %g", pool_server_port(server), difficulty);
		if (conf.http)
			log_info("pool", "statistics on http port %u", pool_server_http_port(server));
		program_run(&p);
		pool_server_totals(server, &accepted, &rejected);
		log_info("pool", "ends: %" PRIu64 " shares accepted, %" PRIu64 " refused", accepted, rejected);
	} else {
		fail("pool", &err);
	}
	pool_server_free(server);
	program_release(&p);
	return rc < 0;
}

/* ---- market ---- */

/* A simulated market that runs faster than the clock starts in the past, so that it does not enter the future soon. */
#define SYNTH_AGO_NS (INT64_C(730) * 86400 * 1000000000)

struct market_run {
	struct program program;
	int code;
};

static void on_market_end(void *arg, int code)
{
	struct market_run *run = arg;
	run->code = code;
	loop_stop(run->program.loop);
}

static void run_feed(struct market_run *run, const struct market_feed_conf *conf)
{
	struct market_feed *feed = NULL;
	struct err err = { 0 };
	char at[TIMEFMT_MAX];
	run->code = market_feed_new(run->program.loop, conf, &feed, &err);
	if (run->code < 0) {
		fail("market", &err);
		return;
	}
	log_info("market", "%s from %s, speed %g", conf->replay ? "replay" : "simulated market",
		timefmt_format(at, conf->from_ns), conf->speed);
	program_run(&run->program);
	const struct market_feed_stats *s = market_feed_stats(feed);
	log_info("market", "ends at market time %s: %" PRIu64 " ticks in %" PRIu64 " requests sent, %" PRIu64 " accepted, %"
		PRIu64 " refused, %" PRIu64 " failures", timefmt_format(at, market_feed_now_ns(feed)), s->sent, s->requests,
		s->accepted, s->rejected, s->failed);
	market_feed_free(feed);
}

static int load_source(struct market_feed_conf *conf, const char *data, int64_t to_ns, uint64_t seed,
	const char *location, struct replay *replay, struct synth *synth, struct err *err)
{
	if (!data) {
		int64_t step_s = conf->speed < 1 ? 1 : conf->speed > 300 ? 300 : (int64_t)conf->speed;
		conf->synth = synth;
		return synth_init(synth, seed, conf->from_ns, step_s, location, err);
	}
	replay_init(replay, conf->from_ns, to_ns);
	conf->replay = replay;
	int rc = replay_load_market(replay, data, location, err);
	if (rc == 0)
		log_info("market", "%zu values of %zu series, %zu empty fields passed over", replay->n, replay->n_series,
			replay->skipped);
	return rc;
}

static int run_market(int argc, char **argv)
{
	const char *mesh = "127.0.0.1:8443", *token_file = NULL, *data = NULL, *location = "HB_WEST", *level = "info";
	int64_t from_ns = INT64_MIN, to_ns = INT64_MAX / 4;
	uint64_t seed = 1;
	double speed = 60;
	bool once = false, again = false;
	struct mesh_link_files files = { 0 };
	const struct opt table[] = {
		{ "mesh", OPT_TEXT, &mesh, 0, 0, "HOST:PORT", "hcpd's mesh port (127.0.0.1:8443)" },
		{ "token-file", OPT_TEXT, &token_file, 0, 0, "FILE", "token of machines" },
		TLS_OPTIONS(files),
		{ "data", OPT_TEXT, &data, 0, 0, "DIR", "replay the recorded market in this folder" },
		{ "seed", OPT_U64, &seed, 0, 0, "N", "of the simulated market, where no data is given (1)" },
		{ "from", OPT_TIME, &from_ns, 0, 0, "TIME", "market time at the start (2021-02-10; simulated: now,\n"
			"                            or two years ago if faster than the clock)" },
		{ "to", OPT_TIME, &to_ns, 0, 0, "TIME", "end of the replay (end of the data)" },
		{ "speed", OPT_DOUBLE, &speed, 1e-3, 1e6, "X", "market seconds per second (60)" },
		{ "location", OPT_TEXT, &location, 0, 0, "POINTS", "settlement points, separated by commas (HB_WEST)" },
		{ "once", OPT_SWITCH, &once, 0, 0, NULL, "send the state at --from and end" },
		{ "loop", OPT_SWITCH, &again, 0, 0, NULL, "start over at the end of the replay" },
		{ "log-level", OPT_TEXT, &level, 0, 0, "LEVEL", "debug, info, warn, error (info)" },
		{ NULL },
	};
	char host[HOST_MAX], token[MESH_LINK_TOKEN_MAX];
	struct market_run run = { .code = HCP_EINVAL };
	struct replay replay = { 0 };
	struct synth synth;
	struct err err = { 0 };
	int rc = read_options("market", table, argc, argv);
	if (rc)
		return rc < 0 ? EXIT_USAGE : 0;
	if (from_ns == INT64_MIN)
		from_ns = data ? INT64_C(1612915200) * 1000000000 : clock_wall_ns() - (speed > 1 ? SYNTH_AGO_NS : 0);
	struct market_feed_conf conf = { .host = host, .token = token, .from_ns = from_ns, .speed = speed, .once = once,
		.loop = again, .on_end = on_market_end, .arg = &run };
	if (program_init(&run.program, level, &err) < 0)
		return fail("market", &err);
	if (opts_host_port(mesh, host, sizeof(host), &conf.port, &err) < 0 ||
		mesh_link_token(token_file, token, &err) < 0 || mesh_link_tls(&files, &conf.tls, &err) < 0 ||
		load_source(&conf, data, to_ns, seed, location, &replay, &synth, &err) < 0)
		fail("market", &err);
	else
		run_feed(&run, &conf);
	tls_unref(conf.tls);
	replay_release(&replay);
	program_release(&run.program);
	return run.code < 0;
}

/* ---- fleet ---- */

enum { FLEET_SAY_MS = 60000, FLEET_REPAIR_S = 1800 };

static const char fleet_default[] = "H100:512,A100:256,L40S:128,S21:10000,S19XP:5000";
static const char fleet_small[] = "H100:8,S21:20";

struct fleet_program {
	struct program program;
	struct program_clock clock;
	struct fleet_run *run;
	struct loop_timer say;
	FILE *orders; /* owned; NULL: not wanted */
};

static int64_t fleet_clock(void *arg)
{
	return program_clock_now(&((struct fleet_program *)arg)->clock);
}

static void fleet_say(struct fleet_program *f)
{
	struct fleet_run_totals t;
	fleet_run_totals(f->run, &t);
	log_info("fleet", "%zu devices, %zu of %zu nodes connected, %zu with a lease; %.3f MW, %.1f PH/s; switches %" PRIu64
		" ok, %" PRIu64 " failed; leases lapsed %" PRIu64 "; messages %" PRIu64 " up, %" PRIu64 " down, %" PRIu64
		" dropped",
		t.devices, t.connected, t.nodes, t.leased, (double)t.power_w / 1e6, t.hash_ths / 1e3, t.switches_ok,
		t.switches_failed, t.lapses, t.messages_up, t.messages_down, t.dropped);
}

/* One line a command as it arrives, one as it is carried out: what benches of commands measure by. */
static void on_fleet_order(void *arg, const char *node_id, const Hcp__SwitchCommand *c, const Hcp__SwitchReport *r,
	int64_t now_ns)
{
	struct fleet_program *f = arg;
	fprintf(f->orders, "{\"at_ns\":%" PRId64 ",\"node_id\":\"%s\",\"switch_id\":\"%s\"", now_ns, node_id,
		c ? c->switch_id : r->switch_id);
	if (c)
		fprintf(f->orders, ",\"to\":%d,\"devices\":%zu}\n", c->n_items ? (int)c->items[0]->to : 0, c->n_items);
	else
		fprintf(f->orders, ",\"ok\":%s}\n", r->ok ? "true" : "false");
	fflush(f->orders);
}

static void on_fleet_say(struct loop *loop, void *arg)
{
	struct fleet_program *f = arg;
	fleet_say(f);
	loop_timer_start(&f->say, FLEET_SAY_MS);
}

static int run_fleet_program(struct fleet_program *f, const struct fleet_run_conf *conf, struct err *err)
{
	int rc = fleet_run_new(f->program.loop, conf, &f->run, err);
	if (rc < 0)
		return rc;
	fleet_say(f);
	loop_timer_init(&f->say, f->program.loop, on_fleet_say, f);
	loop_timer_start(&f->say, FLEET_SAY_MS / 12);
	program_run(&f->program);
	fleet_say(f);
	loop_timer_stop(&f->say);
	fleet_run_free(f->run);
	return 0;
}

static int run_fleet(int argc, char **argv)
{
	const char *mesh = "127.0.0.1:8443", *token_file = NULL, *spec = NULL, *orders = NULL, *level = "info";
	char host[HOST_MAX], token[MESH_LINK_TOKEN_MAX];
	bool small = false;
	struct mesh_link_files files = { 0 };
	struct fleet_run_conf conf = { .host = host, .token = token, .facility = "texas-north", .region = "us-tx",
		.seed = 1, .rules.repair_ns = FLEET_REPAIR_S * INT64_C(1000000000), .clock = fleet_clock };
	const struct opt table[] = {
		{ "mesh", OPT_TEXT, &mesh, 0, 0, "HOST:PORT", "hcpd's mesh port (127.0.0.1:8443)" },
		{ "token-file", OPT_TEXT, &token_file, 0, 0, "FILE", "token of machines" },
		TLS_OPTIONS(files),
		{ "spec", OPT_TEXT, &spec, 0, 0, "LIST", "devices by class, as H100:512,S21:10000" },
		{ "small", OPT_SWITCH, &small, 0, 0, NULL, "H100:8,S21:20 instead of 15,896 devices" },
		{ "facility", OPT_TEXT, &conf.facility, 0, 0, "NAME", "where the nodes stand (texas-north)" },
		{ "region", OPT_TEXT, &conf.region, 0, 0, "NAME", "its region (us-tx)" },
		{ "node", OPT_TEXT, &conf.node, 0, 0, "ID", "of the only node (made from facility, class and number)" },
		{ "seed", OPT_U64, &conf.seed, 0, 0, "N", "of noise and faults (1)" },
		{ "fail-rate", OPT_DOUBLE, &conf.rules.fail_rate_h, 0, 1000, "X", "faults per device-hour (0)" },
		{ "lie-rate", OPT_DOUBLE, &conf.rules.lie_rate, 0, 1, "X", "share of orders acknowledged, not followed (0)" },
		{ "orders", OPT_TEXT, &orders, 0, 0, "FILE", "a line there for each switch command and its end" },
		{ "log-level", OPT_TEXT, &level, 0, 0, "LEVEL", "debug, info, warn, error (info)" },
		{ NULL },
	};
	struct fleet_program f = { 0 };
	struct err err = { 0 };
	int rc = read_options("fleet", table, argc, argv);
	if (rc)
		return rc < 0 ? EXIT_USAGE : 0;
	conf.arg = &f;
	program_clock_init(&f.clock);
	if (program_init(&f.program, level, &err) < 0)
		return fail("fleet", &err);
	if (orders) {
		f.orders = fopen(orders, "w");
		conf.on_order = on_fleet_order;
	}
	rc = orders && !f.orders ? err_set(&err, HCP_EIO, "orders", "%.200s cannot be written", orders) : 0;
	if (rc == 0)
		rc = fleet_run_spec(spec ? spec : small ? fleet_small : fleet_default, &conf, &err);
	if (rc == 0)
		rc = opts_host_port(mesh, host, sizeof(host), &conf.port, &err);
	if (rc == 0)
		rc = mesh_link_token(token_file, token, &err);
	if (rc == 0)
		rc = mesh_link_tls(&files, &conf.tls, &err);
	if (rc == 0)
		rc = run_fleet_program(&f, &conf, &err);
	if (rc < 0)
		fail("fleet", &err);
	if (f.orders)
		fclose(f.orders);
	tls_unref(conf.tls);
	program_release(&f.program);
	return rc < 0;
}

/* ---- cloud ---- */

static int run_cloud(int argc, char **argv)
{
	const char *mesh = "127.0.0.1:8443", *token_file = NULL, *level = "info";
	int64_t port = 9000, failing = 0, boot_ms = 0;
	double price = 2.5;
	struct cloud_conf conf = { 0 };
	struct mesh_link_files files = { 0 };
	const struct opt table[] = {
		{ "port", OPT_I64, &port, 0, 65535, "N", "HTTP port on loopback; 0: any free one (9000)" },
		{ "mesh", OPT_TEXT, &mesh, 0, 0, "HOST:PORT", "hcpd's mesh port, which nodes connect to (127.0.0.1:8443)" },
		{ "token-file", OPT_TEXT, &token_file, 0, 0, "FILE", "token of machines, for the nodes" },
		TLS_OPTIONS(files),
		{ "price", OPT_DOUBLE, &price, 0, 10000, "USD", "per device and hour (2.5)" },
		{ "boot-ms", OPT_I64, &boot_ms, 0, 3600000, "MS", "before a started node runs (0)" },
		{ "fail", OPT_I64, &failing, 0, 1000000, "N", "so many calls are answered 500 first (0)" },
		{ "hang", OPT_SWITCH, &conf.hang, 0, 0, NULL, "starts are done and never answered" },
		{ "lie", OPT_SWITCH, &conf.lie, 0, 0, NULL, "nodes are said to run, and nothing runs" },
		{ "log-level", OPT_TEXT, &level, 0, 0, "LEVEL", "debug, info, warn, error (info)" },
		{ NULL },
	};
	struct program p;
	struct cloud *c = NULL;
	struct err err = { 0 };
	int rc = read_options("cloud", table, argc, argv);
	if (rc)
		return rc < 0 ? EXIT_USAGE : 0;
	if (program_init(&p, level, &err) < 0)
		return fail("cloud", &err);
	conf.port = (uint16_t)port;
	conf.mesh = mesh;
	conf.token_file = token_file;
	conf.ca_file = files.ca;
	conf.cert_file = files.cert;
	conf.key_file = files.key;
	conf.usd_device_h = price;
	conf.boot_ms = (uint32_t)boot_ms;
	conf.fail = (uint32_t)failing;
	rc = cloud_new(p.loop, &conf, &c, &err);
	if (rc == 0) {
		log_info("cloud", "provider on http port %u, %g USD per device and hour", cloud_port(c), price);
		program_run(&p);
	} else {
		fail("cloud", &err);
	}
	cloud_free(c);
	program_release(&p);
	return rc < 0;
}

/* ---- demand ---- */

enum { DEMAND_FILE_MAX = 16 << 20 };

static int load_pods(struct demand *d, const char *dir, struct err *err)
{
	char path[1024];
	struct buf text;
	if (file_join(path, sizeof(path), dir, "gpu_cluster_pods_alibaba_2023.csv") < 0)
		return err_set(err, HCP_ERANGE, "data", "the path is too long");
	int rc = file_read(path, DEMAND_FILE_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = demand_load_pods(d, buf_str(&text), err);
	buf_release(&text);
	return rc;
}

static int run_customers(struct program *p, const struct demand_run_conf *conf, struct err *err)
{
	struct demand_run *run;
	int rc = demand_run_new(p->loop, conf, &run, err);
	if (rc < 0)
		return rc;
	log_info("demand", "about %g workloads at once, %.0f s each on average, %zu recorded pods", conf->demand->target,
		conf->demand->mean_s, conf->demand->n_samples);
	program_run(p);
	const struct demand_run_stats *s = demand_run_stats(run);
	log_info("demand", "ends: %" PRIu64 " submitted, %" PRIu64 " refused, %" PRIu64 " failed, %" PRIu64
		" skipped; %" PRId64 " active at the last count", s->submitted, s->refused, s->failed, s->skipped, s->active);
	demand_run_free(run);
	return 0;
}

static int run_demand(int argc, char **argv)
{
	const char *data = NULL, *key_file = NULL, *password_file = NULL, *level = "info";
	char key[MESH_LINK_TOKEN_MAX], password[MESH_LINK_TOKEN_MAX];
	double target = 20, median_s = 120;
	uint64_t seed = 1;
	struct demand demand;
	struct demand_run_conf conf = { .demand = &demand, .url = "http://127.0.0.1:8000",
		.model = "all-MiniLM-L6-v2" };
	const struct opt table[] = {
		{ "url", OPT_TEXT, &conf.url, 0, 0, "URL", "of the platform's REST API (http://127.0.0.1:8000)" },
		{ "api-key-file", OPT_TEXT, &key_file, 0, 0, "FILE", "a customer's API key" },
		{ "email", OPT_TEXT, &conf.email, 0, 0, "ADDRESS", "log in instead, with --password-file" },
		{ "password-file", OPT_TEXT, &password_file, 0, 0, "FILE", "the password" },
		{ "target", OPT_DOUBLE, &target, 0.1, 10000, "N", "workloads at once, about (20)" },
		{ "median-s", OPT_DOUBLE, &median_s, DEMAND_DURATION_MIN_S, 86400, "S", "median duration (120)" },
		{ "model", OPT_TEXT, &conf.model, 0, 0, "NAME", "that the jobs ask for (all-MiniLM-L6-v2)" },
		{ "data", OPT_TEXT, &data, 0, 0, "DIR", "sizes and durations from the recorded pods in this folder" },
		{ "seed", OPT_U64, &seed, 0, 0, "N", "of arrivals (1)" },
		{ "log-level", OPT_TEXT, &level, 0, 0, "LEVEL", "debug, info, warn, error (info)" },
		{ NULL },
	};
	struct program p;
	struct err err = { 0 };
	int rc = read_options("demand", table, argc, argv);
	if (rc)
		return rc < 0 ? EXIT_USAGE : 0;
	if (program_init(&p, level, &err) < 0)
		return fail("demand", &err);
	demand_init(&demand, seed, target, median_s);
	rc = data ? load_pods(&demand, data, &err) : 0;
	if (rc == 0)
		rc = mesh_link_token(key_file, key, &err);
	if (rc == 0)
		rc = mesh_link_token(password_file, password, &err);
	conf.api_key = key_file ? key : NULL;
	conf.password = password_file ? password : NULL;
	if (rc == 0)
		rc = run_customers(&p, &conf, &err);
	if (rc < 0)
		fail("demand", &err);
	demand_release(&demand);
	program_release(&p);
	return rc < 0;
}

static const struct subcommand subcommands[] = {
	{ "cloud", "provider that rents simulated nodes out over HTTP", run_cloud },
	{ "demand", "customers that submit AI workloads over REST", run_demand },
	{ "fleet", "simulated nodes with GPUs and ASICs", run_fleet },
	{ "market", "feed a recorded or simulated market to the optimizer", run_market },
	{ "pool", "Stratum V1 pool that checks every share", run_pool },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
		if (!strcmp(argv[1], subcommands[i].name))
			return subcommands[i].run(argc - 2, argv + 2);
	}
	bool help = argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"));
	FILE *out = help ? stdout : stderr;
	fprintf(out, "usage: hcp-sim COMMAND [options]; hcp-sim COMMAND --help\n");
	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
		fprintf(out, "  %-8s %s\n", subcommands[i].name, subcommands[i].about);
	return help ? 0 : EXIT_USAGE;
}
