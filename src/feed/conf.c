#include "feed/conf.h"

#include <cyaml/cyaml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/num.h"
#include "feed/conf_priv.h"
#include "feed/kind.h"
#include "http/url.h"
#include "model/device_class.h"
#include "os/file.h"

enum { CREDENTIALS_MAX = 64 << 10, DEADLINE_MS = 10000, STALL_MS = 20000, MAX_BYTES = 4 << 20 };
#define DAY_MS INT64_C(86400000)

/* ---- the schema ---- */

/* As it stands in the file; what is NULL was not there. */
struct raw_source {
	char *name, *kind, *symbol, *location, *url, *every, *deadline, *stale, *stall, *credentials, *token_url;
	char *product, *point, *region, *instance, *zone, *path, *time_path, *pick, *header, *interval;
	unsigned *priority, *max_bytes, *gpus;
	double *scale, *min, *max, *max_jump;
	bool *spot;
};

struct raw_file {
	char *ca_file;
	struct raw_source *sources;
	uint64_t n_sources;
};

#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define TEXT(field, max) CYAML_FIELD_STRING_PTR(#field, OPTIONAL, struct raw_source, field, 1, (max)-1)

static const cyaml_schema_field_t source_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct raw_source, name, 1, FEED_NAME_MAX - 1),
	CYAML_FIELD_STRING_PTR("kind", CYAML_FLAG_POINTER, struct raw_source, kind, 1, FEED_TEXT_MAX - 1),
	TEXT(symbol, FEED_TEXT_MAX),
	TEXT(location, FEED_TEXT_MAX),
	TEXT(url, FEED_URL_MAX),
	TEXT(every, 20),
	TEXT(deadline, 20),
	TEXT(stale, 20),
	TEXT(stall, 20),
	TEXT(credentials, FEED_URL_MAX),
	TEXT(token_url, FEED_URL_MAX),
	TEXT(product, FEED_TEXT_MAX),
	TEXT(point, FEED_TEXT_MAX),
	TEXT(region, FEED_TEXT_MAX),
	TEXT(instance, FEED_TEXT_MAX),
	TEXT(zone, FEED_TEXT_MAX),
	TEXT(path, FEED_PATH_MAX),
	TEXT(time_path, FEED_PATH_MAX),
	TEXT(pick, FEED_TEXT_MAX),
	TEXT(header, 40),
	TEXT(interval, 20),
	CYAML_FIELD_UINT_PTR("priority", OPTIONAL, struct raw_source, priority),
	CYAML_FIELD_UINT_PTR("max_bytes", OPTIONAL, struct raw_source, max_bytes),
	CYAML_FIELD_UINT_PTR("gpus", OPTIONAL, struct raw_source, gpus),
	CYAML_FIELD_FLOAT_PTR("scale", OPTIONAL, struct raw_source, scale),
	CYAML_FIELD_FLOAT_PTR("min", OPTIONAL, struct raw_source, min),
	CYAML_FIELD_FLOAT_PTR("max", OPTIONAL, struct raw_source, max),
	CYAML_FIELD_FLOAT_PTR("max_jump", OPTIONAL, struct raw_source, max_jump),
	CYAML_FIELD_BOOL_PTR("spot", OPTIONAL, struct raw_source, spot),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t source_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_source, source_fields),
};
static const cyaml_schema_field_t file_fields[] = {
	CYAML_FIELD_STRING_PTR("ca_file", OPTIONAL, struct raw_file, ca_file, 1, FEED_URL_MAX - 1),
	CYAML_FIELD_SEQUENCE_COUNT(
		"sources", CYAML_FLAG_POINTER, struct raw_file, sources, n_sources, &source_schema, 1, FEED_SOURCES_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t file_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_file, file_fields),
};

/* Settings that only some kinds take, and what they are called. */
static const struct {
	const char *name;
	size_t at;
} special[] = {
#define SPECIAL(field)                                                                                                 \
	{                                                                                                                  \
#field, offsetof(struct raw_source, field)                                                                     \
	}
	SPECIAL(token_url),
	SPECIAL(stall),
	SPECIAL(product),
	SPECIAL(point),
	SPECIAL(region),
	SPECIAL(instance),
	SPECIAL(zone),
	SPECIAL(path),
	SPECIAL(time_path),
	SPECIAL(pick),
	SPECIAL(header),
	SPECIAL(interval),
	SPECIAL(gpus),
	SPECIAL(spot),
	SPECIAL(credentials),
};

