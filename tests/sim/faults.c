/* What goes wrong: commits that fail, crashes, power cuts, slow services, clocks that jump. */
#include "net.h"

enum {
	FAULT_COMMIT_IN = 4000, /* one of so many commits fails */
	FAULT_CRASH_IN = 6000,  /* one of so many commits is the last thing its service does */
	FAULT_CUT_IN = 300,     /* power fails after one of so many batches that published */
	FAULT_DOWN_MAX_S = 90,
	FAULT_SLOW_MAX_S = 45,
	FAULT_CLOCK_MAX_S = 300,
};

int faults_before_commit(void *slot)
{
	struct sim *s = ((struct slot *)slot)->sim;
	if (!s->faults || rng_below(&s->rng, FAULT_COMMIT_IN))
		return 0;
	return rng_below(&s->rng, 2) ? HCP_EIO : HCP_ENOSPC;
}

int faults_after_commit(void *slot)
{
	struct sim *s = ((struct slot *)slot)->sim;
	return s->faults && rng_below(&s->rng, FAULT_CRASH_IN) == 0;
}

void faults_after_step(struct sim *s)
{
	uint64_t end = bus_end(s->bus);
	bool wrote = end != s->bus_end_seen;
	s->bus_end_seen = end;
	if (s->faults && wrote && rng_below(&s->rng, FAULT_CUT_IN) == 0)
		sim_power_cut(s, true);
}

static int64_t below_s(struct sim *s, uint64_t max)
{
	return (int64_t)rng_below(&s->rng, max * 1000) * NS_PER_MS;
}

static void slow(struct sim *s, int id)
{
	int64_t until = s->now_ns + below_s(s, FAULT_SLOW_MAX_S);
	if (!s->slot[id].def)
		return;
	sim_say(s, "%s does nothing for %.1f s", svc_table[id].name, (double)(until - s->now_ns) / 1e9);
	s->slot[id].not_before_ns = until;
}

/* Minutes either way; it may not go back before the run's start. */
static void jump_clock(struct sim *s)
{
	int64_t by = below_s(s, 2 * FAULT_CLOCK_MAX_S) - FAULT_CLOCK_MAX_S * NS_PER_S;
	if (s->clock_off_ns + by > 3600 * NS_PER_S || s->clock_off_ns + by < -3600 * NS_PER_S)
		by = -by;
	s->clock_off_ns += by;
	sim_say(s, "the clock jumps by %.1f s", (double)by / 1e9);
	sim_nudge(s);
}

static void strike(struct sim *s, void *arg, uint64_t data)
{
	sim_at(s, s->now_ns + (int64_t)(600e9 * rng_exp(&s->rng)), strike, NULL, 0);
	if (!s->faults)
		return;
	int id = (int)rng_below(&s->rng, SVC_COUNT);
	switch (rng_below(&s->rng, 8)) {
	case 0:
	case 1:
	case 2:
		sim_crash(s, id, below_s(s, FAULT_DOWN_MAX_S));
		break;
	case 3:
	case 4:
		slow(s, id);
		break;
	case 5:
		jump_clock(s);
		break;
	case 6:
		sim_power_cut(s, false);
		break;
	default:
		sim_power_cut(s, true);
		break;
	}
}

void faults_start(struct sim *s)
{
	s->faults = true;
	sim_at(s, s->now_ns + 60 * NS_PER_S, strike, NULL, 0);
	if (s->net)
		net_faults(s);
}
