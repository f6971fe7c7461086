#include "sim/synth.h"

#include "base/panic.h"
#include "base/str.h"
#include "model/device_class.h"

#define S_NS INT64_C(1000000000)

enum { SETTLE_S = 300, GPU_S = 600 };

static const char source_name[] = "simulator";
/* Classes whose rate is given; the others follow from none. */
static const char *const rated[] = { "H100", "A100", "L40S" };

static void push(struct synth *s, const char *symbol, const char *location, double value)
{
	must(s->n_pending < SYNTH_PENDING_MAX);
	s->pending[s->n_pending++] = (struct sim_tick){ .symbol = symbol, .location = location, .source = source_name,
		.value = value, .observed_at_ns = s->sim.now.now_ns };
}

static void push_power(struct synth *s, double value, int64_t start_ns)
{
	push(s, "electricity_rt", s->location, value);
	s->pending[s->n_pending - 1].interval_start_ns = start_ns;
	s->pending[s->n_pending - 1].interval_s = SETTLE_S;
}

static void push_chain(struct synth *s)
{
	const struct market_sim_state *now = &s->sim.now;
	if (s->height != now->height) {
		s->height = now->height;
		push(s, "block_height", "", (double)now->height);
		push(s, "block_fees_btc", "", now->fees_btc);
	}
	if (s->difficulty != now->difficulty) {
		s->difficulty = now->difficulty;
		push(s, "difficulty", "", now->difficulty);
	}
}

static void push_gpu(struct synth *s)
{
	double h100_list = device_class_find(STR("H100"))->list_usd_h;
	if (s->sim.now.now_ns < s->gpu_at_ns)
		return;
	s->gpu_at_ns = s->sim.now.now_ns + GPU_S * S_NS;
	for (size_t i = 0; i < sizeof(rated) / sizeof(rated[0]); i++) {
		double ratio = device_class_find(str_of(rated[i]))->list_usd_h / h100_list;
		push(s, "gpu_rate", rated[i], s->sim.now.gpu_usd_h * ratio);
	}
}

int synth_init(struct synth *s, uint64_t seed, int64_t start_ns, int64_t step_s, const char *location, struct err *err)
{
	struct market_sim_conf conf;
	if (step_s < 1 || step_s > SETTLE_S)
		return err_set(err, HCP_ERANGE, "step", "must be from 1 to %d seconds", SETTLE_S);
	*s = (struct synth){ .step_ns = step_s * S_NS, .location = location };
	market_sim_conf_default(&conf);
	conf.seed = seed;
	/* On the settlement grid, so that every interval is a whole one. */
	conf.start_ns = start_ns / (SETTLE_S * S_NS) * (SETTLE_S * S_NS);
	return market_sim_init(&s->sim, &conf, err);
}

static bool step(struct synth *s)
{
	struct market_sim *m = &s->sim;
	double ended = m->now.power_usd_mwh;
	int64_t grid_ns = SETTLE_S * S_NS;
	int64_t end_ns = m->now.now_ns / grid_ns * grid_ns + grid_ns;
	int64_t dt_ns = end_ns - m->now.now_ns < s->step_ns ? end_ns - m->now.now_ns : s->step_ns;
	if (market_sim_step(m, dt_ns, NULL) < 0)
		return false;
	if (m->now.now_ns == end_ns)
		push_power(s, ended, end_ns - grid_ns);
	push(s, "btc_usd", "", m->now.btc_usd);
	push_gpu(s);
	push_chain(s);
	return true;
}

bool synth_next(struct synth *s, struct sim_tick *ret)
{
	while (s->next_pending == s->n_pending) {
		s->next_pending = s->n_pending = 0;
		if (s->started) {
			if (!step(s))
				return false;
			continue;
		}
		s->started = true;
		push_power(s, s->sim.now.power_usd_mwh, s->sim.now.now_ns - SETTLE_S * S_NS);
		push(s, "btc_usd", "", s->sim.now.btc_usd);
		push_gpu(s);
		push_chain(s);
	}
	*ret = s->pending[s->next_pending++];
	return true;
}
