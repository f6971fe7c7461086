#include "model/site.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/money.h"
#include "base/timefmt.h"

#define DAY_NS (INT64_C(86400) * NS_PER_S)

static int range(double v, double min, double max, const char *field, struct err *err)
{
	if (!isfinite(v))
		return err_set(err, HCP_EINVAL, field, "must be a finite number");
	if (v < min || v > max)
		return err_set(err, HCP_ERANGE, field, "must be from %g to %g, is %g", min, max, v);
	return 0;
}

static int hold(int64_t ns, const char *field, struct err *err)
{
	if (ns < 0 || ns > SITE_HOLD_MAX_S * NS_PER_S)
		return err_set(err, HCP_ERANGE, field, "must be from 0 to %d seconds", SITE_HOLD_MAX_S);
	return 0;
}

static int check_serving(const struct site_group *g, struct err *err)
{
	int rc;
	if ((rc = range(g->contract_share, 0, 1, "serve.contract_share", err)) < 0 ||
		(rc = range(g->spot_share, 0, 1, "serve.spot_share", err)) < 0 ||
		(rc = range(g->contract_usd_h, 0, 1e4, "serve.contract_usd_h", err)) < 0 ||
		(rc = range(g->miss_usd_h, 0, 1e5, "serve.miss_usd_h", err)) < 0)
		return rc;
	if (g->contract_share + g->spot_share > 1)
		return err_set(err, HCP_ERANGE, "serve.spot_share", "contract and spot together are more than all devices");
	return 0;
}

static int check_modes(const struct site_group *g, struct err *err)
{
	char field[32];
	double nominal_w = g->cls->power_w[DEVICE_FILL], idle_w = g->cls->power_w[DEVICE_IDLE];
	if (g->n_modes > SITE_MODES_MAX)
		return err_set(err, HCP_ERANGE, "modes", "at most %d", SITE_MODES_MAX);
	if (g->n_modes && (!g->mines || g->serves))
		return err_set(err, HCP_EINVAL, "modes", "are of groups that mine and do nothing else");
	for (size_t i = 0; i < g->n_modes; i++) {
		const struct site_mode *m = &g->mode[i];
		int rc;
		snprintf(field, sizeof(field), "modes[%zu]", i);
		if (m->power == DEVICE_POWER_NORMAL || (unsigned)m->power >= DEVICE_POWER_END)
			rc = err_set(err, HCP_EINVAL, "power", "must be low or high; normal are the class's own figures");
		else if ((rc = range(m->watts, idle_w, 2 * nominal_w, "watts", err)) == 0)
			rc = range(m->ths, 1e-9, 2 * g->cls->fill_ths, "ths", err);
		for (size_t k = 0; k < i && rc == 0; k++)
			if (g->mode[k].power == m->power)
				rc = err_set(err, HCP_EINVAL, "power", "two modes are named '%s'", device_power_name(m->power));
		if (rc < 0) {
			err_prefix(err, field);
			return rc;
		}
	}
	return 0;
}

static int check_group(const struct site *s, const struct site_group *g, struct err *err)
{
	int rc;
	if (!g->name[0])
		return err_set(err, HCP_EINVAL, "name", "is empty");
	if (!g->cls)
		return err_set(err, HCP_EINVAL, "class", "is missing");
	if (g->count < 1 || g->count > SITE_COUNT_MAX)
		return err_set(err, HCP_ERANGE, "count", "must be from 1 to %d", SITE_COUNT_MAX);
	if (g->feeder < -1 || g->feeder >= (int)s->n_feeders)
		return err_set(err, HCP_EINVAL, "feeder", "there is no such feeder");
	if (g->mines && g->cls->fill_ths <= 0)
		return err_set(err, HCP_EINVAL, "mine", "%s does not mine", g->cls->name);
	if (g->serves && (g->cls->kind == DEVICE_ASIC || g->cls->list_usd_h <= 0))
		return err_set(err, HCP_EINVAL, "serve", "%s cannot be sold to customers", g->cls->name);
	if (!g->mines && !g->serves)
		return err_set(err, HCP_EINVAL, "mine", "the group has nothing to do: it neither mines nor serves");
	if (g->idle_mode != DEVICE_IDLE && g->idle_mode != DEVICE_SAFE && g->idle_mode != DEVICE_OFF)
		return err_set(err, HCP_EINVAL, "idle", "must be idle, safe or off");
	if ((rc = hold(g->boot_ns, "restart.boot_s", err)) < 0 || (rc = hold(g->ramp_ns, "restart.ramp_s", err)) < 0 ||
		(rc = hold(g->min_up_ns, "min_up_s", err)) < 0 || (rc = hold(g->min_down_ns, "min_down_s", err)) < 0 ||
		(rc = range(g->boot_w, 0, 1e5, "restart.boot_w", err)) < 0 ||
		(rc = range(g->start_wear_usd, 0, 1e4, "restart.wear_usd", err)) < 0)
		return rc;
	if ((rc = check_modes(g, err)) < 0)
		return rc;
	return check_serving(g, err);
}

