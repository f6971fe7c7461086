/* sim_run --seed N --hours H [--runs K]: the platform under virtual time, with everything going wrong. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/panic.h"
#include "net.h"
#include "os/clock.h"
#include "real_prices.h"
#include "services/billing/billing.h"
#include "services/optimizer/optimizer.h"
#include "services/orchestrator/orchestrator.h"
#include "services/resources/resources.h"
#include "services/router/router.h"
#include "services/telemetry/telemetry.h"
#include "sim.h"

static void minute(struct sim *s, void *arg, uint64_t data)
{
	/* The whole is compared each time and it grows: in a long run ever less often. */
	int64_t gone_ns = s->now_ns - s->start_ns, every_ns = gone_ns / 120;
	sim_at(s, s->now_ns + (every_ns > 60 * NS_PER_S ? every_ns : 60 * NS_PER_S), minute, NULL, 0);
	watch_full(s);
}

static void tick(struct sim *s, void *arg, uint64_t data)
{
	sim_at(s, s->now_ns + 300 * NS_PER_S, tick, NULL, 0);
		sim_post(s, msg_new(MSG_TICKS));
}

struct outcome {
	uint64_t digest, events, steps;
};

/* Stand-ins: no machines, but a market for quarrels between orchestrator and router. */
static void cast_stand_ins(struct sim *s)
{
	sim_add(s, &orchestrator_def, NULL);
	sim_add(s, &router_def, NULL);
	sim_add(s, &peer_resources_def, NULL);
	sim_add(s, &peer_optimizer_def, NULL);
	sim_open_all(s);
	peer_start(s);
	sim_at(s, s->now_ns + 5 * NS_PER_S, tick, NULL, 0);
}

/*
 * Less than all of west may draw at once (29,830 W), nor all behind a feeder: plans are cut. North has no budget.
 *
 *	west 21,000 W ─┬─ a 12,500 W ─┬─ a/p1: S21 10,800 W
 *	               │              └─ H100
 *	               └─ b 9,000 W ──── A100, S19XP
 */
static const struct net_fleet small_fleet[] = {
	{ "west-h100", "west", "H100", 4, "a" },
	{ "west-a100", "west", "A100", 4, "b" },
	{ "west-s21", "west", "S21", 4, "a/p1" },
	{ "west-xp", "west", "S19XP", 3, "b" },
	{ "north-h100", "north", "H100", 3, NULL },
	{ "north-s21", "north", "S21", 2, NULL },
};
static const struct net_budget small_budget[] = {
	{ "west", "", 21000 },
	{ "west", "a", 12500 },
	{ "west", "a/p1", 10800 },
	{ "west", "b", 9000 },
};
static const struct resources_budget resources_budgets[] = {
	{ .facility = "west", .budget_w = 21000 },
	{ .facility = "west", .path = "a", .budget_w = 12500 },
	{ .facility = "west", .path = "a/p#", .count = 2, .budget_w = 10800 },
	{ .facility = "west", .path = "b", .budget_w = 9000, .inrush_w = 6500 },
};
/* What the node announces must agree with that. */
static const struct resources_hang resources_hangs[] = { { .facility = "west", .nodes = "west-a#", .path = "b" } };
#define CONF(ms)                                                                                                       \
	{                                                                                                                  \
		.budgets = resources_budgets, .n_budgets = 4, .hangs = resources_hangs, .n_hangs = 1, .report_ms = (ms)        \
	}
static const struct resources_conf resources_conf[] = {
	CONF(0),
	CONF(5 * RESOURCES_REPORT_MS),
	CONF(10 * RESOURCES_REPORT_MS),
	CONF(30 * RESOURCES_REPORT_MS),
};
static const struct site sites[] = { { .name = "west", .point = "HB_WEST", .pue = 1.05, .pool_fee = 0.01 },
	{ .name = "north", .point = "HB_NORTH", .pue = 1.05, .pool_fee = 0.01 } };
/* By seed: policies that look ahead, too, though nobody has taught them. */
static const char *const policies[] = { "threshold", "mpc", "stochastic", "smpc" };

/* By seed the miners of both sites may be driven low and high, too. */
static void settings(const struct sim_opts *opts, struct optimizer_conf *ret)
{
	static const char *const miners[] = { "S21", "S19XP" };
	static struct site driven[2];
	*ret = (struct optimizer_conf){ .site = sites, .n_sites = 2, .policy = policies[opts->seed % 4] };
	if (opts->seed % 8 < 4 && !opts->modes)
		return;
	memcpy(driven, sites, sizeof(driven));
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < 2; k++) {
			struct site_group *g = &driven[i].group[driven[i].n_groups++];
			*g = (struct site_group){ .cls = device_class_find(str_of(miners[k])),
				.count = 8,
				.feeder = -1,
				.mines = true,
				.idle_mode = DEVICE_IDLE,
				.n_modes = 2 };
			memcpy(g->name, miners[k], strlen(miners[k]) + 1);
			for (int p = DEVICE_POWER_LOW; p < DEVICE_POWER_END; p++) {
				struct site_mode *m = &g->mode[p - 1];
				m->power = (enum device_power)p;
				must(device_class_power(g->cls, m->power, &m->watts, &m->ths) == 0);
			}
		}
	ret->site = driven;
}

