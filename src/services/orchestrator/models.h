#ifndef HCP_SERVICES_ORCHESTRATOR_MODELS_H
#define HCP_SERVICES_ORCHESTRATOR_MODELS_H

#include "services/orchestrator/orchestrator_priv.h"

/*
 * Versions of models and their rollout.
 *
 *	              activate                       every node serves it
 *	   ACTIVE ───────────────▶ ROLLING_OUT ────────────────────────────▶ ACTIVE
 *	     ▲   ◀─── rollback ──┐    │ a node fails, or is too late
 *	     │                   └────▼
 *	     └─ error "" ─── ROLLING_BACK ─── error ──▶ ROLLED_BACK (as ACTIVE, with the reason)
 *
 * `version` is what nodes shall serve, `stable` what all of them last served, `previous` what they served before that.
 * One node goes first; after its success up to MODELS_PARALLEL at a time. A node that appears with another version than
 * the one wanted is told, too, whatever the state; if it fails then, that is its own trouble and is tried again.
 */
enum {
	MODELS_PARALLEL = 4,
	MODELS_DEADLINE_S = 120, /* of a node's change */
	MODELS_RESEND_S = 5,
	MODELS_RETRY_S = 300,
	MODELS_AWAY_S = 120,     /* a node not heard of for so long is not waited for; they report twice a minute */
	MODELS_SEEN_S = 45,      /* how old a node's row may say it was seen last */
	MODELS_HELD_MAX = 64,
	MODELS_CHANGES = 20,     /* shown */
	MODELS_MAX = 256,        /* models; versions of one */
};

enum model_state { MODEL_ACTIVE, MODEL_ROLLING_OUT, MODEL_ROLLING_BACK, MODEL_ROLLED_BACK };

/* A row of `model`; texts live in the batch's arena. */
struct model {
	const char *name, *version, *stable, *previous, *error, *by;
	enum model_state state;
	int64_t changed_ns;
};

/* A row of `model_node`. */
struct model_node {
	const char *id, *version, *digest, *state, *error;
	const char *held;        /* ",base,v2," */
	int64_t seen_ns;
	uint64_t order;          /* of its last report */
	uint64_t told;           /* order of the last command; 0: none */
	const char *told_version;
	int64_t sent_ns, deadline_ns; /* deadline_ns 0: no command under way */
	int64_t retry_ns;
	bool changed;            /* to be stored */
};

/* HCP_ENOTFOUND with field "name". */
int models_load(struct svc_ctx *ctx, const char *name, struct model *ret, struct err *err) MUST_CHECK;
int models_nodes(
	struct svc_ctx *ctx, const char *name, struct model_node **ret, size_t *ret_n, struct err *err) MUST_CHECK;
bool models_is_away(const struct model_node *n, int64_t now_ns);
bool models_holds(const struct model_node *n, const char *version);
/* HCP_ENOTFOUND with field "version". */
int models_digest(
	struct svc_ctx *ctx, const char *name, const char *version, const char **ret, struct err *err) MUST_CHECK;
int models_add_version(struct svc_ctx *ctx, const char *name, const char *version, const char *digest,
	const char *origin, const char *by, struct err *err) MUST_CHECK;
/* Another version is wanted; commands under way are void. Keeps the change for the record. The caller steps. */
int models_turn(struct svc_ctx *ctx, struct model *m, enum model_state to, const char *version,
	const char *what, const char *by, const char *reason, struct err *err) MUST_CHECK;
/* Commands, deadlines, completion: all that is due now. */
int models_step(struct orchestrator *o, struct svc_ctx *ctx, struct model *m, struct err *err) MUST_CHECK;
int models_fill(struct svc_ctx *ctx, struct arena *a, const struct model *m, bool all, Hcp__Model *out, struct err *err)
	MUST_CHECK;

int models_open(struct orchestrator *o, struct db *db, struct err *err) MUST_CHECK;
int models_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err) MUST_CHECK;
int orch_on_model_report(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_models_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_model_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_model_register(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_model_activate(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);
int orch_on_model_rollback(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err);

#endif
