#ifndef HCP_TESTS_SIM_NET_H
#define HCP_TESTS_SIM_NET_H

#include "base/list.h"
#include "sim.h"
#include "sim/node.h"

/*
 * The lossy network between the platform and simulated nodes. One stream a node: it breaks, it is cut without anybody
 * noticing, messages on it come late, twice, in another order or not at all (an announcement only breaks with its
 * stream). An agent may die; the next one on the node has a new boot id.
 */
enum { NET_NODES_MAX = 32, NET_LEVELS_MAX = 16 };

struct net_node {
	struct sim *sim;
	struct node node;
	struct node_conf conf;
	char id[24];
	uint32_t epoch;         /* of the stream: what was sent on an older one is lost */
	bool alive, open;       /* the agent runs; its stream stands */
	bool cut;               /* the stream stands, but nothing gets through */
	uint64_t tick;          /* newest scheduled step */
	uint64_t programs;      /* starts that were looked at */
	uint64_t boots;
	char dead_boot[ID_TEXT_MAX]; /* of the agent that died last */
	char over_boot[ID_TEXT_MAX]; /* came back from a saved state: nothing that this boot tells may be metered; "" if
									none */
	struct {                     /* the agent as it was saved, meters and all; n_allocs 0: never */
		char boot[ID_TEXT_MAX];
		uint64_t seq;
		size_t n_allocs, keys;
		struct node_alloc *allocs; /* owned */
	} saved;
	/* what its agents have told, for the account of joules */
	int64_t told_before_j;  /* of boots that are over, as the platform metered them */
	int64_t *told;          /* owned: sums of this boot's reports, in order */
	size_t n_told, cap_told;
	int64_t told_j;         /* by this boot so far */
	struct map counter;     /* activity and allocation -> joules it showed last, as a number */
};

/* A level of the power tree, by its place among the budgets. */
struct net_level {
	struct sim *sim;
	bool out, dark;    /* is said to have no power, or will be; dark: has none */
	bool told, saying; /* what the platform was told last, and is being told */
};

struct net {
	struct sim *sim;
	struct net_level level[NET_LEVELS_MAX];
	uint64_t trips;
	struct rng rng;
	struct net_node node[NET_NODES_MAX];
	size_t n;
	struct list flying;     /* messages on their way */
	uint64_t sent, lost, repeated, refused, deaths, cuts, relapses, programs, restores;
};

struct net_fleet {
	const char *id, *facility, *class_name;
	int devices;
	const char *feed; /* where it hangs in the power tree; NULL: at the facility */
};

/* Of a level of the power tree; path "": the facility. */
struct net_budget {
	const char *facility, *path;
	int64_t budget_w;
};

void net_start(struct sim *s, const struct net_fleet *fleet, size_t n, const struct fleet_rules *rules);
void net_free(struct net *net);
/* svc_conf.send_agent: arg is the simulation. */
void net_down(void *arg, const char *node_id, struct str bytes);
void net_faults(struct sim *s);
/* All streams end, as they do when the process that holds them dies. */
void net_drop_all(struct sim *s);
/* Everybody is back, and stays. */
void net_settle(struct sim *s);
/* Watts that what hangs below a level draws now. */
int64_t net_power_w(const struct sim *s, const struct net_budget *level);
/* All below it are dead, and stay so while the level is dark. */
void net_go_dark(struct sim *s, size_t level);

/* ---- feeders.c ---- */
void feeders_faults(struct sim *s);
/* All have power. */
void feeders_settle(struct sim *s);
/* The joules that were metered are those that the agents told, each once. */
void net_check_joules(struct sim *s);

#endif
