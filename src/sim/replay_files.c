#include "sim/replay_files.h"

#include <stdio.h>

#include "base/timefmt.h"
#include "os/file.h"

enum { FILE_MAX = 64 << 20, NAME_MAX_BYTES = 64, PATH_BYTES = 1024, DAY_S = 86400 };

struct locations {
	char name[REPLAY_LOCATIONS_MAX][REPLAY_LOCATION_MAX];
	size_t n;
};

static int split_locations(struct locations *l, const char *text, struct err *err)
{
	struct str rest = str_of(text);
	l->n = 0;
	while (rest.p) {
		struct str one = str_trim(str_split(&rest, ','));
		if (one.n == 0)
			continue;
		if (l->n == REPLAY_LOCATIONS_MAX)
			return err_set(err, HCP_ELIMIT, "location", "at most %d locations", REPLAY_LOCATIONS_MAX);
		if (str_copy(l->name[l->n], REPLAY_LOCATION_MAX, one) < 0)
			return err_set(err, HCP_ERANGE, "location", "'%.*s' is too long", (int)(one.n < 60 ? one.n : 60), one.p);
		l->n++;
	}
	return l->n ? 0 : err_set(err, HCP_EINVAL, "location", "no settlement point is named");
}

enum kind {
	REAL_TIME,
	DAY_AHEAD,
	DAY_AHEAD_HUB,
	BTC,
	NETWORK,
	GPU,
	ANCILLARY,
	LOAD_FORECAST,
	FUEL_MIX,
	GENERATION,
	REQUESTS
};

static const struct source {
	enum kind kind;
	enum { ALWAYS, MARKET, ALL } of; /* who reads it: everybody, replay_load_market, replay_load_all */
	bool yearly;        /* a year stands between prefix and ".csv" */
	const char *prefix; /* or the whole name */
} sources[] = {
	{ REAL_TIME, ALWAYS, true, "ercot_rt_spp_15min_" },
	{ DAY_AHEAD, ALWAYS, true, "ercot_dam_spp_hourly_" },
	{ ANCILLARY, MARKET, true, "ercot_as_mcpc_hourly_" },
	{ LOAD_FORECAST, ALL, true, "ercot_da_load_forecast_hourly_" },
	{ FUEL_MIX, ALL, true, "ercot_fuelmix_hourly_" },
	{ BTC, ALWAYS, false, "btc_usdt_hourly.csv" },
	{ NETWORK, ALWAYS, false, "btc_network_daily.csv" },
	{ GPU, ALWAYS, false, "gpu_list_price_monthly.csv" },
	{ REQUESTS, ALL, false, "genai_requests_alibaba_2024.csv" },
};
static const char generation_prefix[] = "ercot_generation_hourly_"; /* the years that follow vary */
static const char hub_prefix[] = "ercot_dam_";

struct loading {
	struct replay *r;
	const char *dir;
	struct locations l;
	struct replay_files *files; /* NULL: nobody asks */
	struct err *err;
};

/* The hub of "ercot_dam_houston_2021_02.csv" in upper case; false: another file. */
static bool hub_of(const char *name, char *ret, size_t cap)
{
	struct str rest = str_of(name);
	if (!str_starts(rest, str_of(hub_prefix)))
		return false;
	rest = (struct str){ rest.p + sizeof(hub_prefix) - 1, rest.n - (sizeof(hub_prefix) - 1) };
	struct str hub = str_split(&rest, '_');
	if (str_copy(ret, cap, hub) < 0 || !rest.p || rest.n != strlen("2021_02.csv") || rest.p[4] != '_')
		return false;
	for (char *c = ret; *c; c++)
		*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
	return true;
}

static bool asks_for_hub(const struct loading *in, const char *hub)
{
	for (size_t i = 0; i < in->l.n; i++)
		if (!strncmp(in->l.name[i], "HB_", 3) && !strcmp(in->l.name[i] + 3, hub))
			return true;
	return false;
}

static int add_hub(struct loading *in, const char *name, struct str text)
{
	char hub[REPLAY_LOCATION_MAX - 4], column[REPLAY_LOCATION_MAX], location[REPLAY_LOCATION_MAX];
	if (!hub_of(name, hub, sizeof(hub)))
		return 0;
	snprintf(column, sizeof(column), "%s_DAM", hub);
	snprintf(location, sizeof(location), "HB_%s", hub);
	return replay_add_day_ahead_column(in->r, name, text, column, location, in->err);
}