static int check_feeder(const struct site_feeder *f, struct err *err)
{
	int rc = f->name[0] ? power_path_check(f->name, false, "name", err) : err_set(err, HCP_EINVAL, "name", "is empty");
	if (rc == 0 && strchr(f->name, '/'))
		rc = err_set(err, HCP_EINVAL, "name", "must not hold a slash");
	if (rc == 0)
		rc = range(f->limit_w, 1, 1e11, "limit_mw", err);
	if (rc == 0)
		rc = range(f->inrush_w, 0, 1e11, "inrush_kw", err);
	return rc == 0 && f->nodes[0] ? power_nodes_check(f->nodes, "nodes", err) : rc;
}

/* The level above it is in the file, and before it. */
static bool has_parent(const struct site *s, const struct site_branch *b)
{
	size_t up = power_path_up(b->path);
	for (size_t i = 0; i < s->n_feeders; i++)
		if (strlen(s->feeder[i].name) == up && !strncmp(s->feeder[i].name, b->path, up))
			return true;
	for (const struct site_branch *above = s->branch; above < b; above++)
		if (strlen(above->path) == up && !strncmp(above->path, b->path, up))
			return true;
	return false;
}

static size_t marks(const char *s)
{
	size_t n = 0;
	for (; *s; s++)
		n += *s == '#';
	return n;
}

static int check_branch(const struct site *s, const struct site_branch *b, struct err *err)
{
	int rc = power_path_check(b->path, true, "path", err);
	if (rc < 0)
		return rc;
	if (!has_parent(s, b))
		return err_set(
			err, HCP_EINVAL, "path", "'%s': no feeder and no branch before it is the level above it", b->path);
	for (const struct site_branch *other = s->branch; other < b; other++)
		if (!strcmp(other->path, b->path))
			return err_set(err, HCP_EINVAL, "path", "two branches are '%s'", b->path);
	bool numbered = strchr(b->path + power_path_up(b->path), '#') != NULL;
	if (numbered != (b->count > 0) || b->count > SITE_BRANCH_COUNT_MAX)
		return err_set(err, HCP_EINVAL, "count",
			"is from 1 to %d where the last part of the path has a '#', and not given "
			"where not",
			SITE_BRANCH_COUNT_MAX);
	if ((rc = range(b->limit_w, 1, 1e11, "limit_kw", err)) < 0 ||
		(rc = range(b->inrush_w, 0, 1e11, "inrush_kw", err)) < 0)
		return rc;
	if (!b->nodes[0])
		return 0;
	rc = power_nodes_check(b->nodes, "nodes", err);
	if (rc == 0 && marks(b->nodes) < marks(b->path))
		rc = err_set(err, HCP_EINVAL, "nodes", "needs a '#' for each of the path's");
	return rc;
}