/* ---- reading it ---- */

struct place {
	const char *file;
	struct str text;
	size_t source; /* index of the source in hand */
	struct err *err;
};

/* An error of one field of the source in hand, with the line it stands on. */
static int wrong(const struct place *p, int code, const char *field, const char *fmt, ...) PRINTF_LIKE(4, 5);
static int wrong(const struct place *p, int code, const char *field, const char *fmt, ...)
{
	char what[192], where[64];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(where, sizeof(where), "sources[%zu].%s", p->source, field);
	return err_set(
		p->err, code, where, "%.60s line %zu: %s", p->file, feed_conf_line(p->text, p->source, field, NULL), what);
}

struct said {
	char what[160], where[120];
};

/* libcyaml says what is wrong in one call and where, innermost first, in those that follow. */
static void hear(cyaml_log_t level, void *ctx, const char *fmt, va_list args) PRINTF_LIKE(3, 0);
static void hear(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
	struct said *s = ctx;
	char line[200];
	vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = 0;
	const char *text = strncmp(line, "Load: ", 6) == 0 ? line + 6 : line;
	if (strcmp(text, "Backtrace:") == 0)
		return;
	if (!s->what[0] && !strstr(text, "line:"))
		snprintf(s->what, sizeof(s->what), "%.159s", text);
	else if (!s->where[0] && strstr(text, "line:"))
		snprintf(s->where, sizeof(s->where), "%.119s", text + strspn(text, " "));
}

static void *reallocate(void *ctx, void *p, size_t size)
{
	if (size)
		return mem_realloc(p, size);
	mem_free(p);
	return NULL;
}

static cyaml_config_t cyaml_settings(struct said *s)
{
	return (cyaml_config_t){
		.log_fn = hear, .log_ctx = s, .log_level = CYAML_LOG_ERROR, .mem_fn = reallocate, .flags = CYAML_CFG_NO_ALIAS
	};
}

/* "in mapping field 'every' (line: 4, column: 12)" */
static void split_where(const char *where, size_t *ret_line, char field[40])
{
	unsigned long line = 0;
	const char *at = strstr(where, "line: "), *name = strchr(where, '\'');
	if (at)
		line = strtoul(at + 6, NULL, 10);
	bool entry = strstr(where, "sequence entry");
	snprintf(field, 40, "%s%.*s%s", entry ? "sources[" : "", name ? (int)strcspn(name + 1, "'") : 0,
		name ? name + 1 : "", entry ? "]" : "");
	*ret_line = line;
}

/* An unexpected key is told with the line of the key before it. */
static void find_unexpected(struct str text, const char *what, size_t *ret_line, char field[40])
{
	static const char begin[] = "Unexpected key: ";
	bool exact = false;
	if (strncmp(what, begin, sizeof(begin) - 1) != 0)
		return;
	for (size_t i = 0; i < FEED_SOURCES_MAX && !exact; i++) {
		size_t line = feed_conf_line(text, i, what + sizeof(begin) - 1, &exact);
		*ret_line = exact ? line : *ret_line;
	}
	snprintf(field, 40, "%.39s", what + sizeof(begin) - 1);
}

static int load_raw(const struct place *p, struct raw_file **ret)
{
	struct said s = { 0 };
	cyaml_config_t conf = cyaml_settings(&s);
	cyaml_data_t *data = NULL;
	char field[40];
	size_t line;
	if (memchr(p->text.p ? p->text.p : "", 0, p->text.n))
		return err_set(p->err, HCP_EPARSE, p->file, "%.60s is not a text file", p->file);
	cyaml_err_t rc = cyaml_load_data((const uint8_t *)p->text.p, p->text.n, &conf, &file_schema, &data, NULL);
	if (rc == CYAML_OK && data) {
		*ret = (struct raw_file *)data;
		return 0;
	}
	if (rc == CYAML_ERR_OOM)
		return err_set(p->err, HCP_ENOMEM, "", "no memory for %.60s", p->file);
	split_where(s.where, &line, field);
	find_unexpected(p->text, s.what, &line, field);
	return err_set(p->err, HCP_EPARSE, field, "%.60s line %zu: %s", p->file, line,
		s.what[0]        ? s.what
		: rc == CYAML_OK ? "there are no sources"
						 : cyaml_strerror(rc));
}

