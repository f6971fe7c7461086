#include "sim/history_feed.h"

#include <string.h>

#define S_NS INT64_C(1000000000)
#define DAY_S 86400

int history_feed_tick(struct history *h, const struct sim_tick *t, struct err *err)
{
	int64_t step_ns = (t->interval_s ? t->interval_s : DAY_S) * S_NS;
	int64_t start_ns = t->interval_s ? t->interval_start_ns : t->observed_at_ns / (DAY_S * S_NS) * (DAY_S * S_NS);
	for (int k = 0; k < HISTORY_KIND_END; k++)
		if (strcmp(t->symbol, history_kind_name((enum history_kind)k)) == 0)
			return history_add(h, (enum history_kind)k, t->location, start_ns, step_ns, t->value, err);
	return 0;
}

int history_feed_until(struct history *h, struct replay *r, int64_t now_ns, struct err *err)
{
	struct sim_tick t;
	while (replay_peek(r, &t) && t.observed_at_ns <= now_ns) {
		int rc = history_feed_tick(h, &t, err);
		if (rc < 0)
			return rc;
		(void)!replay_next(r, &t);
	}
	return 0;
}
