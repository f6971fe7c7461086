#include <ctype.h>
#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/money.h"
#include "model/site.h"

/* ---- the form of the file; pointers are NULL where a field is not given ---- */

struct y_restart {
	double *boot_s, *boot_w, *ramp_s, *wear_usd;
};

struct y_serve {
	double *contract_share, *contract_usd_h, *spot_share, *miss_usd_h;
};

struct y_group {
	char *name, *class, *feeder, *idle;
	uint32_t count;
	bool *mine;
	struct y_restart *restart;
	struct y_serve *serve;
	double *min_up_s, *min_down_s;
};

struct y_feeder {
	char *name;
	double limit_mw;
};

struct y_site {
	char *name, *about, *settlement_point;
	double *tariff_usd_mwh;
	double power_limit_mw, pue, pool_fee;
	struct y_feeder *feeders;
	uint32_t n_feeders;
	struct y_group *groups;
	uint32_t n_groups;
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
	REAL(struct y_group, min_up_s),
	REAL(struct y_group, min_down_s),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t feeder_fields[] = {
	TEXT(struct y_feeder, name, NEEDED, SITE_NAME_MAX),
	CYAML_FIELD_FLOAT("limit_mw", CYAML_FLAG_DEFAULT, struct y_feeder, limit_mw),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t group_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_group, group_fields) };
static const cyaml_schema_value_t feeder_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_feeder, feeder_fields) };
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
	CYAML_FIELD_SEQUENCE_COUNT(
		"groups", CYAML_FLAG_POINTER, struct y_site, groups, n_groups, &group_entry, 1, SITE_GROUPS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t site_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct y_site, site_fields) };

/* ---- what the library says about an error ---- */

struct said {
	char what[160]; /* the first error */
	char field[64]; /* the innermost field of its back trace */
	unsigned line;  /* 0: not known */
};

static void take_line(struct said *s, const char *text)
{
	const char *at = strstr(text, "line: ");
	if (!at)
		at = strstr(text, "line ");
	if (at && !s->line)
		s->line = (unsigned)strtoul(at + (at[4] == ':' ? 6 : 5), NULL, 10);
	at = strstr(text, "in mapping field '");
	if (!at || s->field[0])
		return;
	at += strlen("in mapping field '");
	snprintf(s->field, sizeof(s->field), "%.*s", (int)strcspn(at, "'"), at);
}

static void listen(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	struct said *s = ctx;
	char text[512];
	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = 0;
	take_line(s, text);
	const char *what = strncmp(text, "Load: ", 6) == 0 ? text + 6 : text;
	if (!s->what[0] && strncmp(what, "Backtrace", 9) != 0)
		snprintf(s->what, sizeof(s->what), "%.150s", what);
}

static void *yaml_mem(void *ctx, void *p, size_t n)
{
	if (n)
		return mem_realloc(p, n);
	mem_free(p);
	return NULL;
}

/* ---- the line of a field, for values that the form allows and their meaning does not ---- */

/*
 * path is "pue", "groups[2].count" or "groups[2].restart.boot_s". Files are written one field a line; for one that is
 * not, the nearest line above is told. 0: not found.
 */
static unsigned line_of(struct str text, const char *path)
{
	char list[SITE_NAME_MAX] = "", key[72];
	long want = -1, item = -1;
	unsigned line = 0, near_line = 0;
	const char *bracket = strchr(path, '['), *dot = strrchr(path, '.');
	if (bracket) {
		snprintf(list, sizeof(list), "%.*s:", (int)(bracket - path), path);
		want = strtol(bracket + 1, NULL, 10);
	}
	snprintf(key, sizeof(key), "%s:", dot ? dot + 1 : path);
	bool inside = !bracket;
	while (text.p) {
		struct str row = str_split(&text, '\n'), bare = str_trim(row);
		line++;
		bool outer = row.n && !isspace((unsigned char)row.p[0]) && row.p[0] != '-' && row.p[0] != '#';
		if (bracket && outer)
			inside = str_starts(bare, str_of(list));
		if (!inside)
			continue;
		if (bracket && bare.n && bare.p[0] == '-') {
			item++;
			bare = str_trim((struct str){ bare.p + 1, bare.n - 1 });
		}
		if (item == want && !near_line)
			near_line = bracket ? line : 0;
		if (item == want && str_starts(bare, str_of(key)))
			return line;
	}
	return near_line;
}

