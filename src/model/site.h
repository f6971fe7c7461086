#ifndef HCP_MODEL_SITE_H
#define HCP_MODEL_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "model/device_class.h"
#include "model/power_path.h"

/*
 * A site: what it pays for electricity, how much it may draw, and what stands there. Loaded from a YAML text
 * (spec/sites/README.md has the fields); pure, borrows nothing from the text.
 *
 * Starting a miner costs: the control board wakes and brings up the hash boards (boot: some watts, no hashes), then
 * voltage and frequency rise (ramp: full watts, hashes rising in a straight line from 0), and each start ages boards
 * and power supply (wear).
 *
 *	hashes                     ________
 *	                        __/
 *	        _______________/
 *	        wake   boot    ramp   full
 */
#define SITE_OTHER "default" /* stands for the facilities that no other site names; needs no groups */

enum {
	SITE_NAME_MAX = 32, /* bytes with NUL, all names */
	SITE_ABOUT_MAX = 160,
	SITE_GROUPS_MAX = 16,
	SITE_FEEDERS_MAX = 8,
	SITE_BRANCHES_MAX = 32,
	SITE_BRANCH_COUNT_MAX = 10000,
	SITE_TEXT_MAX = 1 << 18, /* bytes of a file */
	SITE_COUNT_MAX = 1000000,
	SITE_HOLD_MAX_S = 43200, /* of boot, ramp, min_up and min_down each */
	SITE_OFFERS_MAX = 4,
	SITE_MODES_MAX = DEVICE_POWER_END - 1, /* beside the nominal */
};

/* A way of mining: what the firmware is told to draw, and what comes of it. Changed while hashing, at no cost. */
struct site_mode {
	enum device_power power;
	double watts; /* per device at the plug */
	double ths;
};

struct site_feeder {
	char name[SITE_NAME_MAX];
	double limit_w;             /* at the meter: plug watts times PUE */
	double inrush_w;            /* at the plugs, see site_branch; 0: no limit */
	char nodes[POWER_PATH_MAX]; /* ids of nodes that hang here, as power_match reads it; "": they say so themselves */
};

/* PDUs and racks below the feeders. Live operation obeys them; backtests stop at the feeders. */
struct site_branch {
	char path[POWER_PATH_MAX]; /* "north/ups", or with count "north/p#": north/p1 to north/pN */
	uint32_t count;            /* 0: one, without a number */
	double limit_w;            /* each, at the plugs */
	double inrush_w;           /* most watts more that are ordered within five seconds; 0: no limit */
	char nodes[POWER_PATH_MAX];
};

/* Devices of one class that are run alike. */
struct site_group {
	char name[SITE_NAME_MAX];
	const struct device_class *cls;
	uint32_t count;
	int feeder; /* index; -1: behind none */
	bool mines, serves;
	enum device_mode idle_mode; /* what a curtailed device is left in: IDLE, SAFE or OFF */
	size_t n_modes;             /* beside the class's own figures, which are always mode 0 */
	struct site_mode mode[SITE_MODES_MAX];
	int64_t boot_ns, ramp_ns;
	double boot_w;         /* per device at the plug */
	double start_wear_usd; /* per device and start */
	int64_t min_up_ns, min_down_ns;
	/* Sold to customers; 0 where the group does not serve. */
	double contract_share; /* of the devices; promised around the clock */
	double contract_usd_h; /* per device hour, paid used or not */
	double spot_share;     /* of the devices; what spot demand takes at its height */
	double miss_usd_h;     /* penalty per contracted device hour not served */
};

/* Running load that is held ready to be dropped, offered to the grid as an ancillary service. */
struct site_offer {
	char service[SITE_NAME_MAX]; /* of the grid's clearing prices: REGUP, RRS, ECRS, NSPIN */
	double mw;                   /* at the meter */
	bool fixed;                  /* paid price_usd_mw_h; else the recorded clearing price */
	double price_usd_mw_h;
	int from_hour, until_hour; /* Central: [from, until), 0..24 */
	double ramp_mw_min;        /* load that can be dropped each minute of a call; 0: all of it at once */
	double miss_usd_mwh;       /* for each MWh missing of a call */
};