static int check_power(const struct site *s, struct err *err)
{
	char at[32];
	int rc = 0;
	if (s->n_feeders > SITE_FEEDERS_MAX)
		return err_set(err, HCP_ERANGE, "feeders", "at most %d", SITE_FEEDERS_MAX);
	if (s->n_branches > SITE_BRANCHES_MAX)
		return err_set(err, HCP_ERANGE, "branches", "at most %d", SITE_BRANCHES_MAX);
	for (size_t i = 0; i < s->n_feeders && rc == 0; i++) {
		snprintf(at, sizeof(at), "feeders[%zu]", i);
		rc = check_feeder(&s->feeder[i], err);
	}
	for (size_t i = 0; i < s->n_branches && rc == 0; i++) {
		snprintf(at, sizeof(at), "branches[%zu]", i);
		rc = check_branch(s, &s->branch[i], err);
	}
	if (rc < 0)
		err_prefix(err, at);
	return rc;
}

static int check_names(const struct site *s, struct err *err)
{
	char field[40];
	for (size_t i = 0; i < s->n_groups; i++)
		for (size_t k = 0; k < i; k++)
			if (!strcmp(s->group[i].name, s->group[k].name)) {
				snprintf(field, sizeof(field), "groups[%zu].name", i);
				return err_set(err, HCP_EINVAL, field, "two groups are named '%s'", s->group[i].name);
			}
	for (size_t i = 0; i < s->n_feeders; i++)
		for (size_t k = 0; k < i; k++)
			if (!strcmp(s->feeder[i].name, s->feeder[k].name)) {
				snprintf(field, sizeof(field), "feeders[%zu].name", i);
				return err_set(err, HCP_EINVAL, field, "two feeders are named '%s'", s->feeder[i].name);
			}
	return 0;
}

static int check_offer(const struct site_offer *o, struct err *err)
{
	int rc;
	if (!o->service[0])
		return err_set(err, HCP_EINVAL, "service", "is empty");
	if (!strcmp(o->service, "REGDN"))
		return err_set(
			err, HCP_EINVAL, "service", "is paid for load that can be taken on; only load to drop is offered");
	if ((rc = range(o->mw, 1e-6, 1e5, "mw", err)) < 0 ||
		(rc = range(o->price_usd_mw_h, 0, 1e5, "price_usd_mw_h", err)) < 0 ||
		(rc = range(o->ramp_mw_min, 0, 1e5, "ramp_mw_min", err)) < 0 ||
		(rc = range(o->miss_usd_mwh, 0, 1e6, "miss_usd_mwh", err)) < 0)
		return rc;
	if (o->from_hour < 0 || o->from_hour > 23)
		return err_set(err, HCP_ERANGE, "from_hour", "must be from 0 to 23");
	if (o->until_hour <= o->from_hour || o->until_hour > 24)
		return err_set(err, HCP_ERANGE, "until_hour", "must be above from_hour and at most 24");
	return 0;
}

int site_validate(const struct site *s, struct err *err)
{
	int rc;
	char at[32];
	if (!s->name[0])
		return err_set(err, HCP_EINVAL, "name", "is empty");
	if (!s->fixed && !s->point[0])
		return err_set(err, HCP_EINVAL, "settlement_point", "needs this or tariff_usd_mwh");
	if (s->fixed && s->point[0])
		return err_set(err, HCP_EINVAL, "tariff_usd_mwh", "a site has a tariff or a settlement point, not both");
	if ((rc = range(s->tariff_usd_mwh, -1000, 10000, "tariff_usd_mwh", err)) < 0 ||
		(rc = range(s->limit_w, 1, 1e11, "power_limit_mw", err)) < 0 || (rc = range(s->pue, 1, 3, "pue", err)) < 0 ||
		(rc = range(s->pool_fee, 0, 0.5, "pool_fee", err)) < 0)
		return rc;
	if (s->n_groups < 1 || s->n_groups > SITE_GROUPS_MAX)
		return err_set(err, HCP_ERANGE, "groups", "must be from 1 to %d", SITE_GROUPS_MAX);
	if (s->n_offers > SITE_OFFERS_MAX)
		return err_set(err, HCP_ERANGE, "ancillary", "at most %d", SITE_OFFERS_MAX);
	if ((rc = check_power(s, err)) < 0)
		return rc;
	for (size_t i = 0; i < s->n_groups; i++) {
		snprintf(at, sizeof(at), "groups[%zu]", i);
		if ((rc = check_group(s, &s->group[i], err)) < 0) {
			err_prefix(err, at);
			return rc;
		}
	}
	for (size_t i = 0; i < s->n_offers; i++) {
		snprintf(at, sizeof(at), "ancillary[%zu]", i);
		if ((rc = check_offer(&s->offer[i], err)) < 0) {
			err_prefix(err, at);
			return rc;
		}
	}
	return check_names(s, err);
}

