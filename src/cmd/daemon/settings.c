#include "cmd/daemon/settings.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/risk.h"
#include "os/file.h"
#include "sched/preempt.h"
#include "services/billing/billing.h"
#include "wire/yamlconf.h"

enum { PATH_LEN = 4096 };

/* ---- the form of the file; pointers are NULL where a setting is not given ---- */

struct y_other {
	char *settlement_point;
	double *pue, *pool_fee;
};

struct y_decisions {
	double *horizon_s, *utilisation, *capital_usd, *drawdown_limit, *risk_aversion;
};

struct y_credit {
	char *class;
	double usd_h;
};

struct y_billing {
	double *tokens_usd_million, *requests_usd_million;
};

struct y_node_type {
	char *name, *device_class, *facility, *region;
	uint32_t devices, nodes_max;
	double price_max_usd_h;
};

struct y_autoscaling {
	char *provider, *token_file;
	double *budget_usd_h, *up_after_s, *idle_s, *cooldown_s, *boot_s, *check_s, *call_s;
	uint32_t *up_jobs;
	struct y_node_type *types;
	uint32_t n_types;
};

struct y_scheduling {
	double *min_run_p2_s, *min_run_p3_s;
};

struct y_file {
	struct y_scheduling *scheduling;
	struct y_autoscaling *autoscaling;
	struct y_other *other_facilities;
	struct y_decisions *decisions;
	struct y_credit *fill_credits;
	uint32_t n_credits;
	struct y_billing *billing;
};

#define MAYBE (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define REAL(type, key) CYAML_FIELD_FLOAT_PTR(#key, MAYBE, type, key)
#define PART(key, fields) CYAML_FIELD_MAPPING_PTR(#key, MAYBE, struct y_file, key, fields)

static const cyaml_schema_field_t other_fields[] = {
	CYAML_FIELD_STRING_PTR("settlement_point", MAYBE, struct y_other, settlement_point, 0, 23),
	REAL(struct y_other, pue), REAL(struct y_other, pool_fee), CYAML_FIELD_END };
static const cyaml_schema_field_t decision_fields[] = { REAL(struct y_decisions, horizon_s),
	REAL(struct y_decisions, utilisation), REAL(struct y_decisions, capital_usd),
	REAL(struct y_decisions, drawdown_limit), REAL(struct y_decisions, risk_aversion), CYAML_FIELD_END };
