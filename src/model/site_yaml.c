#include <stdio.h>
#include <string.h>

#include "base/money.h"
#include "model/ancillary.h"
#include "model/site.h"
#include "wire/yamlconf.h"

/* ---- the form of the file; pointers are NULL where a field is not given ---- */

struct y_restart {
	double *boot_s, *boot_w, *ramp_s, *wear_usd;
};

struct y_serve {
	double *contract_share, *contract_usd_h, *spot_share, *miss_usd_h;
};

struct y_mode {
	char *power;
	double *watts, *ths;
};

struct y_group {
	char *name, *class, *feeder, *idle;
	struct y_mode *modes;
	uint32_t n_modes;
	uint32_t count;
	bool *mine;
	struct y_restart *restart;
	struct y_serve *serve;
	double *min_up_s, *min_down_s;
};

struct y_feeder {
	char *name, *nodes;
	double limit_mw;
	double *inrush_kw;
};

struct y_branch {
	char *path, *nodes;
	uint32_t *count;
	double limit_kw;
	double *inrush_kw;
};

struct y_offer {
	char *service;
	double mw, *price_usd_mw_h, *ramp_mw_min, *miss_usd_mwh;
	uint32_t *from_hour, *until_hour;
};

struct y_site {
	char *name, *about, *settlement_point;
	double *tariff_usd_mwh;
	double power_limit_mw, pue, pool_fee;
	struct y_feeder *feeders;
	uint32_t n_feeders;
	struct y_branch *branches;
	uint32_t n_branches;
	struct y_group *groups;
	uint32_t n_groups;
	struct y_offer *ancillary;
	uint32_t n_ancillary;
};

#define TEXT(type, key, flags, max) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), type, key, 0, (max)-1)
#define REAL(type, key) CYAML_FIELD_FLOAT_PTR(#key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, key)
#define NEEDED CYAML_FLAG_DEFAULT
#define MAYBE CYAML_FLAG_OPTIONAL

static const cyaml_schema_field_t restart_fields[] = { REAL(struct y_restart, boot_s), REAL(struct y_restart, boot_w),
	REAL(struct y_restart, ramp_s), REAL(struct y_restart, wear_usd), CYAML_FIELD_END };
static const cyaml_schema_field_t serve_fields[] = { REAL(struct y_serve, contract_share),
	REAL(struct y_serve, contract_usd_h), REAL(struct y_serve, spot_share), REAL(struct y_serve, miss_usd_h),
	CYAML_FIELD_END };
static const cyaml_schema_field_t mode_fields[] = { TEXT(struct y_mode, power, NEEDED, SITE_NAME_MAX),
	REAL(struct y_mode, watts), REAL(struct y_mode, ths), CYAML_FIELD_END };
