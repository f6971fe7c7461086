/*
 * Feeders and PDUs that lose their power. Two of three die for real: the agents below are dead until power is back. One
 * of three is a false alarm: the machines run on, and the platform must switch them off. Either way an operator says so
 * some seconds later, and says it again until he is heard; and likewise when it is over.
 */
#include "base/panic.h"
#include "net.h"

enum {
	FEEDER_TRIP_S = 1500, /* mean time between two trips */
	FEEDER_OUT_S = 240,   /* mean time without power */
	FEEDER_TOLD_S = 20,   /* until somebody says so, at most */
	FEEDER_AGAIN_S = 5,   /* he was not heard */
	FEEDER_DEAD_OF = 3,
};

static void say(struct sim *s, void *arg, uint64_t level);

/* Done already counts as heard: the answer to the first time was lost. */
static void on_answer(void *arg, struct msg *m)
{
	struct net_level *l = arg;
	const Hcp__Problem *p = m->type == MSG_PROBLEM ? (const Hcp__Problem *)m->body : NULL;
	bool heard = !p || !strcmp(p->code, "already_exists") || !strcmp(p->code, "wrong_state");
	if (heard)
		l->told = l->saying;
	else
		sim_at(l->sim, l->sim->now_ns + FEEDER_AGAIN_S * NS_PER_S, say, NULL, (uint64_t)(l - l->sim->net->level));
	msg_free(m);
}

/* What he says last is how it is now. */
static void say(struct sim *s, void *arg, uint64_t level)
{
	struct net_level *l = &s->net->level[level];
	const struct net_budget *b = &s->budget[level];
	if (l->told == l->out)
		return;
	struct msg *m = msg_new(l->out ? MSG_POWER_TRIP : MSG_POWER_RESTORE);
	must(m);
	if (l->out) {
		Hcp__PowerTrip *q = (Hcp__PowerTrip *)m->body;
		q->facility = arena_strdup(&m->arena, b->facility);
		q->path = arena_strdup(&m->arena, b->path);
		q->reason = "breaker open";
	} else {
		Hcp__PowerRestore *q = (Hcp__PowerRestore *)m->body;
		q->facility = arena_strdup(&m->arena, b->facility);
		q->path = arena_strdup(&m->arena, b->path);
	}
	l->saying = l->out;
	m->reply_fn = on_answer;
	m->reply_arg = l;
	sim_post(s, m);
}

static void told_soon(struct sim *s, uint64_t level)
{
	sim_at(s, s->now_ns + (int64_t)rng_below(&s->net->rng, FEEDER_TOLD_S * 1000) * NS_PER_MS, say, NULL, level);
}

static void back(struct sim *s, void *arg, uint64_t level)
{
	struct net_level *l = &s->net->level[level];
	if (!l->out)
		return;
	sim_say(s, "%s of %s has power again", s->budget[level].path, s->budget[level].facility);
	l->out = l->dark = false;
	told_soon(s, level);
}

static void trip(struct sim *s, void *arg, uint64_t data)
{
	struct net *net = s->net;
	sim_at(s, s->now_ns + (int64_t)(FEEDER_TRIP_S * 1e9 * rng_exp(&net->rng)), trip, NULL, 0);
	uint64_t level = rng_below(&net->rng, s->n_budgets);
	struct net_level *l = &net->level[level];
	if (!s->faults || !s->budget[level].path[0] || l->out || l->told)
		return;
	l->out = true;
	l->dark = rng_below(&net->rng, FEEDER_DEAD_OF) > 0;
	net->trips++;
	sim_say(s, "%s of %s %s", s->budget[level].path, s->budget[level].facility,
		l->dark ? "loses its power" : "is said to have lost its power");
	if (l->dark)
		net_go_dark(s, level);
	told_soon(s, level);
	sim_at(s, s->now_ns + (int64_t)(FEEDER_OUT_S * 1e9 * rng_exp(&net->rng)), back, NULL, level);
}

void feeders_faults(struct sim *s)
{
	must(s->n_budgets <= NET_LEVELS_MAX);
	for (size_t i = 0; i < s->n_budgets; i++)
		s->net->level[i].sim = s;
	if (s->n_budgets > 1)
		sim_at(s, s->now_ns + 300 * NS_PER_S, trip, NULL, 0);
}

void feeders_settle(struct sim *s)
{
	for (size_t i = 0; s->net && i < s->n_budgets; i++)
		back(s, NULL, i);
}
