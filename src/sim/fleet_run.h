#ifndef HCP_SIM_FLEET_RUN_H
#define HCP_SIM_FLEET_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "hcp.pb-c.h"
#include "sim/fleet.h"

struct loop;
struct tls_ctx;
struct fleet_run;

/*
 * Many simulated nodes in one process on one loop: each has an agent stream of its own, up to FLEET_RUN_STREAMS of
 * them share a connection. Reports take turns over the report interval;
 * one that does not fit into its stream's queue is dropped, the next one says more. One thread.
 */
enum {
	FLEET_RUN_STREAMS = 64,      /* nodes of one connection */
	FLEET_RUN_NODES_MAX = 16384,
	FLEET_RUN_CLASSES_MAX = 16,
	FLEET_RUN_GPUS = 8,          /* devices of a node */
	FLEET_RUN_ASICS = 250,
	FLEET_RUN_RETRY_MS = 1000,   /* before a stream that ended is opened again, plus up to as much */
};

struct fleet_run_group {
	const struct device_class *cls;
	size_t devices;
};

struct fleet_run_conf {
	const char *host;            /* borrowed until return, as are the names */
	uint16_t port;
	const char *token;
	struct tls_ctx *tls;     /* of mesh_link_tls, referenced; NULL: plain */
	const char *facility, *region;
	const char *node; /* id of the only node; NULL: made from facility, class and number */
	struct fleet_run_group groups[FLEET_RUN_CLASSES_MAX];
	size_t n_groups;
	uint64_t seed;
	struct fleet_rules rules;
	int64_t (*clock)(void *arg); /* UTC that is never set back */
	/* A node got a SwitchCommand, before it acts on it (r NULL), or reports its end (c NULL). May be NULL. */
	void (*on_order)(
		void *arg, const char *node_id, const Hcp__SwitchCommand *c, const Hcp__SwitchReport *r, int64_t now_ns);
	void *arg;
};

struct fleet_run_totals {
	size_t nodes, connected, leased, devices;
	int64_t power_w;
	double hash_ths;
	uint64_t switches_ok, switches_failed, lapses, messages_up, messages_down, dropped;
};

/* "H100:512,S21:10000" into groups; class names of the catalogue. HCP_EINVAL, HCP_ELIMIT. */
int fleet_run_spec(const char *spec, struct fleet_run_conf *conf, struct err *err) MUST_CHECK;
int fleet_run_new(struct loop *loop, const struct fleet_run_conf *conf, struct fleet_run **ret, struct err *err)
	MUST_CHECK;
void fleet_run_free(struct fleet_run *r);
void fleet_run_totals(const struct fleet_run *r, struct fleet_run_totals *ret);

#endif
