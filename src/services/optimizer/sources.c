/* The state of the live feeds' sources: kept as last told, shown with the prices. Nothing is decided by it. */
#include <stdio.h>

#include "services/optimizer/optimizer_priv.h"

enum { TEXT_MAX = 256 };

static int check(const Hcp__MarketSource *s, size_t i, struct err *err)
{
	const char *const texts[] = { s->name, s->kind, s->symbol, s->location, s->state, s->problem };
	char field[40];
	snprintf(field, sizeof(field), "sources[%zu]", i);
	for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++)
		if (strlen(texts[k]) >= TEXT_MAX)
			return err_set(err, HCP_ERANGE, field, "holds a text of more than %d bytes", TEXT_MAX - 1);
	return s->name[0] ? 0 : err_set(err, HCP_EINVAL, field, "has no name");
}

int optimizer_sources_put(struct optimizer *o, const Hcp__Ticks *t, struct err *err)
{
	Hcp__Ticks only = HCP__TICKS__INIT;
	if (t->n_sources > OPTIMIZER_SOURCES_MAX)
		return err_set(err, HCP_ERANGE, "sources", "at most %d", OPTIMIZER_SOURCES_MAX);
	for (size_t i = 0; i < t->n_sources; i++) {
		int rc = check(t->sources[i], i, err);
		if (rc < 0)
			return rc;
	}
	only.sources = t->sources;
	only.n_sources = t->n_sources;
	buf_clear(&o->sources);
	if (pb_pack(&only.base, &o->sources) == 0)
		return 0;
	buf_clear(&o->sources);
	return err_set(err, HCP_ENOMEM, "sources", "no memory for the sources' state");
}

static bool is_of(const Hcp__MarketSource *s, const Hcp__Price *p)
{
	return strcmp(s->symbol, p->symbol) == 0 && strcmp(s->location, p->location) == 0;
}

/* Another one speaks than the first choice, because of its state. */
static int explain(const Hcp__Ticks *t, struct arena *a, Hcp__Price *p)
{
	const Hcp__MarketSource *first = NULL, *speaking = NULL;
	char text[2 * TEXT_MAX];
	for (size_t i = 0; i < t->n_sources; i++) {
		const Hcp__MarketSource *s = t->sources[i];
		if (!is_of(s, p))
			continue;
		if (!first || s->priority < first->priority)
			first = s;
		if (s->speaking)
			speaking = s;
	}
	if (p->fallback[0] || !speaking || speaking == first || speaking->priority == first->priority)
		return 0;
	snprintf(
		text, sizeof(text), "%s is %s%s%s", first->name, first->state, first->problem[0] ? ": " : "", first->problem);
	p->fallback = arena_strdup(a, text);
	return p->fallback ? 0 : HCP_ENOMEM;
}

int optimizer_sources_show(const struct optimizer *o, struct arena *a, Hcp__Prices *reply)
{
	if (!o->sources.n)
		return 0;
	const Hcp__Ticks *t =
		(const Hcp__Ticks *)(const void *)pb_unpack_arena(&hcp__ticks__descriptor, buf_str(&o->sources), a);
	if (!t)
		return HCP_ENOMEM;
	reply->sources = t->sources;
	reply->n_sources = t->n_sources;
	for (size_t i = 0; i < reply->n_prices; i++)
		if (explain(t, a, reply->prices[i]) < 0)
			return HCP_ENOMEM;
	return 0;
}