static const struct billing_conf billing_conf = { .site = sites, .n_sites = 2 };

static void cast_platform(struct sim *s)
{
	const struct fleet_rules rules = { .fail_rate_h = s->opts.calm ? 0 : 0.002, .lie_rate = s->opts.calm ? 0 : 0.01,
					   .repair_ns = 900 * NS_PER_S };
	s->budget = small_budget;
	s->n_budgets = sizeof(small_budget) / sizeof(small_budget[0]);
	sim_add(s, &orchestrator_def, NULL);
	sim_add(s, &router_def, NULL);
	sim_add(s, &resources_def,
		&resources_conf[s->opts.pace >= 30   ? 3
						: s->opts.pace >= 10 ? 2
						: s->opts.pace >= 5  ? 1
											 : 0]);
	static struct optimizer_conf optimizer;
	settings(&s->opts, &optimizer);
	sim_add(s, &optimizer_def, &optimizer);
	sim_add(s, &billing_def, &billing_conf);
	sim_add(s, &telemetry_def, NULL);
	net_start(s, small_fleet, sizeof(small_fleet) / sizeof(small_fleet[0]), &rules);
	people_start(s);
	sim_open_all(s);
	market_start(s);
}

static struct outcome run_once(const struct sim_opts *opts)
{
	struct sim s;
	/* Most platforms at a tenth of the pace or less: more hours, and other coincidences. */
	static const int pace_of[] = { 10, 1, 30, 1, 5, 10, 30, 1 };
	struct sim_opts o = *opts;
	if (!o.pace)
		o.pace = pace_of[o.seed % 8];
	sim_init(&s, &o);
	bool stand_ins = opts->cast == CAST_STAND_INS || (opts->cast == CAST_BY_SEED && opts->seed % 4 == 3);
	s.stand_ins = stand_ins;
	if (stand_ins)
		cast_stand_ins(&s);
	else
		cast_platform(&s);
	load_start(&s);
	post_start(&s);
	if (!opts->calm)
		faults_start(&s);
	sim_at(&s, s.now_ns + 60 * NS_PER_S, minute, NULL, 0);
	sim_run_until(&s, s.start_ns + (int64_t)(opts->hours * 3600e9));
	s.faults = false;
	sim_say(&s, "no more faults");
	net_settle(&s);
	sim_run_until(&s, s.now_ns + 120 * NS_PER_S);
	load_settle(&s);
	peer_settle(&s);
	sim_run_until(&s, s.now_ns + SIM_SETTLE_MIN * 60 * NS_PER_S);
	watch_settled(&s);
	post_check(&s);
	watch_replays(&s);
	load_summary(&s);
	people_summary(&s);
	watch_summary(&s);
	struct outcome out = { s.digest, watch_events(&s), s.steps };
	sim_release(&s);
	return out;
}

static int usage(const char *what)
{
	fprintf(stderr,
		"sim_run: %s\nusage: sim_run [--seed N] [--hours H] [--runs K] [--jobs J] [--twice] [--pace 1|5|10|30] "
		"[--calm] [--modes]"
		" [--keep] [--verbose] "
		"[--trace ID] [--platform | --stand-ins]\n"
		"       sim_run --replay-data DIR [--from TIME] [--to TIME] [--location POINT] [--scale N] [--policy NAME]\n",
		what);
	return 2;
}

static int parse(int argc, char **argv, struct sim_opts *o)
{
	for (int i = 1; i < argc; i++) {
		const char *v = i + 1 < argc ? argv[i + 1] : "";
		int64_t n;
		if (!strcmp(argv[i], "--verbose"))
			o->verbose = true;
		else if (!strcmp(argv[i], "--calm"))
			o->calm = true;
		else if (!strcmp(argv[i], "--modes"))
			o->modes = true;
		else if (!strcmp(argv[i], "--keep"))
			o->keep = true;
		else if (!strcmp(argv[i], "--twice"))
			o->twice = true;
		else if (!strcmp(argv[i], "--replay-data") && *v)
			o->replay_data = argv[++i];
		else if (!strcmp(argv[i], "--policy") && *v)
			o->policy = argv[++i];
		else if (!strcmp(argv[i], "--from") && *v)
			o->from = argv[++i];
		else if (!strcmp(argv[i], "--to") && *v)
			o->to = argv[++i];
		else if (!strcmp(argv[i], "--location") && *v)
			o->location = argv[++i];
		else if (!strcmp(argv[i], "--stand-ins"))
			o->cast = CAST_STAND_INS;
		else if (!strcmp(argv[i], "--platform"))
			o->cast = CAST_PLATFORM;
		else if (!strcmp(argv[i], "--trace") && *v)
			o->trace = argv[++i];
		else if (!strcmp(argv[i], "--seed") && num_parse_u64(str_of(v), &o->seed) == 0)
			i++;
		else if (!strcmp(argv[i], "--hours") && num_parse_double(str_of(v), &o->hours) == 0 && o->hours > 0)
			i++;
		else if (!strcmp(argv[i], "--scale") && num_parse_i64(str_of(v), &n) == 0 && n > 0 && n <= 25) {
			o->scale = (int)n;
			i++;
		} else if (!strcmp(argv[i], "--pace") && num_parse_i64(str_of(v), &n) == 0 &&
				   (n == 1 || n == 5 || n == 10 || n == 30)) {
			o->pace = (int)n;
			i++;
		} else if (!strcmp(argv[i], "--runs") && num_parse_i64(str_of(v), &n) == 0 && n > 0 && n <= 1000000) {
			o->runs = (int)n;
			i++;
		} else if (!strcmp(argv[i], "--jobs") && num_parse_i64(str_of(v), &n) == 0 && n > 0 && n <= SIM_JOBS_MAX) {
			o->jobs = (int)n;
			i++;
		} else {
			return usage(argv[i]);
		}
	}
	return 0;
}