static void free_raw(struct raw_file *f)
{
	struct said s = { 0 };
	cyaml_config_t conf = cyaml_settings(&s);
	cyaml_free(&conf, &file_schema, f, 0);
}

/* ---- checking it ---- */

static int duration(
	const struct place *p, const char *field, const char *text, int64_t least_ms, int64_t most_ms, int64_t *ret_ms)
{
	static const struct {
		const char *unit;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", DAY_MS } };
	if (!text)
		return 0;
	size_t digits = strspn(text, "0123456789");
	int64_t n = 0;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (!digits || digits > 9 || strcmp(text + digits, units[i].unit) != 0)
			continue;
		if (num_parse_i64((struct str){ text, digits }, &n) < 0 || n * units[i].ms < least_ms ||
			n * units[i].ms > most_ms)
			return wrong(p, HCP_ERANGE, field, "%s must be from %lld ms to %lld s", field, (long long)least_ms,
				(long long)(most_ms / 1000));
		*ret_ms = n * units[i].ms;
		return 0;
	}
	return wrong(p, HCP_EINVAL, field, "'%.20s' is not a time like 500ms, 1s, 5m or 2h", text);
}

/* Is word one of the blank-separated list? *ret_needed: it carries a '!'. */
static bool listed(const char *list, const char *word, bool *ret_needed)
{
	struct str rest = str_of(list);
	while (rest.p) {
		struct str one = str_split(&rest, ' ');
		bool needed = one.n && one.p[0] == '!';
		if (needed)
			one = (struct str){ one.p + 1, one.n - 1 };
		if (one.n && str_eqz(one, word)) {
			*ret_needed = needed;
			return true;
		}
	}
	return false;
}

static int check_special(const struct place *p, const struct raw_source *r, const struct feed_kind *kind)
{
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		const void *given;
		bool needed = false;
		memcpy(&given, (const char *)r + special[i].at, sizeof(given));
		bool taken = listed(kind->takes, special[i].name, &needed);
		if (given && !taken)
			return wrong(
				p, HCP_EINVAL, special[i].name, "%s means nothing to the kind %s", special[i].name, kind->name);
		if (!given && needed)
			return wrong(p, HCP_EINVAL, special[i].name, "%s is required by the kind %s", special[i].name, kind->name);
	}
	return 0;
}

static const struct {
	const char *name;
	int quantity; /* enum market_quantity; -1: none */
} symbols[] = {
	{ "electricity_rt", MARKET_POWER_RT },
	{ "electricity_da", MARKET_POWER_DA },
	{ "btc_usd", MARKET_BTC_USD },
	{ "difficulty", MARKET_DIFFICULTY },
	{ "block_fees_btc", MARKET_FEES_BTC },
	{ "block_height", MARKET_HEIGHT },
	{ "gpu_rate", MARKET_GPU_RATE },
	{ "block_subsidy_btc", -1 },
	{ "ancillary", -1 },
};