const struct site *site_of_facility(const struct site *s, size_t n, const char *facility)
{
	const struct site *other = NULL;
	for (size_t i = 0; i < n; i++) {
		if (strcmp(s[i].name, facility) == 0)
			return &s[i];
		if (strcmp(s[i].name, SITE_OTHER) == 0)
			other = &s[i];
	}
	return other;
}

const struct site_group *site_group_of(const struct site *s, const struct device_class *cls)
{
	for (size_t i = 0; s && i < s->n_groups; i++)
		if (s->group[i].cls == cls)
			return &s->group[i];
	return NULL;
}

void site_free_restarts(struct site *s)
{
	for (size_t i = 0; i < s->n_groups; i++) {
		struct site_group *g = &s->group[i];
		g->boot_ns = g->ramp_ns = g->min_up_ns = g->min_down_ns = 0;
		g->start_wear_usd = 0;
	}
}

/*
 * First deliveries by the makers' announcements, to the month. Before the last row of a chain its own figures stand in
 * (S19j Pro for the S19 Pro of 2020: both 29.5 J/TH).
 */
static const struct {
	const char *name, *before;
	int year, month;
} period[] = {
	{ "S21XP", "S21", 2024, 10 },
	{ "S21", "S19XP", 2024, 1 },
	{ "S19XP", "S19JPRO", 2022, 7 },
	{ "A1566", "M60S", 2024, 7 },
	{ "M60S", "M50S", 2023, 11 },
	{ "M50S", "S19JPRO", 2022, 7 },
};

static const struct device_class *class_of_period(const struct device_class *c, int64_t at_ns)
{
	for (size_t i = 0; i < sizeof(period) / sizeof(period[0]); i++) /* chains go down the table or stay in it */
		for (size_t k = 0; k < sizeof(period) / sizeof(period[0]); k++)
			if (!strcmp(period[k].name, c->name) && at_ns < timefmt_days(period[k].year, period[k].month, 1) * DAY_NS)
				c = device_class_find(str_of(period[k].before));
	return c;
}

void site_period_hardware(struct site *s, int64_t at_ns, struct buf *said)
{
	for (size_t i = 0; i < s->n_groups; i++) {
		struct site_group *g = &s->group[i];
		const struct device_class *c = class_of_period(g->cls, at_ns);
		if (c == g->cls)
			continue;
		buf_printf(said, "%s: %u x %s in the place of %s, which could not be had then\n", g->name, g->count, c->name,
			g->cls->name);
		g->boot_w *= c->power_w[DEVICE_FILL] / g->cls->power_w[DEVICE_FILL];
		for (size_t k = 0; k < g->n_modes; k++) {
			g->mode[k].watts *= c->power_w[DEVICE_FILL] / g->cls->power_w[DEVICE_FILL];
			g->mode[k].ths *= c->fill_ths / g->cls->fill_ths;
		}
		g->start_wear_usd *= g->cls->wear_usd_h > 0 ? c->wear_usd_h / g->cls->wear_usd_h : 1;
		g->cls = c;
	}
}

/* Highest watts of a device of the group at the meter. */
static double peak_w(const struct site *s, const struct site_group *g)
{
	double w = g->mines ? fmax(g->cls->power_w[DEVICE_FILL], g->boot_w) : 0;
	for (size_t i = 0; i < g->n_modes; i++)
		w = fmax(w, g->mode[i].watts);
	if (g->serves)
		w = fmax(w, g->cls->power_w[DEVICE_SERVE]);
	return w * s->pue;
}

double site_full_w(const struct site *s)
{
	double w = 0;
	for (size_t i = 0; i < s->n_groups; i++)
		w += s->group[i].count * peak_w(s, &s->group[i]);
	return w;
}