struct totals {
	uint64_t events, steps;
};

/* Every seed whose place among them is k modulo the jobs. */
static int run_share(const struct sim_opts *opts, int k, struct totals *t)
{
	struct sim_opts o = *opts;
	for (int i = k; i < opts->runs; i += opts->jobs) {
		o.seed = opts->seed + (uint64_t)i;
		struct outcome a = run_once(&o);
		if (o.runs == 1 || o.verbose)
			printf("seed %llu: %g h, %llu events, digest %016llx\n", (unsigned long long)o.seed, o.hours,
				(unsigned long long)a.events, (unsigned long long)a.digest);
		t->events += a.events;
		t->steps += a.steps;
		if (!o.twice)
			continue;
		struct outcome b = run_once(&o);
		if (a.digest != b.digest || a.events != b.events) {
			fprintf(stderr, "seed %llu: the second run differs: digest %016llx, then %016llx\n",
				(unsigned long long)o.seed, (unsigned long long)a.digest, (unsigned long long)b.digest);
			return 1;
		}
	}
	return 0;
}

static void start_share(const struct sim_opts *o, int k, int to)
{
	struct totals t = { 0 };
	int rc = run_share(o, k, &t);
	if (rc == 0 && write(to, &t, sizeof(t)) != (ssize_t)sizeof(t))
		rc = 1;
	exit(rc);
}

/* A process for each share: runs know nothing of one another. One that fails ends its share; the others go on. */
static int run_shares(const struct sim_opts *o, struct totals *ret)
{
	int from_to[2], status, rc = 0, shares = 0;
	struct totals t;
	if (pipe(from_to) < 0)
		return 1;
	fflush(stdout);
	for (; shares < o->jobs; shares++) {
		pid_t child = fork();
		if (child == 0)
			start_share(o, shares, from_to[1]);
		if (child < 0)
			break;
	}
	rc = shares < o->jobs;
	for (; shares > 0; shares--) {
		bool good = wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
		if (!good || read(from_to[0], &t, sizeof(t)) != (ssize_t)sizeof(t)) {
			rc = 1;
			continue;
		}
		ret->events += t.events;
		ret->steps += t.steps;
	}
	close(from_to[0]);
	close(from_to[1]);
	return rc;
}

static void log_line(void *arg, const char *line, size_t n)
{
	printf("%.*s%s", (int)n, line, n && line[n - 1] == '\n' ? "" : "\n");
}

static int64_t no_clock(void)
{
	return 0;
}

int main(int argc, char **argv)
{
	struct sim_opts o = { .seed = 1,
		.hours = 24,
		.runs = 1,
		.jobs = 1,
		.from = "2021-02-01",
		.to = "2021-03-01",
		.location = "HB_WEST",
		.scale = 1 };
	int rc = parse(argc, argv, &o);
	if (rc)
		return rc;
	if (o.verbose)
		log_setup(LOG_WARN, log_line, NULL, no_clock);
	int64_t began = clock_mono_ns();
	atexit(people_forget_key);
	if (o.replay_data) {
		rc = real_prices_run(&o);
		if (rc == 0)
			printf("held, in %.1f s\n", (double)(clock_mono_ns() - began) / 1e9);
		return rc;
	}
	struct totals all = { 0 };
	if (o.jobs > 1)
		rc = run_shares(&o, &all);
	else
		rc = run_share(&o, 0, &all);
	if (rc)
		return rc;
	double took = (double)(clock_mono_ns() - began) / 1e9;
	printf("%d runs of %g h held: %llu events, %llu batches in %.1f s, %.0f simulated hours a minute\n", o.runs,
		o.hours, (unsigned long long)all.events, (unsigned long long)all.steps, took,
		o.runs * (o.hours + SIM_SETTLE_MIN / 60.0) * (o.twice ? 2 : 1) * 60 / took);
	return 0;
}
