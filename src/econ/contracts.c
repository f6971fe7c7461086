#include "econ/contracts.h"

#include <math.h>

#include "base/mem.h"

static double spot_usd(const struct contracts_market *m, const double *path)
{
	double sum = 0;
	for (size_t d = 0; d < m->term; d++)
		sum += path[CONTRACTS_SPOT * m->term + d];
	return sum;
}

static double contract_usd(const struct contracts_market *m, const double *path, const struct contracts_length *c)
{
	double sum = 0;
	for (size_t d = 0; d < m->term; d++)
		sum += 24 * path[CONTRACTS_RATE * m->term + d - d % c->days] * (1 - c->discount) -
			   path[CONTRACTS_COST * m->term + d];
	return sum;
}

/* profit: [asset][case] */
static int draw(const struct contracts_market *m, double *path, double *profit, struct err *err)
{
	const struct risk_terms t = {
		.series = m->n * CONTRACTS_SERIES, .days = m->days, .term = m->term, .block = m->block, .cases = m->cases
	};
	size_t choices = 1 + m->n_lengths;
	struct rng rng;
	rng_init(&rng, m->seed);
	int rc = risk_terms(&t, m->day, &rng, path, err);
	for (size_t i = 0; i < m->cases && rc == 0; i++) {
		for (size_t p = 0; p < m->n; p++) {
			const double *one = path + (i * m->n + p) * CONTRACTS_SERIES * m->term;
			double *to = profit + p * choices * m->cases + i;
			to[0] = spot_usd(m, one);
			for (size_t c = 0; c < m->n_lengths; c++)
				to[(c + 1) * m->cases] = contract_usd(m, one, &m->length[c]);
		}
	}
	return rc;
}

static int weigh(const struct contracts_market *m, const double *profit, struct contracts *ret, struct err *err)
{
	size_t choices = 1 + m->n_lengths;
	struct portfolio_problem *p = mem_calloc(1, sizeof(*p));
	if (!p)
		return err_set(err, HCP_ENOMEM, "", "no memory for the problem");
	p->n_facilities = m->n;
	p->cases = m->cases;
	p->aversion = m->aversion;
	p->level = RISK_LEVEL;
	for (size_t f = 0; f < m->n; f++) {
		p->units[f] = m->pool[f].units;
		for (size_t c = 0; c < choices; c++)
			p->asset[p->n_assets++] = (struct portfolio_asset){ m->pool[f].name, f, c ? INFINITY : m->pool[f].spot_most,
				profit + (f * choices + c) * m->cases };
	}
	int rc = portfolio_solve(p, &ret->best, err);
	for (size_t a = 0; a < p->n_assets && rc == 0; a++) {
		ret->mean_usd[a] = 0;
		for (size_t i = 0; i < m->cases; i++)
			ret->mean_usd[a] += p->asset[a].profit_usd[i] / (double)m->cases;
	}
	mem_free(p);
	return rc;
}

static int check(const struct contracts_market *m, struct err *err)
{
	if (m->n < 1 || m->n > CONTRACTS_POOLS_MAX)
		return err_set(err, HCP_EINVAL, "pools", "must be 1 to %d", CONTRACTS_POOLS_MAX);
	if (m->n_lengths > CONTRACTS_LENGTHS_MAX)
		return err_set(err, HCP_EINVAL, "lengths", "at most %d", CONTRACTS_LENGTHS_MAX);
	if (m->cases < 1 || m->cases > PORTFOLIO_CASES_MAX || m->term < 1 || m->term > RISK_STEPS_MAX)
		return err_set(err, HCP_ERANGE, "term", "must be 1 to %d days, of 1 to %d cases", RISK_STEPS_MAX,
			PORTFOLIO_CASES_MAX);
	for (size_t i = 0; i < m->n_lengths; i++)
		if (m->length[i].days < 1 || !(m->length[i].discount >= 0 && m->length[i].discount < 1))
			return err_set(err, HCP_ERANGE, "lengths", "need a day or more, and a discount of 0 and below 1");
	return 0;
}

int contracts_solve(const struct contracts_market *m, struct contracts *ret, struct err *err)
{
	int rc = check(m, err);
	if (rc < 0)
		return rc;
	double *path = mem_calloc(m->cases * m->n * CONTRACTS_SERIES, m->term * sizeof(*path));
	double *profit = mem_calloc(m->n * (1 + m->n_lengths), m->cases * sizeof(*profit));
	rc = path && profit ? draw(m, path, profit, err) :
						  err_set(err, HCP_ENOMEM, "", "no memory for %zu worlds of %zu days", m->cases, m->term);
	rc = rc ? rc : weigh(m, profit, ret, err);
	mem_free(path);
	mem_free(profit);
	return rc;
}
