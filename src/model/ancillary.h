#ifndef HCP_MODEL_ANCILLARY_H
#define HCP_MODEL_ANCILLARY_H

#include <stdint.h>

#include "base/str.h"

/*
 * What the grid may ask of load that is held ready to be dropped. ERCOT's products; another grid's, or one of a
 * contract, is the last row.
 *
 * response_s: load that is not controllable has ten minutes for a call of RRS and ECRS (NPRR1148: a ten-minute linear
 * ramp), half an hour for non-spin. longest_s: what must be sustained, one hour of RRS, two of ECRS, four of non-spin
 * (NPRR1096, as of 2022 to 2025; NPRR1282 has shortened ECRS to one hour since).
 *
 * calls_year and call_s are no record but an ASSUMPTION, used where no file of calls is at hand, on the safe side of
 * what is known: load on RRS was called as a block in level 2 of an energy emergency, 15 February 2021 and 6 September
 * 2023, so twice in four years; it is reckoned with twice a year for an hour. ECRS and non-spin are called more often
 * and mostly of generators; a call a month and two are reckoned with. Regulation follows a signal, which is not
 * modelled.
 */
struct ancillary_service {
	const char *name;
	int32_t response_s; /* from the call until all of it must be gone */
	int32_t longest_s;  /* a call lasts so long at most */
	double calls_year;
	int32_t call_s;
};

/* Never NULL: names that are not known are the last row's. */
const struct ancillary_service *ancillary_of(const char *name);

/*
 * USD for each MWh that is missing of a call, where the site's file says nothing else: the system-wide offer cap of
 * ERCOT since 2022, which is what energy is worth in the hours that reserves are called in. An assumption: the grid
 * itself takes payments back and disqualifies.
 */
#define ANCILLARY_MISS_USD_MWH 5000.0

#endif