/* Serving before mining, efficient before wasteful; equal ones in the order of the file. */
static bool goes_before(const struct site_group *a, const struct site_group *b)
{
	if (a->serves != b->serves)
		return a->serves;
	return a->mines && b->mines && device_class_j_per_th(a->cls) < device_class_j_per_th(b->cls);
}

bool site_energised(const struct site *s, uint32_t ret[SITE_GROUPS_MAX])
{
	size_t order[SITE_GROUPS_MAX];
	double left_w = s->limit_w, feeder_w[SITE_FEEDERS_MAX];
	bool cut = false;
	for (size_t i = 0; i < s->n_feeders; i++)
		feeder_w[i] = s->feeder[i].limit_w;
	for (size_t i = 0; i < s->n_groups; i++) {
		size_t at = i;
		for (; at > 0 && goes_before(&s->group[i], &s->group[order[at - 1]]); at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
	for (size_t k = 0; k < s->n_groups; k++) {
		const struct site_group *g = &s->group[order[k]];
		double each_w = peak_w(s, g), room_w = left_w;
		double idle_w = g->cls->power_w[g->idle_mode] * s->pue;
		if (g->feeder >= 0)
			room_w = fmin(room_w, feeder_w[g->feeder]);
		/* Those that may not run stand idle and draw that: n*each + (count-n)*idle <= room. */
		double n = each_w > idle_w ? floor((room_w - g->count * idle_w) / (each_w - idle_w)) : g->count;
		n = n > g->count ? g->count : n < 0 ? 0 : n;
		ret[order[k]] = (uint32_t)n;
		cut |= ret[order[k]] < g->count;
		double used_w = n * each_w + (g->count - n) * idle_w;
		left_w = fmax(0, left_w - used_w);
		if (g->feeder >= 0)
			feeder_w[g->feeder] = fmax(0, feeder_w[g->feeder] - used_w);
	}
	return cut;
}

/* Length of the part of [from, from+dt) that lies in [a, b). */
static double overlap_s(int64_t from_ns, int64_t dt_ns, int64_t a_ns, int64_t b_ns)
{
	int64_t lo = from_ns > a_ns ? from_ns : a_ns;
	int64_t hi = from_ns + dt_ns < b_ns ? from_ns + dt_ns : b_ns;
	return hi > lo ? (double)(hi - lo) / (double)NS_PER_S : 0;
}

struct site_mode site_mode_at(const struct site_group *g, size_t i)
{
	if (i > 0)
		return g->mode[i - 1];
	return (struct site_mode){ DEVICE_POWER_NORMAL, g->cls->power_w[DEVICE_FILL], g->cls->fill_ths };
}

struct site_slice site_mine_slice(const struct site_group *g, int64_t since_wake_ns, int64_t dt_ns)
{
	return site_mode_slice(g, 0, since_wake_ns, dt_ns);
}

struct site_slice site_mode_slice(const struct site_group *g, size_t i, int64_t since_wake_ns, int64_t dt_ns)
{
	double dt_s = (double)dt_ns / (double)NS_PER_S, w = site_mode_at(g, i).watts;
	int64_t start_ns = site_start_ns(g);
	if (since_wake_ns >= start_ns)
		return (struct site_slice){ .hash_s = dt_s, .plug_j = dt_s * w };
	double boot_s = overlap_s(since_wake_ns, dt_ns, 0, g->boot_ns);
	double ramp_s = overlap_s(since_wake_ns, dt_ns, g->boot_ns, start_ns), hashes_s = 0;
	if (ramp_s > 0) {
		/* Hash rate rises in a straight line, so a part of the ramp is worth its middle's height. */
		int64_t first_ns = since_wake_ns > g->boot_ns ? since_wake_ns - g->boot_ns : 0;
		double middle_s = (double)first_ns / (double)NS_PER_S + ramp_s / 2;
		hashes_s = ramp_s * middle_s / ((double)g->ramp_ns / (double)NS_PER_S);
	}
	return (struct site_slice){ .hash_s = dt_s - boot_s - ramp_s + hashes_s,
		.plug_j = boot_s * g->boot_w + (dt_s - boot_s) * w };
}