static int take_symbol(
	const struct place *p, const struct raw_source *r, struct feed_source_conf *c, const struct market_rule **ret_rule)
{
	static const struct market_rule subsidy = { .max = 50 }, capacity = { .max = 1e5 };
	bool unused;
	const char *first = c->kind->symbols, *symbol = r->symbol ? r->symbol : first;
	size_t i = 0, n = sizeof(symbols) / sizeof(symbols[0]);
	if (!r->symbol && strcmp(first, "*") == 0)
		return wrong(p, HCP_EINVAL, "symbol", "symbol is required by the kind %s", c->kind->name);
	while (i < n && strcmp(symbols[i].name, symbol) != 0)
		i++;
	if (i == n || (strcmp(first, "*") != 0 && !listed(first, symbol, &unused)))
		return wrong(p, HCP_EINVAL, "symbol", "%.40s is no symbol that the kind %s can feed", symbol, c->kind->name);
	snprintf(c->symbol, sizeof(c->symbol), "%s", symbol);
	bool electricity = symbols[i].quantity == MARKET_POWER_RT || symbols[i].quantity == MARKET_POWER_DA;
	bool gpu = symbols[i].quantity == MARKET_GPU_RATE, ancillary = strcmp(symbol, "ancillary") == 0;
	if ((electricity || gpu || ancillary) != (r->location != NULL))
		return wrong(p, HCP_EINVAL, "location", r->location ? "%s has no location" : "%s needs a location: the %s",
			symbol,
			gpu         ? "device class"
			: ancillary ? "product"
						: "settlement point");
	if (gpu && !device_class_find(str_of(r->location)))
		return wrong(p, HCP_EINVAL, "location", "there is no device class %.40s", r->location);
	snprintf(c->location, sizeof(c->location), "%s", r->location ? r->location : "");
	*ret_rule = ancillary                 ? &capacity
				: symbols[i].quantity < 0 ? &subsidy
										  : market_rule_default((enum market_quantity)symbols[i].quantity);
	return 0;
}

static int take_bounds(
	const struct place *p, const struct raw_source *r, const struct market_rule *rule, struct feed_source_conf *c)
{
	c->scale = r->scale ? *r->scale : 1;
	c->min = r->min ? *r->min : rule->min;
	c->max = r->max ? *r->max : rule->max;
	c->max_jump = r->max_jump ? *r->max_jump : rule->max_jump;
	if (!isfinite(c->scale) || c->scale == 0)
		return wrong(p, HCP_ERANGE, "scale", "scale must be a number other than 0");
	if (!isfinite(c->min) || !isfinite(c->max) || c->min >= c->max)
		return wrong(p, HCP_ERANGE, r->max ? "max" : "min", "min must be below max: %g, %g", c->min, c->max);
	if (!(c->max_jump == 0 || (c->max_jump > 1 && c->max_jump <= 1e6)))
		return wrong(p, HCP_ERANGE, "max_jump", "max_jump must be above 1, or 0 for no gate");
	return 0;
}

static int take_times(const struct place *p, const struct raw_source *r, struct feed_source_conf *c)
{
	bool live = c->kind->traits & FEED_LIVE;
	c->every_ms = c->kind->every_ms;
	c->stale_ms = c->kind->stale_ms;
	c->deadline_ms = DEADLINE_MS;
	c->stall_ms = STALL_MS;
	int rc = duration(p, "every", r->every, live ? 100 : 1000, DAY_MS, &c->every_ms);
	if (rc == 0)
		rc = duration(p, "stale", r->stale, 1000, 7 * DAY_MS, &c->stale_ms);
	if (rc == 0)
		rc = duration(p, "deadline", r->deadline, 100, 120000, &c->deadline_ms);
	if (rc == 0)
		rc = duration(p, "stall", r->stall, 1000, 600000, &c->stall_ms);
	int64_t interval_ms = 0;
	if (rc == 0)
		rc = duration(p, "interval", r->interval, 1000, DAY_MS, &interval_ms);
	c->interval_s = (int)(interval_ms / 1000);
	if (rc == 0 && !r->stale && c->stale_ms < 3 * c->every_ms)
		c->stale_ms = 3 * c->every_ms;
	if (rc == 0 && c->stale_ms < c->every_ms)
		rc = wrong(p, HCP_ERANGE, "stale", "stale must not be less than every, or the source would never be fresh");
	return rc;
}

static int take_pick(const struct place *p, const char *text, enum feed_pick *ret)
{
	static const char *const names[] = { "first", "last", "min", "max", "mean", "median" };
	for (size_t i = 0; text && i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = (enum feed_pick)(FEED_PICK_FIRST + i);
			return 0;
		}
	}
	return text ? wrong(p, HCP_EINVAL, "pick", "pick must be first, last, min, max, mean or median") : 0;
}