static int say(struct err *err, int code, const char *name, unsigned line, const char *field, const char *what)
{
	if (line)
		return err_set(err, code, field, "%.80s:%u: %s", name, line, what);
	return err_set(err, code, field, "%.80s: %s", name, what);
}

/* The library tells the line where the mapping began; a key that is too much stands there or below. */
static void find_key(struct str text, struct said *s)
{
	static const char what[] = "Unexpected key: ", missing[] = "Missing required mapping field: ";
	unsigned line = 0;
	if (strncmp(s->what, missing, sizeof(missing) - 1) == 0)
		snprintf(s->field, sizeof(s->field), "%.60s", s->what + sizeof(missing) - 1);
	if (strncmp(s->what, what, sizeof(what) - 1) != 0)
		return;
	struct str key = str_of(s->what + sizeof(what) - 1);
	while (text.p) {
		struct str bare = str_trim(str_split(&text, '\n'));
		line++;
		if (bare.n && bare.p[0] == '-')
			bare = str_trim((struct str){ bare.p + 1, bare.n - 1 });
		if (line >= s->line && bare.n > key.n && str_starts(bare, key) && bare.p[key.n] == ':') {
			s->line = line;
			snprintf(s->field, sizeof(s->field), "%.60s", key.p);
			return;
		}
	}
}

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
	if (!y->serve)
		return 0;
	g->contract_share = real_or(y->serve->contract_share, 0);
	g->contract_usd_h = real_or(y->serve->contract_usd_h, g->cls->list_usd_h);
	g->spot_share = real_or(y->serve->spot_share, 0);
	g->miss_usd_h = real_or(y->serve->miss_usd_h, g->contract_usd_h);
	return 0;
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
		.n_groups = y->n_groups };
	snprintf(s->name, sizeof(s->name), "%s", y->name);
	snprintf(s->about, sizeof(s->about), "%s", y->about ? y->about : "");
	snprintf(s->point, sizeof(s->point), "%s", y->settlement_point ? y->settlement_point : "");
	for (uint32_t i = 0; i < y->n_feeders; i++) {
		snprintf(s->feeder[i].name, sizeof(s->feeder[i].name), "%s", y->feeders[i].name);
		s->feeder[i].limit_w = y->feeders[i].limit_mw * 1e6;
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
	struct said said = { 0 };
	struct err why = { 0 };
	struct site site;
	cyaml_data_t *data = NULL;
	const cyaml_config_t config = { .log_fn = listen,
		.log_ctx = &said,
		.mem_fn = yaml_mem,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS };
	if (text.n > SITE_TEXT_MAX)
		return err_set(err, HCP_ELIMIT, "", "%.80s: longer than %d bytes", name, SITE_TEXT_MAX);
	if (text.n == 0)
		return say(err, HCP_EPARSE, name, 1, "", "the file is empty");
	cyaml_err_t rc = cyaml_load_data((const uint8_t *)text.p, text.n, &config, &site_schema, &data, NULL);
	if (rc == CYAML_ERR_OOM)
		return err_set(err, HCP_ENOMEM, "", "no memory for a site");
	find_key(text, &said);
	if (rc != CYAML_OK || !data)
		return say(err, HCP_EPARSE, name, said.line, said.field, said.what[0] ? said.what : cyaml_strerror(rc));
	int code = convert(data, &site, &why);
	cyaml_free(&config, &site_schema, data, 0);
	if (code < 0)
		return say(err, code, name, line_of(text, why.field), why.field, why.text);
	*ret = site;
	return 0;
}
