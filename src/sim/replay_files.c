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

enum kind { REAL_TIME, DAY_AHEAD, BTC, NETWORK, GPU };

static int add_text(struct replay *r, enum kind kind, const char *name, struct str text, const struct locations *l,
	struct err *err)
{
	int rc = 0;
	switch (kind) {
	case REAL_TIME:
	case DAY_AHEAD:
		for (size_t i = 0; rc == 0 && i < l->n; i++)
			rc = kind == REAL_TIME ? replay_add_real_time(r, name, text, l->name[i], err) :
				replay_add_day_ahead(r, name, text, l->name[i], err);
		return rc;
	case BTC: return replay_add_btc(r, name, text, err);
	case NETWORK: return replay_add_network(r, name, text, err);
	case GPU: return replay_add_gpu(r, name, text, err);
	}
	return HCP_EINTERNAL;
}

/* 1: read; 0: there is no such file. */
static int add_file(struct replay *r, const char *dir, const char *name, enum kind kind, const struct locations *l,
	struct err *err)
{
	char path[PATH_BYTES];
	struct buf text;
	if (file_join(path, sizeof(path), dir, name) < 0)
		return err_set(err, HCP_ERANGE, "data", "the path is too long");
	if (!file_exists(path))
		return 0;
	int rc = file_read(path, FILE_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = add_text(r, kind, name, buf_str(&text), l, err);
	buf_release(&text);
	return rc < 0 ? rc : 1;
}

static int64_t year_of(int64_t ns)
{
	int64_t year;
	int month, day;
	timefmt_civil(ns / (DAY_S * INT64_C(1000000000)), &year, &month, &day);
	return year;
}

int replay_load_dir(struct replay *r, const char *dir, const char *locations, struct err *err)
{
	struct locations l;
	char name[NAME_MAX_BYTES];
	bool prices = false;
	int rc = split_locations(&l, locations, err);
	if (rc < 0)
		return rc;
	/* A year's file starts at midnight Central, so the first hours of a year stand in the file before. */
	for (int64_t year = year_of(r->from_ns) - 1; year <= year_of(r->to_ns); year++) {
		snprintf(name, sizeof(name), "ercot_rt_spp_15min_%04d.csv", (int)year);
		rc = add_file(r, dir, name, REAL_TIME, &l, err);
		if (rc < 0)
			return rc;
		prices |= rc > 0;
		snprintf(name, sizeof(name), "ercot_dam_spp_hourly_%04d.csv", (int)year);
		rc = add_file(r, dir, name, DAY_AHEAD, &l, err);
		/* Not every settlement point of the real-time files stands in the day-ahead ones. */
		if (rc < 0 && rc != HCP_ENOTFOUND)
			return rc;
	}
	if (!prices)
		return err_set(err, HCP_ENOTFOUND, "data", "%.200s has no ercot_rt_spp_15min_YYYY.csv of these years", dir);
	static const struct { const char *name; enum kind kind; } plain[] = {
		{ "btc_usdt_hourly.csv", BTC }, { "btc_network_daily.csv", NETWORK }, { "gpu_list_price_monthly.csv", GPU },
	};
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		rc = add_file(r, dir, plain[i].name, plain[i].kind, &l, err);
		if (rc < 0)
			return rc;
	}
	replay_seal(r);
	return 0;
}
