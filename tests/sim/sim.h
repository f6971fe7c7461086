#ifndef HCP_TESTS_SIM_H
#define HCP_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/money.h"
#include "base/rng.h"
#include "svc/svc.h"

/*
 * One simulated platform: the services' own definitions, stepped by hand in one thread under virtual time.
 *
 *   load ──requests──▶ svc_post ┐                       ┌─▶ answers ──▶ load checks them
 *   faults ──▶ slots            ├─▶ svc_step in turn ───┼─▶ bus file ──▶ watch: digest, invariants of events
 *   queue of virtual events ────┘                       └─▶ agents ──▶ net ──▶ simulated nodes ──▶ svc_post
 *
 * Everything random comes from one seed, so a run is repeated bit for bit. The first broken promise ends the process.
 */
struct sim;
struct net;
struct net_budget;
struct people;

enum {
	SIM_DIR_MAX = 256,
	SIM_SPIN_MAX = 100000,         /* steps at one instant: beyond it the platform never comes to rest */
	SIM_SYNC_MS = 500,             /* how often the bus is synced */
	SIM_BASE_BYTES = 256 << 10,    /* journal between two base copies: several in an hour */
	SIM_LONG_BASE_BYTES = 8 << 20, /* in a run of months */
	SIM_BASES_KEPT = 64,           /* all of an ordinary run, so that its journal still goes back to the first batch */
	SIM_JOBS_MAX = 64,
	SIM_SETTLE_MIN = 15, /* minutes without faults and load before the last checks */
};

/* Who plays: the whole platform, or orchestrator and router among stand-ins (every fourth seed unless told). */
enum sim_cast { CAST_BY_SEED, CAST_PLATFORM, CAST_STAND_INS };

struct sim_opts {
	enum sim_cast cast;
	uint64_t seed;
	double hours;
	int runs, jobs; /* jobs: processes that share the runs */
	bool verbose;
	bool calm;                  /* no faults at all */
	bool modes;                 /* miners are driven low and high whatever the seed */
	int pace;                   /* agents report and timers run so many times less often; 0: by the seed */
	bool keep;                  /* leave the databases where they are */
	bool twice;                 /* run each seed twice and compare the digests */
	const char *trace;          /* print every event that names this id; NULL: none */
	const char *replay_data;    /* folder of real prices; NULL: simulated market */
	const char *from, *to, *location;
	int scale;                  /* real prices: a fleet so many times smaller */
	const char *policy;         /* real prices: that decides, taught from its own prices; NULL: the default one */
	int64_t start_ns;           /* of virtual time; 0: 2026 */
	int64_t base_bytes;         /* journal between two base copies; 0: SIM_BASE_BYTES */
};

/* A virtual event. fn is called once, at its time; data is what it was scheduled with. */
typedef void sim_fn(struct sim *s, void *arg, uint64_t data);
struct sim_event {
	int64_t at_ns;
	uint64_t n; /* order of scheduling: breaks ties */
	sim_fn *fn;
	void *arg;
	uint64_t data;
};

struct slot {
	struct sim *sim;
	const struct svc_def *def;  /* NULL: this service does not take part */
	struct svc_def slowed;      /* its own, with timers stretched by the pace */
	const void *conf;
	struct svc *svc;            /* NULL while crashed */
	char path[SIM_DIR_MAX + 64], bases[SIM_DIR_MAX + 64];
	struct db *disk; /* owned: keeps the database in memory while the service is down; NULL: it is a file */
	uint64_t seed;
	int64_t not_before_ns;      /* slow, or waiting after an abort */
	bool nudged;                /* stepped once whatever its timers say */
	uint64_t crashes, aborts, bases_taken;
};

struct sim {
	struct sim_opts opts;
	char dir[SIM_DIR_MAX];
	struct rng rng;             /* of the run: faults and order of steps */
	int64_t start_ns, now_ns;
	int64_t clock_off_ns;       /* what the services' clock is off */
	bool faults;                /* injected now */
	bool stand_ins;             /* resources and optimizer are played by others */
	bool load;                  /* customers come now */
	struct bus *bus;
	uint64_t bus_end_seen, bus_end_wanted;
	bool sync_due;
	bool opening_all;           /* after a power cut: outboxes wait for one another */
	uint64_t bus_synced;        /* offset of the first record that a power cut may take */
	struct slot slot[SVC_COUNT];
	struct sim_event *queue;    /* binary heap, owned */
	size_t n_queue, cap_queue;
	uint64_t event_no;
	uint64_t digest;
	struct watch *watch;        /* owned */
	struct load *load_state;    /* owned */
	struct poster *poster;      /* owned; NULL: no callbacks are sent */
	struct market_feed *market; /* owned */
	struct people *people;      /* owned */
	struct net *net;            /* owned; NULL: no simulated nodes */
	const struct net_budget *budget; /* borrowed */
	size_t n_budgets;
	bool lost_events;           /* a power cut took events with it: their order may have changed */
	uint64_t steps;
};