static bool is_loopback(struct str host)
{
	return str_eqz(host, "localhost") || str_eqz(host, "::1") || str_starts(host, STR("127."));
}

static int check_url(const struct place *p, const char *field, const struct feed_source_conf *c, const char *text,
	bool live, bool secret)
{
	struct url u;
	struct err why = { 0 };
	if (url_parse(str_of(text), &u, &why) < 0)
		return wrong(p, HCP_EINVAL, field, "%s: %.120s", field, why.text);
	bool is_ws = u.scheme.p[0] == 'w';
	if (is_ws != live)
		return wrong(p, HCP_EINVAL, field, "%s of the kind %s must begin with %s", field, c->kind->name,
			live ? "wss:// or ws://" : "https:// or http://");
	if (secret && !u.tls && !is_loopback(u.host))
		return wrong(p, HCP_EINVAL, field, "%s: credentials are not sent without TLS", field);
	return 0;
}

static int take_urls(const struct place *p, const struct raw_source *r, struct feed_source_conf *c)
{
	const char *url = r->url ? r->url : c->kind->url, *hole = url ? strstr(url, "{region}") : NULL;
	static const char b2c[] =
		"https://ercotb2c.b2clogin.com/ercotb2c.onmicrosoft.com/B2C_1_PUBAPI-ROPC-FLOW/oauth2/v2.0/"
		"token";
	if (!url)
		return wrong(p, HCP_EINVAL, "url", "url is required by the kind %s", c->kind->name);
	int n = hole ? snprintf(
					   c->url, sizeof(c->url), "%.*s%s%s", (int)(hole - url), url, r->region ? r->region : "", hole + 8)
				 : snprintf(c->url, sizeof(c->url), "%s", url);
	if (n < 0 || (size_t)n >= sizeof(c->url))
		return wrong(p, HCP_ERANGE, "url", "url is too long");
	int rc = check_url(p, "url", c, c->url, c->kind->traits & FEED_LIVE, r->credentials);
	if (rc < 0 || !(c->kind->traits & FEED_B2C))
		return rc;
	snprintf(c->token_url, sizeof(c->token_url), "%s", r->token_url ? r->token_url : b2c);
	return check_url(p, "token_url", c, c->token_url, false, true);
}

