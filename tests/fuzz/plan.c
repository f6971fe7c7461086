/*
 * A plan's problem of any bytes: refused by the name of a field, found impossible with what conflicts, or solved within
 * every limit and finite throughout. What bytes say goes in unchecked: NAN, infinities, counts that do not add up.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "econ/plan.h"

enum { STEPS = 6 };

struct source {
	const uint8_t *p;
	size_t n;
};

static uint8_t byte(struct source *s)
{
	if (s->n == 0)
		return 0;
	s->n--;
	return *s->p++;
}

/* Mostly sensible figures of one byte; after 0xff whatever double the next eight bytes are. */
static double real(struct source *s, double scale)
{
	uint8_t b = byte(s), raw[8];
	double v;
	if (b != 0xff)
		return b * scale;
	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = byte(s);
	memcpy(&v, raw, sizeof(v));
	return v;
}

static void fill_class(struct source *s, struct plan_class *c, double most[STEPS])
{
	c->name = "c";
	c->count = byte(s);
	c->n_modes = 1 + byte(s) % 3;
	c->off_w = real(s, 1);
	c->restart_usd = real(s, 0.001);
	c->restart_s = real(s, 5);
	c->restart_w = real(s, 10);
	c->ramp = byte(s) % 8;
	c->min_up = byte(s) % 5;
	c->min_down = byte(s) % 5;
	c->keep_on[0] = byte(s) % 4;
	c->keep_off[0] = byte(s) % 4;
	c->feeder = (int)(byte(s) % 3) - 1;
	for (size_t m = 0; m < c->n_modes; m++) {
		c->mode[m].watts = real(s, 20);
		c->mode[m].revenue_usd_h = real(s, 0.002);
		c->mode[m].wear_usd_h = real(s, 0.0001);
		c->mode[m].enter_usd = real(s, 0.001);
		c->mode[m].sheds = byte(s) & 1;
		c->now[m] = byte(s) % 8;
		if (byte(s) & 1)
			c->mode[m].most = most;
	}
}

static void fill(struct source *s, struct plan_problem *p, double row[5][STEPS])
{
	for (size_t i = 0; i < 5; i++)
		for (size_t t = 0; t < STEPS; t++)
			row[i][t] = real(s, 1);
	p->steps = STEPS;
	p->step_s = 900;
	p->price_usd_mwh = row[0];
	p->pue = real(s, 0.01);
	p->site_limit_w = byte(s) & 1 ? INFINITY : real(s, 2000);
	p->base_w = real(s, 10);
	p->n_feeders = byte(s) % 3;
	for (size_t f = 0; f < p->n_feeders; f++)
		p->feeder_limit_w[f] = real(s, 1000);
	p->n_classes = byte(s) % 4;
	for (size_t k = 0; k < p->n_classes; k++)
		fill_class(s, &p->cls[k], row[1]);
	p->n_contracts = byte(s) % 3;
	for (size_t j = 0; j < p->n_contracts; j++)
		p->contract[j] = (struct plan_contract){ "w", byte(s) % 4, byte(s) % 3, row[2], real(s, 0.01), real(s, 0.01),
			byte(s) & 1 };
	p->n_batches = byte(s) % 2;
	for (size_t j = 0; j < p->n_batches; j++)
		p->batch[j] = (struct plan_batch){ "b", byte(s) % 4, byte(s) % 3, real(s, 1), byte(s) % STEPS,
			byte(s) % (STEPS + 2), real(s, 0.01), real(s, 0.01), byte(s) & 1 };
	p->n_grids = byte(s) % 2;
	for (size_t j = 0; j < p->n_grids; j++)
		p->grid[j] = (struct plan_grid){ "g", byte(s) % STEPS, byte(s) % (STEPS + 2), real(s, 10), real(s, 5),
			real(s, 0.001), real(s, 0.001), byte(s) & 1 };
	p->n_offers = byte(s) % 2;
	for (size_t j = 0; j < p->n_offers; j++)
		p->offer[j] = (struct plan_offer){ "o", row[3 + j], real(s, 0.01) };
}

static void judge(const struct plan_problem *p, const struct plan *r)
{
	uint32_t whole[PLAN_CLASSES_MAX][PLAN_MODES_MAX];
	if (!isfinite(r->money.total))
		abort();
	for (size_t t = 0; t < p->steps; t++) {
		if (!isfinite(r->load_w[t]) || r->load_w[t] > p->site_limit_w + 1e-3 * (1 + fabs(p->site_limit_w)))
			abort();
		plan_round(p, r, t, whole);
		for (size_t k = 0; k < p->n_classes; k++) {
			uint64_t sum = 0;
			for (size_t m = 0; m < p->cls[k].n_modes; m++)
				sum += whole[k][m];
			if (sum > p->cls[k].count)
				abort();
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static double row[5][STEPS];
	static struct plan_problem p;
	struct source s = { bytes, n };
	struct plan_solver *solver;
	struct plan r;
	struct err err = { 0 };
	memset(&p, 0, sizeof(p));
	fill(&s, &p, row);
	if (plan_solver_new(&(struct plan_conf){ .iterations_max = 5000 }, &solver, NULL) < 0)
		return 0;
	int rc = plan_solve(solver, &p, &r, &err);
	if (rc == 0) {
		judge(&p, &r);
		plan_release(&r);
	} else if (err.code != rc || !err.text[0]) {
		abort();
	}
	plan_solver_free(solver);
	return 0;
}
