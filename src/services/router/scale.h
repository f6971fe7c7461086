#ifndef HCP_SERVICES_ROUTER_SCALE_H
#define HCP_SERVICES_ROUTER_SCALE_H

#include "services/router/router_priv.h"

/*
 * sched/scale decides; here are its rows, what it sees, and who makes its calls (the scaler of src/courier):
 *
 *   jobs that wait, devices of rented nodes ─▶ scale_step ─▶ rows of `rental` ─▶ ScaleTake (waits here) ─▶ provider
 *                                                  ▲                                                         │
 *                                                  └── ScaleResult ◀─────────────────────────────────────────┘
 */
struct router_scale {
	struct scale scale;
	struct router_place place[SCALE_TYPES_MAX];
	struct rdev *first[SCALE_TYPES_MAX][SCALE_SLOTS_MAX]; /* devices of a node; borrowed */
	struct scale_view view;                               /* as at the last step */
	struct msg *taker;                                    /* waits for calls to make; owned */
	int64_t taker_until_ns;
	int64_t seen_ns; /* one was here last */
	bool poked;
};

/* scale.c */
/* What waits and what stands, as sched/scale sees it. */
void scale_view_fill(const struct router *r, struct scale_view *v);

/* scale_rows.c */
/*
 * Types of nodes that stand in the tables but are set no more come behind those of c, to be given back. place: of each
 * type. HCP_ELIMIT: too many.
 */
int scale_rows_retired(struct scale_conf *c, struct router_place *place, struct db *db, struct err *err) MUST_CHECK;
int scale_rows_load(struct scale *s, struct db *db, struct err *err) MUST_CHECK;
int scale_rows_save(
	const struct router_scale *x, struct svc_ctx *ctx, const struct scale_node *n, struct err *err) MUST_CHECK;

#endif