/* ---- sim.c: time and services ---- */
void sim_init(struct sim *s, const struct sim_opts *opts);
void sim_release(struct sim *s);
void sim_at(struct sim *s, int64_t at_ns, sim_fn *fn, void *arg, uint64_t data);
void sim_run_until(struct sim *s, int64_t until_ns);
/* What the services' clock shows. */
int64_t sim_clock_ns(const struct sim *s);
/* Takes m: hands it to its target by its type; answered "unavailable" while that is down. */
void sim_post(struct sim *s, struct msg *m);
bool sim_has(const struct sim *s, int id);
void sim_add(struct sim *s, const struct svc_def *def, const void *conf);
void sim_open_all(struct sim *s);
void sim_crash(struct sim *s, int id, int64_t down_ns);
/* Every service looks at the clock, as a host makes it do a few times a second. */
void sim_nudge(struct sim *s);
/* All at once; the bus forgets what was not synced if lose_tail. */
void sim_power_cut(struct sim *s, bool lose_tail);
/* Prints seed, time and the sentence, and ends the process with status 1. */
void sim_fail(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3) __attribute__((noreturn));
void sim_say(const struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* ---- bus_file.c ---- */
void sim_bus_open(struct sim *s);
/* Takes a part of what was not synced; the log is closed. */
void sim_bus_cut(struct sim *s);

/* ---- watch.c: what the bus tells, and the invariants ---- */
struct watch *watch_new(struct sim *s);
void watch_free(struct watch *w);
/* New records on the bus. */
void watch_bus(struct sim *s);
/* The bus was reopened. */
void watch_rewind(struct sim *s);
/* Every simulated minute. */
void watch_full(struct sim *s);
/* After faults and load have ended and everything had time to settle. */
void watch_settled(struct sim *s);
void watch_replays(struct sim *s);
void watch_summary(const struct sim *s);
/* State of a workload by the events, 0 if it was never heard of. */
int watch_workload(const struct sim *s, const char *id);
/* Steps that the platform has acknowledged as saved; 0: none. */
int64_t watch_saved(const struct sim *s, const char *id);
/* Workloads that are not final, by the events. */
size_t watch_active(const struct sim *s);
uint64_t watch_events(const struct sim *s);
/* Joules that were metered of a node. */
int64_t watch_node_j(const struct sim *s, const char *node_id);

/* ---- load.c: customers and operators ---- */
struct load *load_new(struct sim *s);
void load_start(struct sim *s);
void load_free(struct load *l);
void load_check(struct sim *s);
/* Nobody stops the platform any more; a stop in force is cleared. */
void load_settle(struct sim *s);
void load_summary(const struct sim *s);

/* ---- post.c: callbacks and who receives them ---- */
void post_start(struct sim *s);
void post_free(struct poster *p);
/* Once all is quiet: every change has its callback, and what counts as delivered was received. */
void post_check(struct sim *s);
/* ---- people.c: who logs in, with what ---- */
void people_start(struct sim *s);
void people_free(struct people *all);
void people_check(struct sim *s);
void people_summary(const struct sim *s);
/* The signing key of all runs of this process goes. */
void people_forget_key(void);

/* ---- market.c ---- */
void market_start(struct sim *s);

/* ---- faults.c ---- */
void faults_start(struct sim *s);
int faults_before_commit(void *slot);
int faults_after_commit(void *slot);
/* Between two batches: the moment at which a power cut costs events. */
void faults_after_step(struct sim *s);

/* ---- stand-ins for services that are not built into this program ---- */
extern const struct svc_def peer_resources_def;
extern const struct svc_def peer_optimizer_def;
void peer_start(struct sim *s);
void peer_settle(struct sim *s);

#endif
