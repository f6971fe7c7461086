/* Any JSON over HTTP: the settings say where the value lies and in which unit it is. */
#include <stdio.h>

#include "base/money.h"
#include "feed/field.h"
#include "feed/jpath.h"
#include "feed/kind.h"

#define MINUTE_MS 60000

static int json_check(struct feed_source_conf *c, struct err *err)
{
	int rc = jpath_check(c->path, err);
	if (rc == 0 && jpath_check(c->time_path, err) < 0)
		rc = err_set(err, HCP_EINVAL, "time_path", "is not a path");
	if (rc == 0 && c->header[0] && !c->credentials[0])
		rc = err_set(err, HCP_EINVAL, "header", "without credentials, whose `value` it would carry");
	if (rc == 0 && c->interval_s && !c->time_path[0])
		rc = err_set(err, HCP_EINVAL, "interval", "without time_path, where the interval's start stands");
	for (const char *p = c->header; rc == 0 && *p; p++)
		if (!((*p | 32) >= 'a' && (*p | 32) <= 'z') && !(*p >= '0' && *p <= '9') && *p != '-')
			rc = err_set(err, HCP_EINVAL, "header", "must be a header's name");
	/* Every interval is a value of its own; of an instant there can be only one. */
	c->pick = c->pick || c->interval_s ? c->pick : FEED_PICK_FIRST;
	return rc;
}

static int json_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	r->method = "GET";
	int rc = str_copy(r->url, sizeof(r->url), str_of(t->conf->url));
	if (rc < 0 || !t->conf->header[0])
		return rc;
	const char *value = feed_creds_get(t->creds, "value");
	if (!value)
		return err_set(err, HCP_EAUTH, "credentials", "there is no line `value = …` in the file");
	return feed_request_header(r, t->conf->header, err, "%s", value);
}

struct values {
	const struct feed_turn *turn;
	struct feed_answer *out;
	size_t first, n; /* of out that this answer gave; n: times read */
	struct err *err;
};

static int take_value(void *arg, const json_t *v)
{
	struct values *w = arg;
	double d;
	int rc = feed_number(v, w->turn->conf->path, &d, w->err);
	return rc < 0 ? rc
				  : feed_answer_add(
						w->out, (struct feed_reading){ .value = d, .observed_at_ns = w->turn->now_ns }, w->err);
}

static void set_time(const struct values *w, size_t i, int64_t at_ns)
{
	struct feed_reading *r = &w->out->reading[i];
	int32_t interval_s = w->turn->conf->interval_s;
	r->observed_at_ns = at_ns + interval_s * NS_PER_S;
	if (!interval_s)
		return;
	r->start_ns = at_ns;
	r->interval_s = interval_s;
	/* Prices of hours to come are known now. */
	if (r->observed_at_ns > w->turn->now_ns)
		r->observed_at_ns = w->turn->now_ns;
}

static int take_time(void *arg, const json_t *v)
{
	struct values *w = arg;
	int64_t at_ns;
	int rc = feed_time(v, w->turn->conf->time_path, &at_ns, w->err);
	if (rc < 0)
		return rc;
	if (w->first + w->n >= w->out->n)
		return err_set(w->err, HCP_EINVAL, "time_path", "names more times than there are values");
	set_time(w, w->first + w->n, at_ns);
	w->n++;
	return 0;
}

static int json_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	struct values w = { .turn = t, .out = ret, .first = ret->n, .err = err };
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = jpath_each(doc, t->conf->path, take_value, &w, err);
	if (rc == 0)
		rc = err_set(err, HCP_EINVAL, "path", "%.120s names nothing in the answer", t->conf->path);
	if (rc > 0 && t->conf->time_path[0])
		rc = jpath_each(doc, t->conf->time_path, take_time, &w, err);
	if (rc >= 0 && t->conf->time_path[0] && w.n != ret->n - w.first) {
		/* One time for all values is the time of each. */
		if (w.n != 1 || t->conf->interval_s)
			rc = err_set(err, HCP_EINVAL, "time_path", "names %zu times for %zu values", w.n, ret->n - w.first);
		for (size_t i = w.first + 1; rc >= 0 && i < ret->n; i++)
			ret->reading[i].observed_at_ns = ret->reading[w.first].observed_at_ns;
	}
	json_decref(doc);
	return rc < 0 ? rc : 0;
}

const struct feed_kind feed_json_any = {
	.name = "json",
	.symbols = "*",
	.url = NULL,
	.takes = "!path time_path pick interval header credentials",
	.traits = FEED_INSTANT | FEED_PICKS,
	.every_ms = MINUTE_MS,
	.stale_ms = 10 * MINUTE_MS,
	.check = json_check,
	.request = json_request,
	.answer = json_answer,
	.about = "a number at a path of any JSON document",
};