static int add_text(struct loading *in, enum kind kind, const char *name, struct str text)
{
	struct replay *r = in->r;
	const struct locations *l = &in->l;
	struct err *err = in->err;
	int rc = 0;
	switch (kind) {
	case REAL_TIME:
	case DAY_AHEAD:
		for (size_t i = 0; rc == 0 && i < l->n; i++) {
			rc = kind == REAL_TIME ? replay_add_real_time(r, name, text, l->name[i], err)
								   : replay_add_day_ahead(r, name, text, l->name[i], err);
			/* Not every settlement point of the real-time files stands in the day-ahead ones. */
			if (kind == DAY_AHEAD && rc == HCP_ENOTFOUND)
				rc = 0;
		}
		return rc;
	case DAY_AHEAD_HUB:
		return add_hub(in, name, text);
	case BTC:
		return replay_add_btc(r, name, text, err);
	case NETWORK:
		return replay_add_network(r, name, text, err);
	case GPU:
		return replay_add_gpu(r, name, text, err);
	case ANCILLARY:
		return replay_add_ancillary(r, name, text, err);
	case LOAD_FORECAST:
		return replay_add_load_forecast(r, name, text, err);
	case FUEL_MIX:
		return replay_add_fuel_mix(r, name, text, err);
	case GENERATION:
		return replay_add_generation(r, name, text, err);
	case REQUESTS:
		return replay_add_requests(r, name, text, in->files->from_ns, in->files->to_ns, err);
	}
	return HCP_EINTERNAL;
}

static void note(struct loading *in, bool found, const char *name)
{
	if (in->files)
		buf_printf(found ? &in->files->read : &in->files->missing, "%s\n", name);
}

/* 1: read; 0: there is no such file. */
static int add_file(struct loading *in, const char *name, enum kind kind)
{
	char path[PATH_BYTES];
	struct buf text;
	if (file_join(path, sizeof(path), in->dir, name) < 0)
		return err_set(in->err, HCP_ERANGE, "data", "the path is too long");
	if (!file_exists(path))
		return 0;
	int rc = file_read(path, FILE_MAX, &text, in->err);
	if (rc < 0)
		return rc;
	rc = add_text(in, kind, name, buf_str(&text));
	buf_release(&text);
	if (rc < 0)
		return rc;
	note(in, true, name);
	return 1;
}

static int64_t year_of(int64_t ns)
{
	int64_t year;
	int month, day;
	timefmt_civil(ns / (DAY_S * INT64_C(1000000000)), &year, &month, &day);
	return year;
}

/* How many of the years' files there were. A year's file starts at midnight Central, so the first hours of a year stand
 * in the file before. */
static int add_years(struct loading *in, const struct source *s)
{
	char name[NAME_MAX_BYTES];
	int found = 0;
	for (int64_t year = year_of(in->r->from_ns) - 1; year <= year_of(in->r->to_ns); year++) {
		snprintf(name, sizeof(name), "%s%04d.csv", s->prefix, (int)year);
		int rc = add_file(in, name, s->kind);
		if (rc < 0)
			return rc;
		found += rc;
		if (rc == 0 && in->files && year >= year_of(in->files->from_ns) && year <= year_of(in->files->to_ns - 1))
			note(in, false, name);
	}
	return found;
}

/* Files whose names vary. */
static int add_others(void *arg, const char *name)
{
	char hub[REPLAY_LOCATION_MAX - 4];
	int rc = 0;
	if (str_starts(str_of(name), str_of(generation_prefix)))
		rc = add_file(arg, name, GENERATION);
	else if (hub_of(name, hub, sizeof(hub)) && asks_for_hub(arg, hub))
		rc = add_file(arg, name, DAY_AHEAD_HUB);
	return rc < 0 ? rc : 0;
}

static int load(struct loading *in, int most, bool real_time)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		const struct source *s = &sources[i];
		if ((int)s->of > most)
			continue;
		int rc = s->yearly ? add_years(in, s) : add_file(in, s->prefix, s->kind);
		if (rc < 0)
			return rc;
		if (rc == 0 && !s->yearly)
			note(in, false, s->prefix);
		if (rc == 0 && s->kind == REAL_TIME && real_time)
			return err_set(
				in->err, HCP_ENOTFOUND, "data", "%.200s has no ercot_rt_spp_15min_YYYY.csv of these years", in->dir);
	}
	if (most == ALL) {
		int rc = file_list(in->dir, ".csv", add_others, in, in->err);
		if (rc < 0)
			return rc;
	}
	replay_seal(in->r);
	return 0;
}

int replay_load_dir(struct replay *r, const char *dir, const char *locations, struct err *err)
{
	struct loading in = { .r = r, .dir = dir, .err = err };
	int rc = split_locations(&in.l, locations, err);
	return rc < 0 ? rc : load(&in, ALWAYS, true);
}

int replay_load_market(struct replay *r, const char *dir, const char *locations, struct err *err)
{
	struct loading in = { .r = r, .dir = dir, .err = err };
	int rc = split_locations(&in.l, locations, err);
	return rc < 0 ? rc : load(&in, MARKET, true);
}

int replay_load_all(struct replay *r, const char *dir, const char *locations, bool real_time,
	struct replay_files *files, struct err *err)
{
	struct loading in = { .r = r, .dir = dir, .files = files, .err = err };
	int rc = real_time || *locations ? split_locations(&in.l, locations, err) : 0;
	return rc < 0 ? rc : load(&in, ALL, real_time);
}
