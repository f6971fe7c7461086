#ifndef HCP_SIM_REPLAY_FILES_H
#define HCP_SIM_REPLAY_FILES_H

#include "sim/replay.h"

/*
 * Fills r (replay_init was called) from the files of a data directory and seals it:
 *	ercot_rt_spp_15min_YYYY.csv   ercot_dam_spp_hourly_YYYY.csv   btc_usdt_hourly.csv   btc_network_daily.csv
 *	gpu_list_price_monthly.csv
 * of the years that from..to touches. A file that is not there is passed over, but HCP_ENOTFOUND when there is no
 * real-time price of any location at all. locations: comma-separated settlement points, at most REPLAY_LOCATIONS_MAX.
 */
int replay_load_dir(struct replay *r, const char *dir, const char *locations, struct err *err) MUST_CHECK;

#endif
