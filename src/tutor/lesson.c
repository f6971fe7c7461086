#include "tutor/lesson.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "econ/misses.h"
#include "econ/outlook.h"
#include "econ/policy_spike.h"

static int add_series(struct history *h, const Hcp__LessonSeries *s, struct err *err)
{
	size_t n = s->slots.len / sizeof(double);
	if (s->slots.len % sizeof(double) || s->kind < 0 || s->kind >= HISTORY_KIND_END || s->step_ns <= 0 ||
		n > HISTORY_SLOTS_MAX)
		return err_set(err, HCP_ECORRUPT, "series", "of %.40s does not hold together", s->location);
	for (size_t i = 0; i < n; i++) {
		double v;
		memcpy(&v, s->slots.data + i * sizeof(v), sizeof(v));
		if (isnan(v))
			continue;
		int rc = history_add(
			h, (enum history_kind)s->kind, s->location, s->first_ns + (int64_t)i * s->step_ns, s->step_ns, v, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int train_forecast(
	const Hcp__Lesson *l, const struct history *h, const struct forecast_stop *stop, struct buf *out, struct err *err)
{
	struct outlook *o = mem_calloc(1, sizeof(*o));
	if (!o)
		return err_set(err, HCP_ENOMEM, "", "no memory for a forecast");
	int rc = outlook_init(o, l->name, err);
	rc = rc ? rc : outlook_train(o, h, l->now_ns, stop, err);
	rc = rc ? rc : outlook_save(o, out, err);
	outlook_release(o);
	mem_free(o);
	return rc;
}

static int train_price(
	const Hcp__Lesson *l, const struct history *h, const struct forecast_stop *stop, struct buf *out, struct err *err)
{
	struct spike_model m = { 0 };
	int rc = spike_train(&m, h, l->name, l->now_ns, stop, err);
	rc = rc ? rc : spike_save(&m, out, err);
	spike_release(&m);
	return rc;
}

static int look_back(
	const Hcp__Lesson *l, const struct history *h, const struct forecast_stop *stop, struct buf *out, struct err *err)
{
	struct misses m = { 0 };
	int rc = misses_learn(&m, h, l->name, l->now_ns, stop, err);
	rc = rc ? rc : misses_save(&m, out, err);
	misses_release(&m);
	return rc;
}

static const struct {
	const char *kind;
	int (*train)(const Hcp__Lesson *l, const struct history *h, const struct forecast_stop *stop, struct buf *out,
		struct err *err);
} lessons[] = { { "forecast", train_forecast }, { "price", train_price }, { "misses", look_back } };
enum { LESSONS = sizeof(lessons) / sizeof(lessons[0]) };

int lesson_give(const Hcp__Lesson *l, struct str body, const char *source, struct msg *ret, struct err *err)
{
	Hcp__ModelPut *p = (Hcp__ModelPut *)ret->body;
	p->kind = arena_strdup(&ret->arena, l->kind);
	p->name = arena_strdup(&ret->arena, l->name);
	p->source = arena_strdup(&ret->arena, source);
	p->trained = l->train;
	p->body.data = arena_alloc(&ret->arena, body.n + 1);
	p->body.len = body.n;
	if (!p->kind || !p->name || !p->source || !p->body.data)
		return err_set(err, HCP_ENOMEM, "", "no memory for a model of %zu bytes", body.n);
	memcpy(p->body.data, body.p, body.n);
	return 0;
}

int lesson_train(const Hcp__Lesson *l, const struct forecast_stop *stop, struct msg *ret, struct err *err)
{
	struct history h;
	struct buf out;
	int rc = 0;
	size_t k = 0;
	while (k < LESSONS && strcmp(lessons[k].kind, l->kind) != 0)
		k++;
	if (!l->train || k == LESSONS)
		return err_set(err, HCP_EINVAL, "kind", "%.20s is not trained", l->kind);
	history_init(&h);
	buf_init(&out, OUTLOOK_BYTES_MAX);
	for (size_t i = 0; i < l->n_series && rc == 0; i++)
		rc = add_series(&h, l->series[i], err);
	if (rc == 0)
		rc = lessons[k].train(l, &h, stop, &out, err);
	if (rc == 0)
		rc = lesson_give(l, buf_str(&out), "", ret, err);
	buf_release(&out);
	history_release(&h);
	return rc;
}