static const cyaml_schema_value_t mode_entry = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct y_mode, mode_fields) };
static const cyaml_schema_field_t group_fields[] = {
	TEXT(struct y_group, name, NEEDED, SITE_NAME_MAX),
	TEXT(struct y_group, class, NEEDED, DEVICE_CLASS_NAME_MAX),
	CYAML_FIELD_UINT("count", CYAML_FLAG_DEFAULT, struct y_group, count),
	TEXT(struct y_group, feeder, MAYBE, SITE_NAME_MAX),
	TEXT(struct y_group, idle, MAYBE, SITE_NAME_MAX),
	CYAML_FIELD_BOOL_PTR("mine", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_group, mine),
	CYAML_FIELD_MAPPING_PTR(
		"restart", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_group, restart, restart_fields),
	CYAML_FIELD_MAPPING_PTR("serve", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_group, serve, serve_fields),
	CYAML_FIELD_SEQUENCE_COUNT("modes", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_group, modes, n_modes,
		&mode_entry, 0, SITE_MODES_MAX),
	REAL(struct y_group, min_up_s),
	REAL(struct y_group, min_down_s),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t feeder_fields[] = {
	TEXT(struct y_feeder, name, NEEDED, SITE_NAME_MAX),
	TEXT(struct y_feeder, nodes, MAYBE, POWER_PATH_MAX),
	CYAML_FIELD_FLOAT("limit_mw", CYAML_FLAG_DEFAULT, struct y_feeder, limit_mw),
	REAL(struct y_feeder, inrush_kw),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t branch_fields[] = {
	TEXT(struct y_branch, path, NEEDED, POWER_PATH_MAX),
	TEXT(struct y_branch, nodes, MAYBE, POWER_PATH_MAX),
	CYAML_FIELD_UINT_PTR("count", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_branch, count),
	CYAML_FIELD_FLOAT("limit_kw", CYAML_FLAG_DEFAULT, struct y_branch, limit_kw),
	REAL(struct y_branch, inrush_kw),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t offer_fields[] = {
	TEXT(struct y_offer, service, NEEDED, SITE_NAME_MAX),
	CYAML_FIELD_FLOAT("mw", CYAML_FLAG_DEFAULT, struct y_offer, mw),
	REAL(struct y_offer, price_usd_mw_h),
	REAL(struct y_offer, ramp_mw_min),
	REAL(struct y_offer, miss_usd_mwh),
	CYAML_FIELD_UINT_PTR("from_hour", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_offer, from_hour),
	CYAML_FIELD_UINT_PTR("until_hour", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_offer, until_hour),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t offer_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_offer, offer_fields) };
static const cyaml_schema_value_t group_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_group, group_fields) };
static const cyaml_schema_value_t feeder_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_feeder, feeder_fields) };
static const cyaml_schema_value_t branch_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_branch, branch_fields) };
static const cyaml_schema_field_t site_fields[] = {
	TEXT(struct y_site, name, NEEDED, SITE_NAME_MAX),
	TEXT(struct y_site, about, MAYBE, SITE_ABOUT_MAX),
	TEXT(struct y_site, settlement_point, MAYBE, 24),
	REAL(struct y_site, tariff_usd_mwh),
	CYAML_FIELD_FLOAT("power_limit_mw", CYAML_FLAG_DEFAULT, struct y_site, power_limit_mw),
	CYAML_FIELD_FLOAT("pue", CYAML_FLAG_DEFAULT, struct y_site, pue),
	CYAML_FIELD_FLOAT("pool_fee", CYAML_FLAG_DEFAULT, struct y_site, pool_fee),
	CYAML_FIELD_SEQUENCE_COUNT("feeders", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_site, feeders, n_feeders,
		&feeder_entry, 0, SITE_FEEDERS_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("branches", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_site, branches,
		n_branches, &branch_entry, 0, SITE_BRANCHES_MAX),
	CYAML_FIELD_SEQUENCE_COUNT(
		"groups", CYAML_FLAG_POINTER, struct y_site, groups, n_groups, &group_entry, 1, SITE_GROUPS_MAX),
	CYAML_FIELD_SEQUENCE_COUNT("ancillary", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct y_site, ancillary,
		n_ancillary, &offer_entry, 0, SITE_OFFERS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t site_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct y_site, site_fields) };

/* ---- from the form to the struct ---- */

static double real_or(const double *v, double other)
{
	return v ? *v : other;
}

/* Seconds to nanoseconds; what is not sensible becomes -1, which site_validate refuses. */
static int64_t seconds(const double *v)
{
	if (!v)
		return 0;
	return *v >= 0 && *v <= SITE_HOLD_MAX_S ? (int64_t)(*v * (double)NS_PER_S) : -1;
}

static int feeder_index(const struct y_site *y, const char *name)
{
	for (uint32_t i = 0; name && i < y->n_feeders; i++)
		if (!strcmp(y->feeders[i].name, name))
			return (int)i;
	return name ? SITE_FEEDERS_MAX : -1; /* refused by site_validate */
}

/* What the file leaves out is the catalogue's. */
static int convert_modes(const struct y_group *y, struct site_group *g, struct err *err)
{
	char at[32];
	for (uint32_t i = 0; i < y->n_modes; i++) {
		struct site_mode *m = &g->mode[g->n_modes++];
		snprintf(at, sizeof(at), "modes[%u]", i);
		int rc = device_power_parse(str_of(y->modes[i].power), &m->power);
		if (rc < 0)
			rc = err_set(err, HCP_EINVAL, "power", "must be low or high");
		else if (device_class_power(g->cls, m->power, &m->watts, &m->ths) < 0 &&
				 (!y->modes[i].watts || !y->modes[i].ths))
			rc = err_set(
				err, HCP_EINVAL, "power", "the catalogue has no power modes of %s: give watts and ths", g->cls->name);
		if (rc < 0) {
			err_prefix(err, at);
			return rc;
		}
		m->watts = real_or(y->modes[i].watts, m->watts);
		m->ths = real_or(y->modes[i].ths, m->ths);
	}
	return 0;
}

static int convert_group(const struct y_site *ys, const struct y_group *y, struct site_group *g, struct err *err)
{
	static const struct y_restart no_restart;
	const struct y_restart *r = y->restart ? y->restart : &no_restart;
	*g = (struct site_group){ .cls = device_class_find(str_of(y->class)),
		.count = y->count,
		.feeder = feeder_index(ys, y->feeder),
		.idle_mode = DEVICE_IDLE };
	snprintf(g->name, sizeof(g->name), "%s", y->name);
	if (!g->cls)
		return err_set(err, HCP_EINVAL, "class", "the catalogue has no device class '%s'", y->class);
	if (y->idle && device_mode_parse(str_of(y->idle), &g->idle_mode) < 0)
		return err_set(err, HCP_EINVAL, "idle", "must be idle, safe or off");
	g->mines = y->mine ? *y->mine : g->cls->kind == DEVICE_ASIC;
	g->boot_ns = seconds(r->boot_s);
	g->ramp_ns = seconds(r->ramp_s);
	g->boot_w = real_or(r->boot_w, g->cls->power_w[DEVICE_FILL]);
	g->start_wear_usd = real_or(r->wear_usd, 0);
	g->min_up_ns = seconds(y->min_up_s);
	g->min_down_ns = seconds(y->min_down_s);
	g->serves = y->serve != NULL;
	int rc = convert_modes(y, g, err);
	if (rc < 0 || !y->serve)
		return rc;
	g->contract_share = real_or(y->serve->contract_share, 0);
	g->contract_usd_h = real_or(y->serve->contract_usd_h, g->cls->list_usd_h);
	g->spot_share = real_or(y->serve->spot_share, 0);
	g->miss_usd_h = real_or(y->serve->miss_usd_h, g->contract_usd_h);
	return 0;
}

static void convert_power(const struct y_site *y, struct site *s)
{
	for (uint32_t i = 0; i < y->n_feeders; i++) {
		const struct y_feeder *f = &y->feeders[i];
		s->feeder[i] = (struct site_feeder){ .limit_w = f->limit_mw * 1e6, .inrush_w = real_or(f->inrush_kw, 0) * 1e3 };
		snprintf(s->feeder[i].name, sizeof(s->feeder[i].name), "%s", f->name);
		snprintf(s->feeder[i].nodes, sizeof(s->feeder[i].nodes), "%s", f->nodes ? f->nodes : "");
	}
	for (uint32_t i = 0; i < y->n_branches; i++) {
		const struct y_branch *b = &y->branches[i];
		/* A count of 0 is a mistake that 0, for none, would hide. */
		s->branch[i] = (struct site_branch){ .count = !b->count   ? 0
													  : *b->count ? *b->count
																  : UINT32_MAX,
			.limit_w = b->limit_kw * 1e3,
			.inrush_w = real_or(b->inrush_kw, 0) * 1e3 };
		snprintf(s->branch[i].path, sizeof(s->branch[i].path), "%s", b->path);
		snprintf(s->branch[i].nodes, sizeof(s->branch[i].nodes), "%s", b->nodes ? b->nodes : "");
	}
}

static int convert(const struct y_site *y, struct site *s, struct err *err)
{
	char at[32];
	*s = (struct site){ .fixed = y->tariff_usd_mwh != NULL,
		.tariff_usd_mwh = real_or(y->tariff_usd_mwh, 0),
		.limit_w = y->power_limit_mw * 1e6,
		.pue = y->pue,
		.pool_fee = y->pool_fee,
		.n_feeders = y->n_feeders,
		.n_branches = y->n_branches,
		.n_groups = y->n_groups,
		.n_offers = y->n_ancillary };
	snprintf(s->name, sizeof(s->name), "%s", y->name);
	snprintf(s->about, sizeof(s->about), "%s", y->about ? y->about : "");
	snprintf(s->point, sizeof(s->point), "%s", y->settlement_point ? y->settlement_point : "");
	convert_power(y, s);
	for (uint32_t i = 0; i < y->n_ancillary; i++) {
		const struct y_offer *from = &y->ancillary[i];
		struct site_offer *o = &s->offer[i];
		*o = (struct site_offer){ .mw = from->mw,
			.fixed = from->price_usd_mw_h != NULL,
			.price_usd_mw_h = real_or(from->price_usd_mw_h, 0),
			.ramp_mw_min = real_or(from->ramp_mw_min, 0),
			.miss_usd_mwh = real_or(from->miss_usd_mwh, ANCILLARY_MISS_USD_MWH),
			.until_hour = 24 };
		snprintf(o->service, sizeof(o->service), "%s", from->service);
		/* Beyond an hour's range is refused by site_validate. */
		o->from_hour = from->from_hour ? (int)(*from->from_hour < 99 ? *from->from_hour : 99) : 0;
		o->until_hour = from->until_hour ? (int)(*from->until_hour < 99 ? *from->until_hour : 99) : 24;
	}
	for (uint32_t i = 0; i < y->n_groups; i++) {
		int rc = convert_group(y, &y->groups[i], &s->group[i], err);
		if (rc < 0) {
			snprintf(at, sizeof(at), "groups[%u]", i);
			err_prefix(err, at);
			return rc;
		}
	}
	return site_validate(s, err);
}

int site_parse(struct site *ret, const char *name, struct str text, struct err *err)
{
	struct err why = { 0 };
	struct site site;
	cyaml_data_t *data = NULL;
	int rc = yamlconf_load(name, text, SITE_TEXT_MAX, &site_schema, &data, err);
	if (rc < 0)
		return rc;
	rc = convert(data, &site, &why);
	yamlconf_free(&site_schema, data);
	if (rc < 0)
		return yamlconf_wrong(name, text, &why, err);
	*ret = site;
	return 0;
}
