/* The market of a run: a seeded simulator behind a feed that stops, repeats itself, goes back in time and talks
 * rubbish. */
#include <math.h>

#include "base/mem.h"
#include "base/panic.h"
#include "econ/market_sim.h"
#include "sim.h"

enum { MARKET_EVERY_S = 300, MARKET_BAD_IN = 12, MARKET_STOP_IN = 60 };

struct market_feed {
	struct market_sim sim;
	struct rng rng;
	int64_t stopped_until_ns;
};

static void add(struct msg *m, const char *symbol, const char *location, double value, int64_t at_ns)
{
	Hcp__Ticks *t = (Hcp__Ticks *)m->body;
	Hcp__Tick *k = arena_alloc(&m->arena, sizeof(*k));
	must(k);
	hcp__tick__init(k);
	k->symbol = symbol;
	k->location = location;
	k->value = value;
	k->observed_at_ns = at_ns;
	k->source = "simulator";
	must(pb_push(&m->arena, &t->n_ticks, &t->ticks, k) == 0);
}

static void spoil(struct market_feed *f, struct msg *m)
{
	static const double rubbish[] = { NAN, INFINITY, -1e300, 1e9, -5000, 0 };
	Hcp__Ticks *t = (Hcp__Ticks *)m->body;
	for (size_t i = 0; i < t->n_ticks; i++) {
		switch (rng_below(&f->rng, 6)) {
		case 0:
			t->ticks[i]->value = rubbish[rng_below(&f->rng, sizeof(rubbish) / sizeof(rubbish[0]))];
			break;
		case 1:
			t->ticks[i]->observed_at_ns -= (int64_t)rng_below(&f->rng, 7200) * NS_PER_S;
			break;
		case 2:
			t->ticks[i]->observed_at_ns += (int64_t)rng_below(&f->rng, 7200) * NS_PER_S;
			break;
		case 3:
			t->ticks[i]->symbol = "moon_phase";
			break;
		default:
			break;
		}
	}
}

static void on_tick(struct sim *s, void *arg, uint64_t data)
{
	struct market_feed *f = arg;
	struct err err = { 0 };
	sim_at(s, s->now_ns + MARKET_EVERY_S * NS_PER_S, on_tick, f, 0);
	if (market_sim_step(&f->sim, MARKET_EVERY_S * NS_PER_S, &err) < 0)
		sim_fail(s, "the simulated market fails: %s", err.text);
	if (s->faults && rng_below(&f->rng, MARKET_STOP_IN) == 0) {
		f->stopped_until_ns = s->now_ns + (int64_t)(3600e9 * rng_exp(&f->rng));
		sim_say(s, "the market feed stops for %.0f s", (double)(f->stopped_until_ns - s->now_ns) / 1e9);
	}
	if (s->faults && s->now_ns < f->stopped_until_ns)
		return;
	struct msg *m = msg_new(MSG_TICKS);
	must(m);
	int64_t at = sim_clock_ns(s);
	add(m, "electricity_rt", "HB_WEST", f->sim.now.power_usd_mwh, at);
	add(m, "electricity_rt", "HB_NORTH", f->sim.now.power_usd_mwh + 4, at);
	add(m, "btc_usd", "", f->sim.now.btc_usd, at);
	add(m, "difficulty", "", f->sim.now.difficulty, at);
	add(m, "block_height", "", (double)f->sim.now.height, at);
	add(m, "block_fees_btc", "", f->sim.now.fees_btc, at);
	add(m, "gpu_rate", "H100", f->sim.now.gpu_usd_h, at);
	if (s->faults && rng_below(&f->rng, MARKET_BAD_IN) == 0)
		spoil(f, m);
	sim_post(s, m);
}

void market_start(struct sim *s)
{
	struct market_feed *f = s->market = mem_calloc(1, sizeof(*f));
	struct market_sim_conf c;
	struct err err = { 0 };
	must(f);
	rng_init(&f->rng, s->opts.seed ^ 0x6d6b74);
	market_sim_conf_default(&c);
	c.seed = s->opts.seed;
	c.start_ns = s->now_ns;
	c.spike_per_day = 4; /* a run is short */
	if (market_sim_init(&f->sim, &c, &err) < 0)
		sim_fail(s, "the simulated market cannot start: %s %s", err.field, err.text);
	sim_at(s, s->now_ns, on_tick, f, 0);
}
