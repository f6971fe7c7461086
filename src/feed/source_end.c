/* How a round ends: what it brought goes to its quantity, the source's state is set, the next round is planned. */
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "feed/feeds_priv.h"
#include "os/clock.h"

static const char component[] = "market";

void source_release_creds(struct source *s)
{
	mem_free_secret(s->creds, sizeof(*s->creds));
	s->creds = NULL;
	s->turn.creds = NULL;
	s->turn.token = NULL;
}

void source_failed(struct source *s, int code, int64_t retry_after_ms, bool limited, const char *why)
{
	struct feeds *f = s->feeds;
	enum source_state state = limited ? SOURCE_LIMITED : SOURCE_FAILING;
	source_release_creds(s);
	if (atomic_load(&f->stopping))
		return;
	int64_t wait_ms = feed_retry_failed(&s->retry, loop_now_ns(f->loop), retry_after_ms, limited, &f->rng);
	s->failures++;
	/* Once a kind of trouble: a source that is down for a day is one line, not thousands. */
	if (s->state != state)
		log_warn(
			component, "%s: %s (%s); next try in %.1f s", s->conf->name, why, err_name(code), (double)wait_ms / 1e3);
	s->state = state;
	if (why != s->problem)
		snprintf(s->problem, sizeof(s->problem), "%.159s", why);
	loop_timer_start(&s->timer, (uint64_t)wait_ms);
	feeds_pump(f, s->quantity);
}

static void ended_well(struct source *s)
{
	if (s->state == SOURCE_FAILING || s->state == SOURCE_LIMITED)
		log_info(component, "%s: answers again", s->conf->name);
	s->state = SOURCE_OK;
	s->problem[0] = 0;
	source_release_creds(s);
	if (s->conf->kind->traits & FEED_LIVE)
		return;
	int64_t wait_ms = feed_retry_ok(&s->retry, loop_now_ns(s->feeds->loop));
	/* From start to start, so that the schedule does not drift by the time the answers take. */
	int64_t took_ms = (clock_wall_ns() - s->turn.now_ns) / 1000000;
	if (took_ms > 0 && took_ms < wait_ms)
		wait_ms -= took_ms;
	loop_timer_start(&s->timer, (uint64_t)wait_ms);
}

void source_took(struct source *s, const struct feed_reading *r, size_t n)
{
	struct err err = { 0 };
	char why[160];
	size_t good = 0;
	if (n == 0) {
		source_failed(s, HCP_ENOTFOUND, -1, false, "the answer holds no value of what was asked for");
		return;
	}
	int rc = feed_quantity_offer(s->member, r, n, clock_wall_ns(), &good, &err);
	snprintf(why, sizeof(why), "%.40s: %.110s", err.field, err.text);
	if (good == 0 && rc != HCP_EAGAIN && !(s->conf->kind->traits & FEED_LIVE)) {
		source_failed(s, rc, -1, false, why);
		return;
	}
	if (good)
		ended_well(s);
	else if (!(s->conf->kind->traits & FEED_LIVE))
		loop_timer_start(&s->timer, (uint64_t)feed_retry_ok(&s->retry, loop_now_ns(s->feeds->loop)));
	if (rc < 0) {
		if (strcmp(s->problem, why) != 0)
			log_warn(component, "%s: refused: %s", s->conf->name, why);
		snprintf(s->problem, sizeof(s->problem), "%s", why);
		source_release_creds(s);
	}
	feeds_pump(s->feeds, s->quantity);
}

void source_unchanged(struct source *s)
{
	if (s->conf->kind->traits & FEED_INSTANT && !s->conf->time_path[0])
		feed_quantity_confirm(s->member, s->turn.now_ns);
	ended_well(s);
	feeds_pump(s->feeds, s->quantity);
}
