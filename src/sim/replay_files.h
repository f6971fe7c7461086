#ifndef HCP_SIM_REPLAY_FILES_H
#define HCP_SIM_REPLAY_FILES_H

#include "base/str.h"
#include "sim/replay.h"

/*
 * Fills r (replay_init was called) from the files of a data directory and seals it:
 *	ercot_rt_spp_15min_YYYY.csv   ercot_dam_spp_hourly_YYYY.csv   btc_usdt_hourly.csv   btc_network_daily.csv
 *	gpu_list_price_monthly.csv
 * of the years that from..to touches. A file that is not there is passed over, but HCP_ENOTFOUND when there is no
 * real-time price of any location at all. locations: comma-separated settlement points, at most REPLAY_LOCATIONS_MAX.
 */
int replay_load_dir(struct replay *r, const char *dir, const char *locations, struct err *err) MUST_CHECK;
/* All that the platform takes: that, and ercot_as_mcpc_hourly_YYYY.csv. */
int replay_load_market(struct replay *r, const char *dir, const char *locations, struct err *err) MUST_CHECK;

/* What was found; names of files, each followed by a newline. Release both buffers. */
struct replay_files {
	int64_t from_ns, to_ns; /* the yearly files of these years that are not there are `missing` */
	struct buf read, missing;
};

/*
 * The same with everything that a backtest may learn from, of all years up to to_ns from r->from_ns on:
 *	ercot_as_mcpc_hourly_YYYY.csv   ercot_da_load_forecast_hourly_YYYY.csv   ercot_fuelmix_hourly_YYYY.csv
 *	ercot_generation_hourly_*.csv   genai_requests_alibaba_2024.csv (demand of files->from_ns..to_ns)
 *	ercot_dam_HUB_YYYY_MM.csv (one hub's month, column HUB_DAM, of the point HB_HUB if that is asked for)
 * `real_time` says whether real-time prices must be there (a site on a fixed tariff needs none).
 */
int replay_load_all(struct replay *r, const char *dir, const char *locations, bool real_time,
	struct replay_files *files, struct err *err) MUST_CHECK;

#endif