struct site {
	char name[SITE_NAME_MAX], about[SITE_ABOUT_MAX];
	char point[24]; /* settlement point; "" with a fixed tariff */
	bool fixed;
	double tariff_usd_mwh; /* with fixed */
	double limit_w;        /* at the meter */
	double pue, pool_fee;
	size_t n_feeders, n_branches, n_groups, n_offers;
	struct site_feeder feeder[SITE_FEEDERS_MAX];
	struct site_branch branch[SITE_BRANCHES_MAX]; /* each after the one above it */
	struct site_group group[SITE_GROUPS_MAX];
	struct site_offer offer[SITE_OFFERS_MAX];
};

/*
 * HCP_EPARSE: not YAML or not of the form; HCP_EINVAL, HCP_ERANGE: a senseless value; HCP_ELIMIT: too long; HCP_ENOMEM.
 * err->field is the field's path, the text begins with "<name>:<line>: ". *ret is written on success alone.
 */
int site_parse(struct site *ret, const char *name, struct str text, struct err *err) MUST_CHECK;
/* All values of a site, however it was made; err->field is the field's path. */
int site_validate(const struct site *s, struct err *err) MUST_CHECK;

/* The site that stands for a facility: the one of its name, else the one named SITE_OTHER, else NULL. */
const struct site *site_of_facility(const struct site *s, size_t n, const char *facility);
/* Its first group of that class; NULL: none, or s is NULL. */
const struct site_group *site_group_of(const struct site *s, const struct device_class *cls);

/*
 * What if: more devices ("64xH100"; a class that was not there is run as the first group of its kind), fewer, or a
 * feeder without power. HCP_EINVAL, HCP_ENOTFOUND, HCP_ERANGE, HCP_ELIMIT with field "devices" or "feeder"; s unchanged
 * then.
 */
int site_add(struct site *s, struct str devices, struct err *err) MUST_CHECK;
int site_remove(struct site *s, struct str devices, struct err *err) MUST_CHECK;
int site_fail(struct site *s, struct str feeder, struct err *err) MUST_CHECK;

/* What starting costs taken away: no boot, ramp, wear of starts or minimum times. */
void site_free_restarts(struct site *s);
/*
 * Devices that were not yet sold at that time replaced, one for one, by what was: "S21" in 2023 becomes "S19XP", in
 * 2021 "S19JPRO". Appends a line per replaced group to `said` for people. Group names stay.
 */
void site_period_hardware(struct site *s, int64_t at_ns, struct buf *said);

/*
 * How many devices of each group may run at once: serving groups first, then miners from the most efficient on, within
 * feeders and the site's limit, each at its highest watts. True if a limit cuts any group.
 */
bool site_energised(const struct site *s, uint32_t ret[SITE_GROUPS_MAX]);
/* All devices at their highest watts, at the meter. */
double site_full_w(const struct site *s);

/* What a device does in dt when it was woken since_wake_ns ago (INT64_MAX: long ago). */
struct site_slice {
	double hash_s; /* seconds at full hash rate that its hashes are worth */
	double plug_j;
};
struct site_slice site_mine_slice(const struct site_group *g, int64_t since_wake_ns, int64_t dt_ns);
/* The same in a mode of the group, i <= n_modes. */
struct site_slice site_mode_slice(const struct site_group *g, size_t i, int64_t since_wake_ns, int64_t dt_ns);
/* Mode 0: the class's figures; mode i: mode[i - 1]. */
struct site_mode site_mode_at(const struct site_group *g, size_t i);
/* From waking to full hash rate. */
static inline int64_t site_start_ns(const struct site_group *g)
{
	return g->boot_ns + g->ramp_ns;
}

#endif