static void copy_texts(const struct raw_source *r, struct feed_source_conf *c)
{
	const struct {
		const char *from;
		char *to;
		size_t cap;
	} texts[] = {
		{ r->name, c->name, sizeof(c->name) },
		{ r->credentials, c->credentials, sizeof(c->credentials) },
		{ r->product, c->product, sizeof(c->product) },
		{ r->point, c->point, sizeof(c->point) },
		{ r->region, c->region, sizeof(c->region) },
		{ r->instance, c->instance, sizeof(c->instance) },
		{ r->zone, c->zone, sizeof(c->zone) },
		{ r->path, c->path, sizeof(c->path) },
		{ r->time_path, c->time_path, sizeof(c->time_path) },
		{ r->header, c->header, sizeof(c->header) },
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		snprintf(texts[i].to, texts[i].cap, "%s", texts[i].from ? texts[i].from : "");
	c->gpus = r->gpus ? (int)*r->gpus : 0;
	c->spot = r->spot && *r->spot;
	c->priority = r->priority ? (int)*r->priority : 1;
	c->max_bytes = r->max_bytes ? *r->max_bytes : MAX_BYTES;
}

static int take_source(const struct place *p, const struct raw_source *r, struct feed_source_conf *c)
{
	const struct market_rule *rule = NULL;
	struct err why = { 0 };
	*c = (struct feed_source_conf){ .kind = feed_kind_find(r->kind) };
	if (!c->kind)
		return wrong(p, HCP_EINVAL, "kind", "there is no kind %.40s", r->kind);
	if (strspn(r->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(r->name))
		return wrong(p, HCP_EINVAL, "name", "name must be letters, digits, '.', '_' and '-'");
	if (r->priority && (*r->priority < 1 || *r->priority > 1000))
		return wrong(p, HCP_ERANGE, "priority", "priority must be from 1 to 1000");
	if (r->gpus && (*r->gpus < 1 || *r->gpus > 1024))
		return wrong(p, HCP_ERANGE, "gpus", "gpus must be from 1 to 1024");
	if (r->max_bytes && (*r->max_bytes < 1024 || *r->max_bytes > (64U << 20)))
		return wrong(p, HCP_ERANGE, "max_bytes", "max_bytes must be from 1024 to 67108864");
	int rc = check_special(p, r, c->kind);
	if (rc < 0)
		return rc;
	copy_texts(r, c);
	rc = take_symbol(p, r, c, &rule);
	if (rc == 0)
		rc = take_bounds(p, r, rule, c);
	if (rc == 0)
		rc = take_times(p, r, c);
	if (rc == 0)
		rc = take_pick(p, r->pick, &c->pick);
	if (rc == 0)
		rc = take_urls(p, r, c);
	if (rc == 0 && c->kind->check && c->kind->check(c, &why) < 0)
		rc = wrong(p, why.code, why.field, "%s: %.140s", why.field, why.text);
	return rc;
}

static int take_all(struct place *p, const struct raw_file *raw, struct feed_conf *c)
{
	snprintf(c->ca_file, sizeof(c->ca_file), "%s", raw->ca_file ? raw->ca_file : "");
	c->source = mem_calloc(raw->n_sources, sizeof(*c->source));
	if (!c->source)
		return err_set(p->err, HCP_ENOMEM, "", "no memory for the sources");
	for (; c->n < raw->n_sources; c->n++) {
		p->source = c->n;
		int rc = take_source(p, &raw->sources[c->n], &c->source[c->n]);
		if (rc < 0)
			return rc;
		for (size_t i = 0; i < c->n; i++)
			if (strcmp(c->source[i].name, c->source[c->n].name) == 0)
				return wrong(p, HCP_EEXIST, "name", "there are two sources named %s", c->source[i].name);
	}
	return 0;
}

int feed_conf_parse(const char *name, struct str text, struct feed_conf *ret, struct err *err)
{
	struct place p = { .file = name, .text = text, .err = err };
	struct feed_conf c = { 0 };
	struct raw_file *raw = NULL;
	int rc = load_raw(&p, &raw);
	if (rc < 0)
		return rc;
	rc = take_all(&p, raw, &c);
	free_raw(raw);
	if (rc < 0)
		feed_conf_release(&c);
	else
		*ret = c;
	return rc;
}

void feed_conf_release(struct feed_conf *c)
{
	mem_free(c->source);
	*c = (struct feed_conf){ 0 };
}

int feed_creds_load(const char *path, struct feed_creds *ret, struct err *err)
{
	struct buf text;
	int rc = file_read(path, CREDENTIALS_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = feed_creds_parse(ret, buf_str(&text), err);
	explicit_bzero(text.data, text.n);
	buf_release(&text);
	return rc;
}

static int check_credentials(struct place *p, const struct feed_conf *c)
{
	struct feed_creds *creds = mem_alloc(sizeof(*creds));
	if (!creds)
		return err_set(p->err, HCP_ENOMEM, "", "no memory for credentials");
	int rc = 0;
	for (size_t i = 0; i < c->n && rc == 0; i++) {
		struct err why = { 0 };
		p->source = i;
		if (c->source[i].credentials[0] && feed_creds_load(c->source[i].credentials, creds, &why) < 0)
			rc = wrong(p, why.code, "credentials", "credentials: %.150s", why.text);
	}
	mem_free_secret(creds, sizeof(*creds));
	return rc;
}

int feed_conf_load(const char *path, struct feed_conf *ret, struct err *err)
{
	struct buf text;
	struct feed_conf c = { 0 };
	int rc = file_read(path, FEED_CONF_BYTES_MAX, &text, err);
	if (rc < 0)
		return rc;
	const char *slash = strrchr(path, '/');
	struct place p = { .file = slash ? slash + 1 : path, .text = buf_str(&text), .err = err };
	rc = feed_conf_parse(p.file, p.text, &c, err);
	if (rc == 0 && (rc = check_credentials(&p, &c)) < 0)
		feed_conf_release(&c);
	if (rc == 0)
		*ret = c;
	buf_release(&text);
	return rc;
}