static const cyaml_schema_field_t credit_fields[] = {
	CYAML_FIELD_STRING_PTR("class", CYAML_FLAG_POINTER, struct y_credit, class, 1, DEVICE_CLASS_NAME_MAX - 1),
	CYAML_FIELD_FLOAT("usd_h", CYAML_FLAG_DEFAULT, struct y_credit, usd_h),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t billing_fields[] = { REAL(struct y_billing, tokens_usd_million),
	REAL(struct y_billing, requests_usd_million), CYAML_FIELD_END };
static const cyaml_schema_field_t scheduling_fields[] = { REAL(struct y_scheduling, min_run_p2_s),
	REAL(struct y_scheduling, min_run_p3_s), CYAML_FIELD_END };
static const cyaml_schema_value_t credit_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_credit, credit_fields) };
#define WORD(key, max) CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER, struct y_node_type, key, 1, max)
static const cyaml_schema_field_t node_type_fields[] = {
	WORD(name, SCALE_NAME_MAX - 1),
	WORD(device_class, DEVICE_CLASS_NAME_MAX - 1),
	WORD(facility, 63),
	CYAML_FIELD_STRING_PTR("region", MAYBE, struct y_node_type, region, 0, 63),
	CYAML_FIELD_UINT("devices", CYAML_FLAG_DEFAULT, struct y_node_type, devices),
	CYAML_FIELD_UINT("nodes_max", CYAML_FLAG_DEFAULT, struct y_node_type, nodes_max),
	CYAML_FIELD_FLOAT("price_max_usd_h", CYAML_FLAG_DEFAULT, struct y_node_type, price_max_usd_h),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t node_type_entry = { CYAML_VALUE_MAPPING(
	CYAML_FLAG_DEFAULT, struct y_node_type, node_type_fields) };
static const cyaml_schema_field_t autoscaling_fields[] = {
	CYAML_FIELD_STRING_PTR("provider", CYAML_FLAG_POINTER, struct y_autoscaling, provider, 1, SETTINGS_URL_MAX - 1),
	CYAML_FIELD_STRING_PTR("token_file", MAYBE, struct y_autoscaling, token_file, 1, SETTINGS_URL_MAX - 1),
	REAL(struct y_autoscaling, budget_usd_h),
	REAL(struct y_autoscaling, up_after_s),
	REAL(struct y_autoscaling, idle_s),
	REAL(struct y_autoscaling, cooldown_s),
	REAL(struct y_autoscaling, boot_s),
	REAL(struct y_autoscaling, check_s),
	REAL(struct y_autoscaling, call_s),
	CYAML_FIELD_UINT_PTR("up_jobs", MAYBE, struct y_autoscaling, up_jobs),
	CYAML_FIELD_SEQUENCE_COUNT(
		"types", CYAML_FLAG_POINTER, struct y_autoscaling, types, n_types, &node_type_entry, 1, SCALE_TYPES_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t file_fields[] = {
	PART(autoscaling, autoscaling_fields),
	PART(other_facilities, other_fields),
	PART(decisions, decision_fields),
	CYAML_FIELD_SEQUENCE_COUNT(
		"fill_credits", MAYBE, struct y_file, fill_credits, n_credits, &credit_entry, 0, SETTINGS_CREDITS_MAX),
	PART(billing, billing_fields),
	PART(scheduling, scheduling_fields),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_schema = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct y_file, file_fields) };

/* ---- values ---- */

/* A CPU never earns its power by mining: its credit is what keeping the node busy is worth. */
static const struct optimizer_credit default_credits[] = { { "CPU2", 0.05 }, { "CPU64", 1.00 } };

static void set_credit(struct settings *s, size_t i, const char *cls, double usd_h)
{
	snprintf(s->credit_class[i], sizeof(s->credit_class[i]), "%s", cls);
	s->credit[i] = (struct optimizer_credit){ s->credit_class[i], usd_h };
}

void settings_init(struct settings *s)
{
	*s = (struct settings){ .n_sites = 1,
		.horizon_ns = OPTIMIZER_HORIZON_S * NS_PER_S,
		.utilisation = OPTIMIZER_UTILISATION,
		.drawdown_limit = RISK_DRAWDOWN_LIMIT,
		.token_micros_million = BILLING_TOKEN_MICROS,
		.router.min_run_p2_ns = PREEMPT_MIN_RUN_P2_S * NS_PER_S,
		.router.min_run_p3_ns = PREEMPT_MIN_RUN_P3_S * NS_PER_S };
	s->site[0] = (struct site){ .name = SITE_OTHER, .pue = OPTIMIZER_PUE, .pool_fee = OPTIMIZER_POOL_FEE };
	for (s->n_credits = 0; s->n_credits < sizeof(default_credits) / sizeof(default_credits[0]); s->n_credits++)
		set_credit(s, s->n_credits, default_credits[s->n_credits].device_class,
			default_credits[s->n_credits].fill_usd_h);
	buf_init(&s->text, 0);
	for (size_t i = 0; i < SETTINGS_SITES_MAX; i++)
		buf_init(&s->site_text[i], 0);
}

void settings_release(struct settings *s)
{
	buf_release(&s->text);
	for (size_t i = 0; i < SETTINGS_SITES_MAX; i++)
		buf_release(&s->site_text[i]);
}

static int take(const double *v, double min, double max, const char *field, double *to, struct err *err)
{
	if (!v)
		return 0;
	if (!(*v >= min && *v <= max))
		return err_set(err, HCP_ERANGE, field, "must be from %g to %g, is %g", min, max, *v);
	*to = *v;
	return 0;
}

static int take_credits(struct settings *s, const struct y_file *y, struct err *err)
{
	char field[40];
	for (uint32_t i = 0; i < y->n_credits; i++) {
		const struct y_credit *c = &y->fill_credits[i];
		snprintf(field, sizeof(field), "fill_credits[%u].class", i);
		if (!device_class_find(str_of(c->class)))
			return err_set(err, HCP_EINVAL, field, "the catalogue has no device class '%s'", c->class);
		for (uint32_t k = 0; k < i; k++)
			if (strcmp(y->fill_credits[k].class, c->class) == 0)
				return err_set(err, HCP_EEXIST, field, "%s has a credit already", c->class);
		snprintf(field, sizeof(field), "fill_credits[%u].usd_h", i);
		if (!(c->usd_h >= 0 && c->usd_h <= 1000))
			return err_set(err, HCP_ERANGE, field, "must be from 0 to 1000, is %g", c->usd_h);
		size_t at = 0;
		while (at < s->n_credits && strcmp(s->credit_class[at], c->class) != 0)
			at++;
		if (at == SETTINGS_CREDITS_MAX)
			return err_set(err, HCP_ELIMIT, field, "at most %d credits", SETTINGS_CREDITS_MAX);
		set_credit(s, at, c->class, c->usd_h);
		s->n_credits += at == s->n_credits;
	}
	return 0;
}

static int take_type(struct router_conf *c, const struct y_node_type *y, struct err *err)
{
	struct scale_type *t = &c->scale.type[c->scale.n_types];
	struct router_place *p = &c->place[c->scale.n_types];
	const struct device_class *cls = device_class_find(str_of(y->device_class));
	char field[64];
	snprintf(field, sizeof(field), "autoscaling.types[%zu].device_class", c->scale.n_types);
	if (!cls)
		return err_set(err, HCP_EINVAL, field, "the catalogue has no device class '%s'", y->device_class);
	if (cls->kind == DEVICE_ASIC)
		return err_set(err, HCP_EINVAL, field, "%s can only mine: nobody waits for it", cls->name);
	*t = (struct scale_type){ .device_class = device_class_index(cls),
		.devices = y->devices > INT32_MAX ? -1 : (int32_t)y->devices,
		.nodes_max = y->nodes_max > INT32_MAX ? -1 : (int32_t)y->nodes_max };
	*p = (struct router_place){ 0 };
	snprintf(t->name, sizeof(t->name), "%s", y->name);
	snprintf(p->device_class, sizeof(p->device_class), "%s", cls->name);
	snprintf(p->facility, sizeof(p->facility), "%s", y->facility);
	snprintf(p->region, sizeof(p->region), "%s", y->region ? y->region : "");
	if (money_from_usd(y->price_max_usd_h, &t->price_max_micros_h) < 0)
		t->price_max_micros_h = -1;
	c->scale.n_types++;
	return 0;
}

static int take_seconds(const double *v, const char *field, int64_t *to_ns, struct err *err)
{
	double s = (double)*to_ns / (double)NS_PER_S;
	int rc = take(v, 1, 86400, field, &s, err);
	*to_ns = llround(s * 1000) * NS_PER_MS;
	return rc;
}

static int take_autoscaling(struct settings *s, const struct y_autoscaling *y, struct err *err)
{
	struct router_conf c = { .min_run_p2_ns = s->router.min_run_p2_ns, .min_run_p3_ns = s->router.min_run_p3_ns };
	double budget = 0, call_s = 10;
	int rc = 0;
	if (!y)
		return 0;
	scale_conf_default(&c.scale);
	for (uint32_t i = 0; rc == 0 && i < y->n_types; i++)
		rc = take_type(&c, &y->types[i], err);
	if (rc < 0 || (rc = take(y->budget_usd_h, 0, 1e7, "autoscaling.budget_usd_h", &budget, err)) < 0 ||
		(rc = take_seconds(y->up_after_s, "autoscaling.up_after_s", &c.scale.up_after_ns, err)) < 0 ||
		(rc = take_seconds(y->idle_s, "autoscaling.idle_s", &c.scale.idle_ns, err)) < 0 ||
		(rc = take_seconds(y->cooldown_s, "autoscaling.cooldown_s", &c.scale.cooldown_ns, err)) < 0 ||
		(rc = take_seconds(y->boot_s, "autoscaling.boot_s", &c.scale.boot_ns, err)) < 0 ||
		(rc = take_seconds(y->check_s, "autoscaling.check_s", &c.scale.check_ns, err)) < 0 ||
		(rc = take(y->call_s, 1, 60, "autoscaling.call_s", &call_s, err)) < 0)
		return rc;
	s->provider_deadline_ms = (uint32_t)llround(call_s * 1000);
	c.scale.call_ns = SETTINGS_CALL_LEASE * s->provider_deadline_ms * NS_PER_MS;
	c.scale.budget_micros_h = llround(budget * (double)MICROS_PER_USD);
	if (y->up_jobs)
		c.scale.up_jobs = *y->up_jobs > INT32_MAX ? -1 : (int32_t)*y->up_jobs;
	rc = scale_conf_check(&c.scale, err);
	if (rc < 0) {
		err_prefix(err, "autoscaling");
		return rc;
	}
	s->router = c;
	snprintf(s->provider_url, sizeof(s->provider_url), "%s", y->provider);
	snprintf(s->provider_token_file, sizeof(s->provider_token_file), "%s", y->token_file ? y->token_file : "");
	return 0;
}

static int convert(struct settings *s, const struct y_file *y, struct err *err)
{
	static const struct y_other no_other;
	static const struct y_decisions no_decisions;
	static const struct y_billing no_billing;
	const struct y_other *other = y->other_facilities ? y->other_facilities : &no_other;
	const struct y_decisions *d = y->decisions ? y->decisions : &no_decisions;
	const struct y_billing *b = y->billing ? y->billing : &no_billing;
	double horizon_s = (double)s->horizon_ns / (double)NS_PER_S;
	double tokens = (double)s->token_micros_million / (double)MICROS_PER_USD;
	double calls = (double)s->request_micros_million / (double)MICROS_PER_USD;
	int rc;
	if ((rc = take(other->pue, 1, 3, "other_facilities.pue", &s->site[0].pue, err)) < 0 ||
		(rc = take(other->pool_fee, 0, 0.5, "other_facilities.pool_fee", &s->site[0].pool_fee, err)) < 0 ||
		(rc = take(d->horizon_s, 60, 7 * 86400, "decisions.horizon_s", &horizon_s, err)) < 0 ||
		(rc = take(d->utilisation, 0.01, 1, "decisions.utilisation", &s->utilisation, err)) < 0 ||
		(rc = take(d->capital_usd, 0, 1e12, "decisions.capital_usd", &s->capital_usd, err)) < 0 ||
		(rc = take(d->drawdown_limit, 0.01, 0.99, "decisions.drawdown_limit", &s->drawdown_limit, err)) < 0 ||
		(rc = take(d->risk_aversion, 0, 1, "decisions.risk_aversion", &s->risk_aversion, err)) < 0 ||
		(rc = take(b->tokens_usd_million, 0, 1e6, "billing.tokens_usd_million", &tokens, err)) < 0 ||
		(rc = take(b->requests_usd_million, 0, 1e6, "billing.requests_usd_million", &calls, err)) < 0)
		return rc;
	if (other->settlement_point)
		snprintf(s->site[0].point, sizeof(s->site[0].point), "%s", other->settlement_point);
	s->horizon_ns = llround(horizon_s) * NS_PER_S;
	s->token_micros_million = llround(tokens * (double)MICROS_PER_USD);
	s->request_micros_million = llround(calls * (double)MICROS_PER_USD);
	rc = take_credits(s, y, err);
	if (rc == 0 && y->scheduling)
		rc = take_seconds(y->scheduling->min_run_p2_s, "scheduling.min_run_p2_s", &s->router.min_run_p2_ns, err);
	if (rc == 0 && y->scheduling)
		rc = take_seconds(y->scheduling->min_run_p3_s, "scheduling.min_run_p3_s", &s->router.min_run_p3_ns, err);
	return rc < 0 ? rc : take_autoscaling(s, y->autoscaling, err);
}

int settings_parse(struct settings *s, const char *name, struct str text, struct err *err)
{
	struct err why = { 0 };
	cyaml_data_t *data = NULL;
	int rc = yamlconf_load(name, text, SETTINGS_TEXT_MAX, &file_schema, &data, err);
	if (rc < 0)
		return rc;
	struct settings *next = mem_alloc(sizeof(*next));
	if (!next) {
		yamlconf_free(&file_schema, data);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	*next = *s;
	rc = convert(next, data, &why);
	yamlconf_free(&file_schema, data);
	if (rc == 0)
		*s = *next;
	for (size_t i = 0; i < s->n_credits; i++)
		s->credit[i].device_class = s->credit_class[i];
	mem_free(next);
	return rc < 0 ? yamlconf_wrong(name, text, &why, err) : 0;
}

/* ---- files ---- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

int settings_load(struct settings *s, const char *path, struct err *err)
{
	struct buf text;
	int rc = file_read(path, SETTINGS_TEXT_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = settings_parse(s, base_name(path), buf_str(&text), err);
	buf_release(&s->text);
	s->text = text;
	return rc;
}

int settings_add_site(struct settings *s, const char *path, struct err *err)
{
	size_t at = s->n_sites - 1;
	if (at == SETTINGS_SITES_MAX)
		return err_set(err, HCP_ELIMIT, "", "at most %d sites", SETTINGS_SITES_MAX);
	struct buf text;
	struct site *site = &s->site[s->n_sites];
	int rc = file_read(path, SITE_TEXT_MAX, &text, err);
	if (rc < 0)
		return rc;
	buf_release(&s->site_text[at]);
	s->site_text[at] = text;
	rc = site_parse(site, base_name(path), buf_str(&text), err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < s->n_sites; i++)
		if (strcmp(s->site[i].name, site->name) == 0)
			return err_set(err, HCP_EEXIST, "name", "%.80s: there is a site '%s' already", base_name(path), site->name);
	s->n_sites++;
	return 0;
}

static int kept_path(char path[PATH_LEN], const char *state_dir, const char *name, struct err *err)
{
	char sub[64];
	snprintf(sub, sizeof(sub), "conf/%s", name);
	return file_join(path, PATH_LEN, state_dir, sub) < 0 ? err_set(err, HCP_ERANGE, "--state", "the path is too long")
														 : 0;
}

int settings_keep(const struct settings *s, const char *state_dir, struct err *err)
{
	char path[PATH_LEN], name[32];
	int rc = file_join(path, sizeof(path), state_dir, "conf") < 0 ? err_set(err, HCP_ERANGE, "--state", "too long")
															   : file_mkdirs(path, err);
	if (rc == 0)
		rc = kept_path(path, state_dir, "settings.yaml", err);
	if (rc == 0 && s->text.n)
		rc = file_write_atomic(path, buf_str(&s->text), 0600, err);
	else if (rc == 0)
		(void)unlink(path);
	for (size_t i = 0; rc == 0 && i < SETTINGS_SITES_MAX; i++) {
		snprintf(name, sizeof(name), "site-%02zu.yaml", i);
		rc = kept_path(path, state_dir, name, err);
		if (rc == 0 && i + 1 < s->n_sites)
			rc = file_write_atomic(path, buf_str(&s->site_text[i]), 0600, err);
		else if (rc == 0)
			(void)unlink(path);
	}
	return rc;
}

int settings_load_kept(struct settings *s, const char *state_dir, struct err *err)
{
	char path[PATH_LEN], name[32];
	int rc = kept_path(path, state_dir, "settings.yaml", err);
	if (rc == 0 && file_exists(path))
		rc = settings_load(s, path, err);
	for (size_t i = 0; rc == 0 && i < SETTINGS_SITES_MAX; i++) {
		snprintf(name, sizeof(name), "site-%02zu.yaml", i);
		rc = kept_path(path, state_dir, name, err);
		if (rc == 0 && file_exists(path))
			rc = settings_add_site(s, path, err);
	}
	return rc;
}

/* The option before the field in the file: "--site groups[1].count". */
static int name_option(int rc, const char *option, struct err *err)
{
	char field[sizeof(err->field)];
	if (rc < 0) {
		snprintf(field, sizeof(field), "%s%s%.40s", option, err->field[0] ? " " : "", err->field);
		snprintf(err->field, sizeof(err->field), "%s", field);
	}
	return rc;
}

int settings_of_options(const struct options *o, struct settings *s, struct err *err)
{
	int rc = 0;
	if (o->action == ACTION_REPLAY && !o->settings_file[0] && !o->n_sites)
		return name_option(settings_load_kept(s, o->replay_dir, err), "--replay", err);
	if (o->settings_file[0])
		rc = name_option(settings_load(s, o->settings_file, err), "--settings", err);
	for (int i = 0; rc == 0 && i < o->n_sites; i++)
		rc = name_option(settings_add_site(s, o->site_file[i], err), "--site", err);
	return rc;
}

/* ---- for people ---- */

static void print_autoscaling(const struct settings *s, FILE *to)
{
	const struct scale_conf *c = &s->router.scale;
	fputs(
		"\n# Nodes that are rented while jobs wait (docs/autoscaling.md). Default: none; these would be given with "
		"it:\n"
		"# up_jobs 10 (jobs that wait), up_after_s 10 (for so long), idle_s 300 (a node without work goes), cooldown_s "
		"30,\n"
		"# boot_s 180 (to join), check_s 60, call_s 10 (a call to the provider). token_file: shown to it; optional.\n",
		to);
	if (!c->n_types) {
		fputs("# autoscaling:\n#   provider: http://127.0.0.1:9000\n#   budget_usd_h: 100  # USD per hour of all nodes "
			  "together\n"
			  "#   types:\n#     - name: h100\n#       device_class: H100\n#       facility: cloud-a\n#       region: "
			  "us-tx  # optional\n"
			  "#       devices: 8  # of a node\n#       nodes_max: 4\n#       price_max_usd_h: 30  # of a node\n",
			to);
		return;
	}
	fprintf(to, "autoscaling:\n  provider: \"%s\"\n", s->provider_url);
	if (s->provider_token_file[0])
		fprintf(to, "  token_file: \"%s\"\n", s->provider_token_file);
	fprintf(to,
		"  budget_usd_h: %g\n  up_jobs: %d\n  up_after_s: %g\n  idle_s: %g\n  cooldown_s: %g\n  boot_s: %g\n  check_s: "
		"%g\n"
		"  call_s: %g\n",
		(double)c->budget_micros_h / (double)MICROS_PER_USD, c->up_jobs, (double)c->up_after_ns / (double)NS_PER_S,
		(double)c->idle_ns / (double)NS_PER_S, (double)c->cooldown_ns / (double)NS_PER_S,
		(double)c->boot_ns / (double)NS_PER_S, (double)c->check_ns / (double)NS_PER_S,
		s->provider_deadline_ms / 1000.0);
	fputs("  types:\n", to);
	for (size_t i = 0; i < c->n_types; i++)
		fprintf(to,
			"    - name: %s\n      device_class: %s\n      facility: \"%s\"\n      region: \"%s\"\n      devices: %d\n"
			"      nodes_max: %d\n      price_max_usd_h: %g\n",
			c->type[i].name, s->router.place[i].device_class, s->router.place[i].facility, s->router.place[i].region,
			c->type[i].devices, c->type[i].nodes_max, (double)c->type[i].price_max_micros_h / (double)MICROS_PER_USD);
}

void settings_print(const struct settings *s, FILE *to)
{
	const struct site *other = &s->site[0];
	fprintf(to,
		"# Settings of hcpd: `hcpd --settings FILE`. Every setting may be left out; these are the values in force.\n"
		"# Sites (what a facility pays, may draw and holds) are files of their own: --site, spec/sites/README.md.\n"
		"# The policy and its parameters are set through the API: `hcp policy set`.\n\n"
		"# Facilities that no --site names.\n"
		"other_facilities:\n"
		"  settlement_point: \"%s\"  # name; \"\": the first one that a feed tells. Default: \"\"\n"
		"  pue: %g  # meter watts per plug watt, 1 to 3. Default: %g\n"
		"  pool_fee: %g  # share of what is mined, 0 to 0.5. Default: %g\n\n",
		other->point, other->pue, OPTIMIZER_PUE, other->pool_fee, OPTIMIZER_POOL_FEE);
	fprintf(to,
		"decisions:\n"
		"  horizon_s: %g  # s, for which simple policies take prices to hold and switches must pay, 60 to 604800. "
		"Default: %d\n"
		"  utilisation: %g  # share of a served device's time that is sold on the spot, 0.01 to 1. Default: %g\n"
		"  # Once what decisions came to has fallen by drawdown_limit of its highest, capital included, only what is\n"
		"  # safe runs until half of that is won back.\n"
		"  capital_usd: %g  # USD at stake, 0 to 1e12; 0: no drawdown guard. Default: 0\n"
		"  drawdown_limit: %g  # share, 0.01 to 0.99. Default: %g\n"
		"  # Power is decided by as if it cost that share of what it rises by in the worst twentieth of the past\n"
		"  # four weeks' quarter-hours (CVaR 95 %%) more; policy strike adds that to the price, too.\n"
		"  risk_aversion: %g  # 0 to 1. Default: 0\n\n",
		(double)s->horizon_ns / (double)NS_PER_S, OPTIMIZER_HORIZON_S, s->utilisation, OPTIMIZER_UTILISATION,
		s->capital_usd, s->drawdown_limit, RISK_DRAWDOWN_LIMIT, s->risk_aversion);
	fputs("# What mining with a device of a class is worth beyond its coins (heat used, a node kept busy), USD per "
		  "device\n"
		  "# and hour, 0 to 1000. Default: CPU2 0.05, CPU64 1, others 0.\n",
		to);
	fputs("fill_credits:\n", to);
	for (size_t i = 0; i < s->n_credits; i++)
		fprintf(to, "  - class: %s\n    usd_h: %g\n", s->credit[i].device_class, s->credit[i].fill_usd_h);
	fprintf(to,
		"\nbilling:\n"
		"  tokens_usd_million: %g  # USD per million tokens at an endpoint; 0: free. Default: %g\n"
		"  requests_usd_million: %g  # USD per million requests, on top; 0: free. Default: 0\n",
		(double)s->token_micros_million / (double)MICROS_PER_USD, (double)BILLING_TOKEN_MICROS / (double)MICROS_PER_USD,
		(double)s->request_micros_million / (double)MICROS_PER_USD);
	fprintf(to,
		"\n# So long work runs before it may have to yield to a better class; doubled each time that it had to.\n"
		"scheduling:\n"
		"  min_run_p2_s: %g  # s, batch inference, 1 to 86400. Default: %d\n"
		"  min_run_p3_s: %g  # s, training, 1 to 86400. Default: %d\n",
		(double)s->router.min_run_p2_ns / (double)NS_PER_S, PREEMPT_MIN_RUN_P2_S,
		(double)s->router.min_run_p3_ns / (double)NS_PER_S, PREEMPT_MIN_RUN_P3_S);
	print_autoscaling(s, to);
}
