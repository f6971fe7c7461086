#include "econ/cohorts.h"

#include "base/panic.h"

static int64_t min_ns(const struct site_group *g, enum policy_use use)
{
	return !g ? 0 : use == POLICY_MINE ? g->min_up_ns : use == POLICY_IDLE ? g->min_down_ns : 0;
}

/* One place is freed: the two oldest of those not yet long in their use become one. */
static void merge_oldest(struct cohorts *s)
{
	struct cohort *old[2] = { 0 };
	for (int u = 0; u < POLICY_USE_END && !old[1]; u++) {
		old[0] = NULL;
		for (size_t i = 0; i < s->n; i++) {
			struct cohort *c = &s->c[i];
			if (c->use != (enum policy_use)u || c->since_ns == COHORTS_LONG_AGO_NS)
				continue;
			if (!old[0] || c->since_ns < old[0]->since_ns) {
				old[1] = old[0];
				old[0] = c;
			} else if (!old[1] || c->since_ns < old[1]->since_ns) {
				old[1] = c;
			}
		}
	}
	must(old[0] && old[1]); /* more cohorts than twice the uses: some use has two */
	old[1]->n += old[0]->n;
	*old[0] = s->c[--s->n];
}

void cohorts_add(struct cohorts *s, enum policy_use use, uint32_t n, int64_t since_ns)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->c[i].use == use && s->c[i].since_ns == since_ns) {
			s->c[i].n += n;
			return;
		}
	if (s->n == COHORTS_MAX)
		merge_oldest(s);
	s->c[s->n++] = (struct cohort){ .use = use, .n = n, .since_ns = since_ns };
}

/* Drops empty cohorts and merges those whose age makes no difference any more. */
static void tidy_up(struct cohorts *s, const struct site_group *g, int64_t now_ns)
{
	size_t kept = 0;
	uint32_t old[POLICY_USE_END] = { 0 };
	for (size_t i = 0; i < s->n; i++) {
		const struct cohort *c = &s->c[i];
		int64_t settled_ns = min_ns(g, c->use);
		if (g && c->use == POLICY_MINE && site_start_ns(g) > settled_ns)
			settled_ns = site_start_ns(g);
		/* Even without a start to wait for, the first step of a run is charged its wear. */
		if (cohort_age_ns(c, now_ns) > 0 && cohort_age_ns(c, now_ns) >= settled_ns)
			old[c->use] += c->n;
		else if (c->n)
			s->c[kept++] = *c;
	}
	s->n = kept;
	for (int u = 0; u < POLICY_USE_END; u++)
		if (old[u])
			cohorts_add(s, (enum policy_use)u, old[u], COHORTS_LONG_AGO_NS);
}

void cohorts_count(const struct cohorts *s, uint32_t ret[POLICY_USE_END])
{
	for (int u = 0; u < POLICY_USE_END; u++)
		ret[u] = 0;
	for (size_t i = 0; i < s->n; i++)
		ret[s->c[i].use] += s->c[i].n;
}

void cohorts_held(const struct cohorts *s, const struct site_group *g, int64_t now_ns,
	uint32_t ret_held[POLICY_USE_END], int64_t ret_age_ns[POLICY_USE_END])
{
	for (int u = 0; u < POLICY_USE_END; u++) {
		ret_held[u] = 0;
		ret_age_ns[u] = INT64_MAX;
	}
	for (size_t i = 0; i < s->n; i++) {
		const struct cohort *c = &s->c[i];
		int64_t age = cohort_age_ns(c, now_ns);
		if (age < min_ns(g, c->use))
			ret_held[c->use] += c->n;
		if (age < ret_age_ns[c->use])
			ret_age_ns[c->use] = age;
	}
}

/* Takes n devices out of a use, those in it longest first. */
static void take(struct cohorts *s, enum policy_use use, uint32_t n)
{
	while (n) {
		struct cohort *oldest = NULL;
		for (size_t i = 0; i < s->n; i++)
			if (s->c[i].use == use && s->c[i].n && (!oldest || s->c[i].since_ns < oldest->since_ns))
				oldest = &s->c[i];
		must(oldest != NULL);
		uint32_t k = oldest->n < n ? oldest->n : n;
		oldest->n -= k;
		n -= k;
	}
}

void cohorts_move(struct cohorts *s, const struct site_group *g, int64_t now_ns, const uint32_t to[POLICY_USE_END])
{
	uint32_t now[POLICY_USE_END];
	cohorts_count(s, now);
	uint32_t was = now[0] + now[1] + now[2], is = to[0] + to[1] + to[2], fresh = is > was ? is - was : 0;
	for (int u = 0; u < POLICY_USE_END; u++)
		if (now[u] > to[u])
			take(s, (enum policy_use)u, now[u] - to[u]);
	for (int u = 0; u < POLICY_USE_END; u++) {
		uint32_t more = to[u] > now[u] ? to[u] - now[u] : 0, joined = more < fresh ? more : fresh;
		if (joined)
			cohorts_add(s, (enum policy_use)u, joined, COHORTS_LONG_AGO_NS);
		if (more > joined)
			cohorts_add(s, (enum policy_use)u, more - joined, now_ns);
		fresh -= joined;
	}
	tidy_up(s, g, now_ns);
}

uint32_t cohorts_hold(const uint32_t held[POLICY_USE_END], uint32_t target[POLICY_USE_END])
{
	uint32_t refused = 0;
	for (int u = 0; u < POLICY_USE_END; u++)
		if (target[u] < held[u]) {
			refused += held[u] - target[u];
			target[u] = held[u];
		}
	uint32_t over = refused;
	for (int u = 0; over && u < POLICY_USE_END; u++) {
		uint32_t back = target[u] - held[u] < over ? target[u] - held[u] : over;
		target[u] -= back;
		over -= back;
	}
	return refused;
}
